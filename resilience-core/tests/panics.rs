//! A service that panics, and somebody outside who catches it: no policy may take that for a caller who gave up.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::panic::{AssertUnwindSafe, catch_unwind};

use resilience_core::Error;
use resilience_core::adaptive_limit::{Abandoned, AdaptiveLimit};
use resilience_core::circuit_breaker::{self, CircuitBreaker, State};
use resilience_core::load_shed::AdmissionControl;
use resilience_core::time::ManualTimer;
use testkit::probe::{Answer, Probe};
use testkit::wakes::Task;
use tower::{Layer, Service, ServiceExt};

type Failure = Error<&'static str>;

/// Calls a service that panics at the first poll of its answer. The panic is caught around that poll, and the call is
/// dropped afterwards, when nothing panics any more: what `CatchUnwind` of `futures` does, and so `tower-http`.
fn panics_within<L>(layer: L)
where
    L: Layer<testkit::probe::StrictService<u32, u32, Failure>, Service: Service<u32, Response = u32, Error = Failure>>,
{
    let probe = Probe::<u32, u32, Failure>::new(Ok);
    probe.then(Answer::Panic);
    let mut call = Task::new(layer.layer(probe.service()).oneshot(7));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll().is_ready())).is_err());
    assert!(!std::thread::panicking());
    drop(call);
}

#[test]
fn a_panic_caught_outside_is_a_failure_to_the_breaker_and_no_caller_who_gave_up() {
    // CB8. Told by the dropping alone, the probe would count as given up and the circuit would stay half-open.
    for abandoned in [circuit_breaker::Abandoned::Ignore, circuit_breaker::Abandoned::WhenNothingElse] {
        let builder = CircuitBreaker::builder().consecutive_failures(1).abandoned(abandoned);
        let breaker = builder.timer(ManualTimer::new()).build().unwrap();
        panics_within(breaker.layer());
        assert_eq!((breaker.state(), breaker.snapshot().consecutive_failures), (State::Open, 0));
    }
}

#[test]
fn a_panic_caught_outside_says_nothing_of_the_load() {
    let limit = AdaptiveLimit::builder().initial(10).abandoned(Abandoned::Loss).timer(ManualTimer::new());
    let limit = limit.build().unwrap();
    panics_within(limit.layer());
    assert_eq!((limit.snapshot().limit, limit.snapshot().windows, limit.snapshot().in_flight), (10, 0, 0));
    let admission = AdmissionControl::builder().timer(ManualTimer::new()).build().unwrap();
    panics_within(admission.layer());
    assert_eq!((admission.snapshot().calls, admission.snapshot().successes), (0, 0));
}

#[cfg(feature = "http")]
#[test]
fn a_panic_before_the_head_is_a_failure_to_the_breaker_that_waits_for_the_body() {
    use http::{Request, Response};
    use resilience_core::http::UntilEndLayer;
    let breaker = CircuitBreaker::builder().consecutive_failures(1).timer(ManualTimer::new()).build().unwrap();
    let panics =
        tower::service_fn(async |_: Request<()>| -> Result<Response<http_body_util::Empty<bytes::Bytes>>, Failure> {
            std::panic::resume_unwind(Box::new("the service's own trouble"))
        });
    let mut call = Task::new(UntilEndLayer::new(breaker.clone()).layer(panics).oneshot(Request::new(())));
    let caught = catch_unwind(AssertUnwindSafe(|| matches!(call.poll(), std::task::Poll::Ready(_))));
    assert!(caught.is_err());
    drop(call);
    assert_eq!(breaker.state(), State::Open);
}
