use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use testkit::wakes::Task;

use super::{Answer, SECOND, each_second, limited, poll};
use crate::context::Context;
use crate::rate_limit::*;
use crate::time::{ManualTimer, Sleep, Timer, Timestamp, WallTime};
use crate::{Error, Reason, Rejected};

#[test]
fn sixteen_threads_get_no_more_than_the_quota_and_the_burst() {
    // RL1: ten a second and a burst of one, asked every ten milliseconds for a second by sixteen at once.
    let timer = ManualTimer::new();
    let limiter = RateLimiter::builder().quota(10, SECOND).burst(1).timer(timer.clone()).build().unwrap();
    let admitted = AtomicU32::new(0);
    for _ in 0..=100 {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| admitted.fetch_add(limiter.try_acquire().is_ok().into(), Ordering::Relaxed));
            }
        });
        timer.advance(Duration::from_millis(10));
    }
    assert_eq!(admitted.into_inner(), 11);
}

#[test]
fn waiters_are_admitted_in_the_order_of_their_arrival_and_are_not_woken_in_vain() {
    // RL4: waiters that all wake for one permit and race for it starve whoever loses; governor's and
    // tower-resilience's do.
    let (limiter, timer) = each_second(1, Duration::MAX);
    limiter.try_acquire().unwrap();
    let mut waiters: Vec<_> = (0..3).map(|_| Task::new(limiter.acquire())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
    assert_eq!(limiter.snapshot().available, -3);
    for second in 0..3 {
        timer.advance(SECOND - Duration::from_nanos(1));
        assert!(waiters[second..].iter_mut().all(|waiter| waiter.run().is_pending()));
        timer.advance(Duration::from_nanos(1));
        let verdicts: Vec<_> = waiters[second..].iter_mut().map(|waiter| waiter.run().is_ready()).collect();
        assert!(verdicts[0] && !verdicts[1..].contains(&true), "{verdicts:?}");
        assert_eq!(waiters[second].polls(), 2);
    }
}

#[test]
fn a_wait_that_would_be_too_long_is_refused_at_once_with_its_length() {
    // RL5: five seconds to wait and one at most. tower-resilience sleeps for the one, and then does not say how long.
    let (limiter, timer) = each_second(1, SECOND);
    limiter.try_acquire().unwrap();
    assert_eq!(limiter.set_quota(1, 5 * SECOND, 1), Ok(()));
    let before = limiter.snapshot();
    assert_eq!(poll(pin!(limiter.acquire())), Poll::Ready(Err(limited(5 * SECOND))));
    assert_eq!(limiter.snapshot().available, before.available, "a refusal takes nothing");
    assert_eq!(timer.sleepers(), 0);
}

#[test]
fn more_than_the_burst_is_refused_at_once_and_not_waited_for_for_ever() {
    // RL7: there is no time after which six permits fit into five, so the refusal names none.
    let (limiter, _) = each_second(5, Duration::MAX);
    let never = Rejected::new("rate_limit", Reason::RateLimited);
    assert_eq!(poll(pin!(limiter.acquire_n(6))), Poll::Ready(Err(never.clone())));
    assert_eq!(limiter.try_acquire_n(u32::MAX), Err(never));
    assert_eq!(limiter.try_acquire_n(5), Ok(()));
    assert_eq!(limiter.snapshot().available, 0);
}

#[test]
fn a_hundred_clones_share_one_limit() {
    // RL8. The layer's half of it is `a_hundred_connections_share_one_limit`.
    let (limiter, _) = each_second(10, Duration::ZERO);
    let clones = vec![limiter.clone(); 100];
    assert_eq!(clones.iter().filter(|clone| clone.try_acquire().is_ok()).count(), 10);
}

#[test]
fn a_quota_that_changes_keeps_what_was_taken_and_what_waiters_were_told() {
    // RL9: a limit made anew at each change of its quota hands out a fresh burst each time.
    let (limiter, timer) = each_second(10, Duration::MAX);
    limiter.try_acquire_n(8).unwrap();
    limiter.set_quota(1, 60 * SECOND, 12).unwrap();
    assert_eq!(limiter.snapshot().available, 4);
    limiter.try_acquire_n(4).unwrap();
    let mut waiter = Task::new(limiter.acquire());
    assert!(waiter.run().is_pending());
    limiter.set_quota(1000, SECOND, 1000).unwrap();
    timer.advance(59 * SECOND);
    assert!(waiter.run().is_pending());
    timer.advance(SECOND);
    assert_eq!(waiter.run(), Poll::Ready(Ok(())));
    assert_eq!(limiter.set_quota(0, SECOND, 1).unwrap_err().field(), "quota");
}

#[test]
fn resets_and_callers_that_race_in_the_first_second_panic_nowhere() {
    // RL10: pingora-limits subtracts a window from a clock that has not run that long yet. Here the clock starts at its
    // origin and passes the first second while threads take, wait, leave and change the quota.
    let timer = ManualTimer::new();
    let builder = || RateLimiter::builder().quota(10, SECOND).burst(10).timer(timer.clone());
    let limiter = builder().max_wait(SECOND).build().unwrap();
    let keyed = builder().max_keys(8).build_keyed::<u32>().unwrap();
    let (taken, timer) = (AtomicU32::new(0), &timer);
    std::thread::scope(|scope| {
        for thread in 0..16u32 {
            let (limiter, keyed, taken) = (&limiter, &keyed, &taken);
            scope.spawn(move || {
                for round in 0..100u32 {
                    if limiter.try_acquire().is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                    let _ = keyed.try_acquire(&(round % 16));
                    drop(limiter.reserve(1));
                    if round % 10 == thread % 10 {
                        limiter.set_quota(10, SECOND, 10).unwrap();
                        keyed.set_quota(10, SECOND, 10).unwrap();
                    }
                    timer.advance(Duration::from_micros(625)); // sixteen threads, a hundred rounds: a second
                }
            });
        }
    });
    let taken = taken.into_inner();
    assert!(taken <= 20, "{taken} of a burst and a second's quota, whatever was reset");
    assert!(taken >= 1 && limiter.snapshot().available <= 10);
}

#[test]
fn waiters_that_leave_give_back_what_nobody_has_a_place_behind() {
    let (limiter, _) = each_second(1, Duration::MAX);
    limiter.try_acquire().unwrap();
    let mut waiters: Vec<_> = (0..4).map(|_| Some(Box::pin(limiter.acquire()))).collect();
    for waiter in waiters.iter_mut().flatten() {
        assert!(poll(waiter.as_mut()).is_pending());
    }
    waiters[1] = None;
    assert_eq!(limiter.snapshot().available, -4, "those behind keep their times, so this one's is lost");
    waiters[3] = None;
    assert_eq!(limiter.snapshot().available, -3);
    waiters[2] = None;
    assert_eq!(limiter.snapshot().available, -1, "its own, and the one before that nobody could have");
    waiters[0] = None;
    assert_eq!(limiter.snapshot().available, 0);
    assert_eq!(limiter.snapshot().totals, Totals { queued: 4, cancelled: 4, ..Totals::default() });
}

/// A clock that notes whether it is asked under the limiter's lock.
#[derive(Clone, Default)]
struct Looks(ManualTimer, Arc<Mutex<(Option<RateLimiter>, Vec<bool>)>>);

impl Timer for Looks {
    fn now(&self) -> Timestamp {
        let (limiter, free) = &mut *self.1.lock().unwrap();
        free.extend(limiter.as_ref().map(|it| it.shared.left.try_lock().is_ok()));
        self.0.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep::boxed(self.0.sleep_until(at))
    }

    fn wall(&self) -> WallTime {
        self.0.wall()
    }
}

#[test]
fn no_foreign_clock_is_asked_under_the_lock() {
    // It may do what it likes, and log through what the limiter guards.
    let timer = Looks::default();
    let builder = |permits| RateLimiter::builder().quota(permits, SECOND).max_wait(SECOND);
    let foreign: Arc<dyn Timer> = Arc::new(timer.clone());
    let limiter = builder(1).timer(foreign).build().unwrap();
    timer.1.lock().unwrap().0 = Some(limiter.clone());
    limiter.set_quota(2, SECOND, 2).unwrap();
    limiter.reconfigure(builder(3)).unwrap();
    drop(limiter.reserve(3));
    let free = std::mem::take(&mut *timer.1.lock().unwrap()).1;
    assert!(free.len() >= 4 && !free.contains(&false), "{free:?}");
}

#[test]
fn a_reservation_from_before_a_change_of_quota_takes_nothing_from_the_new_one() {
    let (limiter, _) = each_second(1, Duration::MAX);
    let reserved = limiter.reserve(1).unwrap();
    limiter.set_quota(1, SECOND, 2).unwrap();
    drop(reserved);
    assert_eq!(limiter.snapshot().available, 1);
}

#[test]
fn no_wait_is_begun_that_ends_at_or_past_the_deadline() {
    let (limiter, timer) = each_second(1, Duration::MAX);
    limiter.try_acquire().unwrap();
    let at = |after: Duration| Context::new().with_deadline(timer.now() + after);
    let refused = Rejected::new("rate_limit", Reason::Deadline).with_retry_after(SECOND);
    assert_eq!(at(SECOND).run(|| poll(pin!(limiter.acquire()))), Poll::Ready(Err(refused)));
    assert_eq!(limiter.snapshot().totals.deadline, 1);
    assert!(at(SECOND + Duration::from_nanos(1)).run(|| poll(pin!(limiter.acquire()))).is_pending());
}

#[test]
fn a_call_is_not_polled_before_its_permit_is_due() {
    let (limiter, timer) = each_second(1, SECOND);
    limiter.try_acquire().unwrap();
    let mut call = Box::pin(limiter.call(ready(Answer::Ok("done"))));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(SECOND);
    assert_eq!(poll(call.as_mut()), Poll::Ready(Ok("done")));
    assert_eq!(poll(pin!(limiter.call(pending::<Answer>()))), Poll::Pending);
    let refused: Error<&str> = limited(2 * SECOND).into();
    let waits = limiter.reserve(1).unwrap();
    assert_eq!(waits.wait(), SECOND);
    assert_eq!(poll(pin!(limiter.call(ready(Answer::Ok("done"))))), Poll::Ready(Err(refused)));
}

#[tokio::test(start_paused = true)]
async fn tokios_paused_clock_drives_the_waits() {
    let limiter = RateLimiter::builder().quota(10, SECOND).burst(1).max_wait(SECOND).build().unwrap();
    let start = limiter.shared.config().timer.now();
    for _ in 0..5 {
        limiter.acquire().await.unwrap();
    }
    let took = limiter.shared.config().timer.now() - start;
    assert!(took >= 400 * Duration::from_millis(1) && took < 410 * Duration::from_millis(1), "{took:?}");
}

#[test]
fn the_builder_names_what_is_wrong() {
    let field = |builder: RateLimiterBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(field(RateLimiter::builder()), "quota must be set");
    assert_eq!(field(RateLimiter::builder().quota(1, SECOND).burst(0)), "burst must be above zero");
    let keyed = || RateLimiter::builder().quota(1, SECOND);
    assert_eq!(keyed().max_keys(0).build_keyed::<u32>().unwrap_err().field(), "max_keys");
    assert_eq!(keyed().max_wait(SECOND).build_keyed::<u32>().unwrap_err().field(), "max_wait");
}

#[test]
fn a_clock_that_stands_still_or_runs_out_breaks_nothing() {
    let (limiter, timer) = each_second(2, Duration::MAX);
    limiter.try_acquire_n(2).unwrap();
    assert!(limiter.try_acquire().is_err());
    timer.advance(Duration::MAX);
    let _ = (limiter.try_acquire(), limiter.snapshot(), poll(Pin::new(&mut limiter.acquire())));
}
