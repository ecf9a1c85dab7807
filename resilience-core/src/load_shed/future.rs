//! A call behind a throttle.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::Permit;
use crate::{ByResult, Classify, Rejected};

pin_project! {
    /// The answer of a [`ClientThrottleService`](super::ClientThrottleService). Dropped before the answer, the call is
    /// not counted.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C = ByResult> {
        #[pin]
        call: Call<F, C>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F, C> {
        Admitted { #[pin] inner: F, permit: Option<Permit>, classify: C },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) const fn admitted(inner: F, permit: Permit, classify: C) -> Self {
        Self { call: Call::Admitted { inner, permit: Some(permit), classify } }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { call: Call::Refused { rejected: Some(rejected) } }
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Admitted { inner, permit, classify } => {
                let polled = inner.poll(cx);
                if let Poll::Ready(answer) = &polled
                    && let Some(permit) = permit.take()
                {
                    permit.settle(classify.classify(answer).class());
                }
                polled
            }
            CallProjection::Refused { rejected } => {
                let rejected = rejected.take().expect("a future is not polled after it is done");
                Poll::Ready(Err(rejected.into()))
            }
        }
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_refused = matches!(self.call, Call::Refused { .. });
        f.debug_struct("load_shed::ResponseFuture").field("refused", &is_refused).finish_non_exhaustive()
    }
}
