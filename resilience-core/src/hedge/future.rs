//! A call and its hedges.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::oneshot::Oneshot;
use crate::prototype::Kept;
use crate::retry::Replay;
use crate::sync::Arc;
use crate::{Classification, Classify};

use super::contest::{Contest, Governed, Launcher, Rival};
use super::event::Reason;
use super::policy::Shared;
use super::service::Rules;
use super::session::Session;

pin_project! {
    /// The answer of a [`HedgeService`](super::HedgeService).
    ///
    /// Dropping it drops every attempt, and refunds those that were not yet sent.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
    {
        #[pin]
        contest: Contest<S::Future, Calls<S, Req, C, R>, Oneshot<S, Req>>,
    }
}

/// Makes attempts by cloning the service and the request.
struct Calls<S, Req, C, R> {
    kept: Arc<Kept<S, Rules<C, R>>>,
    /// The request once more, or why there is no copy.
    copy: Result<Req, Reason>,
}

impl<S: Service<Req>, Req, C, R> ResponseFuture<S, Req, C, R> {
    #[inline]
    pub(super) fn new(
        primary: S::Future,
        session: Session,
        copy: Result<Req, Reason>,
        kept: Arc<Kept<S, Rules<C, R>>>,
    ) -> Self {
        Self { contest: Contest::new(primary, session, Calls { kept, copy }) }
    }
}

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().contest.poll(cx)
    }
}

impl<S, Req, C, R> Governed for Calls<S, Req, C, R> {
    #[inline]
    fn policy(&self) -> &Shared {
        self.kept.rules.hedge.shared()
    }
}

impl<S, Req, C, R> Launcher<S::Response, S::Error> for Calls<S, Req, C, R>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Rival = Oneshot<S, Req>;

    #[inline]
    fn classify(&self, answer: &Result<S::Response, S::Error>) -> Classification {
        self.kept.rules.classify.classify(answer)
    }

    fn obstacle(&self) -> Option<Reason> {
        self.copy.as_ref().err().copied()
    }

    fn launch(&mut self, attempt: u32) -> Self::Rival {
        // Asked only without an obstacle, so there is a copy.
        let Ok(request) = mem::replace(&mut self.copy, Err(Reason::NotReplayable)) else {
            unreachable!("an attempt was launched without a request");
        };
        self.copy = self.kept.rules.copy(attempt, &request);
        Oneshot::new(self.kept.instance(), request)
    }
}

impl<S: Service<Req>, Req> Rival for Oneshot<S, Req> {
    fn is_sent(&self) -> bool {
        Self::is_sent(self)
    }
}

impl<S: Service<Req>, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("session", self.contest.session()).finish_non_exhaustive()
    }
}
