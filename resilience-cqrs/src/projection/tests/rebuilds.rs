//! A new version beside the old one: it takes over when it has caught up, once, wherever it was killed before.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use resilience_core::lease::MemoryLeases;
use resilience_core::time::SharedTimer;

use super::*;

/// Sums up deposits by stream in rows of its own version; counts how many it has taken in.
#[derive(Clone)]
struct Orders {
    version: &'static str,
    applied: Arc<AtomicU64>,
}

fn orders(version: &'static str) -> Orders {
    Orders { version, applied: Arc::default() }
}

impl Projection for Orders {
    fn name(&self) -> &str {
        self.version
    }

    fn query(&self) -> Query {
        Query::types(["Deposited"])
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        // Ten events a millisecond, in time that otherwise stands still.
        if self.applied.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            SharedTimer::default().sleep(Duration::from_millis(1)).await;
        }
        let key = event.stream.as_str().to_owned();
        let sum = rows.get(self.version, &key).await?.map_or(Ok(0), |sum| number(&sum))?;
        rows.put(self.version, key, (sum + number(&event.payload)?).to_string());
        // The last event seen, for those who measure.
        rows.put(self.version, "last", event.position.get().to_string());
        Ok(())
    }
}

async fn fill(store: &MemoryStore, events: u64) {
    for n in 0..events {
        deposit(store, &format!("a{}", n % 20), &n.to_string()).await;
    }
}

async fn equals_the_log(store: &MemoryStore, version: &str) {
    let mut sums = std::collections::BTreeMap::new();
    let mut at = Position::ORIGIN;
    while at < store.head() {
        let page = store.read(at, &Query::types(["Deposited"]), 8192).await.unwrap();
        for event in page.events {
            *sums.entry(event.stream.as_str().to_owned()).or_insert(0) += number(&event.payload).unwrap();
        }
        at = page.next;
    }
    for (account, sum) in sums {
        assert_eq!(row(store, version, &account).await, Some(sum), "{account}");
    }
}

fn four() -> NonZeroU32 {
    NonZeroU32::new(4).unwrap()
}

/// ES25, in time that stands still while programs run: what is measured is what the change of versions itself
/// makes readers wait for.
#[tokio::test(start_paused = true)]
async fn readers_are_served_all_the_time_and_hardly_see_the_change_of_versions() {
    for parts in [NonZeroU32::MIN, four()] {
        let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
        let versions = Versions::new(store.clone());
        fill(&store, 5_000).await;
        let old = ProjectionRunner::builder(store.clone(), orders("orders@2")).start();
        caught_up(&store, &old).await;
        versions.serve("orders@2").await.unwrap();
        let runner = ProjectionRunner::builder(store.clone(), orders("orders@3"));
        let rebuild =
            runner.batch(std::num::NonZeroUsize::new(50).unwrap()).rebuild(leases.clone(), "node").parallel(parts);
        let rebuild = rebuild.threshold(100).start().finish();
        // A thousand events a second; after each, a reader asks, and sees how old what it is shown is.
        let (mut oldest, mut before, mut after) = (0, 0, 0);
        while after < 500 {
            let last = deposit(&store, "live", "1").await.get();
            SharedTimer::default().sleep(Duration::from_millis(1)).await;
            let serving = versions.serving("orders").await.unwrap().unwrap();
            let shown = row(&store, &serving, "last").await.unwrap() as u64;
            oldest = oldest.max(last - shown);
            match serving.as_str() {
                "orders@2" if after == 0 => before += 1,
                "orders@3" => after += 1,
                other => panic!("{other} serves"),
            }
        }
        assert!(before > 0 && oldest < 100, "what a reader saw was {oldest} ms old");
        let Rebuilt { running, replaced } = rebuild.await.unwrap();
        assert_eq!(replaced.as_deref(), Some("orders@2"));
        caught_up(&store, &running).await;
        equals_the_log(&store, "orders@3").await;
        // The old one was not held, and can serve again.
        caught_up(&store, &old).await;
        equals_the_log(&store, "orders@2").await;
        running.stop().await.unwrap();
        // Restarted by itself, it goes on as one, whatever it was built in.
        let running = ProjectionRunner::builder(store.clone(), orders("orders@3")).start();
        deposit(&store, "a1", "7").await;
        caught_up(&store, &running).await;
        equals_the_log(&store, "orders@3").await;
    }
}

/// ES25: killed, it goes on where it was.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_killed_goes_on_and_does_not_begin_again() {
    for parts in [NonZeroU32::MIN, four()] {
        let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
        fill(&store, 4_000).await;
        let new = orders("orders@3");
        let start = |parts| {
            let runner = ProjectionRunner::builder(store.clone(), new.clone());
            let runner = runner.batch(std::num::NonZeroUsize::new(20).unwrap());
            runner.rebuild(leases.clone(), "node").parallel(parts).threshold(10).start()
        };
        let mut kills = 0;
        loop {
            let mut rebuild = start(parts);
            let mut status = rebuild.status();
            while status.position.get() < 700 * (kills + 1) && status.phase != Phase::Serving {
                status = rebuild.changed().await.expect("it has not ended");
            }
            assert!(status.head == store.head() && status.rate >= 0.0);
            if status.phase == Phase::Serving {
                rebuild.finish().await.unwrap();
                break;
            }
            kills += 1;
            drop(rebuild);
            // Its lease runs out, and the runner it had ends with its batch.
            SharedTimer::default().sleep(Duration::from_secs(11)).await;
        }
        assert!(kills >= 3, "{kills}");
        let applied = new.applied.load(Ordering::Relaxed);
        assert!((4_000..4_000 + kills * 4 * 20).contains(&applied), "{applied} were taken in, {kills} kills");
        equals_the_log(&store, "orders@3").await;
        assert_eq!(Versions::new(store.clone()).serving("orders").await.unwrap().as_deref(), Some("orders@3"));
        // Nothing is left of the parts.
        assert!(store.row("projection.partitions", b"orders@3").await.unwrap().is_none());
        let checkpoints = store.rows("projection", None, 10).await.unwrap();
        assert!(matches!(&checkpoints[..], [(name, _)] if &name[..] == b"orders@3"), "{checkpoints:?}");
    }
}

/// ES26.
#[tokio::test(start_paused = true)]
async fn of_two_who_rebuild_at_once_one_does_and_the_other_is_told() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    fill(&store, 2_000).await;
    let start = |owner: &str| {
        ProjectionRunner::builder(store.clone(), orders("orders@3"))
            .rebuild(leases.clone(), owner)
            .threshold(10)
            .start()
    };
    let mut first = start("node-1");
    while first.changed().await.unwrap().phase != Phase::Building {}
    match start("node-2").finish().await {
        Err(RebuildError::AlreadyRunning { owner }) => assert_eq!(owner.as_deref(), Some("node-1")),
        other => panic!("{other:?}"),
    }
    first.finish().await.unwrap().running.stop().await.unwrap();
    // It serves already: nothing is to be done, and nothing is done twice.
    let again = start("node-2").finish().await.unwrap();
    assert_eq!(again.replaced, None);
    equals_the_log(&store, "orders@3").await;
}

#[tokio::test(start_paused = true)]
async fn a_version_with_parked_events_does_not_take_over_by_itself() {
    for parts in [NonZeroU32::MIN, four()] {
        let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
        let versions = Versions::new(store.clone());
        versions.serve("orders@2").await.unwrap();
        fill(&store, 100).await;
        deposit(&store, "a1", "poison").await;
        let runner = ProjectionRunner::builder(store.clone(), orders("orders@3"));
        let ended = runner.rebuild(leases, "node").parallel(parts).start().finish().await;
        assert!(matches!(ended, Err(RebuildError::Parked { events: 1 })), "{ended:?}");
        assert_eq!(versions.serving("orders").await.unwrap().as_deref(), Some("orders@2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_does_not_undo_what_somebody_else_has_decided_meanwhile() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    let versions = Versions::new(store.clone());
    versions.serve("orders@2").await.unwrap();
    fill(&store, 3_000).await;
    let runner = ProjectionRunner::builder(store.clone(), orders("orders@3"));
    let mut rebuild = runner.rebuild(leases, "node").threshold(10).start();
    while rebuild.changed().await.unwrap().phase != Phase::Building {}
    versions.serve("orders@4").await.unwrap();
    assert!(matches!(rebuild.finish().await, Err(RebuildError::Overtaken)));
    assert_eq!(versions.serving("orders").await.unwrap().as_deref(), Some("orders@4"));
}

/// Zero is what somebody says who means "nothing is missing".
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_may_not_be_behind_at_all_takes_over_when_it_is_not() {
    for parts in [NonZeroU32::MIN, four()] {
        let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
        fill(&store, 100).await;
        let runner = ProjectionRunner::builder(store.clone(), orders("orders@3"));
        let rebuild = runner.rebuild(leases, "node").parallel(parts).threshold(0).start().finish();
        let rebuild = std::pin::pin!(rebuild);
        let ended = futures::future::select(rebuild, SharedTimer::default().sleep(Duration::from_secs(60))).await;
        assert!(matches!(ended, futures::future::Either::Left((Ok(_), _))), "it did not take over");
        equals_the_log(&store, "orders@3").await;
    }
}

/// A part may have asked for its next page before it hears where to end: the page may end behind what was the head then.
/// Once chosen beforehand, the position where all meet was passed by one of them, and the rebuild failed as corrupt.
#[tokio::test(start_paused = true)]
async fn parts_meet_at_one_position_while_events_come_and_none_is_past_it() {
    for batch in [20, 50, 200] {
        let store = MemoryStore::new();
        fill(&store, 200).await;
        // Events come between a part's question and its answer.
        let writing = tokio::spawn({
            let store = store.clone();
            async move {
                for n in 0..1_000 {
                    deposit(&store, &format!("a{}", n % 20), "1").await;
                    match n % 8 {
                        7 => SharedTimer::default().sleep(Duration::from_millis(1)).await, // Lets time pass.
                        _ => tokio::task::yield_now().await,
                    }
                }
            }
        });
        let runner = ProjectionRunner::builder(Yielding(store.clone(), 20), orders("orders@3"));
        let runner = runner.batch(std::num::NonZeroUsize::new(batch).unwrap());
        let rebuild = runner.rebuild(MemoryLeases::default(), "node").parallel(four()).threshold(40);
        let rebuilt = rebuild.start().finish().await;
        writing.await.unwrap();
        let running = rebuilt.unwrap().running;
        caught_up(&store, &running).await;
        equals_the_log(&store, "orders@3").await;
    }
}

/// Whoever only watches learns as well that it will never serve.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_has_failed_shows_it_to_those_who_watch() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    deposit(&store, "a1", "poison").await;
    let runner = ProjectionRunner::builder(store.clone(), orders("orders@3"));
    let mut rebuild = runner.rebuild(leases, "node").start();
    while rebuild.changed().await.unwrap().phase != Phase::Failed {}
    // Once it has ended nothing changes. Whoever waits for another phase waits no longer, and does not go round for ever.
    assert_eq!(rebuild.changed().await, None);
    assert_eq!((rebuild.changed().await, rebuild.status().phase), (None, Phase::Failed));
    assert!(matches!(rebuild.finish().await, Err(RebuildError::Parked { events: 1 })));
}

/// A node gives a rebuild up, or is shut down in good order: the next one need not wait until its lease has run out.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_given_up_makes_room_at_once() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    fill(&store, 1_000).await;
    let timer = SharedTimer::default();
    let start = || ProjectionRunner::builder(store.clone(), orders("orders@3")).rebuild(leases.clone(), "node").start();
    let mut first = start();
    while first.changed().await.unwrap().phase == Phase::Waiting {}
    let begun = timer.now();
    drop(first);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(timer.now().since(begun) < Duration::from_secs(1), "no lease runs out in that");
    start().finish().await.expect("nobody holds it").running.stop().await.unwrap();
}

/// Takes ten milliseconds for each event.
struct Slow;

impl Projection for Slow {
    fn name(&self) -> &str {
        "slow@2"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, _: &Recorded, _: &mut Rows<'_>) -> Result<(), BoxError> {
        SharedTimer::default().sleep(Duration::from_millis(10)).await;
        Ok(())
    }
}

/// How often a rebuild said that it does not get there.
#[derive(Default)]
struct Outpaced(AtomicU64);

impl resilience_core::event::Sink for Outpaced {
    fn on_event(&self, event: &resilience_core::event::Event<'_>) {
        if let Some(Event::Outpaced { behind, rate, appended }) = event.fact() {
            assert!(*behind > 10 && rate < appended, "{event:?}");
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// More is appended than it takes in: it would never take over, and nobody would know why. It says so, holds up nobody,
/// and takes over when there is less to do.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_the_log_outpaces_says_so_and_takes_over_when_it_does_not() {
    let store = MemoryStore::new();
    fill(&store, 100).await;
    let told = Arc::new(Outpaced::default());
    let runner = ProjectionRunner::builder(store.clone(), Slow).batch(std::num::NonZeroUsize::new(10).unwrap());
    let rebuild = runner.listener(told.clone()).rebuild(MemoryLeases::default(), "node").threshold(10).start();
    // A hundred events a second are taken in, and 125 are appended.
    let mut appended = 0;
    while !rebuild.status().outpaced {
        appended += 1;
        assert!(appended < 125 * 60, "it does not say so");
        deposit(&store, "a", "1").await;
        SharedTimer::default().sleep(Duration::from_millis(8)).await;
    }
    assert!(appended >= 125 * 29, "so soon it cannot know: {appended}");
    let status = rebuild.status();
    assert!(status.phase == Phase::Building && status.eta.is_none() && status.rate < status.appended, "{status:?}");
    let rebuilt = rebuild.finish().await.unwrap();
    assert_eq!(told.0.load(Ordering::Relaxed), 1);
    assert_eq!(rebuilt.running.status().position, store.head());
}
