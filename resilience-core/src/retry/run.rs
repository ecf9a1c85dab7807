//! Retries around a plain future, without tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::Classify;
use crate::time::Sleep;

use super::policy::Retry;
use super::session::{Next, Session, last_word};

pin_project! {
    /// An operation and its retries; made by [`Retry::run`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<'a, Op, Fut, C>
    where
        Fut: Future,
    {
        retry: &'a Retry,
        operation: Op,
        classify: C,
        // Begins with the first poll: a future that is never polled is no request.
        session: Option<Session>,
        // The answer of the last attempt that was sent, kept from the moment another is scheduled; see `last_word`.
        earlier: Option<Box<Fut::Output>>,
        #[pin]
        state: State<Fut>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<Fut> {
        /// The next attempt is to be made; the first one if nothing was made yet.
        Idle,
        Running { #[pin] attempt: Fut },
        Waiting { sleep: Sleep },
        /// No attempt will follow; the answer is kept until the wait is over.
        Lingering { sleep: Sleep },
    }
}

impl<'a, Op, Fut: Future, C> Run<'a, Op, Fut, C> {
    pub(super) fn new(retry: &'a Retry, classify: C, operation: Op) -> Self {
        Self { retry, operation, classify, session: None, earlier: None, state: State::Idle }
    }
}

impl<Op, Fut, C, T, E> Future for Run<'_, Op, Fut, C>
where
    Op: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let policy = this.retry.shared();
        let session = this.session.get_or_insert_with(|| Session::begin(policy));
        loop {
            match this.state.as_mut().project() {
                StateProjection::Idle => {
                    session.sent();
                    let number = session.attempt();
                    let attempt = session.attempting(|| (this.operation)(number));
                    this.state.set(State::Running { attempt });
                }
                StateProjection::Running { attempt } => {
                    let answer = ready!(session.attempting(|| attempt.poll(cx)));
                    let means = this.classify.classify(&answer);
                    if session.is_plain(policy, &means) {
                        return Poll::Ready(answer);
                    }
                    let next = session.decide(policy, answer.is_ok(), &means, None);
                    if matches!(next, Next::Return) {
                        return Poll::Ready(last_word(answer, means.is_refused(), this.earlier));
                    }
                    if let Next::Linger(sleep) = next {
                        *this.earlier = Some(Box::new(last_word(answer, means.is_refused(), this.earlier)));
                        this.state.set(State::Lingering { sleep });
                        continue;
                    }
                    if !means.is_refused() {
                        *this.earlier = Some(Box::new(answer));
                    }
                    match next {
                        Next::Return | Next::Linger(_) => {}
                        Next::Soon => {
                            this.state.set(State::Idle);
                            // Yield, so that an operation which fails at once cannot keep the thread to itself.
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Next::Wait(sleep) => this.state.set(State::Waiting { sleep }),
                    }
                }
                StateProjection::Waiting { sleep } => {
                    ready!(Pin::new(sleep).poll(cx));
                    this.state.set(State::Idle);
                }
                StateProjection::Lingering { sleep } => {
                    ready!(Pin::new(sleep).poll(cx));
                    let answer = this.earlier.take().expect("a future is not polled after it is done");
                    return Poll::Ready(*answer);
                }
            }
        }
    }
}

impl<Op, Fut: Future, C> fmt::Debug for Run<'_, Op, Fut, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("policy", self.retry.name()).field("session", &self.session).finish_non_exhaustive()
    }
}
