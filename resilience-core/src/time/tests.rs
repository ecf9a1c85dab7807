use std::future::Future;
use std::task::Context;
use std::time::Duration;

use super::{ManualTimer, Timer, Timestamp};
#[cfg(feature = "tokio")]
use super::{SharedTimer, TokioTimer};

#[test]
fn arithmetic_saturates_at_both_ends() {
    let t = Timestamp::from_nanos(5);
    assert_eq!(t + Duration::MAX, Timestamp::NEVER);
    assert_eq!(t.since(Timestamp::NEVER), Duration::ZERO);
    assert_eq!(t.before(Duration::MAX), Timestamp::ORIGIN);
    assert_eq!(Timestamp::NEVER + Duration::from_nanos(1), Timestamp::NEVER);
}

#[test]
fn a_manual_sleep_wakes_at_its_time_and_leaves_nothing_when_dropped() {
    let timer = ManualTimer::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut early = Box::pin(timer.sleep_until(timer.now() + Duration::from_secs(1)));
    let mut late = Box::pin(timer.sleep_until(timer.now() + Duration::from_secs(2)));
    assert!(early.as_mut().poll(&mut cx).is_pending());
    assert!(late.as_mut().poll(&mut cx).is_pending());
    assert_eq!(timer.sleepers(), 2);
    timer.advance(Duration::from_nanos(999_999_999));
    assert!(early.as_mut().poll(&mut cx).is_pending());
    timer.advance(Duration::from_nanos(1));
    assert!(early.as_mut().poll(&mut cx).is_ready());
    assert!(late.as_mut().poll(&mut cx).is_pending());
    drop(late);
    assert_eq!(timer.sleepers(), 0);
}

#[cfg(feature = "tokio")]
mod tokio_timer {
    use super::{Duration, SharedTimer, Timer, Timestamp, TokioTimer};

    #[tokio::test(start_paused = true)]
    async fn paused_tokio_time_drives_the_default_timer_to_the_nanosecond() {
        let timer = SharedTimer::default();
        let start = timer.now();
        tokio::time::advance(Duration::from_millis(30)).await;
        assert_eq!(timer.now() - start, Duration::from_millis(30));
        timer.sleep_until(start + Duration::from_secs(2)).await;
        assert_eq!(timer.now() - start, Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn never_is_a_sleep_that_can_be_made_and_polled() {
        let timer = SharedTimer::default();
        let never = timer.sleep_until(Timestamp::NEVER);
        let first = tokio::select! {
            biased;
            () = never => "never",
            () = timer.sleep(Duration::from_secs(3600)) => "an hour",
        };
        assert_eq!(first, "an hour");
    }

    #[test]
    fn wall_time_is_after_this_file_was_written() {
        assert!(TokioTimer.wall().as_unix_millis() > 1_750_000_000_000);
    }
}

/// A server keeps its clients in state that all its threads share. A layer that holds a sleep would be barred from there
/// if the sleep were not `Sync`, and every user would need a lock around a service that needs none.
#[test]
fn a_sleep_does_not_bar_what_holds_it_from_shared_state() {
    fn shareable<T: Send + Sync>() {}
    shareable::<super::Sleep>();
}
