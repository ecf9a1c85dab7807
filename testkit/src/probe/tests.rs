use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use tower_service::Service;

use super::{Answer, Probe};
use crate::wakes::{Task, poll_once};

fn probe() -> Probe<u32, u32, &'static str> {
    Probe::new(Ok)
}

async fn ready(service: &mut impl Service<u32, Error = &'static str>) -> Result<(), &'static str> {
    poll_fn(|cx| service.poll_ready(cx)).await
}

#[test]
fn a_clone_of_a_ready_instance_is_not_ready() {
    let probe = probe();
    let mut polled = probe.service();
    assert_eq!(Task::new(ready(&mut polled)).run(), Poll::Ready(Ok(())));
    let mut fresh = polled.clone();
    assert!(catch_unwind(AssertUnwindSafe(|| fresh.call(1))).is_err());
    assert_eq!(probe.violations().len(), 1);
    assert_eq!(poll_once(std::pin::pin!(polled.call(2))), Poll::Ready(Ok(2)));
}

#[test]
fn a_reservation_ends_with_the_call_or_with_the_instance() {
    let probe = probe();
    let (mut called, mut dropped) = (probe.service(), probe.service());
    for service in [&mut called, &mut dropped] {
        assert!(Task::new(ready(service)).run().is_ready());
        assert!(Task::new(ready(service)).run().is_ready());
    }
    assert_eq!((probe.counts().granted, probe.counts().reserved), (2, 2));
    drop(called.call(1));
    assert_eq!(probe.counts().reserved, 1);
    drop(dropped);
    assert_eq!((probe.counts().reserved, probe.counts().cancelled, probe.counts().in_flight), (0, 1, 0));
}

#[test]
fn readiness_that_comes_late_wakes_and_readiness_that_fails_says_why() {
    let probe = probe();
    probe.set_ready(false);
    let mut service = probe.service();
    let mut task = Task::new(ready(&mut service));
    assert!(task.run().is_pending());
    probe.fail_ready("worn out");
    assert_eq!(task.run(), Poll::Ready(Err("worn out")));
    drop(task);
    let mut task = Task::new(ready(&mut service));
    assert!(task.run().is_pending());
    probe.set_ready(true);
    assert_eq!(task.run(), Poll::Ready(Ok(())));
}

#[test]
fn held_calls_are_answered_in_the_order_the_test_wants() {
    let probe = probe();
    let mut service = probe.service();
    let mut hold = |request| {
        probe.then(Answer::Hold);
        assert!(Task::new(ready(&mut service)).run().is_ready());
        Task::new(service.call(request))
    };
    let mut calls = [hold(1), hold(2), hold(3)];
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert!(probe.release_newest() && probe.release_with(Err("broken")));
    let [first, second, third] = &mut calls;
    assert_eq!(
        (first.run(), second.run(), third.run()),
        (Poll::Ready(Err("broken")), Poll::Pending, Poll::Ready(Ok(3)))
    );
    drop(calls);
    assert!(!probe.release_oldest(), "a dropped call is not held");
    assert_eq!((probe.counts().answered, probe.counts().cancelled), (2, 1));
}
