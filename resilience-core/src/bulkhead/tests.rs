use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use super::*;
use crate::{Error, Reason, Rejected};

mod changes;
mod disciplines;
#[cfg(feature = "tower")]
mod layer;
mod overload;
mod policy;

type Answer = Result<&'static str, Error<&'static str>>;

fn bulkhead(limit: u32, queue: u32) -> Bulkhead {
    Bulkhead::builder().limit(limit).queue(queue).build().unwrap()
}

fn full(limit: u32, queued: u32) -> Rejected {
    Rejected::new("bulkhead", Reason::Full { limit, queued })
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// Limit, in flight, queued.
fn figures(bulkhead: &Bulkhead) -> (u32, u32, u32) {
    let snapshot = bulkhead.snapshot();
    (snapshot.limit, snapshot.in_flight, snapshot.queued)
}
