//! The answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use resilience_core::{AsRejected, Rejected};
use tower_service::Service;

use super::policy::Balance;
use super::service::refusal;
use super::slot::Slot;

pin_project! {
    /// The answer of a [`Balance`]. Counts as load of its endpoint until it is done or dropped.
    pub struct ResponseFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        Called { #[pin] inner: S::Future, slot: Option<Arc<Slot<S>>> },
        // Its endpoint was removed between readiness and call: another is picked.
        Again { again: Box<Again<S, Req>> },
        Refused { rejected: Option<Rejected> },
    }
}

struct Again<S, Req> {
    balance: Balance<S, Req>,
    request: Option<Req>,
}

impl<S: Service<Req>, Req> ResponseFuture<S, Req> {
    #[inline]
    pub(super) fn called(inner: S::Future, slot: Arc<Slot<S>>) -> Self {
        Self { state: State::Called { inner, slot: Some(slot) } }
    }

    #[cold]
    pub(super) fn again(balance: Balance<S, Req>, request: Req) -> Self {
        Self { state: State::Again { again: Box::new(Again { balance, request: Some(request) }) } }
    }

    #[cold]
    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { state: State::Refused { rejected: Some(rejected) } }
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: Service<Req> + Clone,
    S::Error: From<Rejected> + AsRejected,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Called { inner, slot } => {
                    // Returned as it came: taken apart and put together, the answer would be copied.
                    let polled = inner.poll(cx);
                    if let Poll::Ready(answer) = &polled {
                        // Given back with the answer, not when the future is dropped.
                        if let Some(slot) = slot.take()
                            && let Err(error) = answer
                            && let Some(trouble) = refusal(error)
                        {
                            slot.status.report(trouble);
                        }
                    }
                    return polled;
                }
                StateProjection::Again { again } => {
                    ready!(again.balance.poll_ready(cx))?;
                    let request = again.request.take().expect("a future is not polled after it is done");
                    let next = again.balance.call(request).state;
                    state.set(next);
                }
                StateProjection::Refused { rejected } => {
                    let rejected = rejected.take().expect("a future is not polled after it is done");
                    return Poll::Ready(Err(rejected.into()));
                }
            }
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
