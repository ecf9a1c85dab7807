//! A call that may meet a fault.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::config::Disturbance;
use crate::time::Sleep;

/// What is to happen before a call, and instead of it.
pub(super) struct Plan<Res, E> {
    pub(super) delay: Option<Sleep>,
    pub(super) disturbance: Option<Disturbance>,
    pub(super) outcome: Option<Result<Res, E>>,
}

impl<Res, E> Default for Plan<Res, E> {
    fn default() -> Self {
        Self { delay: None, disturbance: None, outcome: None }
    }
}

pin_project! {
    /// The answer of a call through a [`Chaos`](super::Chaos).
    ///
    /// Dropping it drops the call, the delay and the disturbance.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, Res, E> {
        #[pin]
        inner: Option<F>,
        plan: Option<Box<Plan<Res, E>>>,
    }
}

impl<F, Res, E> ResponseFuture<F, Res, E> {
    #[inline]
    pub(super) const fn new(inner: F, plan: Option<Box<Plan<Res, E>>>) -> Self {
        Self { inner: Some(inner), plan }
    }

    /// Without a call.
    #[cfg(feature = "tower")]
    pub(super) const fn instead(plan: Box<Plan<Res, E>>) -> Self {
        Self { inner: None, plan: Some(plan) }
    }
}

impl<F, Res, E> Future for ResponseFuture<F, Res, E>
where
    F: Future<Output = Result<Res, E>>,
{
    type Output = Result<Res, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(plan) = this.plan {
            if let Some(disturbance) = &mut plan.disturbance {
                ready!(disturbance.as_mut().poll(cx));
                plan.disturbance = None;
            }
            if let Some(delay) = &mut plan.delay {
                ready!(Pin::new(delay).poll(cx));
                plan.delay = None;
            }
            if let Some(outcome) = plan.outcome.take() {
                return Poll::Ready(outcome);
            }
            *this.plan = None;
        }
        this.inner.as_pin_mut().expect("a future is not polled after it is done").poll(cx)
    }
}

impl<F, Res, E> fmt::Debug for ResponseFuture<F, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("chaos::ResponseFuture").field("meets_a_fault", &self.plan.is_some()).finish_non_exhaustive()
    }
}
