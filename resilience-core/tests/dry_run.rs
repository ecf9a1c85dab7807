//! Policies on trial: they decide, count and tell, and no call notices.
#![cfg(all(feature = "tokio", feature = "tower", not(loom)))]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use proptest::prelude::*;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::event::{Event, Sink};
use resilience_core::rate_limit::RateLimiter;
use resilience_core::time::ManualTimer;
use resilience_core::{Error, LiftLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl Sink for Names {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.fact.name());
    }
}

impl Names {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn a_bulkhead_on_trial_lets_everybody_in_and_says_who_would_have_waited() {
    let names = Names::default();
    let bulkhead = Bulkhead::builder().limit(1).queue(1).dry_run(true).listener(names.clone()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(bulkhead.layer())
        .layer(LiftLayer)
        .service(service_fn(|()| std::future::pending::<Result<(), &str>>()));
    let calls: Vec<_> = (0..3).map(|_| service.ready().now_or_never().unwrap().unwrap().call(())).collect();
    let direct = bulkhead.acquire().now_or_never().unwrap().unwrap();
    assert_eq!(
        names.take(),
        ["admitted", "would_queue", "admitted", "would_reject", "admitted", "would_reject", "admitted"]
    );
    let seen = bulkhead.snapshot();
    assert_eq!((seen.in_flight, seen.totals.would_queue, seen.totals.would_reject), (4, 1, 2));
    assert_eq!((seen.totals.full, seen.totals.queued), (0, 0));
    drop((calls, direct));
    assert_eq!(bulkhead.snapshot().in_flight, 0);
}

#[test]
fn a_trial_that_begins_lets_in_who_waits_and_one_that_ends_takes_nothing_back() {
    let settings = |dry: bool| Bulkhead::builder().limit(1).queue(4).dry_run(dry);
    let bulkhead = settings(false).build().unwrap();
    let running = bulkhead.try_acquire().unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bulkhead.acquire())).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
    bulkhead.reconfigure(settings(true)).unwrap();
    let mut served: Vec<_> = waiting.into_iter().map(|waiting| waiting.now_or_never().unwrap().unwrap()).collect();
    assert_eq!((bulkhead.snapshot().in_flight, bulkhead.snapshot().limit), (4, 1));
    bulkhead.reconfigure(settings(false)).unwrap();
    assert!(bulkhead.try_acquire().is_err());
    served.clear();
    assert!(bulkhead.try_acquire().is_err(), "the first still runs");
    drop(running);
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_rate_limiter_on_trial_lets_everybody_in_at_once_and_says_who_would_have_waited() {
    let (names, timer) = (Names::default(), ManualTimer::new());
    let builder = RateLimiter::builder().quota(1, Duration::from_secs(1)).dry_run(true).timer(timer.clone());
    let limiter = builder.clone().max_wait(Duration::from_secs(1)).listener(names.clone()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(limiter.layer())
        .layer(LiftLayer)
        .service(service_fn(|()| async { Ok::<_, &str>(()) }));
    for _ in 0..3 {
        let ready = service.ready().now_or_never().expect("nobody waits").unwrap();
        assert_eq!(ready.call(()).now_or_never().unwrap(), Ok::<_, Error<&str>>(()));
    }
    assert_eq!(names.take(), ["admitted", "would_queue", "admitted", "would_reject", "admitted"]);
    assert_eq!((limiter.snapshot().totals.would_queue, limiter.snapshot().totals.would_reject), (1, 1));
    // The one that would have waited has taken its permit, the one that would have been refused has not.
    assert_eq!(limiter.snapshot().available, -1);
    timer.advance(Duration::from_secs(2));
    limiter.reconfigure(builder.max_wait(Duration::from_secs(1)).dry_run(false)).unwrap();
    limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_err());
}

#[test]
fn a_keyed_limiter_on_trial_refuses_no_key() {
    let names = Names::default();
    let limiter = RateLimiter::builder().quota(1, Duration::from_secs(1)).max_keys(1).dry_run(true);
    let limiter = limiter.timer(ManualTimer::new()).listener(names.clone()).build_keyed::<String>().unwrap();
    assert!(["a", "a", "b"].iter().all(|key| limiter.try_acquire(*key).is_ok()));
    assert_eq!(limiter.snapshot().would_reject, 2);
    assert_eq!(names.take(), ["admitted", "would_reject", "admitted", "would_reject", "admitted"]);
}

proptest! {
    /// A trial says of every call what the limiter itself says of it.
    #[test]
    fn a_trial_counts_what_the_limiter_would_refuse(
        calls in proptest::collection::vec((0..2_000_u64, 0..4_u32), 1..40), burst in 1..4_u32,
    ) {
        let timer = ManualTimer::new();
        let builder = RateLimiter::builder().quota(2, Duration::from_secs(1)).burst(burst).timer(timer.clone());
        let (real, trial) = (builder.clone().build().unwrap(), builder.dry_run(true).build().unwrap());
        for (millis, permits) in calls {
            timer.advance(Duration::from_millis(millis));
            let _ = real.try_acquire_n(permits);
            prop_assert!(trial.try_acquire_n(permits).is_ok());
            let (real, trial) = (real.snapshot(), trial.snapshot());
            prop_assert_eq!(real.available, trial.available);
            prop_assert_eq!(real.totals.rate_limited, trial.totals.would_reject);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_on_trial_ends_nothing_and_shows_nothing_inside() {
    use resilience_core::context::{self, Context};
    use resilience_core::time::SharedTimer;
    use resilience_core::timeout::Timeout;

    let (names, timer) = (Names::default(), SharedTimer::default());
    let builder = Timeout::builder().limit(Duration::from_secs(1)).dry_run(true).listener(names.clone());
    let timeout = builder.build().unwrap();
    let clock = timer.clone();
    let service =
        ServiceBuilder::new().layer(timeout.layer()).layer(LiftLayer).service(service_fn(move |seconds: u64| {
            let (clock, made) = (clock.clone(), context::deadline(&clock).is_some());
            async move {
                for _ in 0..seconds {
                    clock.sleep(Duration::from_secs(1)).await; // polled often, and told of once
                }
                Ok::<_, &str>(made || context::deadline(&clock).is_some())
            }
        }));
    let start = timer.now();
    assert_eq!(service.clone().oneshot(0).await, Ok::<_, Error<&str>>(false));
    assert_eq!(names.take(), [""; 0]);
    assert_eq!(service.clone().oneshot(5).await, Ok::<_, Error<&str>>(false));
    assert_eq!(timer.now().since(start), Duration::from_secs(5));
    assert_eq!(names.take(), ["would_elapse"]);
    let late = Context::new().with_deadline(timer.now()).scope(service.oneshot(5));
    assert_eq!(late.await, Ok::<_, Error<&str>>(true), "the deadline is the caller's own");
    assert_eq!(names.take(), ["would_reject"]);
    let seen = timeout.trial().unwrap();
    assert_eq!((seen.would_elapse, seen.would_reject), (1, 1));
}
