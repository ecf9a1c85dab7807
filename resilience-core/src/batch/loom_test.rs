//! Every schedule of two callers around one batch.

use std::task::{Context, Poll, Waker};

use loom::thread;

use super::{Answers, Batch, Batched, Dispatch, Unanswered};
use crate::Rejected;
use crate::sync::model;
use crate::time::ManualTimer;

#[derive(Clone, Debug, PartialEq)]
struct Failed;

impl From<Rejected> for Failed {
    fn from(_: Rejected) -> Self {
        Self
    }
}

impl From<Unanswered> for Failed {
    fn from(_: Unanswered) -> Self {
        Self
    }
}

fn twice(requests: Vec<u32>) -> std::future::Ready<Answers<u32, Failed>> {
    std::future::ready(Ok(requests.into_iter().map(|request| Ok(2 * request)).collect()))
}

fn pairs() -> Batch {
    Batch::builder().size(2).timer(ManualTimer::new()).build().unwrap()
}

/// Waits by asking again.
fn wait<D: Dispatch<u32, Answer = u32, Error = Failed>>(calls: &Batched<u32, D>, request: u32) -> Result<u32, Failed> {
    let mut call = calls.call(request);
    loop {
        match std::pin::Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::yield_now(),
        }
    }
}

#[test]
fn loom_two_callers_are_one_batch_and_each_has_its_answer() {
    model(|| {
        let batch = pairs();
        let calls = batch.over(twice);
        let theirs = {
            let calls = calls.clone();
            thread::spawn(move || wait(&calls, 2))
        };
        assert_eq!(wait(&calls, 1), Ok(2));
        assert_eq!(theirs.join().unwrap(), Ok(4));
        assert_eq!((batch.snapshot().batches, batch.snapshot().waiting), (1, 0));
    });
}

#[test]
fn loom_a_caller_that_leaves_is_in_the_batch_or_out_of_it() {
    model(|| {
        let batch = pairs();
        let calls = batch.over(twice);
        let mut leaves = calls.call(1);
        let polled = std::pin::Pin::new(&mut leaves).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        let theirs = {
            let calls = calls.clone();
            thread::spawn(move || {
                let mut call = calls.call(2);
                let polled = std::pin::Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()));
                (call, polled)
            })
        };
        drop(leaves);
        let (mut call, polled) = theirs.join().unwrap();
        match polled {
            // It filled the batch, with the one who left or before it left.
            Poll::Ready(answer) => assert_eq!(answer, Ok(4)),
            // It has a batch of its own, which a third fills.
            Poll::Pending => {
                assert_eq!(wait(&calls, 3), Ok(6));
                let polled = std::pin::Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()));
                assert_eq!(polled, Poll::Ready(Ok(4)));
            }
        }
        drop(call);
        assert_eq!(batch.snapshot().waiting, 0);
    });
}

#[test]
fn loom_a_batch_that_makes_way_for_another_is_sent_by_who_waits_or_gone_with_him() {
    // Of one key only may a batch be open. The driver of the one that has to go may be looking at it, or leaving it.
    let keyed = |keys| {
        let batch = Batch::builder().size(2).keys(keys).timer(ManualTimer::new()).build().unwrap();
        batch.over_groups(twice, |request: &u32| *request, super::Alike)
    };
    for leaves in [false, true] {
        model(move || {
            let calls = keyed(1);
            let mut first = calls.call(1);
            let mut poll = || std::pin::Pin::new(&mut first).poll(&mut Context::from_waker(Waker::noop()));
            assert!(poll().is_pending());
            let theirs = {
                let calls = calls.clone();
                thread::spawn(move || {
                    let mut second = calls.call(2);
                    let polled = std::pin::Pin::new(&mut second).poll(&mut Context::from_waker(Waker::noop()));
                    assert!(polled.is_pending());
                    second
                })
            };
            let polled = poll();
            if leaves {
                drop(first);
            } else if polled.is_pending() {
                let second = theirs.join().unwrap();
                assert_eq!(poll(), Poll::Ready(Ok(2)), "it had to go");
                drop((second, first));
                assert_eq!(calls.batch().snapshot().waiting, 0);
                return;
            }
            drop(theirs.join().unwrap());
            assert!(format!("{calls:?}").contains("open: 0"), "{calls:?}");
        });
    }
}
