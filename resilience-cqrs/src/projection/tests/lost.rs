//! Leases that are lost in the middle of something.

use std::sync::Arc;

use futures::future::{Either, select};
use resilience_core::lease::{Acquired, Lease, Leases, MemoryLeases};
use resilience_core::time::SharedTimer;
use tokio::sync::Semaphore;

use super::*;

/// Leases that are somebody else's from some moment on, as after an administrator has struck them out.
#[derive(Clone, Default)]
struct Lost {
    leases: MemoryLeases,
    are_lost: Arc<AtomicBool>,
}

impl Leases for Lost {
    type Error = std::convert::Infallible;

    async fn acquire(&self, resource: &str, owner: &str, ttl: Duration) -> Result<Acquired, Self::Error> {
        if self.are_lost.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.leases.acquire(resource, owner, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, Self::Error> {
        if self.are_lost.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.leases.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, Self::Error> {
        self.leases.release(lease).await
    }
}

/// Takes in as many events as there are permits.
#[derive(Clone)]
struct Gated(Arc<Semaphore>);

impl Projection for Gated {
    fn name(&self) -> &str {
        "gated@2"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, _: &Recorded, _: &mut Rows<'_>) -> Result<(), BoxError> {
        self.0.acquire().await?.forget();
        Ok(())
    }
}

/// Somebody else may be building the same version by now, or have decided something else: it ends, wherever it is, and changes
/// nothing.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_has_lost_its_lease_ends_and_does_not_take_over() {
    let timer = SharedTimer::default();
    for (threshold, phase) in [(0, Phase::Building), (1_000, Phase::TakingOver)] {
        let (store, leases, gate) = (MemoryStore::new(), Lost::default(), Arc::new(Semaphore::new(0)));
        let versions = Versions::new(store.clone());
        versions.serve("gated@1").await.unwrap();
        for _ in 0..10 {
            deposit(&store, "a", "1").await;
        }
        let runner = ProjectionRunner::builder(store.clone(), Gated(gate.clone()));
        let rebuild = runner.rebuild(leases.clone(), "node").threshold(threshold).ttl(Duration::from_secs(1)).start();
        for _ in 0..100 {
            if rebuild.status().phase != phase {
                timer.sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(rebuild.status().phase, phase);
        leases.are_lost.store(true, Ordering::Relaxed);
        // It has asked, and was told.
        timer.sleep(Duration::from_secs(3)).await;
        if phase == Phase::TakingOver {
            gate.add_permits(1_000); // Nothing else keeps it.
        }
        let ended = select(Box::pin(rebuild.finish()), timer.sleep(Duration::from_secs(60))).await;
        assert!(matches!(ended, Either::Left((Err(RebuildError::Lease(None)), _))), "{phase:?}");
        assert_eq!(versions.serving("gated").await.unwrap().as_deref(), Some("gated@1"));
    }
}

/// Its leases are others' before they have run out: it runs no partition on, and says so.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_told_that_its_leases_are_lost_runs_nothing_on() {
    let (store, leases, gate) = (MemoryStore::new(), Lost::default(), Arc::new(Semaphore::new(1_000)));
    let (timer, ttl) = (SharedTimer::default(), Duration::from_secs(3));
    let runner = ProjectionRunner::builder(store.clone(), Gated(gate));
    let two = std::num::NonZeroU32::new(2).unwrap();
    let member = runner.partitions(two, leases.clone(), "node").ttl(ttl).start();
    deposit(&store, "a", "1").await;
    member.at_least(store.head(), ttl).await.unwrap();
    assert_eq!(member.status().owned.len(), 2);
    leases.are_lost.store(true, Ordering::Relaxed);
    // Two beats: in the first it hears of it, and asks in vain for what is free.
    timer.sleep(ttl).await;
    assert_eq!(member.status().owned.len(), 0);
    let before = store.row("projection", b"gated@2#0/2").await.unwrap();
    deposit(&store, "a", "1").await;
    deposit(&store, "b", "1").await;
    timer.sleep(ttl).await;
    assert_eq!(store.row("projection", b"gated@2#0/2").await.unwrap(), before, "nobody moves it");
    member.stop().await.unwrap();
}
