//! A service of which only as many calls run at once as it can take.

use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::acquire::Entering;
use super::{AdaptiveLimit, ByOverload, ResponseFuture};
use crate::{Classify, Rejected, bulkhead};

/// Limits the calls that run at once; made by [`AdaptiveLimitLayer`](super::AdaptiveLimitLayer).
///
/// It takes its slot in `poll_ready`, before it asks whether the inner service is ready; the round trip that is learned
/// from begins with the call. A refusal makes it ready at once, and is the answer of the `call` that follows; asked again
/// before that, it tries again. A clone starts with neither slot nor place.
#[derive(Debug)]
pub struct AdaptiveLimitService<S, C = ByOverload> {
    inner: S,
    limit: AdaptiveLimit,
    classify: C,
    /// The slot for the next call.
    slot: Option<bulkhead::Permit>,
    entering: Entering,
    refused: Option<Rejected>,
}

impl<S, C> AdaptiveLimitService<S, C> {
    pub(super) const fn new(inner: S, limit: AdaptiveLimit, classify: C) -> Self {
        Self { inner, limit, classify, slot: None, entering: Entering::Outside, refused: None }
    }
}

impl<S: Clone, C: Clone> Clone for AdaptiveLimitService<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.limit.clone(), self.classify.clone())
    }
}

impl<S, C, Req> Service<Req> for AdaptiveLimitService<S, C>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.slot.is_none() {
            match ready!(self.entering.poll(&self.limit, cx)) {
                Ok(slot) => {
                    self.slot = Some(slot);
                    self.refused = None;
                }
                Err(rejected) => {
                    self.refused = Some(rejected);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if ready.is_err() {
            // No call will come that could give the slot back.
            self.slot = None;
        }
        Poll::Ready(ready)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let permit = match (self.slot.take(), self.refused.take()) {
            (Some(slot), _) => Ok(self.limit.begin(slot)),
            (None, Some(rejected)) => Err(rejected),
            // Called without having been ready, against the contract: it takes its chance like any newcomer.
            (None, None) => self.limit.try_acquire(),
        };
        match permit {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit, self.classify.clone()),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
