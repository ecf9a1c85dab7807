//! A call and its retries.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::prototype::Kept;
use crate::sync::Arc;
use crate::time::Sleep;
use crate::{Classification, Classify};

use super::event::Reason;
use super::replay::Replay;
use super::service::Rules;
use super::session::{Next, Session, last_word};

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
        // In a box, because it is as large as the stack below, and calls that succeed would move it about unused.
        instance: Option<Box<S>>,
        // The answer of the last attempt that was sent, kept from the moment another is scheduled; see `last_word`.
        earlier: Option<Box<Result<S::Response, S::Error>>>,
        shared: Arc<Kept<S, Rules<C, R>>>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Calling { #[pin] attempt: F },
        Waiting { sleep: Sleep },
        /// The wait is over; the instance is to get ready.
        Readying,
        /// No attempt will follow; the answer is kept until the wait is over.
        Lingering { sleep: Sleep },
    }
}

impl<S: Service<Req>, Req, C, R> ResponseFuture<S, Req, C, R> {
    #[inline(always)]
    pub(super) fn new(
        first: S::Future,
        session: Session,
        copy: Result<Req, Reason>,
        shared: Arc<Kept<S, Rules<C, R>>>,
    ) -> Self {
        Self { state: State::Calling { attempt: first }, session, copy, instance: None, earlier: None, shared }
    }
}

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let StateProjection::Calling { attempt } = this.state.project() else {
                if let Some(answer) = ready!(self.as_mut().linger(cx)) {
                    return Poll::Ready(answer);
                }
                match ready!(self.as_mut().call_again(cx)) {
                    Ok(()) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            };
            // Returned as it came, if it is: taken apart and put together, the answer would be copied at every layer.
            let polled = this.session.attempting(|| attempt.poll(cx));
            let Poll::Ready(answer) = &polled else { return polled };
            let means = this.shared.rules.classify.classify(answer);
            if this.session.is_plain(this.shared.rules.retry.shared(), &means) {
                return polled;
            }
            let answer = ready!(polled);
            let then = self.as_mut().decide(answer.is_ok(), &means);
            let earlier = self.as_mut().project().earlier;
            if matches!(then, Then::Return) {
                return Poll::Ready(last_word(answer, means.is_refused(), earlier));
            }
            if matches!(then, Then::Linger) {
                *earlier = Some(Box::new(last_word(answer, means.is_refused(), earlier)));
                continue;
            }
            if !means.is_refused() {
                *earlier = Some(Box::new(answer));
            }
            if matches!(then, Then::Yield) {
                // So that a service which fails at once cannot keep the thread to itself.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// What follows an answer, the state being set for it.
enum Then {
    Return,
    Yield,
    Wait,
    Linger,
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    R: Replay<Req>,
{
    #[cold]
    fn decide(self: Pin<&mut Self>, ok: bool, means: &Classification) -> Then {
        let mut this = self.project();
        let spent = this.copy.as_ref().err().copied();
        match this.session.decide(this.shared.rules.retry.shared(), ok, means, spent) {
            Next::Return => Then::Return,
            Next::Soon => {
                this.state.set(State::Readying);
                Then::Yield
            }
            Next::Wait(sleep) => {
                this.state.set(State::Waiting { sleep });
                Then::Wait
            }
            Next::Linger(sleep) => {
                this.state.set(State::Lingering { sleep });
                Then::Linger
            }
        }
    }

    /// Waits with the answer that goes to the caller then, if that is where it stands.
    #[cold]
    fn linger(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<S::Response, S::Error>>> {
        let this = self.project();
        match this.state.project() {
            StateProjection::Lingering { sleep } => {
                ready!(Pin::new(sleep).poll(cx));
                Poll::Ready(this.earlier.take().map(|answer| *answer))
            }
            _ => Poll::Ready(None),
        }
    }

    /// Waits, gets an instance ready and calls it.
    #[cold]
    fn call_again(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let mut this = self.project();
        if let StateProjection::Waiting { sleep } = this.state.as_mut().project() {
            ready!(Pin::new(sleep).poll(cx));
            this.state.set(State::Readying);
        }
        let number = this.session.attempt();
        let instance = this.instance.get_or_insert_with(|| Box::new(this.shared.instance()));
        if let Err(error) = ready!(this.session.attempting(|| instance.poll_ready(cx))) {
            this.session.unready(this.shared.rules.retry.shared());
            return Poll::Ready(Err(error));
        }
        // The machine schedules no attempt without a copy, so there is one.
        let Ok(request) = mem::replace(this.copy, Err(Reason::Attempts)) else {
            unreachable!("a retry was scheduled without a request");
        };
        *this.copy = this.shared.rules.copy(number, &request);
        this.session.sent();
        let attempt = this.session.attempting(|| instance.call(request));
        this.state.set(State::Calling { attempt });
        Poll::Ready(Ok(()))
    }
}

impl<S: Service<Req>, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("session", &self.session).finish_non_exhaustive()
    }
}
