//! Batches over a destination.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::context;

#[test]
fn a_full_batch_goes_at_once_in_order_and_each_gets_its_own_answer() {
    let (batch, _) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [7, 5, 6].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent(), [[7, 5, 6]]);
    backend.answer();
    let answers: Vec<_> = calls.iter_mut().rev().map(|call| call.run()).collect();
    assert_eq!(answers, [60, 50, 70].map(|answer| Poll::Ready(Ok(answer))));
    assert_eq!((batch.snapshot().calls, batch.snapshot().batches, batch.snapshot().waiting), (3, 1, 0));
}

#[test]
fn a_batch_that_is_not_full_goes_when_its_time_is_over_and_not_before() {
    let (batch, timer) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let (mut first, mut second) = (Task::new(squares.call(1)), Task::new(squares.call(2)));
    assert!(first.run().is_pending());
    timer.advance(9 * MILLI);
    assert!(second.run().is_pending(), "the time is that of the batch and not of the last call");
    assert_eq!(backend.sent().len(), 0);
    timer.advance(MILLI);
    assert!(first.run().is_pending() && second.run().is_pending());
    assert_eq!(backend.sent(), [[1, 2]]);
    let mut next = Task::new(squares.call(3));
    assert!(next.run().is_pending());
    backend.answer();
    assert_eq!((first.run(), second.run()), (Poll::Ready(Ok(10)), Poll::Ready(Ok(20))));
    timer.advance(10 * MILLI);
    assert!(next.run().is_pending());
    assert_eq!(backend.sent(), [vec![1, 2], vec![3]]);
}

#[test]
fn whoever_waits_is_polled_twice_however_often_the_call_is() {
    // All who wait woken for each step of the one call: the work of a batch grows with the square of its size.
    let (batch, _) = threes(|builder| builder.size(100));
    let steps = Rc::new(Cell::new(0));
    let count = steps.clone();
    let slow = batch.over(move |requests: Vec<u32>| {
        let (count, mut requests) = (count.clone(), Some(requests));
        std::future::poll_fn(move |cx| {
            count.set(count.get() + 1);
            if count.get() < 50 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok::<Vec<Answer>, Failed>(requests.take().unwrap().into_iter().map(Ok).collect()))
        })
    });
    let mut calls: Vec<_> = (0..100).map(|request| Task::new(slow.call(request))).collect();
    let mut ready: Vec<_> = calls.iter_mut().map(Task::run).collect();
    for (request, call) in calls.iter_mut().enumerate().take(99) {
        ready[request] = call.run();
        assert!(call.polls() <= 2, "{} polls", call.polls());
    }
    assert_eq!(steps.get(), 50);
    assert!(ready.iter().zip(0..).all(|(ready, request)| *ready == Poll::Ready(Ok(request))));
}

#[test]
fn who_leaves_before_the_batch_is_sent_is_not_in_it() {
    let (batch, timer) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [1, 2].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    drop(calls.pop());
    let mut third = Task::new(squares.call(3));
    assert!(third.run().is_pending(), "its place is free again");
    timer.advance(10 * MILLI);
    assert!(calls[0].run().is_pending());
    assert_eq!(backend.sent(), [[1, 3]]);
    backend.answer();
    assert_eq!((calls[0].run(), third.run()), (Poll::Ready(Ok(10)), Poll::Ready(Ok(30))));
}

#[test]
fn when_who_waits_for_the_time_leaves_another_does() {
    // The first caller holds the timer. If nobody took over, the others would wait for one more call, or for ever.
    let (batch, timer) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [1, 2].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    timer.advance(4 * MILLI);
    drop(calls.remove(0));
    assert!(calls[0].run().is_pending());
    timer.advance(6 * MILLI);
    assert!(calls[0].run().is_pending());
    assert_eq!(backend.sent(), [[2]], "at the time at which it was due");
}

#[test]
fn when_who_polls_the_call_leaves_it_goes_on_and_is_not_made_anew() {
    // What was sent may have taken effect: another must go on with the call under way.
    let (batch, _) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [1, 2, 3].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    drop(calls.pop());
    backend.answer();
    assert_eq!((calls[0].run(), calls[1].run()), (Poll::Pending, Poll::Ready(Ok(20))), "one of them drives");
    assert_eq!((calls[0].run(), backend.sent().len(), backend.dropped.get()), (Poll::Ready(Ok(10)), 1, 1));
}

#[test]
fn when_all_leave_the_call_is_dropped_and_nothing_is_left() {
    let (batch, _) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [1, 2, 3, 4].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    drop(calls);
    assert_eq!((backend.dropped.get(), batch.snapshot().waiting), (1, 0));
    assert!(format!("{squares:?}").contains("open: 0"), "{squares:?}");
}

#[test]
fn an_error_of_the_batch_is_everybodys_and_one_of_a_call_its_own() {
    let (batch, _) = threes(|builder| builder.size(2));
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [1, 2, 3, 4].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    backend.end(Err(Failed::Down));
    backend.end(Ok(vec![Err(Failed::NoSuch(3)), Ok(40)]));
    let answers: Vec<_> = calls.iter_mut().rev().map(|call| call.run()).collect();
    let expected = [Ok(40), Err(Failed::NoSuch(3)), Err(Failed::Down), Err(Failed::Down)];
    assert_eq!(answers, expected.map(Poll::Ready));
    assert_eq!(batch.snapshot().failed, 1);
}

#[test]
fn answers_that_do_not_match_the_calls_are_nobodys() {
    // One answer is missing: whose, nobody knows. To hand out the others in order would be to mix them up.
    let (batch, _) = threes(|builder| builder.size(2));
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    for answers in [1, 3] {
        let mut calls: Vec<_> = [1, 2].map(|request| Task::new(squares.call(request))).into();
        assert!(calls.iter_mut().all(|call| call.run().is_pending()));
        backend.end(Ok(vec![Ok(1); answers]));
        let unanswered = Failed::Unanswered(Unanswered::Miscounted { requests: 2, answers });
        assert!(calls.iter_mut().rev().all(|call| call.run() == Poll::Ready(Err(unanswered.clone()))));
    }
}

#[test]
fn a_batch_that_panics_fails_those_who_waited_and_not_the_next() {
    let (batch, _) = threes(|builder| builder.size(2));
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    backend.panics.set(true);
    let (mut waits, mut drives) = (Task::new(squares.call(1)), Task::new(squares.call(2)));
    assert!(waits.run().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drives.run())).is_err());
    assert_eq!(waits.run(), Poll::Ready(Err(Failed::Unanswered(Unanswered::Panicked))));
    drop(drives);
    backend.panics.set(false);
    let mut calls: Vec<_> = [3, 4].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!((backend.sent().last(), batch.snapshot().failed), (Some(&vec![3, 4]), 1));
}

#[test]
fn a_batch_is_no_heavier_than_it_may_be() {
    let (batch, timer) = threes(|builder| builder.size(100).weight(10));
    let backend = Backend::default();
    let to = backend.clone();
    let rows = batch.over_groups(move |requests| to.send(requests), Together, |rows: &u32| u64::from(*rows));
    let mut calls: Vec<_> = [6, 5, 4, 11, 0].map(|request| Task::new(rows.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent(), [vec![11], vec![6], vec![5, 4]], "what is too heavy for any has one to itself, at once");
    timer.advance(10 * MILLI);
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent()[3..], [[0]]);
}

#[test]
fn calls_of_different_keys_do_not_share_a_batch() {
    let (batch, _) = threes(|builder| builder.size(2));
    let backend = Backend::default();
    let to = backend.clone();
    let parity = batch.over_groups(move |requests| to.send(requests), |request: &u32| request % 2, Alike);
    let mut calls: Vec<_> = [1, 2, 3, 4].map(|request| Task::new(parity.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent(), [[1, 3], [2, 4]]);
}

#[test]
fn one_call_too_many_is_refused_and_costs_nobody_anything() {
    let (batch, _) = threes(|builder| builder.size(100).limit(2));
    let squares = over(&batch, &Backend::default());
    let mut calls: Vec<_> = [1, 2].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    let Poll::Ready(Err(Failed::Rejected(refused))) = Task::new(squares.call(3)).run() else { panic!("not refused") };
    assert_eq!(refused.reason(), crate::Reason::Full { limit: 2, queued: 2 });
    calls.pop();
    assert!(Task::new(squares.call(4)).run().is_pending());
    assert_eq!((batch.snapshot().rejected, batch.snapshot().waiting), (1, 1));
}

#[test]
fn a_dry_run_counts_whom_it_would_refuse() {
    let (batch, _) = threes(|builder| builder.size(100).limit(1).dry_run(true));
    let squares = over(&batch, &Backend::default());
    let mut calls: Vec<_> = [1, 2].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!((batch.snapshot().rejected, batch.snapshot().would_reject), (0, 1));
}

#[test]
fn the_call_of_many_has_the_deadline_of_none() {
    // The driver's deadline is a second away, that of the others is not. The call must not be cut off for them.
    let (batch, _) = threes(|builder| builder.size(1));
    let deadlines = batch.over(async |requests: Vec<u32>| {
        let deadline = context::Context::capture(&ManualTimer::new().into()).deadline().is_some();
        Ok::<_, Failed>(requests.iter().map(|_| Ok::<_, Failed>(deadline)).collect())
    });
    let hasty = context::Context::new().with_deadline(crate::time::Timestamp::from_nanos(1));
    assert_eq!(Task::new(hasty.scope(deadlines.call(1))).run(), Poll::Ready(Ok(false)));
}

#[test]
fn what_cannot_be_is_refused_with_its_field() {
    let refused = |builder: BatchBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(refused(Batch::builder().size(0)), "size must be at least 1");
    assert_eq!(refused(Batch::builder().weight(0)), "weight must be at least 1");
    assert_eq!(refused(Batch::builder().keys(0)), "keys must be at least 1");
    assert_eq!(refused(Batch::builder().limit(0)), "limit must be at least 1");
    assert_eq!(refused(Batch::builder().delay(Duration::ZERO)), "delay must be above zero");
}

#[test]
fn the_largest_figures_break_nothing() {
    let most = |builder: BatchBuilder| {
        builder.size(usize::MAX).weight(u64::MAX).delay(Duration::MAX).keys(usize::MAX).limit(u32::MAX)
    };
    let (batch, timer) = threes(most);
    let backend = Backend::default();
    let to = backend.clone();
    let heavy = batch.over_groups(move |requests| to.send(requests), Together, |_: &u32| u64::MAX - 1);
    let mut calls: Vec<_> = [1, 2].map(|request| Task::new(heavy.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    timer.advance(Duration::MAX);
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent(), [[1, 2]], "any weight");
}

#[test]
fn limits_that_change_hold_for_the_next_call_and_take_no_batch_apart() {
    let (batch, timer) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let mut calls: Vec<_> = [1, 2].map(|request| Task::new(squares.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert!(batch.reconfigure(Batch::builder().size(0)).is_err());
    batch.reconfigure(Batch::builder().size(2).delay(20 * MILLI).limit(3)).unwrap();
    let mut third = Task::new(squares.call(3));
    assert!(third.run().is_pending() && calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent(), [[1, 2]], "there were two, which now is all there may be");
    assert!(matches!(Task::new(squares.call(4)).run(), Poll::Ready(Err(Failed::Rejected(_)))));
    timer.advance(19 * MILLI);
    assert!(third.run().is_pending() && backend.sent().len() == 1);
    timer.advance(MILLI);
    assert!(third.run().is_pending());
    assert_eq!(backend.sent()[1..], [[3]]);
}

#[test]
fn a_deadline_of_one_ends_its_wait_and_nobody_elses() {
    // Before the batch is sent, and after it.
    let (batch, timer) = threes(|builder| builder);
    let backend = Backend::default();
    let squares = over(&batch, &backend);
    let limit = |limit| crate::timeout::Timeout::builder().limit(limit).timer(timer.clone()).build().unwrap();
    let hasty = |request, within: Duration| {
        let call = squares.call(request);
        let call = async { call.await.map_err(crate::Error::Service) };
        Task::new(limit(within).call(call))
    };
    let (mut early, mut late) = (hasty(1, 5 * MILLI), hasty(2, 15 * MILLI));
    let mut patient = Task::new(squares.call(3));
    assert!(early.run().is_pending() && late.run().is_pending());
    timer.advance(5 * MILLI);
    assert!(matches!(early.run(), Poll::Ready(Err(crate::Error::Elapsed(_)))));
    drop(early);
    assert!(patient.run().is_pending() && late.run().is_pending());
    timer.advance(5 * MILLI);
    assert!(late.run().is_pending() && patient.run().is_pending());
    assert_eq!(backend.sent(), [[2, 3]]);
    timer.advance(5 * MILLI);
    assert!(matches!(late.run(), Poll::Ready(Err(crate::Error::Elapsed(_)))));
    drop(late);
    assert!(patient.run().is_pending());
    backend.answer();
    assert_eq!((patient.run(), backend.sent().len()), (Poll::Ready(Ok(30)), 1));
}

#[test]
fn a_batch_that_panics_before_it_is_a_future_fails_alike() {
    let (batch, _) = threes(|builder| builder.size(2));
    let squares = batch.over(|_: Vec<u32>| -> std::future::Ready<Ends> { panic!("no route") });
    let (mut waits, mut drives) = (Task::new(squares.call(1)), Task::new(squares.call(2)));
    assert!(waits.run().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drives.run())).is_err());
    assert_eq!(waits.run(), Poll::Ready(Err(Failed::Unanswered(Unanswered::Panicked))));
    drop(drives);
    assert_eq!((batch.snapshot().waiting, batch.snapshot().failed), (0, 1));
}

#[test]
fn a_request_that_cannot_be_named_or_weighed_keeps_no_place() {
    // The user's function panics. Whoever catches that goes on, and so must the count of those who wait.
    let (batch, _) = threes(|builder| builder.limit(1));
    let backend = Backend::default();
    let to = backend.clone();
    let shards = batch.over_groups(move |requests| to.send(requests), |request: &u32| 12 / *request, Alike);
    let mut panics = Task::new(shards.call(0));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.run())).is_err());
    assert!(Task::new(shards.call(1)).run().is_pending(), "the one place is free");
}

#[test]
fn by_a_key_that_anybody_can_vary_batches_go_early_and_nothing_grows() {
    let (batch, timer) = threes(|builder| builder.keys(2));
    let backend = Backend::default();
    let to = backend.clone();
    let tenants = batch.over_groups(move |requests| to.send(requests), |request: &u32| request % 10, Alike);
    let mut calls: Vec<_> = [1, 2, 11].map(|request| Task::new(tenants.call(request))).into();
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent().len(), 0);
    let mut third = Task::new(tenants.call(3));
    assert!(third.run().is_pending());
    assert!(calls.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent(), [[1, 11]], "the oldest, and whole");
    assert!(format!("{tenants:?}").contains("open: 2"), "{tenants:?}");
    // What goes at once takes nobody's place.
    let mut full: Vec<_> = [22, 32].map(|request| Task::new(tenants.call(request))).into();
    assert!(full.iter_mut().all(|call| call.run().is_pending()));
    assert_eq!(backend.sent()[1..], [[2, 22, 32]]);
    timer.advance(10 * MILLI);
    assert!(third.run().is_pending());
    assert_eq!(backend.sent()[2..], [[3]]);
    assert!(format!("{tenants:?}").contains("open: 0"), "{tenants:?}");
}

#[test]
fn who_leaves_gives_its_weight_back() {
    let (batch, timer) = threes(|builder| builder.weight(10));
    let backend = Backend::default();
    let to = backend.clone();
    let rows = batch.over_groups(move |requests| to.send(requests), Together, |rows: &u32| u64::from(*rows));
    let (mut leaves, mut stays) = (Task::new(rows.call(6)), Task::new(rows.call(3)));
    assert!(leaves.run().is_pending() && stays.run().is_pending());
    drop(leaves);
    let mut third = Task::new(rows.call(5));
    assert!(third.run().is_pending() && stays.run().is_pending());
    assert_eq!(backend.sent().len(), 0, "there is room for it");
    timer.advance(10 * MILLI);
    assert!(third.run().is_pending() && stays.run().is_pending());
    assert_eq!(backend.sent(), [[3, 5]]);
}
