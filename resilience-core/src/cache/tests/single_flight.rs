//! One call for all who ask.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use super::*;

#[test]
fn a_hundred_who_miss_at_once_make_one_call_and_are_polled_twice() {
    // CC2, CC3: a cache that does not join its callers sends all hundred; one that lets them spin polled a hundred
    // thousand times while one call took 100 ms.
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut callers: Vec<_> = (0..100).map(|_| ask(&cache, &backend)).collect();
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    assert_eq!((backend.calls(), cache.snapshot().coalesced, cache.snapshot().loading), (1, 99, 1));
    backend.answer(Ok(7));
    for caller in &mut callers {
        assert_eq!(caller.run(), Poll::Ready(Ok(7)));
        assert!(caller.polls() <= 2, "{} polls", caller.polls());
    }
    assert_eq!((backend.calls(), cache.snapshot().loading), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_served_on_a_clock_that_stands_still_until_all_wait() {
    // CC4: a paused clock moves on only when nothing is left to poll; a waiter that spins stops it for ever.
    let cache = Cache::<u32, u32, &str>::builder().build().unwrap();
    let slow = || async {
        crate::time::SharedTimer::default().sleep(SECOND / 10).await;
        Ok(7)
    };
    let callers = futures::future::join_all((0..100).map(|_| cache.get_or_load(1, slow)));
    let limit = crate::timeout::Timeout::builder().limit(SECOND).build().unwrap();
    let answers = limit.call(async { Ok::<_, crate::Error<&str>>(callers.await) }).await.expect("it hangs");
    assert_eq!(answers, [Ok(7); 100]);
}

#[test]
fn when_the_leader_goes_the_youngest_who_waits_leads_and_the_others_sleep_on() {
    // CC5: a caller that gives up must not fail the others, nor wake all of them to make the call at once.
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut callers: Vec<_> = (0..4).map(|_| ask(&cache, &backend)).collect();
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    drop(callers.remove(0));
    assert_eq!(callers.iter().map(Task::wakes).collect::<Vec<_>>(), [0, 0, 1]);
    assert!(callers[2].run().is_pending());
    assert_eq!(backend.calls(), 2);
    backend.answer(Ok(1)); // nobody hears the first call any more
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    backend.answer(Ok(2));
    assert!(callers.iter_mut().rev().all(|caller| caller.run() == Poll::Ready(Ok(2))));
    assert_eq!(backend.calls(), 2);
}

#[test]
fn callers_who_all_leave_too_soon_do_not_make_a_call_each() {
    // A call takes longer than anybody waits; ten callers wait at any time. When each was followed by the oldest, who
    // left next, a hundred callers made a hundred calls of a backend that was too slow as it was.
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut callers = std::collections::VecDeque::new();
    for _ in 0..100 {
        callers.push_back(ask(&cache, &backend));
        if callers.len() > 10 {
            callers.pop_front();
        }
        assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    }
    assert!(backend.calls() <= 11, "{} calls", backend.calls());
}

#[test]
fn whoever_was_woken_to_lead_and_goes_wakes_the_next() {
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut callers: Vec<_> = (0..3).map(|_| ask(&cache, &backend)).collect();
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    drop(callers.remove(0));
    drop(callers.remove(0));
    assert!(callers[0].run().is_pending());
    backend.answer(Ok(1));
    backend.answer(Ok(2));
    assert_eq!(callers[0].run(), Poll::Ready(Ok(2)));
}

#[test]
fn a_newcomer_leads_when_whoever_was_woken_to_is_not_polled() {
    // A caller inside a `select!` that looks elsewhere may not be polled for long. Nobody need wait for it.
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let (mut first, mut sleeper, mut newcomer) = (ask(&cache, &backend), ask(&cache, &backend), ask(&cache, &backend));
    assert!(first.run().is_pending() && sleeper.run().is_pending());
    drop(first);
    assert!(newcomer.run().is_pending());
    assert_eq!(backend.calls(), 2);
    assert!(sleeper.run().is_pending());
    backend.answer(Ok(1));
    backend.answer(Ok(2));
    assert_eq!((newcomer.run(), sleeper.run()), (Poll::Ready(Ok(2)), Poll::Ready(Ok(2))));
}

#[test]
fn when_all_go_nothing_is_left() {
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut callers: Vec<_> = (0..3).map(|_| ask(&cache, &backend)).collect();
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    callers.pop();
    drop(callers);
    assert_eq!(cache.snapshot().loading, 0);
    assert_eq!(fetch(&cache, Ok(3)), Ok(3));
}

#[test]
fn a_call_that_panics_frees_its_key_at_once() {
    // CC6: a panic while the call is made, or while it runs, must not leave a key that waits for nobody. The future that
    // panicked is kept here, as whoever catches panics may keep it.
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut panics = Task::new(cache.get_or_load(1, || -> std::future::Ready<Answer> { panic!("no route") }));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.run())).is_err());
    assert_eq!(cache.snapshot().loading, 0);
    let mut panics_later = Task::new(cache.get_or_load(1, || async { panic!("no route") }));
    let mut waits = Task::new(cache.get_or_load(1, || ready(Ok(5))));
    assert!(catch_unwind(AssertUnwindSafe(|| panics_later.run())).is_err());
    assert_eq!(waits.run(), Poll::Ready(Ok(5)));
    assert_eq!((backend.calls(), cache.snapshot().loading), (0, 0));
}

#[test]
fn whoever_waits_for_a_call_that_panics_makes_it_anew() {
    let (cache, _) = prices(SECOND);
    let go = Rc::new(Cell::new(false));
    let fuse = go.clone();
    let mut panics = Task::new(cache.get_or_load(1, || {
        std::future::poll_fn(move |_| -> Poll<Answer> {
            if fuse.get() { panic!("no route") } else { Poll::Pending }
        })
    }));
    let mut waits = Task::new(cache.get_or_load(1, || ready(Ok(5))));
    assert!(panics.run().is_pending() && waits.run().is_pending());
    go.set(true);
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    assert_eq!(waits.run(), Poll::Ready(Ok(5)));
}

#[test]
fn an_error_is_told_to_all_who_waited_and_kept_for_nobody() {
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut callers = [ask(&cache, &backend), ask(&cache, &backend)];
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    backend.answer(Err("reset"));
    assert!(callers.iter_mut().all(|caller| caller.run() == Poll::Ready(Err("reset"))));
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
}

#[test]
fn an_error_of_the_leaders_own_is_not_told_to_who_waited() {
    // The leader's deadline passes; that of the others does not. They are not failed by it.
    let (cache, _) = built(|builder| builder.own_errors(|error| *error == "deadline"));
    let backend = Backend::default();
    let (mut hasty, mut patient) = (ask(&cache, &backend), ask(&cache, &backend));
    assert!(hasty.run().is_pending() && patient.run().is_pending());
    backend.answer(Err("deadline"));
    assert_eq!(hasty.run(), Poll::Ready(Err("deadline")));
    assert!(patient.run().is_pending());
    backend.answer(Ok(2));
    assert_eq!(patient.run(), Poll::Ready(Ok(2)));
}

#[test]
fn an_answer_that_is_not_kept_still_reaches_who_waited() {
    let (cache, _) = prices(Ttl::NONE);
    let backend = Backend::default();
    let mut callers = [ask(&cache, &backend), ask(&cache, &backend)];
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    backend.answer(Ok(4));
    assert!(callers.iter_mut().all(|caller| caller.run() == Poll::Ready(Ok(4))));
    assert_eq!((backend.calls(), cache.snapshot().entries), (1, 0));
}

#[test]
fn other_keys_do_not_wait() {
    let (cache, _) = prices(SECOND);
    let mut waits = Task::new(cache.get_or_load(2, pending::<Answer>));
    assert!(waits.run().is_pending());
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
}

#[test]
fn an_answer_older_than_an_invalidation_is_not_kept() {
    // The row is read, then changed, then declared changed, and then the answer with the old row arrives.
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut before = ask(&cache, &backend);
    assert!(before.run().is_pending());
    cache.invalidate(&1);
    let mut after = ask(&cache, &backend);
    assert!(after.run().is_pending());
    assert_eq!(backend.calls(), 2, "who asks after the invalidation does not wait for the older call");
    backend.answer(Ok(1));
    assert_eq!(before.run(), Poll::Ready(Ok(1)));
    assert_eq!(cache.get(&1), None);
    backend.answer(Ok(2));
    assert_eq!(after.run(), Poll::Ready(Ok(2)));
    assert_eq!(cache.get(&1), Some(Ok(2)));
}

#[test]
fn an_answer_older_than_a_write_does_not_undo_it() {
    let (cache, _) = prices(SECOND);
    let backend = Backend::default();
    let mut before = ask(&cache, &backend);
    assert!(before.run().is_pending());
    cache.insert(1, 9);
    backend.answer(Ok(1));
    assert_eq!(before.run(), Poll::Ready(Ok(1)));
    assert_eq!(cache.get(&1), Some(Ok(9)));
}

#[test]
fn whatever_is_meant_is_forgotten_kept_or_under_way() {
    let (cache, _) = prices(SECOND);
    (1..=10).for_each(|key| cache.insert(key, key));
    let backend = Backend::default();
    let slow = || backend.call();
    let (mut odd, mut even) = (Task::new(cache.get_or_load(11, slow)), Task::new(cache.get_or_load(12, slow)));
    assert!(odd.run().is_pending() && even.run().is_pending());
    assert_eq!(cache.invalidate_if(|key| key % 2 == 1), 5);
    backend.answer(Ok(0));
    backend.answer(Ok(0));
    assert!(odd.run().is_ready() && even.run().is_ready());
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&11), cache.get(&12)), (None, Some(Ok(2)), None, Some(Ok(0))));
    assert_eq!(cache.invalidate_all(), 6);
    assert_eq!(cache.snapshot().entries, 0);
}

#[test]
fn what_a_call_holds_is_given_back_before_another_is_woken_to_make_it_anew() {
    // The call holds the one permit of a bulkhead inside. Woken first, the next to lead, on another thread, is refused it.
    struct Permit(Arc<AtomicBool>);
    impl Drop for Permit {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    struct Next(Arc<AtomicBool>);
    impl std::task::Wake for Next {
        fn wake(self: Arc<Self>) {
            assert!(!self.0.load(Ordering::SeqCst), "the permit is still out");
        }
    }
    let (cache, _) = prices(SECOND);
    let is_out = Arc::new(AtomicBool::new(true));
    let permit = Permit(is_out.clone());
    let mut leads = Task::new(cache.get_or_load(1, || async move {
        let _permit = permit;
        pending::<Answer>().await
    }));
    assert!(leads.run().is_pending());
    let mut waits = Box::pin(cache.get_or_load(1, pending::<Answer>));
    let waker = Waker::from(Arc::new(Next(is_out)));
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(leads);
}

#[test]
fn of_two_who_differ_in_patience_one_leaves_and_the_other_is_answered() {
    // The deadline of the caller who makes the call is shorter than the call. It is over for that one alone.
    let (cache, timer) = prices(SECOND);
    let backend = Backend::default();
    let limit = crate::timeout::Timeout::builder().limit(SECOND).timer(timer.clone()).build().unwrap();
    let call = backend.clone();
    let asked = cache.get_or_load(1, move || call.call());
    let mut hasty = Task::new(limit.call(async { Ok::<_, crate::Error<&str>>(asked.await) }));
    let mut patient = ask(&cache, &backend);
    assert!(hasty.run().is_pending() && patient.run().is_pending());
    timer.advance(SECOND);
    assert!(matches!(hasty.run(), Poll::Ready(Err(crate::Error::Elapsed(_)))));
    drop(hasty);
    assert!(patient.run().is_pending());
    backend.answer(Ok(1)); // nobody hears the first call any more
    backend.answer(Ok(2));
    assert_eq!((patient.run(), backend.calls()), (Poll::Ready(Ok(2)), 2));
}
