//! Fallbacks of a plain future, without tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::{AsRejected, ByResult, Classification, Classify};

use super::course::{Course, Plan};
use super::join::Merge;
use super::policy::{Fallback, Shared};

pin_project! {
    /// A call and its fallback; made by [`Fallback::run`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<'a, F, Op, Fut, C, J>
    where
        F: Future,
    {
        #[pin]
        course: Course<F, Fut, F::Output>,
        plan: RunPlan<'a, Op, C, J>,
    }
}

/// What is known of a plain call.
struct RunPlan<'a, O, C, J> {
    fallback: &'a Fallback,
    classify: C,
    merge: J,
    otherwise: Option<O>,
}

impl<'a, F: Future, Op, Fut, C, J> Run<'a, F, Op, Fut, C, J> {
    pub(super) fn new(fallback: &'a Fallback, call: F, classify: C, merge: J, otherwise: Op) -> Self {
        let plan = RunPlan { fallback, classify, merge, otherwise: Some(otherwise) };
        Self { course: Course::Calling { call }, plan }
    }
}

impl<F, Op, Fut, C, J, T, E> Future for Run<'_, F, Op, Fut, C, J>
where
    F: Future<Output = Result<T, E>>,
    Op: FnOnce(&Result<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    J: Merge<E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.course.poll(this.plan, cx)
    }
}

impl<Op, Fut, C, J, T, E> Plan<T, E> for RunPlan<'_, Op, C, J>
where
    Op: FnOnce(&Result<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    J: Merge<E>,
{
    type Future = Fut;

    fn policy(&self) -> &Shared {
        self.fallback.shared()
    }

    fn classify(&self, answer: &Result<T, E>) -> Classification {
        self.classify.classify(answer)
    }

    fn fall_back(&mut self, answer: &Result<T, E>) -> Option<Fut> {
        self.otherwise.take().map(|operation| operation(answer))
    }

    fn merge(&self, original: E, fallback: E) -> E {
        self.merge.merge(original, fallback)
    }
}

pin_project! {
    /// A call and the value that replaces its failure; made by [`Fallback::run_or`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RunOr<'a, F, T> {
        #[pin]
        call: F,
        fallback: &'a Fallback,
        value: Option<T>,
    }
}

impl<'a, F, T> RunOr<'a, F, T> {
    pub(super) fn new(fallback: &'a Fallback, call: F, value: T) -> Self {
        Self { call, fallback, value: Some(value) }
    }
}

impl<F, T, E> Future for RunOr<'_, F, T>
where
    F: Future<Output = Result<T, E>>,
    E: AsRejected,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.call.poll(cx);
        if let Poll::Ready(answer) = &polled {
            let policy = this.fallback.shared();
            if let Some(reason) = policy.catches(&ByResult.classify(answer))
                && let Some(value) = this.value.take()
            {
                policy.emit(super::Event::FellBack { reason });
                return Poll::Ready(Ok(value));
            }
        }
        polled
    }
}

impl<F: Future, Op, Fut, C, J> fmt::Debug for Run<'_, F, Op, Fut, C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, stage) = (self.plan.fallback.name(), self.course.stage());
        f.debug_struct("Run").field("policy", policy).field("stage", &stage).finish_non_exhaustive()
    }
}

impl<F, T> fmt::Debug for RunOr<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOr").field("policy", self.fallback.name()).finish_non_exhaustive()
    }
}
