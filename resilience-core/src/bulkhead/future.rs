//! Waiting for a permit, and running with one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::machine::Place;
use super::shared::Entry;
use super::{Bulkhead, Permit};
use crate::time::{Sleep, Timestamp};
use crate::{Reason, Rejected};

/// A permit to come; made by [`Bulkhead::acquire`]. It may be dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    bulkhead: Bulkhead,
    waiting: Option<Waiting>,
}

struct Waiting {
    place: Place,
    /// When the wait is over, and why; boxed because a waiting service is not pinned, and most waits have no end.
    until: Option<(Pin<Box<Sleep>>, Reason)>,
    /// When it began, if somebody listens.
    since: Option<Timestamp>,
}

impl Acquire {
    pub(super) fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead, waiting: None }
    }

    /// Waits at a place that was just taken.
    #[cfg(feature = "tower")]
    pub(super) fn queued(bulkhead: Bulkhead, place: Place) -> Self {
        let mut acquire = Self::new(bulkhead);
        acquire.wait_at(place);
        acquire
    }

    fn wait_at(&mut self, place: Place) {
        // From here on the place is given up when this is dropped, even if a timer or a listener panics below.
        let waiting = self.waiting.insert(Waiting { place, until: None, since: None });
        let shared = &self.bulkhead.shared;
        waiting.since = shared.note_queued();
        waiting.until =
            shared.longest_wait().map(|(at, reason)| (Box::pin(shared.config().timer.sleep_until(at)), reason));
    }
}

impl Future for Acquire {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.waiting.is_none() {
            match this.bulkhead.shared.enter(cx.waker()) {
                Entry::Admitted => return Poll::Ready(Ok(this.bulkhead.permit(None))),
                Entry::Full(word) => return Poll::Ready(Err(this.bulkhead.shared.refuse_full(word))),
                Entry::Queued(place) => this.wait_at(place),
            }
        }
        let Some(waiting) = &mut this.waiting else { return Poll::Pending };
        let mut end = None;
        if !this.bulkhead.shared.served(&waiting.place, cx.waker()) {
            match &mut waiting.until {
                Some((sleep, reason)) => {
                    ready!(sleep.as_mut().poll(cx));
                    end = Some(*reason);
                }
                None => return Poll::Pending,
            }
        }
        let Some(Waiting { place, since, .. }) = this.waiting.take() else { return Poll::Pending };
        // Served between the look and the end => the slot is there, and it would be a waste not to use it.
        let served = this.bulkhead.shared.leave(place);
        Poll::Ready(match end {
            Some(reason) if !served => Err(this.bulkhead.shared.refuse(reason)),
            _ => Ok(this.bulkhead.permit(since)),
        })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(Waiting { place, .. }) = self.waiting.take() {
            // Served, but gone before it could collect => the next one is served.
            if self.bulkhead.shared.leave(place) {
                self.bulkhead.shared.release();
            }
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("bulkhead", self.bulkhead.name())
            .field("waiting", &self.waiting.is_some())
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
    /// It has its permit.
    #[allow(dead_code)] // Without services nobody moves it on: it is there to be dropped.
    Admitted(Permit),
    /// It was refused.
    Refused(Rejected),
}

impl From<Result<Permit, Rejected>> for Admission {
    fn from(result: Result<Permit, Rejected>) -> Self {
        match result {
            Ok(permit) => Self::Admitted(permit),
            Err(rejected) => Self::Refused(rejected),
        }
    }
}

pin_project! {
    /// The answer of a [`BulkheadService`](super::BulkheadService) or of [`Bulkhead::call`].
    ///
    /// When the answer is there, or this is dropped, the call is dropped first and its permit is given back then.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // Declared, and so dropped, before the permit: what the call holds is free when the next one starts.
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
    pub(super) fn admitted(inner: F, permit: Permit) -> Self {
        Self { inner: Some(inner), admission: Admission::Admitted(permit) }
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
            *this.admission = ready!(Pin::new(acquire).poll(cx)).into();
        }
        if let (Admission::Admitted(_), Some(inner)) = (&*this.admission, this.inner.as_mut().as_pin_mut()) {
            let answer = ready!(inner.poll(cx));
            this.inner.set(None);
            *this.admission = Admission::Outside;
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
