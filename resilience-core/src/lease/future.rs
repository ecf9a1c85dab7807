//! A call that is made, or was refused.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::Rejected;

pin_project! {
    /// The answer of a [`FenceService`](super::FenceService) or a [`StampService`](super::StampService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        call: Call<F>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F> {
        Made { #[pin] inner: F },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn made(inner: F) -> Self {
        Self { call: Call::Made { inner } }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { call: Call::Refused { rejected: Some(rejected) } }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Made { inner } => inner.poll(cx),
            CallProjection::Refused { rejected } => {
                Poll::Ready(Err(rejected.take().expect("a future is not polled after it is done").into()))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("refused", &matches!(self.call, Call::Refused { .. })).finish()
    }
}
