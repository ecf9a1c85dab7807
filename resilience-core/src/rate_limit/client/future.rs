//! Waiting for a token, and a call that has one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::policy::ClientRateLimiter;
use crate::Rejected;
use crate::time::{Sleep, Timestamp};

/// A token to come; made by [`ClientRateLimiter::acquire`]. It may be dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    limiter: ClientRateLimiter,
    waiting: Option<(Timestamp, Sleep)>,
}

impl Acquire {
    pub(super) const fn new(limiter: ClientRateLimiter) -> Self {
        Self { limiter, waiting: None }
    }
}

impl Future for Acquire {
    type Output = Result<(), Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = &mut *self;
            if let Some((_, sleep)) = &mut this.waiting {
                ready!(Pin::new(sleep).poll(cx));
            }
            let since = this.waiting.as_ref().map(|(since, _)| *since);
            match this.limiter.shared.take(since) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(Err(rejected)) => return Poll::Ready(Err(rejected)),
                Err(Ok(due)) => {
                    let timer = &this.limiter.shared.timer;
                    this.waiting = Some((since.unwrap_or_else(|| timer.now()), timer.sleep_until(due)));
                }
            }
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("limiter", self.limiter.name())
            .field("waits", &self.waiting.is_some())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a [`ClientRateLimiterService`](super::ClientRateLimiterService). Dropped before the answer, the call
    /// says nothing about the server's rate.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, T> {
        #[pin]
        call: Call<F, T>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F, T> {
        Admitted { #[pin] inner: F, limiter: ClientRateLimiter, cuts: u32, is_throttled: T },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F, T> ResponseFuture<F, T> {
    #[cfg(feature = "tower")]
    pub(super) const fn admitted(inner: F, limiter: ClientRateLimiter, cuts: u32, is_throttled: T) -> Self {
        Self { call: Call::Admitted { inner, limiter, cuts, is_throttled } }
    }

    #[cfg(feature = "tower")]
    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { call: Call::Refused { rejected: Some(rejected) } }
    }
}

impl<F, T, R, E> Future for ResponseFuture<F, T>
where
    F: Future<Output = Result<R, E>>,
    T: Fn(&Result<R, E>) -> bool,
    E: From<Rejected>,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Admitted { inner, limiter, cuts, is_throttled } => {
                let polled = inner.poll(cx);
                if let Poll::Ready(answer) = &polled {
                    limiter.answer(is_throttled(answer), *cuts);
                }
                polled
            }
            CallProjection::Refused { rejected } => {
                let rejected = rejected.take().expect("a future is not polled after it is done");
                Poll::Ready(Err(rejected.into()))
            }
        }
    }
}

impl<F, T> fmt::Debug for ResponseFuture<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_refused = matches!(self.call, Call::Refused { .. });
        f.debug_struct("client::ResponseFuture").field("refused", &is_refused).finish_non_exhaustive()
    }
}
