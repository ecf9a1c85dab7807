//! Every schedule of two who ask one check.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use super::{Check, Health, Probe, Report, Reporting, Status};
use crate::sync::{Mutex, lock, model};
use crate::time::ManualTimer;

/// Of the standard library, as wakers are.
type Shared<T> = std::sync::Arc<T>;

/// What a check waits for.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn open(&self) {
        let mut gate = lock(&self.0);
        gate.0 = true;
        let waker = gate.1.take();
        drop(gate);
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), &'static str>> {
        let mut gate = lock(&self.0);
        if gate.0 {
            return Poll::Ready(Ok(()));
        }
        gate.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A wake-up, as a flag.
#[derive(Default)]
struct Told(AtomicBool);

impl Wake for Told {
    fn wake(self: Shared<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll(report: &mut Reporting, waker: &Waker) -> Poll<Report> {
    std::pin::Pin::new(report).poll(&mut Context::from_waker(waker))
}

fn health(check: Check) -> Health {
    Health::builder().check(check).timer(ManualTimer::new()).build().unwrap()
}

#[test]
fn loom_two_who_ask_at_once_ask_the_dependency_once() {
    model(|| {
        let runs = Shared::new(AtomicU32::new(0));
        let count = runs.clone();
        let health = health(Check::new("database", move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, &str>(()))
        }));
        let ask = |health: &Health| {
            let mut report = health.report(Probe::All);
            loop {
                match poll(&mut report, Waker::noop()) {
                    Poll::Ready(report) => return report.status,
                    Poll::Pending => thread::yield_now(),
                }
            }
        };
        let other = health.clone();
        let theirs = thread::spawn(move || ask(&other));
        assert_eq!(ask(&health), Status::Up);
        assert_eq!(theirs.join().unwrap(), Status::Up);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_whoever_waits_is_told_though_the_one_who_ran_the_check_has_gone() {
    // The run lies with whoever polled it last. If that one goes with the wake-up in hand, the others wait for ever.
    model(|| {
        let gate = Shared::new(Gate::default());
        let seen = gate.clone();
        let health = health(Check::new("database", move || {
            let gate = seen.clone();
            std::future::poll_fn(move |cx| gate.poll(cx))
        }));
        let told = Shared::new(Told::default());
        let waker = Waker::from(told.clone());
        let mut stays = health.report(Probe::All);
        assert!(poll(&mut stays, &waker).is_pending());
        let mut goes = health.report(Probe::All);
        let leaves = thread::spawn(move || {
            let _ = poll(&mut goes, Waker::noop());
            drop(goes);
        });
        gate.open();
        let mut answer = Poll::Pending;
        if told.0.swap(false, Ordering::SeqCst) {
            answer = poll(&mut stays, &waker);
        }
        leaves.join().unwrap();
        while answer.is_pending() {
            assert!(told.0.swap(false, Ordering::SeqCst), "nobody wakes who waits");
            answer = poll(&mut stays, &waker);
        }
        assert!(answer.map(|report| report.status) == Poll::Ready(Status::Up));
    });
}
