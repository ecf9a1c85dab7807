//! A call with a permit, or without.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{ByOverload, Permit};
use crate::{Classify, Rejected, unwind};

pin_project! {
    /// The answer of an [`AdaptiveLimitService`](super::AdaptiveLimitService).
    ///
    /// When the answer is there, or this is dropped, the call is dropped first and its permit is given back then.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C = ByOverload> {
        #[pin]
        stage: Stage<F, C>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, C> {
        // The call is declared, and so dropped, before the permit: what it holds is free when the next one starts.
        Running { #[pin] inner: F, permit: Permit, classify: C },
        Refused { rejected: Option<Rejected> },
        Done,
    }
}

impl<F, C> ResponseFuture<F, C> {
    #[inline]
    pub(super) const fn admitted(inner: F, permit: Permit, classify: C) -> Self {
        Self { stage: Stage::Running { inner, permit, classify } }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { stage: Stage::Refused { rejected: Some(rejected) } }
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        match stage.as_mut().project() {
            StageProjection::Running { inner, permit, classify } => {
                // Returned as it came: taken apart and put together, the answer would be copied at every layer.
                let polled = unwind::ending(permit, Permit::panicked, || inner.poll(cx));
                if let Poll::Ready(answer) = &polled {
                    permit.note(classify.classify(answer).class());
                    stage.set(Stage::Done);
                }
                polled
            }
            StageProjection::Refused { rejected } => {
                let rejected = rejected.take().expect("a future is not polled after it is done");
                Poll::Ready(Err(rejected.into()))
            }
            StageProjection::Done => panic!("a future is not polled after it is done"),
        }
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Running { .. } => "running",
            Stage::Refused { .. } => "refused",
            Stage::Done => "done",
        };
        f.debug_struct("adaptive_limit::ResponseFuture").field("stage", &stage).finish_non_exhaustive()
    }
}
