//! A service whose slow calls are hedged.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::prototype::Origin;
use crate::retry::{Cloned, Replay};
use crate::{ByResult, Classify};

use super::event::Reason;
use super::future::ResponseFuture;
use super::policy::Hedge;
use super::session::Session;

/// A service whose slow calls are asked once more; made by [`HedgeLayer`](super::HedgeLayer).
///
/// The primary goes to the very instance that was polled ready. Only a hedge needs an instance of its own, and only
/// then is one cloned, from a prototype that is never called, and driven to readiness within the call.
pub struct HedgeService<S, C = ByResult, R = Cloned> {
    inner: S,
    origin: Origin<S, Rules<C, R>>,
}

/// The same for all clones of a service.
pub(super) struct Rules<C, R> {
    pub(super) hedge: Hedge,
    pub(super) classify: C,
    pub(super) replay: R,
}

impl<C, R> Rules<C, R> {
    /// The copy of a request that is about to be sent as this attempt, or why there is none.
    #[inline]
    pub(super) fn copy<Req>(&self, attempt: u32, request: &Req) -> Result<Req, Reason>
    where
        R: Replay<Req>,
    {
        let policy = self.hedge.shared();
        if attempt >= policy.entry().attempts() {
            // Not made for want of use: should the rules come to allow more while the call is under way, it has none.
            Err(Reason::NotReplayable)
        } else if policy.budget.as_ref().is_some_and(|budget| !budget.may_withdraw()) {
            Err(Reason::Budget)
        } else {
            self.replay.replay(request).ok_or(Reason::NotReplayable)
        }
    }
}

impl<S: Clone, C, R> HedgeService<S, C, R> {
    pub(super) fn new(inner: S, hedge: Hedge, classify: C, replay: R) -> Self {
        let origin = Origin::new(inner.clone(), Rules { hedge, classify, replay });
        Self { inner, origin }
    }
}

impl<S, C, R> HedgeService<S, C, R> {
    /// The policy.
    pub fn policy(&self) -> &Hedge {
        &self.origin.rules().hedge
    }
}

impl<S, C, R, Req> Service<Req> for HedgeService<S, C, R>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let kept = self.origin.used().clone();
        let session = Session::begin(kept.rules.hedge.shared());
        let copy = kept.rules.copy(1, &request);
        let primary = session.attempting(1, || self.inner.call(request));
        ResponseFuture::new(primary, session, copy, kept)
    }
}

impl<S: Clone, C, R> Clone for HedgeService<S, C, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), origin: self.origin.clone() }
    }
}

impl<S: fmt::Debug, C, R> fmt::Debug for HedgeService<S, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeService")
            .field("inner", &self.inner)
            .field("policy", self.policy())
            .finish_non_exhaustive()
    }
}
