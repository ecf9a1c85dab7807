//! Stale answers: while a new one is fetched, and when there is none.

use super::*;

/// Fresh for a second, then for two more served while a new one is fetched.
fn revalidating() -> (Prices, ManualTimer) {
    let (cache, timer) = prices(Ttl::fresh(SECOND).stale_while_revalidate(2 * SECOND));
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
    timer.advance(SECOND);
    (cache, timer)
}

#[test]
fn while_one_fetches_a_new_answer_all_others_are_served_the_old_one() {
    // CC7: one refresh for one expiry, and nobody but the one who makes it waits.
    let (cache, _) = revalidating();
    let backend = Backend::default();
    let mut refreshes = ask(&cache, &backend);
    assert!(refreshes.run().is_pending());
    assert!((0..100).all(|_| served(&cache) == Ok(1)));
    backend.answer(Ok(2));
    assert_eq!(refreshes.run(), Poll::Ready(Ok(2)));
    assert_eq!(served(&cache), Ok(2));
    assert_eq!((backend.calls(), cache.snapshot().stale), (1, 100));
}

#[test]
fn a_refresh_whose_caller_goes_is_begun_by_the_next() {
    let (cache, _) = revalidating();
    let backend = Backend::default();
    let mut refreshes = ask(&cache, &backend);
    assert!(refreshes.run().is_pending());
    drop(refreshes);
    let mut next = ask(&cache, &backend);
    assert!(next.run().is_pending());
    assert_eq!(backend.calls(), 2);
}

#[test]
fn a_refresh_that_fails_serves_the_old_answer_and_is_not_tried_by_each_next_caller() {
    // The backend is down, the answer may still be served: each of thousands of callers would try again at once.
    let (cache, timer) = revalidating();
    assert_eq!(fetch(&cache, Err("down")), Ok(1));
    assert!((0..100).all(|_| served(&cache) == Ok(1)));
    timer.advance(SECOND);
    assert_eq!(fetch(&cache, Ok(2)), Ok(2));
    assert_eq!((cache.snapshot().failures, cache.snapshot().stale_on_error), (1, 1));
}

#[test]
fn past_both_windows_an_error_is_an_error() {
    let (cache, timer) = revalidating();
    timer.advance(2 * SECOND);
    assert_eq!(fetch(&cache, Err("down")), Err("down"));
}

#[test]
fn an_answer_past_its_time_is_served_when_the_call_fails_within_its_own_window() {
    let (cache, timer) = prices(Ttl::fresh(SECOND).stale_if_error(10 * SECOND));
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
    timer.advance(SECOND);
    let backend = Backend::default();
    let (mut leads, mut waits) = (ask(&cache, &backend), ask(&cache, &backend));
    assert!(leads.run().is_pending() && waits.run().is_pending(), "it is not served before the call has failed");
    backend.answer(Err("down"));
    assert_eq!((leads.run(), waits.run()), (Poll::Ready(Ok(1)), Poll::Ready(Ok(1))));
    timer.advance(9 * SECOND);
    // The window is judged when the call has failed, not when it was made.
    let mut late = ask(&cache, &backend);
    timer.advance(SECOND - NANO);
    assert!(late.run().is_pending());
    timer.advance(NANO);
    backend.answer(Err("down"));
    assert_eq!(late.run(), Poll::Ready(Err("down")));
}

#[test]
fn past_the_window_in_which_nobody_waits_too_a_backend_that_is_down_is_asked_once_a_pause() {
    let (cache, timer) = prices(Ttl::fresh(SECOND).stale_if_error(10 * SECOND));
    cache.insert(1, 1);
    timer.advance(SECOND);
    assert_eq!(fetch(&cache, Err("down")), Ok(1));
    timer.advance(SECOND - NANO);
    assert_eq!(served(&cache), Ok(1), "whoever asks in the pause does not wait for the backend");
    timer.advance(NANO);
    assert_eq!(fetch(&cache, Err("down")), Ok(1));
    assert_eq!((cache.snapshot().failures, cache.snapshot().stale), (2, 1));
}

#[test]
fn what_was_declared_wrong_during_a_call_is_not_served_when_the_call_fails() {
    let (cache, timer) = prices(Ttl::fresh(SECOND).stale_if_error(10 * SECOND));
    cache.insert(1, 1);
    timer.advance(SECOND);
    let backend = Backend::default();
    let mut caller = ask(&cache, &backend);
    assert!(caller.run().is_pending());
    cache.invalidate(&1);
    backend.answer(Err("down"));
    assert_eq!(caller.run(), Poll::Ready(Err("down")));
}

#[test]
fn an_error_that_is_an_answer_takes_the_place_of_a_stale_one() {
    // The row was deleted: to serve the old one since the call "failed" would be wrong.
    let ttl = Ttl::fresh(SECOND).stale_if_error(60 * SECOND);
    let (cache, timer) = built(|builder| builder.ttl(ttl).negative_ttl(|error| (*error == "absent").then_some(SECOND)));
    cache.insert(1, 1);
    timer.advance(SECOND);
    assert_eq!(fetch(&cache, Err("absent")), Err("absent"));
    assert_eq!(served(&cache), Err("absent"));
}

#[tokio::test(start_paused = true)]
async fn in_the_background_the_first_caller_does_not_wait_either() {
    let ttl = Ttl::fresh(SECOND).stale_while_revalidate(SECOND);
    let cache = Cache::<u32, u32, &str>::builder().ttl(ttl).build().unwrap();
    cache.insert(1, 1);
    tokio::time::advance(SECOND).await;
    let slow = || async {
        crate::time::SharedTimer::default().sleep(SECOND / 2).await;
        Ok(2)
    };
    for _ in 0..3 {
        assert_eq!(cache.get_or_load(1, slow).in_background(Background::tokio()).await, Ok(1));
    }
    assert_eq!(cache.snapshot().loading, 1, "one refresh for the three");
    crate::time::SharedTimer::default().sleep(SECOND / 2 + SECOND / 1_000).await;
    assert_eq!(cache.get(&1), Some(Ok(2)));
    assert_eq!(cache.snapshot().loads, 1);
}

#[test]
fn a_task_the_runtime_drops_leaves_its_work_to_the_next_caller() {
    // A runtime that shuts down drops what it was given, and a spawner may refuse.
    let (cache, _) = revalidating();
    let refuses = Background::new(|task: crate::cache::Task| drop(task));
    let caller = |cache: &Prices| Task::new(cache.get_or_load(1, || ready(Ok(2))).in_background(refuses.clone())).run();
    assert_eq!((caller(&cache), caller(&cache)), (Poll::Ready(Ok(1)), Poll::Ready(Ok(1))));
    assert_eq!(fetch(&cache, Ok(3)), Ok(3));
}

#[test]
fn a_hot_key_that_expires_costs_one_call() {
    // The lab's goal (f), by hand: 10,000 callers a second, the backend takes 50 ms, the key expires in between.
    let (cache, timer) = prices(Ttl::fresh(SECOND));
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
    let backend = Backend::default();
    let mut waiting = Vec::new();
    for tick in 0..10_000 {
        timer.advance(SECOND / 10_000);
        let mut caller = ask(&cache, &backend);
        match caller.run() {
            Poll::Pending => waiting.push(caller),
            Poll::Ready(answer) => assert_eq!(answer, Ok(if tick < 9_999 { 1 } else { 2 })),
        }
    }
    for _ in 0..500 {
        timer.advance(SECOND / 10_000);
        let mut caller = ask(&cache, &backend);
        assert!(caller.run().is_pending());
        waiting.push(caller);
    }
    backend.answer(Ok(2));
    assert!(waiting.iter_mut().all(|caller| caller.run() == Poll::Ready(Ok(2))));
    assert_eq!(backend.calls(), 1);
}

#[test]
fn a_refresh_under_way_when_the_old_answer_goes_is_waited_for_and_not_repeated() {
    let (cache, timer) = revalidating();
    let backend = Backend::default();
    let mut refreshes = ask(&cache, &backend);
    assert!(refreshes.run().is_pending());
    timer.advance(2 * SECOND);
    let (mut waits, mut waits_too) = (ask(&cache, &backend), ask(&cache, &backend));
    assert!(waits.run().is_pending() && waits_too.run().is_pending(), "there is nothing left to serve");
    assert_eq!(backend.calls(), 1);
    backend.answer(Ok(2));
    let answers = [refreshes.run(), waits.run(), waits_too.run()];
    assert_eq!(answers, [Poll::Ready(Ok(2)); 3]);
}

#[test]
fn an_answer_that_a_refresh_asked_for_before_an_invalidation_is_not_kept() {
    let (cache, _) = revalidating();
    let backend = Backend::default();
    let mut refreshes = ask(&cache, &backend);
    assert!(refreshes.run().is_pending());
    assert!(cache.invalidate(&1));
    backend.answer(Ok(2));
    assert_eq!(refreshes.run(), Poll::Ready(Ok(2)));
    assert_eq!(fetch(&cache, Ok(3)), Ok(3));
}

#[test]
fn a_refresh_that_panics_leaves_the_old_answer_and_its_place() {
    let (cache, _) = revalidating();
    let mut panics = Task::new(cache.get_or_load(1, || -> std::future::Ready<Answer> { panic!("no route") }));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics.run()));
    assert!(panicked.is_err());
    assert_eq!((fetch(&cache, Ok(2)), cache.snapshot().loading), (Ok(2), 0));
}

#[test]
fn without_a_runtime_or_with_one_that_is_shut_down_callers_are_served_all_the_same() {
    // What is to be spawned then is dropped, and must neither panic in a caller nor keep the key.
    let (cache, timer) = revalidating();
    let caller = || Task::new(cache.get_or_load(1, || ready(Ok(2))).in_background(Background::tokio())).run();
    assert_eq!((caller(), cache.snapshot().loading), (Poll::Ready(Ok(1)), 0));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    {
        let _entered = handle.enter();
        assert_eq!((caller(), cache.snapshot().loading), (Poll::Ready(Ok(1)), 0));
    }
    timer.advance(2 * SECOND);
    assert_eq!(caller(), Poll::Ready(Ok(2)), "past all windows the caller makes the call");
}
