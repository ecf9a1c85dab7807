//! A call and its retries.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Classify;
use crate::sync::Arc;
use crate::time::Sleep;

use super::event::Reason;
use super::replay::Replay;
use super::service::Shared;
use super::session::{Next, Session};

pin_project! {
    /// The answer of a [`RetryService`](super::RetryService).
    ///
    /// Dropping it drops the attempt or the wait under way and refunds a retry that was not yet sent.
    pub struct ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S::Future>,
        session: Session,
        // The request once more, or why there is no copy.
        copy: Result<Req, Reason>,
        // The instance for retries, made for the first of them.
        instance: Option<S>,
        shared: Arc<Shared<S, C, R>>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Calling { #[pin] attempt: F },
        Waiting { #[pin] sleep: Sleep },
        /// The wait is over; the instance is to get ready.
        Readying,
    }
}

impl<S: Service<Req>, Req, C, R> ResponseFuture<S, Req, C, R> {
    pub(super) fn new(
        first: S::Future,
        session: Session,
        copy: Result<Req, Reason>,
        shared: Arc<Shared<S, C, R>>,
    ) -> Self {
        Self { state: State::Calling { attempt: first }, session, copy, instance: None, shared }
    }
}

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let policy = this.shared.retry.shared();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Calling { attempt } => {
                    let answer = ready!(this.session.attempting(|| attempt.poll(cx)));
                    let means = this.shared.classify.classify(&answer);
                    let spent = this.copy.as_ref().err().copied();
                    match this.session.answered(policy, answer.is_ok(), means, spent) {
                        Next::Return => return Poll::Ready(answer),
                        Next::Soon => {
                            this.state.set(State::Readying);
                            // Yield, so that a service which fails at once cannot keep the thread to itself.
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Next::Wait(sleep) => this.state.set(State::Waiting { sleep }),
                    }
                }
                StateProjection::Waiting { sleep } => {
                    ready!(sleep.poll(cx));
                    this.state.set(State::Readying);
                }
                StateProjection::Readying => {
                    let instance = this.instance.get_or_insert_with(|| this.shared.instance());
                    if let Err(error) = ready!(this.session.attempting(|| instance.poll_ready(cx))) {
                        this.session.unready(policy);
                        return Poll::Ready(Err(error));
                    }
                    // The machine schedules no attempt without a copy, so there is one.
                    let Ok(request) = mem::replace(this.copy, Err(Reason::Attempts)) else {
                        unreachable!("a retry was scheduled without a request");
                    };
                    *this.copy = this.session.copy(policy, &this.shared.replay, &request);
                    this.session.sent();
                    let attempt = this.session.attempting(|| instance.call(request));
                    this.state.set(State::Calling { attempt });
                }
            }
        }
    }
}

impl Session {
    /// The copy of a request about to be sent, or why there is none.
    #[inline]
    pub(super) fn copy<Req>(
        &self,
        policy: &super::policy::Shared,
        replay: &impl Replay<Req>,
        request: &Req,
    ) -> Result<Req, Reason> {
        match self.last_chance(policy) {
            Some(reason) => Err(reason),
            None => replay.replay(request).ok_or(Reason::NotReplayable),
        }
    }
}

impl<S: Service<Req>, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("session", &self.session).finish_non_exhaustive()
    }
}
