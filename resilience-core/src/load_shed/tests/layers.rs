//! The layers, over a service that gets ready when it is told to.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use futures::FutureExt;
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::control::Throttle;
use crate::{AsRejected, Error, Rejected};

type Answer = Result<u32, Error<()>>;

/// Gets ready when the gate is open; a clone has to ask again.
#[derive(Clone)]
struct Gated {
    open: Rc<Cell<bool>>,
    is_ready: bool,
    polls: Rc<Cell<u32>>,
}

impl Gated {
    fn new() -> Self {
        Self { open: Rc::new(Cell::new(false)), is_ready: false, polls: Rc::new(Cell::new(0)) }
    }
}

impl Service<u32> for Gated {
    type Response = u32;
    type Error = Error<()>;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Error<()>>> {
        self.polls.set(self.polls.get() + 1);
        self.is_ready = self.open.get();
        if self.is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been ready");
        ready(Ok(request))
    }
}

/// For one of the layers: a clone of a ready service is not ready, and what is pending is asked until it is.
fn a_clone_asks_for_itself<L>(layer: &L)
where
    L: Layer<Gated>,
    L::Service: Service<u32, Response = u32, Error = Error<()>> + Clone,
{
    let inner = Gated::new();
    let (open, polls) = (inner.open.clone(), inner.polls.clone());
    let mut service = layer.layer(inner);
    assert!(service.ready().now_or_never().is_none());
    assert!(service.ready().now_or_never().is_none());
    assert_eq!(polls.get(), 2, "it is asked each time");
    open.set(true);
    service.ready().now_or_never().unwrap().unwrap();
    let mut clone = service.clone();
    open.set(false);
    assert!(clone.ready().now_or_never().is_none(), "readiness is not inherited");
    assert_eq!(service.call(1).now_or_never().unwrap(), Ok(1), "and the one that was ready still is");
    open.set(true);
    let mut clone = clone.ready().now_or_never().unwrap().unwrap();
    assert_eq!(Service::call(&mut clone, 2).now_or_never().unwrap(), Ok(2));
}

#[test]
fn no_clone_inherits_readiness_and_who_is_pending_is_asked_until_it_is_ready() {
    // LS2: tower's `LoadShed` gives its clone the answer it was given itself, and calls what never was ready; and it
    // asks a pending service again only when the next call comes. A limit without a queue sheds load, too.
    let timer = ManualTimer::new();
    a_clone_asks_for_itself(&crate::bulkhead::Bulkhead::builder().limit(2).build().unwrap().layer());
    a_clone_asks_for_itself(
        &crate::adaptive_limit::AdaptiveLimit::builder().timer(timer.clone()).build().unwrap().layer(),
    );
    a_clone_asks_for_itself(&throttle(&timer).build().unwrap().layer());
    a_clone_asks_for_itself(&AdmissionControl::builder().timer(timer.clone()).build().unwrap().layer());
    a_clone_asks_for_itself(&QueueShed::builder().timer(timer.clone()).build().unwrap().layer());
    a_clone_asks_for_itself(&SignalShed::builder().timer(timer.clone()).build().unwrap().layer());
}

fn rejected(answer: &Answer) -> Option<Reason> {
    answer.as_ref().err().and_then(AsRejected::as_rejected).map(Rejected::reason)
}

#[test]
fn a_refusal_does_not_wait_for_the_service() {
    let timer = ManualTimer::new();
    let shed = SignalShed::builder().timer(timer.clone()).build().unwrap();
    shed.signal().set(1.0);
    let inner = Gated::new();
    let polls = inner.polls.clone();
    let answer = shed.layer().layer(inner.clone()).oneshot(1).now_or_never().unwrap();
    assert_eq!(rejected(&answer), Some(Reason::Overloaded));
    let control = AdmissionControl::builder().timer(timer).min_rate(0.0).most(1.0).build().unwrap();
    (0..100_000).for_each(|_| drop(control.try_acquire()));
    let answers = (0..100).map(|_| control.layer().layer(inner.clone()).oneshot(1).now_or_never());
    assert!(answers.flatten().any(|answer| rejected(&answer) == Some(Reason::Throttled)));
    assert!(polls.get() < 100);
}

#[test]
fn what_a_call_waits_for_the_service_is_its_time_in_the_queue() {
    let timer = ManualTimer::new();
    let shed = QueueShed::builder().timer(timer.clone()).seed(7).build().unwrap();
    let call = |waits: u64| {
        let inner = Gated::new();
        let open = inner.open.clone();
        let mut answer = Box::pin(shed.layer().layer(inner).oneshot(1));
        assert!(answer.as_mut().now_or_never().is_none());
        timer.advance(Duration::from_millis(waits));
        open.set(true);
        answer.now_or_never().unwrap()
    };
    let refused = (0..20).map(|_| call(300)).filter(|answer| rejected(answer) == Some(Reason::QueueDelay)).count();
    assert!(refused >= 10, "{refused} of 20 that waited 300 ms");
    assert_eq!(shed.snapshot().wait, Duration::from_millis(300));
    // One that is answered at once has not waited.
    let inner = Gated::new();
    inner.open.set(true);
    assert_eq!(shed.layer().layer(inner).oneshot(1).now_or_never().unwrap(), Ok(1));
}

#[test]
fn a_call_dropped_before_its_answer_is_a_failure_to_admission_control_alone() {
    let timer = ManualTimer::new();
    let control = AdmissionControl::builder().timer(timer.clone()).build().unwrap();
    let rule = Throttle { min_requests: 10, ..Throttle::SRE };
    let throttle = throttle(&timer).rule(rule).build().unwrap();
    let hangs = || tower::service_fn(|()| std::future::pending::<Result<(), Error<()>>>());
    assert!(control.layer().layer(hangs()).oneshot(()).now_or_never().is_none());
    assert!(throttle.layer().layer(hangs()).oneshot(()).now_or_never().is_none());
    let seen = control.snapshot();
    assert_eq!((seen.calls, seen.successes), (1, 0));
    assert_eq!(throttle.snapshot(Criticality::Critical).requests, 0);
}
