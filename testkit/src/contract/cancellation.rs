//! What a layer gives back when a call ends before its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use tower_service::Service;

use super::{Failure, Lawful, Stage, Subject, call, ready};
use crate::probe::Answer;
use crate::wakes::Task;

/// Nothing is under way, nothing is held, and the next call is served.
fn all_is_given_back<L: Lawful<E>, E: Failure>(stage: &Stage<L, E>, service: &mut L::Service) {
    let counts = stage.probe.counts();
    assert_eq!((counts.in_flight, stage.holding()), (0, 0), "calls the service still works on, and what is held");
    assert_eq!(Task::new(call(service, 9)).run(), Poll::Ready(Ok(9)), "the next call is served");
}

/// A caller that gives up takes its call along: the service stops, and what was held for it is free.
pub fn a_call_dropped_in_flight_gives_everything_back<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        // More often than anything this small can have room for: a leak of one a call shows.
        for _ in 0..100 {
            stage.probe.then(Answer::Hold);
            let mut task = Task::new(call(&mut service, 7));
            assert!(task.run().is_pending());
            assert_eq!(stage.probe.counts().in_flight, 1);
        }
        assert_eq!(stage.probe.counts().cancelled, 100);
        all_is_given_back(stage, &mut service);
    });
}

/// A call that was made and never polled holds nothing either.
pub fn a_call_never_polled_gives_everything_back<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        for _ in 0..100 {
            assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
            drop(service.call(7));
        }
        all_is_given_back(stage, &mut service);
    });
}

/// A caller that gives up before the service was ready, and drops it, leaves no place reserved.
pub fn a_call_dropped_while_the_service_is_not_ready_gives_everything_back<L: Lawful<E>, E: Failure>(
    subject: impl Fn() -> Subject<L, E>,
) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        for _ in 0..100 {
            stage.probe.set_ready(false);
            assert!(Task::new(call(&mut service.clone(), 7)).run().is_pending());
        }
        stage.probe.set_ready(true);
        all_is_given_back(stage, &mut service);
    });
}

/// A panic in the service is the service's: the layer holds nothing after it.
pub fn a_call_that_panics_gives_everything_back<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        stage.probe.then(Answer::Panic);
        let panicked = catch_unwind(AssertUnwindSafe(|| Task::new(call(&mut service, 7)).run()));
        assert!(panicked.is_err(), "the panic was swallowed");
        all_is_given_back(stage, &mut service);
    });
}

/// A call goes on when the service it was made with is gone, clones and all.
pub fn a_service_dropped_before_its_calls_does_not_take_them_along<L: Lawful<E>, E: Failure>(
    subject: impl Fn() -> Subject<L, E>,
) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        stage.probe.then(Answer::Hold);
        assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
        let mut task = Task::new(service.call(7));
        drop(service);
        assert!(task.run().is_pending());
        stage.probe.release_oldest();
        assert_eq!(task.run(), Poll::Ready(Ok(7)));
    });
}
