//! Every schedule of two threads around one flight.

use std::task::{Context, Poll, Waker};

use loom::thread;

use super::{Flights, Joined, Turn};
use crate::sync::{Arc, Mutex, lock, model};

type Lines = Flights<u8, u32>;

/// What is kept, and how often it was fetched.
#[derive(Clone)]
struct Backend(Arc<Mutex<(Option<u32>, u32)>>);

impl Backend {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((None, 0))))
    }

    fn kept(&self) -> Option<u32> {
        lock(&self.0).0
    }

    fn fetch(&self) -> u32 {
        let mut held = lock(&self.0);
        held.1 += 1;
        held.1
    }

    fn keep(&self, outcome: u32) {
        lock(&self.0).0 = Some(outcome);
    }

    fn fetched(&self) -> u32 {
        lock(&self.0).1
    }
}

/// Asks as a caller does, waiting by asking again.
fn ask(flights: &Lines, backend: &Backend) -> u32 {
    let mut joined = flights.join(&1, Waker::noop(), || backend.kept());
    loop {
        match joined {
            Joined::Landed(outcome) => return outcome,
            Joined::Leader(leader) => {
                let outcome = backend.fetch();
                leader.land(outcome, |_| backend.keep(outcome));
                return outcome;
            }
            Joined::Waiter(waiter) => match waiter.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Turn::Landed(outcome)) => return outcome,
                Poll::Ready(Turn::Lead(leader)) => joined = Joined::Leader(leader),
                Poll::Pending => {
                    thread::yield_now();
                    joined = Joined::Waiter(waiter);
                }
            },
        }
    }
}

#[test]
fn loom_two_who_ask_at_once_fetch_once() {
    // CC2, and the gap between a look at the store and the flight: what landed in it is not fetched again.
    model(|| {
        let (flights, backend): (Lines, _) = (Flights::new(), Backend::new());
        let theirs = {
            let (flights, backend) = (flights.clone(), backend.clone());
            thread::spawn(move || ask(&flights, &backend))
        };
        let ours = ask(&flights, &backend);
        assert_eq!((ours, theirs.join().unwrap(), backend.fetched()), (1, 1, 1));
        assert_eq!(flights.len(), 0);
    });
}

#[test]
fn loom_a_leader_that_goes_is_followed_by_who_waits() {
    // CC5: whichever of them leads, and whenever the leader goes, the other gets an answer and nothing is left behind.
    model(|| {
        let (flights, backend): (Lines, _) = (Flights::new(), Backend::new());
        let Joined::Leader(leader) = flights.join(&1, Waker::noop(), || None) else { panic!("nobody else is there") };
        let theirs = {
            let (flights, backend) = (flights.clone(), backend.clone());
            thread::spawn(move || ask(&flights, &backend))
        };
        drop(leader);
        assert_eq!((theirs.join().unwrap(), backend.fetched(), flights.len()), (1, 1, 0));
    });
}

#[test]
fn loom_whoever_waits_is_woken_when_both_before_him_go() {
    // The leader goes and so does the one who is woken to follow: the last one must not be left asleep.
    model(|| {
        let flights: Lines = Flights::new();
        let woken = std::sync::Arc::new(Told(loom::sync::atomic::AtomicBool::new(false)));
        let Joined::Leader(leader) = flights.join(&1, Waker::noop(), || None) else { panic!("nobody else is there") };
        let Joined::Waiter(second) = flights.join(&1, Waker::noop(), || None) else { panic!("there is a leader") };
        let waker = told(&woken);
        let Joined::Waiter(third) = flights.join(&1, &waker, || None) else { panic!("there is a leader") };
        let goes = thread::spawn(move || drop(leader));
        drop(second);
        goes.join().unwrap();
        assert!(woken.0.load(loom::sync::atomic::Ordering::SeqCst), "left asleep");
        let turn = third.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(turn, Poll::Ready(Turn::Lead(_))));
        drop((turn, third));
        assert_eq!(flights.len(), 0);
    });
}

#[test]
fn loom_what_was_asked_for_before_an_invalidation_is_not_kept_after_it() {
    model(|| {
        let (flights, backend): (Lines, _) = (Flights::new(), Backend::new());
        let theirs = {
            let (flights, backend) = (flights.clone(), backend.clone());
            thread::spawn(move || {
                let Joined::Leader(leader) = flights.join(&1, Waker::noop(), || None) else { return };
                // Reads before, or after, the change below.
                let outcome = backend.fetched();
                leader.land(outcome, |_| backend.keep(outcome));
            })
        };
        backend.fetch();
        flights.overtake(&1, || lock(&backend.0).0 = None);
        theirs.join().unwrap();
        assert_ne!(backend.kept(), Some(0), "the older answer outlived the invalidation");
    });
}

struct Told(loom::sync::atomic::AtomicBool);

impl std::task::Wake for Told {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, loom::sync::atomic::Ordering::SeqCst);
    }
}

fn told(told: &std::sync::Arc<Told>) -> Waker {
    Waker::from(told.clone())
}
