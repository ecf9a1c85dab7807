//! A service of which only so many calls are made in a time.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tower_service::Service;

use super::future::Admission;
use super::{Acquire, RateLimiter, ResponseFuture};
use crate::{Reason, Rejected};

/// Limits the calls in a time; made by [`RateLimiterLayer`](super::RateLimiterLayer).
///
/// A permit is spent by `call` and by nothing else: a service that was ready and is dropped, or never called, costs no
/// permit. Without a `max_wait`, `poll_ready` only looks. With one, it sets a permit apart and waits for it, before it
/// asks whether the inner service is ready: a call that waits here holds nothing of the inner service. A refusal makes it
/// ready at once, and is the answer of the `call` that follows; asked again before that, it tries again. A clone starts
/// with nothing.
#[derive(Debug)]
pub struct RateLimiterService<S> {
    inner: S,
    limiter: RateLimiter,
    admission: Admission,
    /// Whether calls wait: a copy of what the limiter says.
    waits: bool,
    /// The time when it last looked at the clock.
    seen: u64,
}

impl<S> RateLimiterService<S> {
    pub(super) fn new(inner: S, limiter: RateLimiter) -> Self {
        let waits = !limiter.shared.max_wait().is_zero();
        Self { inner, limiter, admission: Admission::Outside, waits, seen: 0 }
    }

    /// Looks, and takes nothing.
    #[inline]
    fn look(&mut self) {
        match self.limiter.would_refuse(self.seen) {
            Some(rejected) => self.admission = Admission::Refused(rejected),
            // Tested first: to write is to drop the old one, on every call.
            None if matches!(self.admission, Admission::Refused(_)) => self.admission = Admission::Outside,
            None => {}
        }
    }

    /// Sets a permit apart, and waits for it.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Admission::Outside | Admission::Refused(_) | Admission::Admitted = self.admission {
            self.admission = Admission::Waiting(Acquire::new(self.limiter.clone(), 1));
        }
        if let Admission::Waiting(acquire) = &mut self.admission {
            self.admission = match ready!(acquire.poll_due(cx)) {
                Ok(reservation) => Admission::Due(reservation),
                Err(rejected) => Admission::Refused(rejected),
            };
        }
        Poll::Ready(())
    }

    /// Spends a permit.
    #[inline]
    fn spend(&mut self) -> Result<(), Rejected> {
        let now = self.limiter.shared.now();
        self.seen = now;
        if self.waits {
            match std::mem::replace(&mut self.admission, Admission::Outside) {
                Admission::Due(reservation) if !reservation.is_stale(now) => {
                    reservation.spend();
                    return Ok(());
                }
                // Told, and counted, when the permit was asked for.
                Admission::Refused(rejected) => return Err(rejected),
                // Kept for too long => given back, and it takes its chance like any newcomer. So does who was called
                // without having been ready, against the contract.
                _ => {}
            }
        }
        match self.limiter.shared.take(now, 1, 0) {
            Ok(_) => {
                self.limiter.shared.note_admitted(1, Duration::ZERO);
                Ok(())
            }
            Err(denied) => self.limiter.shared.deny(denied, 1, Reason::RateLimited),
        }
    }
}

impl<S: Clone> Clone for RateLimiterService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.limiter.clone())
    }
}

impl<S, Req> Service<Req> for RateLimiterService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.waits {
            ready!(self.poll_due(cx));
        } else {
            self.look();
        }
        match self.admission {
            Admission::Refused(_) => Poll::Ready(Ok(())),
            _ => {
                let ready = ready!(self.inner.poll_ready(cx));
                if ready.is_err() {
                    // No call will come that could use the permit.
                    self.admission = Admission::Outside;
                }
                Poll::Ready(ready)
            }
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if !self.waits && matches!(self.admission, Admission::Refused(_)) {
            // The inner service was not asked whether it is ready, and is not called, whatever may be free by now.
            if let Admission::Refused(rejected) = std::mem::replace(&mut self.admission, Admission::Outside) {
                return ResponseFuture::refused(self.limiter.shared.reject(rejected));
            }
        }
        match self.spend() {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request)),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
