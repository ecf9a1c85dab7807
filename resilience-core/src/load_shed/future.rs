//! A call behind a policy that sheds load.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{Permit, admission};
use crate::{ByResult, Class, Classify, Rejected, unwind};

/// What is told what an answer meant.
pub trait Settle {
    #[doc(hidden)]
    fn settle(self, class: Class);
}

impl Settle for Permit {
    fn settle(self, class: Class) {
        Permit::settle(self, class);
    }
}

impl Settle for admission::Permit {
    fn settle(self, class: Class) {
        admission::Permit::settle(self, class);
    }
}

pin_project! {
    /// The answer of a [`ClientThrottleService`](super::ClientThrottleService) or an
    /// [`AdmissionControlService`](super::admission::AdmissionControlService). Dropped before the answer, the call counts
    /// as its permit says.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C = ByResult, P = Permit> {
        #[pin]
        call: Call<F, C, P>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F, C, P> {
        Admitted { #[pin] inner: F, permit: Option<P>, classify: C },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F, C, P> ResponseFuture<F, C, P> {
    pub(super) const fn admitted(inner: F, permit: P, classify: C) -> Self {
        Self { call: Call::Admitted { inner, permit: Some(permit), classify } }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { call: Call::Refused { rejected: Some(rejected) } }
    }
}

impl<F, C, P, T, E> Future for ResponseFuture<F, C, P>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
    C: Classify<T, E>,
    P: Settle,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Admitted { inner, permit, classify } => {
                let polled = unwind::ending(permit, unwind::drop_held, || inner.poll(cx));
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

impl<F, C, P> fmt::Debug for ResponseFuture<F, C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_refused = matches!(self.call, Call::Refused { .. });
        f.debug_struct("load_shed::ResponseFuture").field("refused", &is_refused).finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a service that only lets in or refuses: [`QueueShedService`](super::queue::QueueShedService),
    /// [`SignalShedService`](super::signal::SignalShedService).
    #[must_use = "futures do nothing unless polled"]
    pub struct AdmittedFuture<F> {
        #[pin]
        admitted: Admitted<F>,
    }
}

pin_project! {
    #[project = AdmittedProjection]
    enum Admitted<F> {
        Yes { #[pin] inner: F },
        No { rejected: Option<Rejected> },
    }
}

impl<F> AdmittedFuture<F> {
    pub(super) const fn admitted(inner: F) -> Self {
        Self { admitted: Admitted::Yes { inner } }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { admitted: Admitted::No { rejected: Some(rejected) } }
    }
}

impl<F, T, E> Future for AdmittedFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().admitted.project() {
            AdmittedProjection::Yes { inner } => inner.poll(cx),
            AdmittedProjection::No { rejected } => {
                let rejected = rejected.take().expect("a future is not polled after it is done");
                Poll::Ready(Err(rejected.into()))
            }
        }
    }
}

impl<F> fmt::Debug for AdmittedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_refused = matches!(self.admitted, Admitted::No { .. });
        f.debug_struct("load_shed::AdmittedFuture").field("refused", &is_refused).finish_non_exhaustive()
    }
}
