//! The circuit breaker outside the bulkhead: a full bulkhead is not a broken service, and an open circuit takes no slot.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::bulkhead::Bulkhead;
use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker, State};
use resilience_core::{Error, Reason};
use testkit::probe::{Answer, Probe};
use testkit::wakes::Task;
use tower::{ServiceBuilder, ServiceExt};

type Failure = Error<&'static str>;

const A_SECOND: Duration = Duration::from_secs(1);

fn breaker() -> CircuitBreaker {
    let breaker = CircuitBreaker::builder().consecutive_failures(1).open_for(A_SECOND).abandoned(Abandoned::Ignore);
    breaker.build().unwrap()
}

fn bulkhead(queue: u32) -> Bulkhead {
    let bulkhead = Bulkhead::builder().limit(1).queue(queue);
    if queue == 0 { bulkhead.build().unwrap() } else { bulkhead.max_wait(A_SECOND).build().unwrap() }
}

fn reason<T: std::fmt::Debug>(answer: &Result<T, Failure>) -> Reason {
    match answer {
        Err(Error::Rejected(rejected)) => rejected.reason(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_does_not_open_the_circuit() {
    let (probe, breaker, bulkhead) = (Probe::<u32, u32, Failure>::new(Ok), breaker(), bulkhead(0));
    let service = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer()).service(probe.service());
    let slot = bulkhead.try_acquire().unwrap();
    for _ in 0..100 {
        assert!(matches!(reason(&service.clone().oneshot(7).await), Reason::Full { .. }));
    }
    assert_eq!((breaker.state(), breaker.snapshot().consecutive_failures), (State::Closed, 0));
    drop(slot);
    assert_eq!(service.oneshot(7).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_the_queue_that_took_too_long_does_not_open_the_circuit() {
    let (probe, breaker, bulkhead) = (Probe::<u32, u32, Failure>::new(Ok), breaker(), bulkhead(1));
    let service = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer()).service(probe.service());
    let _slot = bulkhead.try_acquire().unwrap();
    assert_eq!(reason(&service.oneshot(7).await), Reason::QueueTimeout);
    assert_eq!((breaker.state(), bulkhead.snapshot().queued), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_takes_neither_slot_nor_place() {
    let (probe, breaker, bulkhead) = (Probe::<u32, u32, Failure>::new(Ok), breaker(), bulkhead(1));
    let service = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer()).service(probe.service());
    let slot = bulkhead.try_acquire().unwrap();
    breaker.isolate();
    // The slot is taken: whoever asked the bulkhead would wait.
    assert_eq!(reason(&service.oneshot(7).await), Reason::Isolated);
    assert_eq!((bulkhead.snapshot().queued, probe.counts().calls), (0, 0));
    drop(slot);
    assert_eq!(bulkhead.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_bulkhead_gives_the_place_for_a_probe_back() {
    let (probe, bulkhead) = (Probe::<u32, u32, Failure>::new(Ok), bulkhead(0));
    let breaker = CircuitBreaker::builder().probes(1).open_for(A_SECOND).build().unwrap();
    let service = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer()).service(probe.service());
    breaker.open_for(A_SECOND);
    tokio::time::advance(A_SECOND).await;
    let slot = bulkhead.try_acquire().unwrap();
    for _ in 0..10 {
        assert!(matches!(reason(&service.clone().oneshot(7).await), Reason::Full { .. }), "and not `Probing`");
    }
    assert_eq!(breaker.state(), State::HalfOpen, "nothing was learnt about the service");
    drop(slot);
    assert_eq!(service.oneshot(7).await, Ok(7));
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_given_up_in_flight_gives_back_probe_and_slot() {
    let (probe, bulkhead) = (Probe::<u32, u32, Failure>::new(Ok), bulkhead(0));
    let breaker = CircuitBreaker::builder().probes(1).abandoned(Abandoned::Ignore).build().unwrap();
    let service = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer()).service(probe.service());
    breaker.open_for(A_SECOND);
    tokio::time::advance(A_SECOND).await;
    probe.then(Answer::Hold);
    let mut call = Task::new(service.clone().oneshot(7));
    assert!(call.run().is_pending());
    assert_eq!((bulkhead.snapshot().in_flight, probe.counts().in_flight), (1, 1));
    drop(call);
    assert_eq!((bulkhead.snapshot().in_flight, probe.counts().in_flight), (0, 0));
    assert_eq!(service.oneshot(7).await, Ok(7));
    assert_eq!(breaker.state(), State::Closed);
}
