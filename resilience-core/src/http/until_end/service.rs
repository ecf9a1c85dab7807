//! A service whose permits go into its responses.

use std::fmt;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{ByHead, ClassifyEnd, Gate, Turn, UntilEndBody, UntilEndFuture};
use crate::http::ByStatus;
use crate::{Classify, Rejected};

/// A service behind a policy whose permits are held until the body has ended; made by
/// [`UntilEndLayer`](super::UntilEndLayer).
///
/// As behind the policy's own layer, a refusal makes it ready at once and is the answer of the `call` that follows.
pub struct UntilEndService<S, G: Gate, C = ByStatus, T = ByHead> {
    inner: S,
    gate: G,
    classify: C,
    classify_end: T,
    waiting: G::Waiting,
}

impl<S, G: Gate, C, T> UntilEndService<S, G, C, T> {
    pub(super) fn new(inner: S, gate: G, classify: C, classify_end: T) -> Self {
        Self { inner, gate, classify, classify_end, waiting: G::Waiting::default() }
    }
}

impl<S, G, C, T, A, B> Service<Request<A>> for UntilEndService<S, G, C, T>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: From<Rejected>,
    G: Gate,
    C: Classify<Response<B>, S::Error> + Clone,
    T: ClassifyEnd + Clone,
    B: Body,
{
    type Response = Response<UntilEndBody<B, G::Permit, T>>;
    type Error = S::Error;
    type Future = UntilEndFuture<S::Future, G::Permit, C, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match ready!(self.gate.poll_turn(&mut self.waiting, cx)) {
            Turn::Refusal => Poll::Ready(Ok(())),
            Turn::Inner => {
                let ready = ready!(self.inner.poll_ready(cx));
                if ready.is_err() {
                    // No call will come that could give back what is held.
                    self.waiting = G::Waiting::default();
                }
                Poll::Ready(ready)
            }
        }
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.gate.admit(std::mem::take(&mut self.waiting)) {
            Ok(permit) => UntilEndFuture::admitted(
                self.inner.call(request),
                permit,
                self.classify.clone(),
                self.classify_end.clone(),
            ),
            Err(rejected) => UntilEndFuture::refused(rejected),
        }
    }
}

impl<S: Clone, G: Gate + Clone, C: Clone, T: Clone> Clone for UntilEndService<S, G, C, T> {
    fn clone(&self) -> Self {
        // Readiness is not inherited: the clone asks for itself.
        Self::new(self.inner.clone(), self.gate.clone(), self.classify.clone(), self.classify_end.clone())
    }
}

impl<S: fmt::Debug, G: Gate + fmt::Debug, C, T> fmt::Debug for UntilEndService<S, G, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilEndService").field("inner", &self.inner).field("gate", &self.gate).finish_non_exhaustive()
    }
}
