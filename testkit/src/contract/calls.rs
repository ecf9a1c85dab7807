//! What a layer does with a call that is admitted.

use std::task::Poll;

use tower_service::Service;

use super::{Failure, Lawful, Stage, Subject, call, ready};
use crate::probe::Answer;
use crate::wakes::Task;

/// A call that is answered is made once.
pub fn one_call_reaches_the_service_once<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        assert_eq!(Task::new(call(&mut service, 7)).run(), Poll::Ready(Ok(7)));
        let counts = stage.probe.counts();
        assert_eq!((counts.calls, counts.answered, counts.in_flight), (1, 1, 0));
    });
}

/// The service's own error comes out as it went in.
pub fn the_services_error_passes_unchanged<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        stage.probe.then(Answer::Give(Err(stage.failure())));
        assert_eq!(Task::new(call(&mut service, 7)).run(), Poll::Ready(Err(stage.failure())));
        assert_eq!((stage.probe.counts().calls, stage.holding()), (1, 0));
    });
}

/// A caller that waits for the answer is woken when it comes.
pub fn a_late_answer_wakes_the_caller<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.then(Answer::Hold);
        let mut service = stage.service();
        let mut task = Task::new(call(&mut service, 7));
        assert!(task.run().is_pending());
        assert!(stage.probe.release_oldest(), "the call did not reach the service");
        assert_eq!(task.run(), Poll::Ready(Ok(7)), "nobody woke the caller");
        assert!(task.polls() <= task.wakes() + 1);
    });
}

/// Waiting costs neither polls nor wake-ups: two polls to get going, one to learn the answer.
pub fn waiting_is_not_busy<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.then(Answer::Hold);
        let mut service = stage.service();
        let mut task = Task::new(call(&mut service, 7));
        assert!(task.run().is_pending());
        assert!(task.polls() <= 2, "{} polls before the answer", task.polls());
        assert!(stage.probe.counts().call_polls <= task.polls(), "the service was polled more often than its caller");
        stage.probe.release_oldest();
        let (polls, wakes) = (task.polls(), task.wakes());
        assert!(task.run().is_ready());
        assert_eq!((task.polls() - polls, task.wakes() - wakes), (1, 0), "the answer was not passed on at once");
    });
}

/// Executors may poll for reasons of their own.
pub fn polls_nobody_asked_for_do_no_harm<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        stage.probe.then(Answer::Hold);
        let mut service = stage.service();
        let mut task = Task::new(call(&mut service, 7));
        for _ in 0..100 {
            assert!(task.poll().is_pending());
        }
        assert_eq!(stage.probe.counts().calls, 1);
        stage.probe.release_oldest();
        assert_eq!(task.run(), Poll::Ready(Ok(7)));
    });
}

/// Two calls under way at once, answered in the other order, each by its own answer.
pub fn answers_are_not_mixed_up<L: Lawful<E>, E: Failure>(subject: impl Fn() -> Subject<L, E>) {
    Stage::try_law(subject, |stage| {
        let mut service = stage.service();
        let mut hold = |request| {
            stage.probe.then(Answer::Hold);
            assert_eq!(Task::new(ready(&mut service)).run(), Poll::Ready(Ok(())));
            let mut call = Task::new(service.call(request));
            assert!(call.run().is_pending());
            call
        };
        let (mut first, mut second) = (hold(1), hold(2));
        stage.probe.release_newest();
        assert_eq!((first.run(), second.run()), (Poll::Pending, Poll::Ready(Ok(2))));
        stage.probe.release_oldest();
        assert_eq!(first.run(), Poll::Ready(Ok(1)));
    });
}

/// A caller polled in another task while it waits for the answer is woken there.
pub fn an_answering_task_that_moved_is_woken_where_it_is_now<L: Lawful<E>, E: Failure>(
    subject: impl Fn() -> Subject<L, E>,
) {
    Stage::try_law(subject, |stage| {
        stage.probe.then(Answer::Hold);
        let mut service = stage.service();
        let mut task = Task::new(call(&mut service, 7));
        assert!(task.run().is_pending());
        assert!(task.run_elsewhere().is_pending());
        stage.probe.release_oldest();
        assert_eq!(task.run(), Poll::Ready(Ok(7)), "the waker of a task it has left was kept");
    });
}
