//! A call and its fallback.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::prototype::Kept;
use crate::retry::Replay;
use crate::sync::Arc;
use crate::{Classification, Classify};

use super::course::{Course, Plan};
use super::join::Merge;
use super::policy::Shared;
use super::service::Rules;
use super::strategy::Strategy;

/// What a call becomes.
type CourseOf<S, St, Req> = Course<
    <S as Service<Req>>::Future,
    <St as Strategy<Req, <S as Service<Req>>::Response, <S as Service<Req>>::Error>>::Future,
    Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>,
>;

pin_project! {
    /// The answer of a [`FallbackService`](super::FallbackService).
    ///
    /// Dropping it drops the call, or the fallback, under way.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, St, C, J, R, Req>
    where
        S: Service<Req>,
        St: Strategy<Req, S::Response, S::Error>,
    {
        #[pin]
        course: CourseOf<S, St, Req>,
        plan: Calls<St, C, J, R, Req>,
    }
}

/// What is known of a service's call.
struct Calls<St, C, J, R, Req> {
    kept: Arc<Kept<St, Rules<C, J, R>>>,
    /// The request once more, if the strategy wants one and it could be copied.
    request: Option<Req>,
}

impl<S, St, C, J, R, Req> ResponseFuture<S, St, C, J, R, Req>
where
    S: Service<Req>,
    St: Strategy<Req, S::Response, S::Error>,
{
    #[inline]
    pub(super) fn new(course: CourseOf<S, St, Req>, request: Option<Req>, kept: Arc<Kept<St, Rules<C, J, R>>>) -> Self {
        Self { course, plan: Calls { kept, request } }
    }
}

impl<S, St, C, J, R, Req> Future for ResponseFuture<S, St, C, J, R, Req>
where
    S: Service<Req>,
    St: Strategy<Req, S::Response, S::Error> + Clone,
    C: Classify<S::Response, S::Error>,
    J: Merge<S::Error>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.course.poll(this.plan, cx)
    }
}

impl<St, C, J, R, Req, T, E> Plan<T, E> for Calls<St, C, J, R, Req>
where
    St: Strategy<Req, T, E> + Clone,
    C: Classify<T, E>,
    J: Merge<E>,
{
    type Future = St::Future;

    #[inline]
    fn policy(&self) -> &Shared {
        self.kept.rules.fallback.shared()
    }

    #[inline]
    fn classify(&self, answer: &Result<T, E>) -> Classification {
        self.kept.rules.classify.classify(answer)
    }

    fn fall_back(&mut self, answer: &Result<T, E>) -> Option<St::Future> {
        self.kept.instance().answer(self.request.take(), answer)
    }

    fn merge(&self, original: E, fallback: E) -> E {
        self.kept.rules.merge.merge(original, fallback)
    }
}

impl<S, St, C, J, R, Req> fmt::Debug for ResponseFuture<S, St, C, J, R, Req>
where
    S: Service<Req>,
    St: Strategy<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("stage", &self.course.stage()).finish_non_exhaustive()
    }
}
