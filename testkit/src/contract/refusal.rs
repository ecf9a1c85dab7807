//! What a layer does that refuses calls.

use std::task::Poll;

use tower_service::Service;

use super::{Failure, Lawful, Relent, Stage, Subject, call, ready};
use crate::wakes::Task;

fn refuse<L, E>(stage: &Stage<L, E>) -> Relent {
    let refuse = stage.subject.refuse.as_ref();
    refuse.expect("a subject of these laws says how it is made to refuse: `Subject::refusing`")()
}

fn is_refused<L, E: Failure>(stage: &Stage<L, E>, answer: &Poll<Result<u32, E>>) -> bool {
    matches!(answer, Poll::Ready(Err(error)) if (stage.subject.is_refusal)(error))
}

/// Who is refused was never sent.
pub fn a_refusal_does_not_reach_the_service<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        let relent = refuse(stage);
        let answer = Task::new(call(&mut service, 7)).run();
        assert!(is_refused(stage, &answer), "{answer:?}");
        assert_eq!(stage.probe.counts().calls, 0);
        relent();
    });
}

/// A refusal is fast exactly when the service is slow: it does not wait for the service to be ready.
pub fn a_refusal_does_not_wait_for_the_service<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.set_ready(false);
        let mut service = stage.service();
        let relent = refuse(stage);
        let answer = Task::new(call(&mut service, 7)).run();
        assert!(is_refused(stage, &answer), "{answer:?}");
        relent();
    });
}

/// An error of `poll_ready` says that a service is of no more use; a refusal says so of one call only.
pub fn a_refusal_is_an_answer_and_not_a_worn_out_service<L: Lawful<E>, E: Failure>(
    subject: impl Fn() -> Subject<L, E>,
) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        let relent = refuse(stage);
        assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())), "the refusal belongs to the call");
        let answer = Task::new(service.call(7)).run();
        assert!(is_refused(stage, &answer), "{answer:?}");
        relent();
    });
}

/// A policy is one, however many services it guards: clones and later services refuse with the first.
pub fn clones_refuse_together<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let original = stage.service();
        let clone = original.clone();
        let relent = refuse(stage);
        for mut service in [original, clone, stage.service()] {
            let answer = Task::new(call(&mut service, 7)).run();
            assert!(is_refused(stage, &answer), "{answer:?}");
        }
        relent();
    });
}

/// A refused call leaves no place taken, neither here nor in the service.
pub fn a_refused_call_holds_nothing<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        let relent = refuse(stage);
        let held = stage.holding();
        for _ in 0..100 {
            let answer = Task::new(call(&mut service, 7)).run();
            assert!(is_refused(stage, &answer), "{answer:?}");
        }
        assert_eq!(stage.holding(), held);
        drop(service);
        assert_eq!(stage.probe.counts().reserved, 0);
        relent();
    });
}

/// Who was ready before the policy began to refuse is admitted or refused; either way, nothing stays reserved.
pub fn a_refusal_after_readiness_leaves_nothing_reserved<L: Lawful<E>, E: Failure>(
    subject: impl Fn() -> Subject<L, E>,
) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
        let relent = refuse(stage);
        let answer = Task::new(service.call(7)).run();
        assert!(is_refused(stage, &answer) || answer == Poll::Ready(Ok(7)), "{answer:?}");
        drop(service);
        assert_eq!((stage.probe.counts().reserved, stage.probe.counts().in_flight), (0, 0));
        relent();
    });
}

/// Ready because it would have refused, called when it would no longer: the service behind was never ready, and is not
/// called as if it were. The call may still be refused, or wait.
pub fn a_call_admitted_after_all_waits_for_the_service<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.set_ready(false);
        let mut service = stage.service();
        let relent = refuse(stage);
        assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
        relent();
        let mut task = Task::new(service.call(7));
        let answer = task.run();
        assert_eq!(stage.probe.counts().calls, 0);
        if !is_refused(stage, &answer) {
            assert!(answer.is_pending(), "{answer:?}");
            stage.probe.set_ready(true);
            assert_eq!(task.run(), Poll::Ready(Ok(7)));
        }
    });
}

/// The service that was refused serves again, without being made anew.
pub fn it_admits_again_when_the_reason_is_gone<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        let relent = refuse(stage);
        let answer = Task::new(call(&mut service, 7)).run();
        assert!(is_refused(stage, &answer), "{answer:?}");
        relent();
        assert_eq!(Task::new(call(&mut service, 8)).run(), Poll::Ready(Ok(8)));
        assert_eq!(stage.probe.counts().granted, 1, "the readiness from before the refusal is still good");
    });
}
