//! Every schedule of two threads around the word and the queue.
//!
//! No model blocks: a waiter that was not served is polled again once all is over, and must then have been woken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::{Acquire, Bulkhead, Discipline, Permit};
use crate::context::{Context as CallContext, Criticality};
use crate::time::ManualTimer;
use crate::{Reason, Rejected};

fn bulkhead(limit: u32, queue: u32) -> Bulkhead {
    Bulkhead::builder().limit(limit).queue(queue).timer(ManualTimer::new()).build().unwrap()
}

/// A waiter that notes whether it was called.
struct Waiter {
    acquire: Acquire,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Waiter {
    fn new(bulkhead: &Bulkhead) -> Self {
        Self { acquire: bulkhead.acquire(), woken: Arc::new(Woken(AtomicBool::new(false))) }
    }

    fn poll(&mut self) -> Option<Permit> {
        let waker = Waker::from(self.woken.clone());
        match Pin::new(&mut self.acquire).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(permit) => Some(permit.expect("there is a place for everybody")),
            Poll::Pending => None,
        }
    }

    /// The permit that must be there now, without a call having been lost.
    fn collect(mut self) -> Permit {
        assert!(self.woken.0.load(Ordering::Acquire), "served, but not woken");
        self.poll().expect("woken, but not served")
    }
}

fn poll(acquire: &mut Acquire) -> Poll<Result<Permit, Rejected>> {
    Pin::new(acquire).poll(&mut Context::from_waker(Waker::noop()))
}

/// With a discipline, and a timer that stands.
fn ordered(queue: u32, discipline: Discipline) -> (Bulkhead, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = Bulkhead::builder().limit(1).queue(queue).discipline(discipline).timer(timer.clone());
    (builder.build().unwrap(), timer)
}

fn assert_idle(bulkhead: &Bulkhead) {
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0));
}

#[test]
fn loom_no_wake_up_is_lost_between_release_and_enqueue() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 1);
        let held = bulkhead.try_acquire().unwrap();
        let release = thread::spawn(move || drop(held));
        let mut waiter = Waiter::new(&bulkhead);
        let permit = waiter.poll();
        release.join().unwrap();
        drop(permit.unwrap_or_else(|| waiter.collect()));
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_a_slot_given_to_a_waiter_that_leaves_goes_to_the_next() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 2);
        let held = bulkhead.try_acquire().unwrap();
        let (mut leaves, mut stays) = (Waiter::new(&bulkhead), Waiter::new(&bulkhead));
        assert!(leaves.poll().is_none() && stays.poll().is_none());
        let cancel = thread::spawn(move || drop(leaves));
        drop(held);
        cancel.join().unwrap();
        drop(stays.collect());
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_nobody_overtakes_a_waiter_and_nobody_shares_its_slot() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 1);
        let held = bulkhead.try_acquire().unwrap();
        let mut waiter = Waiter::new(&bulkhead);
        assert!(waiter.poll().is_none());
        let newcomer = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || assert!(bulkhead.try_acquire().is_err(), "a newcomer overtook a waiter"))
        };
        drop(held);
        newcomer.join().unwrap();
        drop(waiter.collect());
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_what_one_holder_did_is_visible_to_the_next() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 1);
        // Loom fails the model if two accesses to this cell are not ordered by the permit.
        let guarded = Arc::new(UnsafeCell::new(0));
        let other = {
            let (bulkhead, guarded) = (bulkhead.clone(), guarded.clone());
            thread::spawn(move || {
                if let Ok(_permit) = bulkhead.try_acquire() {
                    guarded.with_mut(|_| ());
                }
            })
        };
        let mut waiter = Waiter::new(&bulkhead);
        let permit = waiter.poll();
        if permit.is_some() {
            guarded.with_mut(|_| ());
        }
        drop(permit);
        other.join().unwrap();
        drop(waiter);
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_a_handed_over_slot_brings_what_its_last_holder_did() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 1);
        let guarded = Arc::new(UnsafeCell::new(0));
        let held = bulkhead.try_acquire().unwrap();
        let mut waiter = Waiter::new(&bulkhead);
        assert!(waiter.poll().is_none());
        let holder = {
            let guarded = guarded.clone();
            thread::spawn(move || {
                guarded.with_mut(|_| ());
                drop(held);
            })
        };
        if let Some(permit) = waiter.poll() {
            guarded.with_mut(|_| ());
            drop(permit);
        }
        holder.join().unwrap();
        drop(waiter);
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_a_slot_given_while_the_wait_ends_is_taken_or_freed_and_never_lost() {
    loom::model(|| {
        let (timer, wait) = (ManualTimer::new(), Duration::from_secs(1));
        let bulkhead = Bulkhead::builder().limit(1).queue(1).max_wait(wait).timer(timer.clone()).build().unwrap();
        let held = bulkhead.try_acquire().unwrap();
        let mut acquire = bulkhead.acquire();
        assert!(poll(&mut acquire).is_pending());
        timer.advance(wait);
        let release = thread::spawn(move || drop(held));
        match poll(&mut acquire) {
            Poll::Ready(Ok(permit)) => drop(permit),
            Poll::Ready(Err(refused)) => assert_eq!(refused, Rejected::new("bulkhead", Reason::QueueTimeout)),
            Poll::Pending => panic!("the wait is over"),
        }
        release.join().unwrap();
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_a_limit_raised_beside_a_release_serves_every_waiter_that_fits() {
    loom::model(|| {
        let bulkhead = bulkhead(1, 2);
        let held = bulkhead.try_acquire().unwrap();
        let (mut first, mut second) = (Waiter::new(&bulkhead), Waiter::new(&bulkhead));
        assert!(first.poll().is_none() && second.poll().is_none());
        let raise = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.resize(2).unwrap())
        };
        drop(held);
        raise.join().unwrap();
        let both = (first.collect(), second.collect());
        assert_eq!(bulkhead.snapshot().in_flight, 2);
        drop(both);
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_no_newcomer_slips_past_a_limit_that_was_lowered() {
    loom::model(|| {
        let bulkhead = bulkhead(2, 0);
        let _held = bulkhead.try_acquire().unwrap();
        let newcomer = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.try_acquire().ok())
        };
        bulkhead.resize(1).unwrap();
        let before = bulkhead.snapshot().in_flight;
        let late = bulkhead.try_acquire();
        assert!(late.is_err(), "admitted above the limit");
        let permit = newcomer.join().unwrap();
        // Whoever was not in when the limit fell did not get in afterwards.
        assert_eq!(before, 1 + u32::from(permit.is_some()));
    });
}

// Contexts are the thread's, and loom runs its threads on one: they are only set where nothing else runs.

#[test]
fn loom_a_waiter_is_served_or_displaced_and_whoever_displaces_it_gets_the_slot() {
    loom::model(|| {
        let (bulkhead, _) = ordered(1, Discipline::priority());
        let held = bulkhead.try_acquire().unwrap();
        let sheddable = CallContext::new().with_criticality(Criticality::Sheddable);
        let mut lesser = Waiter::new(&bulkhead);
        assert!(sheddable.run(|| lesser.poll()).is_none());
        let release = thread::spawn(move || drop(held));
        let mut greater = Waiter::new(&bulkhead);
        let permit = greater.poll();
        release.join().unwrap();
        assert!(lesser.woken.0.load(Ordering::Acquire), "neither served nor told");
        match poll(&mut lesser.acquire) {
            // Served first => the other one waits, or came after it had been served and found its place.
            Poll::Ready(Ok(own)) => {
                assert!(permit.is_none(), "two in one slot");
                drop(own);
                drop(greater.collect());
            }
            Poll::Ready(Err(refused)) => {
                assert_eq!(refused.reason(), Reason::Displaced);
                drop(permit.unwrap_or_else(|| greater.collect()));
            }
            Poll::Pending => panic!("woken for nothing"),
        }
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_a_slot_passes_those_who_are_given_up_whether_they_leave_meanwhile_or_not() {
    loom::model(|| {
        let (bulkhead, timer) = ordered(2, Discipline::deadline_first());
        let held = bulkhead.try_acquire().unwrap();
        let late = CallContext::new().with_deadline(crate::time::Timer::now(&timer));
        let mut stays = Waiter::new(&bulkhead);
        // A place by itself: a future would be refused by its own timer at once.
        let place = late.run(|| match bulkhead.shared.enter(Waker::noop()) {
            super::shared::Entry::Queued(taken, _) => taken.place,
            _ => panic!("there is a place"),
        });
        assert!(stays.poll().is_none());
        let cancel = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || match bulkhead.shared.leave(place) {
                super::machine::Left::Served => panic!("served after its deadline"),
                super::machine::Left::GivenUp(reason) => assert_eq!(reason, Reason::Deadline),
                super::machine::Left::Waiting(_) => {}
            })
        };
        drop(held);
        cancel.join().unwrap();
        drop(stays.collect());
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_whoever_comes_while_a_lesser_one_leaves_a_full_queue_finds_a_place() {
    loom::model(|| {
        let (bulkhead, _) = ordered(1, Discipline::priority());
        let held = bulkhead.try_acquire().unwrap();
        let sheddable = CallContext::new().with_criticality(Criticality::Sheddable);
        let mut lesser = Waiter::new(&bulkhead);
        assert!(sheddable.run(|| lesser.poll()).is_none());
        // The waiter leaves while another takes or displaces its place.
        let cancel = thread::spawn(move || drop(lesser));
        let mut greater = Waiter::new(&bulkhead);
        let waits = poll(&mut greater.acquire);
        cancel.join().unwrap();
        assert!(waits.is_pending(), "there was a place, or somebody to displace");
        drop(held);
        assert!(matches!(poll(&mut greater.acquire), Poll::Ready(Ok(_))), "the slot was lost");
        assert_idle(&bulkhead);
    });
}

#[test]
fn loom_a_limit_raised_beside_a_release_finds_who_is_wanted_behind_who_is_given_up() {
    loom::model(|| {
        let (bulkhead, timer) = ordered(2, Discipline::deadline_first());
        let held = bulkhead.try_acquire().unwrap();
        let late = CallContext::new().with_deadline(crate::time::Timer::now(&timer));
        let mut stays = Waiter::new(&bulkhead);
        let place = late.run(|| match bulkhead.shared.enter(Waker::noop()) {
            super::shared::Entry::Queued(taken, _) => taken.place,
            _ => panic!("there is a place"),
        });
        assert!(stays.poll().is_none());
        let raise = {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || bulkhead.resize(2).unwrap())
        };
        drop(held);
        raise.join().unwrap();
        assert!(matches!(bulkhead.shared.leave(place), super::machine::Left::GivenUp(Reason::Deadline)));
        let permit = stays.collect();
        assert_eq!(bulkhead.snapshot().in_flight, 1);
        drop(permit);
        assert_idle(&bulkhead);
    });
}
