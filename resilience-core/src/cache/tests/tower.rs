//! The cache in front of a service.

use std::sync::Arc;
use std::task::Context;

use ::tower::{Layer, Service};
use testkit::probe::{Answer as Scripted, Probe};
use testkit::wakes::poll_once;

use super::*;
use crate::Error;

type Failure = Error<&'static str>;

fn cache() -> Cache<u32, u32, Failure> {
    Cache::builder().timer(ManualTimer::new()).build().unwrap()
}

fn keyed(request: &u32) -> Option<u32> {
    (*request != 0).then_some(*request)
}

#[test]
fn a_hit_is_served_at_once_while_the_service_is_not_ready_and_leaves_it_alone() {
    // CC1: a cache that waits for the service to be ready is down when the service is.
    let (cache, probe) = (cache(), Probe::<u32, u32, Failure>::new(Ok));
    let mut service = cache.layer(keyed).layer(probe.service());
    cache.insert(7, 70);
    probe.set_ready(false);
    let before = probe.counts();
    assert!(service.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    assert_eq!(poll_once(std::pin::pin!(service.call(7))), Poll::Ready(Ok(70)));
    assert_eq!(probe.counts(), before, "the service was asked something, or cloned");
    assert_eq!(probe.violations(), [""; 0]);
}

#[test]
fn a_hit_is_served_while_the_circuit_is_open() {
    // CC1, with a breaker inside; and what is not kept is refused by it.
    let (cache, probe) = (cache(), Probe::<u32, u32, Failure>::new(Ok));
    let breaker = crate::circuit_breaker::CircuitBreaker::builder().timer(ManualTimer::new()).build().unwrap();
    let mut service = cache.layer(keyed).layer(breaker.layer().layer(probe.service()));
    cache.insert(7, 70);
    breaker.isolate();
    assert!(service.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    assert_eq!(poll_once(std::pin::pin!(service.call(7))), Poll::Ready(Ok(70)));
    assert_eq!((probe.counts().ready_polls, probe.counts().calls, breaker.snapshot().rejected), (0, 0, 0));
    assert!(matches!(poll_once(std::pin::pin!(service.call(8))), Poll::Ready(Err(Error::Rejected(_)))));
}

#[test]
fn a_service_that_is_not_ready_is_waited_for_by_one() {
    let (cache, probe) = (cache(), Probe::<u32, u32, Failure>::new(Ok));
    let mut service = cache.layer(keyed).layer(probe.service());
    probe.set_ready(false);
    let mut callers: Vec<_> = (0..10).map(|_| Task::new(service.call(7))).collect();
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    probe.set_ready(true);
    assert!(callers.iter_mut().all(|caller| caller.run() == Poll::Ready(Ok(7))));
    assert_eq!((probe.counts().calls, probe.counts().granted), (1, 1));
}

#[test]
fn a_service_that_panics_when_it_is_called_frees_the_key() {
    // CC6, in a service: a peer's key waits for ever for a call that was never made.
    let (cache, probe) = (cache(), Probe::<u32, u32, Failure>::new(Ok));
    let mut service = cache.layer(keyed).layer(probe.service());
    probe.then(Scripted::Panic);
    let mut panics = Task::new(service.call(7));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics.run())).is_err());
    assert_eq!(Task::new(service.call(7)).run(), Poll::Ready(Ok(7)));
    // And one that panics before it has returned anything that could be polled.
    let mut is_first = true;
    let mut service = cache.layer(keyed).layer(::tower::service_fn(move |request: u32| {
        assert!(!std::mem::take(&mut is_first), "no route");
        ready(Ok::<_, Failure>(request))
    }));
    for _ in 0..2 {
        let mut panics = Task::new(service.call(8));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics.run())).is_err();
        assert_eq!((panicked, cache.snapshot().loading), (true, 0), "each clone is a first one");
    }
    let mut service = cache.layer(keyed).layer(probe.service());
    assert_eq!(Task::new(service.call(8)).run(), Poll::Ready(Ok(8)));
}

#[test]
fn what_has_no_key_passes() {
    let (cache, probe) = (cache(), Probe::<u32, u32, Failure>::new(Ok));
    let mut service = cache.layer(keyed).layer(probe.service());
    for _ in 0..2 {
        assert_eq!(Task::new(service.call(0)).run(), Poll::Ready(Ok(0)));
    }
    assert_eq!((probe.counts().calls, cache.snapshot().entries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn behind_a_layer_too_a_task_fetches_the_new_answer() {
    let ttl = Ttl::fresh(SECOND).stale_while_revalidate(SECOND);
    let cache = Cache::<u32, Arc<str>, Failure>::builder().ttl(ttl).build().unwrap();
    let inner = ::tower::service_fn(|_: u32| async { Ok::<Arc<str>, Failure>("new".into()) });
    let mut service = cache.layer(keyed).in_background(Background::tokio()).layer(inner);
    cache.insert(7, "old".into());
    tokio::time::advance(SECOND).await;
    assert_eq!(service.call(7).await, Ok("old".into()));
    tokio::task::yield_now().await;
    assert_eq!(service.call(7).await, Ok("new".into()));
}
