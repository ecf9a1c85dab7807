//! Retry outside the circuit breaker: each attempt is judged, and an open circuit ends the retries.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::Error;
use resilience_core::circuit_breaker::{CircuitBreaker, State};
use resilience_core::retry::{Backoff, ByHint, Jitter, Retry};
use resilience_core::time::SharedTimer;
use testkit::probe::{Answer, Probe};
use tower::{ServiceBuilder, ServiceExt};

type Failure = Error<&'static str>;

const A_SECOND: Duration = Duration::from_secs(1);
const FIVE_SECONDS: Duration = Duration::from_secs(5);

fn failing() -> Probe<u32, u32, Failure> {
    Probe::new(|_| Err(Error::Service("down")))
}

fn retry(attempts: u32) -> Retry {
    let backoff = Backoff::constant(A_SECOND).jitter(Jitter::None);
    Retry::builder().attempts(attempts).backoff(backoff).build().unwrap()
}

fn breaker(failures: u32) -> CircuitBreaker {
    CircuitBreaker::builder().name("payments").consecutive_failures(failures).open_for(FIVE_SECONDS).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_opens_between_two_attempts_ends_the_call() {
    let (probe, breaker) = (failing(), breaker(2));
    let service = ServiceBuilder::new().layer(retry(5).layer()).layer(breaker.layer()).service(probe.service());
    let started = SharedTimer::default().now();
    let answer = service.oneshot(7).await;
    assert_eq!(
        answer,
        Err(Error::Service("down")),
        "two attempts were sent: the refusal of the third is not the answer"
    );
    assert_eq!(probe.counts().calls, 2, "two failures open the circuit, the third attempt is refused");
    assert_eq!(SharedTimer::default().now() - started, A_SECOND * 2, "a refusal is not waited on");
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_judged_and_not_the_call() {
    let (probe, breaker) = (failing(), breaker(5));
    let service = ServiceBuilder::new().layer(retry(3).layer()).layer(breaker.layer()).service(probe.service());
    assert_eq!(service.clone().oneshot(7).await, Err(Error::Service("down")));
    assert_eq!(breaker.snapshot().consecutive_failures, 3);
    probe.then(Answer::Give(Err(Error::Service("down"))));
    probe.then(Answer::Give(Ok(8)));
    assert_eq!(service.oneshot(8).await, Ok(8));
    assert_eq!((breaker.state(), breaker.snapshot().consecutive_failures), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_heeds_hints_comes_back_when_the_circuit_said() {
    let (probe, breaker) = (Probe::<u32, u32, Failure>::new(Ok), breaker(2));
    breaker.open_for(FIVE_SECONDS);
    let service =
        ServiceBuilder::new().layer(retry(2).layer().classify(ByHint)).layer(breaker.layer()).service(probe.service());
    let started = SharedTimer::default().now();
    assert_eq!(service.oneshot(7).await, Ok(7));
    assert_eq!(SharedTimer::default().now() - started, FIVE_SECONDS);
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_between_two_attempts_leaves_no_probe_behind() {
    let (probe, breaker) = (failing(), breaker(1));
    breaker.open_for(A_SECOND);
    tokio::time::advance(A_SECOND).await;
    let service = ServiceBuilder::new().layer(retry(3).layer()).layer(breaker.layer()).service(probe.service());
    probe.then(Answer::Hold);
    let mut call = testkit::wakes::Task::new(service.oneshot(7));
    assert!(call.run().is_pending());
    assert_eq!((breaker.state(), probe.counts().in_flight), (State::HalfOpen, 1));
    drop(call);
    assert_eq!((probe.counts().in_flight, probe.counts().instances), (0, 0));
    let probes: Vec<_> = std::iter::from_fn(|| breaker.try_acquire().ok()).collect();
    assert_eq!(probes.len(), 3, "every place for a probe is free");
}
