//! The total timeout outside retry: its deadline binds every attempt and every wait.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::retry::{Backoff, Jitter, Retry, RetryBudget};
use resilience_core::time::SharedTimer;
use resilience_core::timeout::TimeoutLayer;
use resilience_core::{Elapsed, Error};
use testkit::probe::{Answer, Probe};
use testkit::wakes::Task;
use tower::{ServiceBuilder, ServiceExt, service_fn};

type Failure = Error<&'static str>;

const LIMIT: Duration = Duration::from_secs(1);

fn retry(wait: Duration, budget: &RetryBudget) -> Retry {
    let backoff = Backoff::constant(wait).jitter(Jitter::None);
    Retry::builder().attempts(10).backoff(backoff).budget(budget.clone()).build().unwrap()
}

fn budget() -> RetryBudget {
    RetryBudget::builder().build().unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn all_attempts_together_take_no_longer_than_the_limit() {
    // Attempts from 0 to 300, 400 to 700 and 800 to 1,100 ms: the third is cut short.
    let timer = SharedTimer::default();
    let slow = timer.clone();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(LIMIT))
        .layer(retry(millis(100), &budget()).layer())
        .service(service_fn(move |_: u32| {
            let sleep = slow.sleep(millis(300));
            async move {
                sleep.await;
                Err::<u32, Failure>(Error::Service("slow and broken"))
            }
        }));
    let started = timer.now();
    assert_eq!(service.oneshot(7).await, Err(Error::Elapsed(Elapsed::new(LIMIT))));
    assert_eq!(timer.now() - started, LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_end_past_the_deadline_is_not_begun() {
    // The caller learns why it failed, and at once: waiting would only turn the reason into "too late".
    let (probe, budget) = (Probe::<u32, u32, Failure>::new(|_| Err(Error::Service("broken"))), budget());
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(LIMIT))
        .layer(retry(millis(600), &budget).layer())
        .service(probe.service());
    let timer = SharedTimer::default();
    let started = timer.now();
    assert_eq!(service.oneshot(7).await, Err(Error::Service("broken")));
    assert_eq!((timer.now() - started, probe.counts().calls), (millis(600), 2));
    assert_eq!(budget.snapshot().withdrawn, 1, "the retry that was not made was not paid for");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_cut_short_by_the_limit_is_dropped_with_everything_it_held() {
    let (probe, budget) = (Probe::<u32, u32, Failure>::new(|_| Err(Error::Service("broken"))), budget());
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(LIMIT))
        .layer(retry(millis(100), &budget).layer())
        .service(probe.service());
    probe.then(Answer::Give(Err(Error::Service("broken"))));
    probe.then(Answer::Hold);
    assert_eq!(service.oneshot(7).await, Err(Error::Elapsed(Elapsed::new(LIMIT))));
    let counts = probe.counts();
    assert_eq!((counts.calls, counts.cancelled, counts.in_flight, counts.instances), (2, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_while_it_waits_for_its_next_attempt_is_refunded() {
    let (probe, budget) = (Probe::<u32, u32, Failure>::new(|_| Err(Error::Service("broken"))), budget());
    let before = budget.snapshot().available;
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(LIMIT))
        .layer(retry(millis(500), &budget).layer())
        .service(probe.service());
    let mut call = Task::new(service.oneshot(7));
    assert!(call.run().is_pending());
    assert!(budget.snapshot().available < before, "the next attempt is paid for");
    drop(call);
    assert!(budget.snapshot().available >= before, "and was never made");
    assert_eq!((probe.counts().calls, probe.counts().instances), (1, 0));
}
