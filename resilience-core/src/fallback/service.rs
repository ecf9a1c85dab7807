//! A service that is answered for when it fails.

use std::fmt;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use crate::prototype::Origin;
use crate::retry::Replay;
use crate::{ByResult, Classify};

use super::course::Course;
use super::event::Reason;
use super::future::ResponseFuture;
use super::join::{Merge, Original};
use super::policy::Fallback;
use super::strategy::{NotKept, Strategy};

/// A service that is answered for when it fails; made by [`FallbackLayer`](super::FallbackLayer).
///
/// One that fails to get ready is answered for as well: the error is kept, and replaced in the call. Neither a clone
/// nor a `Sync` service is asked for; only the strategy is cloned, when it is needed.
pub struct FallbackService<S, St, E, C = ByResult, J = Original, R = NotKept> {
    inner: S,
    origin: Origin<St, Rules<C, J, R>>,
    /// Why the service did not get ready.
    unready: Option<(E, Reason)>,
}

/// The same for all clones of a service.
#[derive(Clone)]
pub(super) struct Rules<C, J, R> {
    pub(super) fallback: Fallback,
    pub(super) classify: C,
    pub(super) merge: J,
    pub(super) replay: R,
}

impl<S, St: Clone, E, C, J, R> FallbackService<S, St, E, C, J, R> {
    pub(super) fn new(inner: S, strategy: St, rules: Rules<C, J, R>) -> Self {
        Self { inner, origin: Origin::new(strategy, rules), unready: None }
    }
}

impl<S, St, E, C, J, R> FallbackService<S, St, E, C, J, R> {
    /// The policy.
    pub fn policy(&self) -> &Fallback {
        &self.origin.rules().fallback
    }
}

impl<S, St, C, J, R, Req> Service<Req> for FallbackService<S, St, S::Error, C, J, R>
where
    S: Service<Req>,
    St: Strategy<Req, S::Response, S::Error> + Clone,
    C: Classify<S::Response, S::Error>,
    J: Merge<S::Error>,
    R: Replay<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, St, C, J, R, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.unready.is_some() {
            return Poll::Ready(Ok(()));
        }
        let answer = match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(error) => Err(error),
        };
        let rules = self.origin.rules();
        let reason = rules.fallback.shared().catches(&rules.classify.classify(&answer));
        match (answer, reason) {
            (Err(error), Some(reason)) => self.unready = Some((error, reason)),
            (Err(error), None) => return Poll::Ready(Err(error)),
            (Ok(_), _) => {}
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let kept = self.origin.used().clone();
        match self.unready.take() {
            None => {
                let copy =
                    if kept.rules.fallback.shared().is_dry() { None } else { kept.rules.replay.replay(&request) };
                let call = self.inner.call(request);
                ResponseFuture::new(Course::Calling { call }, copy, kept)
            }
            Some((error, reason)) => {
                ResponseFuture::new(Course::Unready { answer: Some(Err(error)), reason }, Some(request), kept)
            }
        }
    }
}

/// A clone has neither the readiness of the original nor its failure to get ready.
impl<S: Clone, St, E, C, J, R> Clone for FallbackService<S, St, E, C, J, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), origin: self.origin.clone(), unready: None }
    }
}

impl<S: fmt::Debug, St, E, C, J, R> fmt::Debug for FallbackService<S, St, E, C, J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackService")
            .field("inner", &self.inner)
            .field("policy", self.policy())
            .finish_non_exhaustive()
    }
}
