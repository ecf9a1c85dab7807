//! Every schedule of two threads around the word.

use std::time::Duration;

use loom::thread;

use super::RateLimiter;
use crate::sync::model;
use crate::time::ManualTimer;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(burst: u32) -> RateLimiter {
    let builder = RateLimiter::builder().quota(1, SECOND).burst(burst).max_wait(Duration::MAX);
    builder.timer(ManualTimer::new()).build().unwrap()
}

#[test]
fn loom_one_permit_is_given_once() {
    model(|| {
        let limiter = limiter(1);
        let other = limiter.clone();
        let theirs = thread::spawn(move || other.try_acquire().is_ok());
        let ours = limiter.try_acquire().is_ok();
        assert!(ours ^ theirs.join().unwrap());
    });
}

#[test]
fn loom_two_waiters_have_two_times() {
    model(|| {
        let limiter = limiter(1);
        let other = limiter.clone();
        let wait = |limiter: &RateLimiter| {
            let reserved = limiter.reserve(1).unwrap();
            let wait = reserved.wait();
            reserved.spend();
            wait
        };
        let theirs = thread::spawn(move || wait(&other));
        let mut waits = [wait(&limiter), theirs.join().unwrap()];
        waits.sort();
        assert_eq!(waits, [Duration::ZERO, SECOND]);
    });
}

#[test]
fn loom_reservations_that_are_dropped_in_any_order_leave_the_limiter_as_it_was() {
    model(|| {
        let limiter = limiter(3);
        let other = limiter.clone();
        let theirs = thread::spawn(move || drop(other.reserve(1)));
        drop(limiter.reserve(2));
        theirs.join().unwrap();
        assert_eq!(limiter.snapshot().available, 3);
    });
}

#[test]
fn loom_a_permit_taken_while_the_quota_changes_is_counted_under_the_new_one() {
    model(|| {
        let limiter = limiter(2);
        let other = limiter.clone();
        let change = thread::spawn(move || other.set_quota(1, 7 * SECOND, 5).unwrap());
        limiter.try_acquire().unwrap();
        change.join().unwrap();
        let snapshot = limiter.snapshot();
        assert_eq!((snapshot.interval, snapshot.available), (7 * SECOND, 4));
    });
}

#[test]
fn loom_of_two_changes_at_once_one_wins_as_a_whole() {
    model(|| {
        let limiter = limiter(1);
        let set = |limiter: &RateLimiter, seconds: u32, dry_run: bool| {
            let builder = RateLimiter::builder().quota(1, seconds * SECOND).max_wait(seconds * SECOND);
            limiter.reconfigure(builder.dry_run(dry_run).timer(ManualTimer::new())).unwrap();
        };
        let other = limiter.clone();
        let thread = thread::spawn(move || set(&other, 2, true));
        set(&limiter, 3, false);
        thread.join().unwrap();
        let interval = limiter.snapshot().interval;
        assert_eq!((limiter.shared.max_wait(), limiter.shared.is_dry_run()), (interval, interval == 2 * SECOND));
    });
}
