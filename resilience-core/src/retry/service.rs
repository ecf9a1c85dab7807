//! A service whose calls are retried.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::sync::{Arc, Mutex, lock};
use crate::{ByResult, Classify};

use super::event::Reason;
use super::future::ResponseFuture;
use super::policy::Retry;
use super::replay::{Cloned, Replay};
use super::session::{Session, attempting};

/// A service whose failed calls are tried again; made by [`RetryLayer`](super::RetryLayer).
///
/// The first attempt goes to the very instance that was polled ready. Only a retry needs an instance of its own, and
/// only then is one cloned: from a prototype that is never called, so that a call which succeeds costs no clone of the
/// stack below.
pub struct RetryService<S, C = ByResult, R = Cloned> {
    inner: S,
    shared: Arc<Shared<S, C, R>>,
    count: Count,
}

/// Whose reference count this instance's calls touch.
///
/// Clones begin on that of the instance they were cloned from. One that lives to make a second call gets its own, so
/// that the instances of two threads do not pass a cache line to and fro on every call; one that is cloned for a single
/// call allocates nothing.
#[derive(Clone, Copy)]
enum Count {
    Shared,
    SharedAndUsed,
    Own,
}

/// What a call keeps hold of until it ends: one reference count for policy, rules and prototype.
pub(super) struct Shared<S, C, R> {
    pub(super) rules: Arc<Rules<C, R>>,
    /// Locked for the time of a clone, when a call is retried. Behind a lock so that `S` need not be `Sync`.
    prototype: Mutex<S>,
}

/// The same for all clones.
pub(super) struct Rules<C, R> {
    pub(super) retry: Retry,
    pub(super) classify: C,
    pub(super) replay: R,
}

impl<S: Clone, C, R> RetryService<S, C, R> {
    pub(super) fn new(inner: S, retry: Retry, classify: C, replay: R) -> Self {
        let prototype = Mutex::new(inner.clone());
        let rules = Arc::new(Rules { retry, classify, replay });
        Self { inner, shared: Arc::new(Shared { rules, prototype }), count: Count::Own }
    }

    #[cold]
    fn note_use(&mut self) {
        self.count = match self.count {
            Count::Shared => Count::SharedAndUsed,
            Count::SharedAndUsed | Count::Own => {
                let prototype = Mutex::new(self.shared.instance());
                self.shared = Arc::new(Shared { rules: self.shared.rules.clone(), prototype });
                Count::Own
            }
        };
    }
}

impl<S: Clone, C, R> Shared<S, C, R> {
    /// An instance for the retries of one call.
    pub(super) fn instance(&self) -> S {
        lock(&self.prototype).clone()
    }
}

impl<S, C, R> Shared<S, C, R> {
    /// The copy of a request that is about to be sent as this attempt, or why there is none.
    #[inline]
    pub(super) fn copy<Req>(&self, attempt: u32, request: &Req) -> Result<Req, Reason>
    where
        R: Replay<Req>,
    {
        let policy = self.rules.retry.shared();
        if attempt >= policy.attempts() {
            Err(Reason::Attempts)
        } else if policy.budget.as_ref().is_some_and(|budget| !budget.may_withdraw()) {
            Err(Reason::Budget)
        } else {
            self.rules.replay.replay(request).ok_or(Reason::NotReplayable)
        }
    }
}

impl<S, C, R> RetryService<S, C, R> {
    /// The policy.
    pub fn policy(&self) -> &Retry {
        &self.shared.rules.retry
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if !matches!(self.count, Count::Own) {
            self.note_use();
        }
        let session = Session::begin(self.shared.rules.retry.shared());
        let copy = self.shared.copy(1, &request);
        let first = attempting(1, || self.inner.call(request));
        ResponseFuture::new(first, session, copy, self.shared.clone())
    }
}

impl<S: Clone, C, R> Clone for RetryService<S, C, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone(), count: Count::Shared }
    }
}

impl<S: fmt::Debug, C, R> fmt::Debug for RetryService<S, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .field("policy", &self.shared.rules.retry)
            .finish_non_exhaustive()
    }
}
