//! A service of which only so many calls run at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::future::Admission;
use super::shared::Entry;
use super::{Acquire, Bulkhead, ResponseFuture};
use crate::Rejected;

/// Limits the calls that run at once; made by [`BulkheadLayer`](super::BulkheadLayer).
///
/// It waits for its permit in `poll_ready`, before it asks whether the inner service is ready: a call in the queue
/// holds nothing of the inner service. A refusal makes it ready at once, and is the answer of the `call` that follows;
/// asked again before that, it tries again. A clone starts with neither permit nor place.
#[derive(Debug)]
pub struct BulkheadService<S> {
    inner: S,
    bulkhead: Bulkhead,
    admission: Admission,
}

impl<S> BulkheadService<S> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead) -> Self {
        Self { inner, bulkhead, admission: Admission::Outside }
    }

    /// There was no free slot: waits, or is refused.
    #[cold]
    fn queue(&self, cx: &mut Context<'_>) -> Admission {
        match self.bulkhead.shared.enter(cx.waker()) {
            Entry::Admitted => Admission::Admitted(self.bulkhead.permit(None)),
            Entry::Queued(place) => Admission::Waiting(Acquire::queued(self.bulkhead.clone(), place)),
            Entry::Full(word) => Admission::Refused(self.bulkhead.shared.refuse_full(word)),
        }
    }
}

impl<S: Clone> Clone for BulkheadService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.bulkhead.clone())
    }
}

impl<S, Req> Service<Req> for BulkheadService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Admission::Outside | Admission::Refused(_) = self.admission {
            self.admission = match self.bulkhead.shared.try_take() {
                Ok(()) => Admission::Admitted(self.bulkhead.permit(None)),
                Err(_) => self.queue(cx),
            };
        }
        if let Admission::Waiting(acquire) = &mut self.admission {
            self.admission = ready!(Pin::new(acquire).poll(cx)).into();
        }
        match self.admission {
            Admission::Refused(_) => Poll::Ready(Ok(())),
            _ => {
                let ready = ready!(self.inner.poll_ready(cx));
                if ready.is_err() {
                    // No call will come that could give the permit back.
                    self.admission = Admission::Outside;
                }
                Poll::Ready(ready)
            }
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let permit = match std::mem::replace(&mut self.admission, Admission::Outside) {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Refused(rejected) => Err(rejected),
            // Called without having been ready, against the contract: it takes its chance like any newcomer.
            Admission::Outside | Admission::Waiting(_) => self.bulkhead.try_acquire(),
        };
        match permit {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
