//! What a layer does with the readiness of the service it wraps.

use std::task::Poll;

use tower_service::Service;

use super::{Failure, Lawful, Stage, Subject, call, ready};
use crate::wakes::Task;

/// The instance that was polled is the one that is called, and no other is polled in its place, at the first call and
/// at each later one.
///
/// A layer that needs the service after `call` has returned takes the polled instance along and leaves a clone behind;
/// the other way round works until the service is a concurrency limit, and then hangs.
pub fn only_the_instance_polled_ready_is_called<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        for request in 1..=3 {
            assert_eq!(Task::new(call(&mut service, request)).run(), Poll::Ready(Ok(request)));
            let counts = stage.probe.counts();
            assert_eq!((counts.granted, counts.reserved), (counts.calls, 0), "one readiness was asked for each call");
        }
    });
}

/// However often a service is polled ready, it reserves one place.
pub fn readiness_is_reserved_once<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        for _ in 0..3 {
            assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
            assert!(stage.probe.counts().reserved <= 1, "two places for one call");
        }
        assert_eq!(Task::new(service.call(7)).run(), Poll::Ready(Ok(7)));
        assert_eq!(stage.probe.counts().granted, 1);
    });
}

/// What was reserved for a call that never came is free again once its service is dropped.
pub fn a_ready_service_that_is_dropped_gives_its_readiness_back<L: Lawful<E>, E: Failure>(
    subject: impl Fn() -> Subject<L, E>,
) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
        drop(service);
        assert_eq!((stage.probe.counts().reserved, stage.holding()), (0, 0));
    });
}

/// Two clones polled ready side by side may both be called; one's readiness is not the other's.
pub fn a_clone_does_not_share_readiness<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut original = stage.service();
        assert_eq!(Task::new(ready(&mut original)).run(), Poll::Ready(Ok(())));
        let mut clone = original.clone();
        assert_eq!(Task::new(call(&mut clone, 1)).run(), Poll::Ready(Ok(1)));
        assert_eq!(Task::new(original.call(2)).run(), Poll::Ready(Ok(2)));
    });
}

/// A caller that waits for readiness is woken when it comes, and does not ask again and again meanwhile.
pub fn late_readiness_wakes_the_caller<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.set_ready(false);
        let mut service = stage.service();
        let mut task = Task::new(call(&mut service, 7));
        assert!(task.run().is_pending(), "the service was not ready");
        assert!(task.polls() <= 2, "{} polls to find out that the service is not ready", task.polls());
        stage.probe.set_ready(true);
        assert_eq!(task.run(), Poll::Ready(Ok(7)), "nobody woke the caller");
        assert!(task.polls() <= task.wakes() + 1);
    });
}

/// A caller polled in another task while it waits for readiness is woken there.
pub fn a_caller_that_moved_is_woken_where_it_is_now<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.set_ready(false);
        let mut service = stage.service();
        let mut task = Task::new(call(&mut service, 7));
        assert!(task.run().is_pending());
        assert!(task.run_elsewhere().is_pending());
        stage.probe.set_ready(true);
        assert_eq!(task.run(), Poll::Ready(Ok(7)), "the waker of a task it has left was kept");
    });
}

/// An error of the service's readiness comes out as it went in, and the service is not called after it.
pub fn failed_readiness_passes_unchanged<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.fail_ready(stage.failure());
        let mut service = stage.service();
        assert_eq!(Task::new(call(&mut service, 7)).run(), Poll::Ready(Err(stage.failure())));
        assert_eq!((stage.probe.counts().calls, stage.holding()), (0, 0));
    });
}
