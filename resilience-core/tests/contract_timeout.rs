//! The timeout under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::Error;
use resilience_core::context::Context;
use resilience_core::time::{ManualTimer, Timer};
use resilience_core::timeout::{Own, ReadinessLayer, Timeout, TimeoutLayer};
use testkit::contract::{Subject, contract_tests, refusal};

type Failure = Error<&'static str>;

fn timeout() -> Subject<TimeoutLayer, Failure> {
    Subject::new(TimeoutLayer::new(Duration::from_secs(60)), || Error::Service("broken"))
}

contract_tests! { mod timeout_keeps_the_laws for timeout, also undemanding }

fn covering_readiness() -> Subject<ReadinessLayer<Own>, Failure> {
    Subject::new(TimeoutLayer::new(Duration::from_secs(60)).covers_readiness(), || Error::Service("broken"))
}

contract_tests! { mod a_timeout_that_covers_readiness_keeps_the_laws for covering_readiness, also undemanding }

/// A subject that refuses because the deadline of its request has passed.
fn late(timer: &ManualTimer) -> Subject<TimeoutLayer, Failure> {
    let timeout = Timeout::builder().limit(Duration::from_secs(60)).timer(timer.clone()).build().unwrap();
    let timer = timer.clone();
    Subject::new(timeout.layer(), || Error::Service("broken")).refusing(
        move || {
            timer.advance(Duration::from_secs(2));
            || ()
        },
        Error::is_rejected,
    )
}

// `a_refusal_does_not_wait_for_the_service` is not among these laws: a timeout refuses by the deadline of the request
// it is called with, and while it is polled for readiness there is no request yet.

/// Runs a law in a request whose deadline is a second away.
fn within_a_second(law: impl FnOnce(&ManualTimer)) {
    let timer = ManualTimer::new();
    Context::new().with_deadline(timer.now() + Duration::from_secs(1)).run(|| law(&timer));
}

#[test]
fn a_call_whose_deadline_has_passed_does_not_reach_the_service() {
    within_a_second(|timer| refusal::a_refusal_does_not_reach_the_service(|| late(timer)));
}

#[test]
fn a_passed_deadline_does_not_wear_the_service_out() {
    within_a_second(|timer| refusal::a_refusal_is_an_answer_and_not_a_worn_out_service(|| late(timer)));
}

#[test]
fn a_call_whose_deadline_has_passed_holds_nothing() {
    within_a_second(|timer| refusal::a_refused_call_holds_nothing(|| late(timer)));
}
