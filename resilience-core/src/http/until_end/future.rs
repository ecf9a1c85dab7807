//! A call that is not over with its head.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{ClassifyEnd, Settle, UntilEndBody};
use crate::{Classify, Rejected, unwind};

pin_project! {
    /// The answer of an [`UntilEndService`](super::UntilEndService).
    ///
    /// Dropping it before the head is there drops the call, and then its permit.
    #[must_use = "futures do nothing unless polled"]
    pub struct UntilEndFuture<F, P, C, T> {
        #[pin]
        stage: Stage<F, P, C, T>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[project_replace = StageOwned]
    enum Stage<F, P, C, T> {
        // The call is declared, and so dropped, before the permit: what it holds is free when the next one starts.
        Called { #[pin] inner: F, permit: Option<P>, classify: C, classify_end: T },
        Refused { rejected: Rejected },
        Done,
    }
}

impl<F, P, C, T> UntilEndFuture<F, P, C, T> {
    pub(super) const fn admitted(inner: F, permit: P, classify: C, classify_end: T) -> Self {
        Self { stage: Stage::Called { inner, permit: Some(permit), classify, classify_end } }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { stage: Stage::Refused { rejected } }
    }
}

impl<F, P, C, T, B, E> Future for UntilEndFuture<F, P, C, T>
where
    F: Future<Output = Result<Response<B>, E>>,
    P: Settle,
    C: Classify<Response<B>, E>,
    T: ClassifyEnd,
    B: Body,
    E: From<Rejected>,
{
    type Output = Result<Response<UntilEndBody<B, P, T>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let answer = match this.stage.as_mut().project() {
            StageProjection::Called { inner, permit, .. } => {
                Some(std::task::ready!(unwind::ending(permit, unwind::drop_held, || inner.poll(cx))))
            }
            StageProjection::Refused { .. } | StageProjection::Done => None,
        };
        Poll::Ready(match (this.stage.project_replace(Stage::Done), answer) {
            (StageOwned::Called { permit: Some(permit), classify, classify_end, .. }, Some(answer)) => {
                let head = classify.classify(&answer);
                match answer {
                    Ok(response) => Ok(response.map(|body| UntilEndBody::new(body, permit, head, classify_end))),
                    Err(error) => {
                        permit.settle(head);
                        Err(error)
                    }
                }
            }
            (StageOwned::Refused { rejected }, _) => Err(rejected.into()),
            _ => panic!("a future is not polled after it is done"),
        })
    }
}

impl<F, P, C, T> fmt::Debug for UntilEndFuture<F, P, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Called { .. } => "called",
            Stage::Refused { .. } => "refused",
            Stage::Done => "done",
        };
        f.debug_struct("UntilEndFuture").field("stage", &stage).finish()
    }
}
