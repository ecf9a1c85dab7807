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
        course: Course<F, Res, E>,
    }
}

pin_project! {
    // What a call that is spared carries is the call and a tag.
    #[project = CourseProjection]
    enum Course<F, Res, E> {
        Spared {
            #[pin]
            call: F,
        },
        Meets {
            #[pin]
            call: Option<F>,
            plan: Box<Plan<Res, E>>,
        },
    }
}

impl<F, Res, E> ResponseFuture<F, Res, E> {
    #[inline]
    pub(super) fn new(call: F, plan: Option<Box<Plan<Res, E>>>) -> Self {
        let course = match plan {
            None => Course::Spared { call },
            Some(plan) => Course::Meets { call: Some(call), plan },
        };
        Self { course }
    }

    /// Without a call.
    #[cfg(feature = "tower")]
    #[cold]
    pub(super) const fn instead(plan: Box<Plan<Res, E>>) -> Self {
        Self { course: Course::Meets { call: None, plan } }
    }
}

impl<F, Res, E> Future for ResponseFuture<F, Res, E>
where
    F: Future<Output = Result<Res, E>>,
{
    type Output = Result<Res, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().course.project() {
            CourseProjection::Spared { call } => call.poll(cx),
            CourseProjection::Meets { call, plan } => plan.poll(call, cx),
        }
    }
}

impl<Res, E> Plan<Res, E> {
    /// What is to happen, and then the call if there is one.
    #[cold]
    fn poll<F>(&mut self, call: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<Result<Res, E>>
    where
        F: Future<Output = Result<Res, E>>,
    {
        if let Some(disturbance) = &mut self.disturbance {
            ready!(disturbance.as_mut().poll(cx));
            self.disturbance = None;
        }
        if let Some(delay) = &mut self.delay {
            ready!(Pin::new(delay).poll(cx));
            self.delay = None;
        }
        if let Some(outcome) = self.outcome.take() {
            return Poll::Ready(outcome);
        }
        call.as_pin_mut().expect("a future is not polled after it is done").poll(cx)
    }
}

impl<F, Res, E> fmt::Debug for ResponseFuture<F, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("chaos::ResponseFuture")
            .field("meets_a_fault", &matches!(self.course, Course::Meets { .. }))
            .finish_non_exhaustive()
    }
}
