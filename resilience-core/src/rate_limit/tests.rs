use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::time::ManualTimer;
use crate::{Error, Reason, Rejected};

mod keyed;
#[cfg(feature = "tower")]
mod layer;
mod policy;

type Answer = Result<&'static str, Error<&'static str>>;

const SECOND: Duration = Duration::from_secs(1);

/// One permit a second, `burst` at once.
fn each_second(burst: u32, max_wait: Duration) -> (RateLimiter, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = RateLimiter::builder().quota(1, SECOND).burst(burst).max_wait(max_wait);
    (builder.timer(timer.clone()).build().unwrap(), timer)
}

fn limited(after: Duration) -> Rejected {
    Rejected::new("rate_limit", Reason::RateLimited).with_retry_after(after)
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}
