//! A service whose calls are retried.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::context::ambient;
use crate::prototype::Origin;
use crate::{ByResult, Classify};

use super::event::Reason;
use super::future::ResponseFuture;
use super::policy::Retry;
use super::replay::{Cloned, Replay};
use super::session::Session;

/// A service whose failed calls are tried again; made by [`RetryLayer`](super::RetryLayer).
///
/// The first attempt goes to the very instance that was polled ready. Only a retry needs an instance of its own, and
/// only then is one cloned: from a prototype that is never called, so that a call which succeeds costs no clone of the
/// stack below.
pub struct RetryService<S, C = ByResult, R = Cloned> {
    inner: S,
    origin: Origin<S, Rules<C, R>>,
}

/// The same for all clones of a service.
pub(super) struct Rules<C, R> {
    pub(super) retry: Retry,
    pub(super) classify: C,
    pub(super) replay: R,
}

impl<S: Clone, C, R> RetryService<S, C, R> {
    pub(super) fn new(inner: S, retry: Retry, classify: C, replay: R) -> Self {
        let origin = Origin::new(inner.clone(), Rules { retry, classify, replay });
        Self { inner, origin }
    }
}

impl<C, R> Rules<C, R> {
    /// The copy of a request that is about to be sent as this attempt, or why there is none.
    #[inline]
    pub(super) fn copy<Req>(&self, attempt: u32, request: &Req) -> Result<Req, Reason>
    where
        R: Replay<Req>,
    {
        let policy = self.retry.shared();
        if attempt >= policy.attempts() {
            Err(Reason::Attempts)
        } else if policy.budget.as_ref().is_some_and(|budget| !budget.may_withdraw()) {
            Err(Reason::Budget)
        } else {
            self.replay.replay(request).ok_or(Reason::NotReplayable)
        }
    }
}

impl<S, C, R> RetryService<S, C, R> {
    /// The policy.
    pub fn policy(&self) -> &Retry {
        &self.origin.rules().retry
    }
}

impl<S, C, R, Req> Service<Req> for RetryService<S, C, R>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        let kept = self.origin.used().clone();
        let started = Session::start(kept.rules.retry.shared());
        let mut counted = Session::request(kept.rules.retry.shared());
        let copy = kept.rules.copy(1, &request);
        let first = counted.within(|| ambient::attempting(1, || self.inner.call(request)));
        let session = Session::of(started, &mut counted);
        ResponseFuture::new(first, session, copy, kept)
    }
}

impl<S: Clone, C, R> Clone for RetryService<S, C, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), origin: self.origin.clone() }
    }
}

impl<S: fmt::Debug, C, R> fmt::Debug for RetryService<S, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .field("policy", self.policy())
            .finish_non_exhaustive()
    }
}
