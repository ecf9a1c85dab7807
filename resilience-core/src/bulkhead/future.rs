//! A call with a permit, or without.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::Permit;
use crate::Rejected;

pin_project! {
    /// The answer of a [`BulkheadService`](super::BulkheadService).
    ///
    /// When the answer is there, or this is dropped, the call is dropped first and its permit is given back then.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        // The call is declared, and so dropped, before the permit: what it holds is free when the next one starts.
        Running { #[pin] inner: F, permit: Permit },
        Refused { rejected: Rejected },
        Done,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn admitted(inner: F, permit: Permit) -> Self {
        Self { stage: Stage::Running { inner, permit } }
    }

    #[inline]
    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { stage: Stage::Refused { rejected } }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        match stage.as_mut().project() {
            StageProjection::Running { inner, .. } => {
                // Returned as it came: taken apart and put together, the answer would be copied at every layer.
                let answer = inner.poll(cx);
                if answer.is_ready() {
                    stage.set(Stage::Done);
                }
                answer
            }
            StageProjection::Refused { rejected } => Poll::Ready(Err(rejected.taken().into())),
            StageProjection::Done => panic!("a future is not polled after it is done"),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Running { .. } => "running",
            Stage::Refused { .. } => "refused",
            Stage::Done => "done",
        };
        f.debug_struct("ResponseFuture").field("stage", &stage).finish_non_exhaustive()
    }
}
