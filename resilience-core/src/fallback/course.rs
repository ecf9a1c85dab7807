//! A call, and the fallback if it fails: what services and plain futures have in common.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::Classification;

use super::event::{Event, Reason};
use super::policy::Shared;

/// What is known of one call beside its future.
pub(super) trait Plan<T, E> {
    /// The fallback's answer.
    type Future: Future<Output = Result<T, E>>;

    fn policy(&self) -> &Shared;

    fn classify(&self, answer: &Result<T, E>) -> Classification;

    /// The fallback for this answer, if it can be had. Asked once.
    fn fall_back(&mut self, answer: &Result<T, E>) -> Option<Self::Future>;

    /// What the caller is told when both failed.
    fn merge(&self, original: E, fallback: E) -> E;
}

pin_project! {
    /// A call under a plan.
    #[project = CourseProjection]
    pub(super) enum Course<F, G, T> {
        Calling { #[pin] call: F },
        /// The service did not get ready: what it said instead.
        Unready { answer: Option<T>, reason: Reason },
        FallingBack { #[pin] fallback: G, original: Option<T>, reason: Reason },
        Done,
    }
}

impl<F, G, T, E> Course<F, G, Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
    G: Future<Output = Result<T, E>>,
{
    #[inline]
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        plan: &mut impl Plan<T, E, Future = G>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, E>> {
        loop {
            let (answer, reason) = match self.as_mut().project() {
                CourseProjection::Calling { call } => {
                    // Returned as it came, if it is: taken apart and put together, the answer would be copied at every
                    // layer.
                    let polled = call.poll(cx);
                    let Poll::Ready(answer) = &polled else { return polled };
                    let Some(reason) = plan.policy().catches(&plan.classify(answer)) else { return polled };
                    let Poll::Ready(answer) = polled else { return Poll::Pending };
                    (answer, reason)
                }
                CourseProjection::Unready { answer, reason } => match answer.take() {
                    Some(answer) => (answer, *reason),
                    None => polled_after_it_was_done(),
                },
                CourseProjection::FallingBack { fallback, original, reason } => {
                    let Poll::Ready(answer) = fallback.poll(cx) else { return Poll::Pending };
                    let (original, reason) = (original.take(), *reason);
                    self.set(Self::Done);
                    return Poll::Ready(settle(plan, answer, original, reason));
                }
                CourseProjection::Done => polled_after_it_was_done(),
            };
            // The call gives back what it holds before the fallback takes anything.
            self.set(Self::Done);
            let Some(fallback) = plan.fall_back(&answer) else {
                plan.policy().emit(Event::Withheld { reason });
                return Poll::Ready(answer);
            };
            plan.policy().emit(Event::FellBack { reason });
            self.set(Self::FallingBack { fallback, original: Some(answer), reason });
        }
    }
}

impl<F, G, T> Course<F, G, T> {
    pub(super) fn stage(&self) -> &'static str {
        match self {
            Self::Calling { .. } => "calling",
            Self::Unready { .. } => "unready",
            Self::FallingBack { .. } => "falling back",
            Self::Done => "done",
        }
    }
}

/// The caller's answer, after the fallback's.
#[cold]
fn settle<T, E>(
    plan: &impl Plan<T, E>,
    answer: Result<T, E>,
    original: Option<Result<T, E>>,
    reason: Reason,
) -> Result<T, E> {
    let Err(error) = answer else { return answer };
    plan.policy().emit(Event::FailedToo { reason });
    match original {
        Some(Err(original)) => Err(plan.merge(original, error)),
        // Not a good answer, but the only one.
        Some(answer) => answer,
        None => Err(error),
    }
}

#[cold]
fn polled_after_it_was_done() -> ! {
    panic!("a future is not polled after it is done")
}
