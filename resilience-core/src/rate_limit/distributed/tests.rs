use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;

use super::*;
use crate::context::Context;
use crate::event::{Event as Heard, Sink};
use crate::time::SharedTimer;
use crate::{Name, Reason};

const SECOND: Duration = Duration::from_secs(1);

/// A store that takes its time, counts how often it is asked, and can be down.
#[derive(Clone)]
struct Slow {
    inner: LocalStore,
    takes: Duration,
    fails: bool,
    asked: Arc<AtomicU32>,
}

impl Slow {
    fn new(takes: Duration, fails: bool) -> Self {
        Self { inner: LocalStore::new(), takes, fails, asked: Arc::default() }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl PermitStore for Slow {
    type Error = std::io::Error;

    fn take(&self, name: &Name, wanted: u32, quota: Quota) -> impl Future<Output = Result<Taken, Self::Error>> + Send {
        let (store, name) = (self.clone(), name.clone());
        async move {
            store.asked.fetch_add(1, Ordering::Relaxed);
            SharedTimer::default().sleep(store.takes).await;
            if store.fails {
                return Err(std::io::Error::other("down"));
            }
            Ok(store.inner.take(&name, wanted, quota).await.unwrap_or(Taken { granted: 0, retry_after: None }))
        }
    }
}

fn node<S: PermitStore>(store: S) -> DistributedRateLimiterBuilder<S> {
    DistributedRateLimiter::builder(store).name("partner").quota(100, SECOND).burst(100).handful(10)
}

#[tokio::test(start_paused = true)]
async fn nodes_together_never_spend_more_than_the_quota_and_nearly_all_of_it() {
    let store = LocalStore::new();
    let nodes: Vec<_> = (0..4).map(|_| node(store.clone()).build().unwrap()).collect();
    let mut spent = 0;
    for _ in 0..1000 {
        for node in &nodes {
            spent += u32::from(node.acquire().await.is_ok());
        }
        tokio::time::advance(10 * Duration::from_millis(1)).await;
    }
    // Ten seconds of the quota and the burst; what nodes hold at the end is not spent.
    assert!((1000 + 100 - 40..=1100).contains(&spent), "{spent}");
}

#[tokio::test(start_paused = true)]
async fn a_handful_costs_one_question_and_many_callers_at_once_share_it() {
    let store = Slow::new(Duration::from_millis(5), false);
    let limiter = node(store.clone()).build().unwrap();
    let outcomes = join_all((0..30).map(|_| limiter.acquire())).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(store.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_no_is_one_no_for_all_who_waited_for_it() {
    let store = Slow::new(Duration::from_millis(5), false);
    let limiter = node(store.clone()).quota(10, SECOND).burst(10).build().unwrap();
    let (timer, before) = (SharedTimer::default(), SharedTimer::default().now());
    let outcomes = join_all((0..500).map(|_| limiter.acquire())).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    let wait = outcomes.into_iter().find_map(Result::err).and_then(|refused| refused.retry_after());
    assert!(wait <= Some(SECOND / 10) && wait > Some(Duration::from_millis(50)), "{wait:?}");
    assert_eq!((store.asked(), (timer.now() - before)), (2, Duration::from_millis(10)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_costs_patience_once_and_then_the_rule_holds() {
    for (takes, fails) in [(Duration::from_millis(1), true), (3600 * SECOND, false)] {
        let store = Slow::new(takes, fails);
        let admits = node(store.clone()).build().unwrap();
        let (timer, before) = (SharedTimer::default(), SharedTimer::default().now());
        assert!(join_all((0..100).map(|_| admits.acquire())).await.iter().all(Result::is_ok));
        assert!(
            (timer.now() - before) <= Duration::from_millis(51),
            "not one after the other: {:?}",
            (timer.now() - before)
        );
        assert_eq!(admits.snapshot().unavailable, 100);
        let refuses = node(store).when_unavailable(WhenUnavailable::Refuse).build().unwrap();
        assert!(refuses.acquire().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn permits_at_hand_go_stale() {
    let limiter = node(LocalStore::new()).keep_for(SECOND).build().unwrap();
    limiter.acquire().await.unwrap();
    assert_eq!(limiter.snapshot().at_hand, 9);
    tokio::time::advance(SECOND).await;
    assert_eq!(limiter.snapshot().at_hand, 0);
    assert!(!limiter.try_acquire());
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_deadline_comes_while_another_asks_is_refused_by_the_limiter() {
    // It was refused by the queue inside: in a dry run too, and nobody counted or told it.
    #[derive(Clone, Default)]
    struct Told(Arc<std::sync::Mutex<Vec<Event>>>);
    impl Sink for Told {
        fn on_event(&self, event: &Heard<'_>) {
            self.0.lock().unwrap().extend(event.fact::<Event>());
        }
    }
    for dry_run in [false, true] {
        let told = Told::default();
        let store = Slow::new(Duration::from_millis(20), false);
        let limiter = node(store).listener(told.clone()).dry_run(dry_run).build().unwrap();
        let soon = SharedTimer::default().now() + Duration::from_millis(10);
        let hurries = Context::new().with_deadline(soon).scope(limiter.acquire());
        let (asks, hurries) = tokio::join!(limiter.acquire(), hurries);
        assert!(asks.is_ok());
        let seen = limiter.snapshot();
        let reason = Reason::Deadline;
        if dry_run {
            assert_eq!((hurries, seen.rejected, seen.would_reject), (Ok(()), 0, 1));
            assert_eq!(told.0.lock().unwrap()[0], Event::WouldReject { reason });
        } else {
            let rejected = hurries.unwrap_err();
            assert_eq!((rejected.reason(), &**rejected.policy()), (Reason::Deadline, "partner"));
            assert_eq!((seen.rejected, seen.would_reject), (1, 0));
            assert_eq!(told.0.lock().unwrap()[0], Event::Rejected { reason });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_it_asks_lets_the_next_one_ask() {
    let store = Slow::new(Duration::from_millis(20), false);
    let limiter = node(store.clone()).build().unwrap();
    let timer = SharedTimer::default();
    let leaves = async {
        let (asks, is_over) = (Box::pin(limiter.acquire()), timer.sleep(Duration::from_millis(10)));
        matches!(futures::future::select(asks, is_over).await, futures::future::Either::Right(_))
    };
    let (left, stays) = tokio::join!(leaves, limiter.acquire());
    assert!(left && stays.is_ok());
    assert_eq!(store.asked(), 2);
}

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn a_ready_service_that_is_dropped_gives_its_permit_back() {
    use tower::{Layer, Service, ServiceExt};
    let limiter = node(LocalStore::new()).build().unwrap();
    let service = tower::service_fn(async |request: u32| Ok::<_, crate::Error<()>>(request));
    let mut service = limiter.layer().layer(service);
    let mut ready = service.clone();
    ready.ready().await.unwrap();
    assert_eq!(limiter.snapshot().at_hand, 9);
    drop(ready);
    assert_eq!(limiter.snapshot().at_hand, 10);
    assert_eq!(service.ready().await.unwrap().call(7).await, Ok(7));
    assert_eq!(limiter.snapshot().at_hand, 9);
}

#[test]
fn nonsense_is_refused_by_name() {
    let refused = |set: fn(DistributedRateLimiterBuilder<LocalStore>) -> DistributedRateLimiterBuilder<LocalStore>| {
        set(node(LocalStore::new())).build().map(drop).unwrap_err().to_string()
    };
    assert_eq!(refused(|it| it.handful(0)), "handful must be above zero and at most the burst");
    assert_eq!(refused(|it| it.handful(101)), "handful must be above zero and at most the burst");
    assert_eq!(refused(|it| it.keep_for(Duration::ZERO)), "keep_for must be above zero");
    assert_eq!(refused(|it| it.patience(Duration::ZERO)), "patience must be above zero");
    assert!(refused(|it| it.quota(0, SECOND)).starts_with("quota"));
    let unset = DistributedRateLimiter::builder(LocalStore::new()).build();
    assert_eq!(unset.map(drop).unwrap_err().to_string(), "quota must be set");
}
