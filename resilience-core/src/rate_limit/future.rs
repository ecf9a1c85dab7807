//! Waiting for permits, and running with one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::{RateLimiter, Reservation};
use crate::Rejected;
use crate::time::Sleep;

/// Permits to come; made by [`RateLimiter::acquire`]. It may be dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    limiter: RateLimiter,
    permits: u32,
    waiting: Option<Waiting>,
}

struct Waiting {
    reservation: Reservation,
    /// Boxed because a waiting service is not pinned.
    sleep: Sleep,
}

impl Acquire {
    pub(super) fn new(limiter: RateLimiter, permits: u32) -> Self {
        Self { limiter, permits, waiting: None }
    }

    /// The reservation once it is due. Nothing is spent yet.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reservation, Rejected>> {
        if self.waiting.is_none() {
            let reservation = match self.limiter.reserve(self.permits) {
                Ok(reservation) if reservation.wait() == Duration::ZERO => return Poll::Ready(Ok(reservation)),
                Ok(reservation) => reservation,
                Err(rejected) => return Poll::Ready(Err(rejected)),
            };
            self.limiter.shared.note_queued(self.permits, reservation.wait());
            let sleep = self.limiter.shared.config().timer.sleep_until(reservation.due_at());
            self.waiting = Some(Waiting { reservation, sleep });
        }
        if let Some(waiting) = &mut self.waiting {
            ready!(Pin::new(&mut waiting.sleep).poll(cx));
        }
        match self.waiting.take() {
            Some(waiting) => Poll::Ready(Ok(waiting.reservation)),
            None => Poll::Pending,
        }
    }
}

impl Future for Acquire {
    type Output = Result<(), Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_due(cx).map_ok(Reservation::spend)
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("limiter", self.limiter.name())
            .field("permits", &self.permits)
            .field("reservation", &self.waiting.as_ref().map(|waiting| &waiting.reservation))
            .finish()
    }
}

/// How far a call has come on its way in.
#[derive(Debug)]
pub(super) enum Admission {
    /// It has not asked, or has been let out again.
    Outside,
    /// It waits for its permit.
    Waiting(Acquire),
    /// Its permit is due, and not spent yet.
    #[allow(dead_code)] // Only services get ready before they are called.
    Due(Reservation),
    /// It runs.
    Admitted,
    /// It was refused.
    Refused(Rejected),
}

pin_project! {
    /// The answer of a [`RateLimiterService`](super::RateLimiterService) or of [`RateLimiter::call`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Option<F>,
        admission: Admission,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn acquiring(inner: F, acquire: Acquire) -> Self {
        Self { inner: Some(inner), admission: Admission::Waiting(acquire) }
    }

    #[cfg(feature = "tower")]
    #[inline]
    pub(super) fn admitted(inner: F) -> Self {
        Self { inner: Some(inner), admission: Admission::Admitted }
    }

    #[cfg(feature = "tower")]
    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { inner: None, admission: Admission::Refused(rejected) }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Admission::Waiting(acquire) = this.admission {
            *this.admission = match ready!(Pin::new(acquire).poll(cx)) {
                Ok(()) => Admission::Admitted,
                Err(rejected) => Admission::Refused(rejected),
            };
        }
        if let (Admission::Admitted, Some(inner)) = (&*this.admission, this.inner.as_mut().as_pin_mut()) {
            let answer = ready!(inner.poll(cx));
            // What the call holds is let go of before its answer is read.
            this.inner.set(None);
            return Poll::Ready(answer);
        }
        match std::mem::replace(this.admission, Admission::Outside) {
            Admission::Refused(rejected) => {
                this.inner.set(None);
                Poll::Ready(Err(rejected.into()))
            }
            _ => panic!("a future is not polled after it is done"),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("admission", &self.admission).finish_non_exhaustive()
    }
}
