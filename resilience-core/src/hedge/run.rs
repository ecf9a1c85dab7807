//! Hedges of a plain future, without tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::{Classification, Classify};

use super::contest::{Contest, Governed, Launcher, Rival};
use super::event::Reason;
use super::policy::{Hedge, Shared};
use super::session::Session;

pin_project! {
    /// An operation and its hedges; made by [`Hedge::run`].
    ///
    /// Dropping it drops every attempt.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<'a, Op, Fut, C>
    where
        Fut: Future,
    {
        hedge: &'a Hedge,
        // Until the first poll: a future that is never polled is no request.
        operation: Option<(Op, C)>,
        #[pin]
        contest: Option<Contest<Fut, Operation<'a, Op, C>, Direct<Fut>>>,
    }
}

/// Makes attempts by calling the operation.
struct Operation<'a, Op, C> {
    hedge: &'a Hedge,
    operation: Op,
    classify: C,
}

pin_project! {
    /// An attempt that is sent as soon as it is polled.
    struct Direct<Fut> {
        #[pin]
        attempt: Fut,
    }
}

impl<'a, Op, Fut: Future, C> Run<'a, Op, Fut, C> {
    pub(super) fn new(hedge: &'a Hedge, classify: C, operation: Op) -> Self {
        Self { hedge, operation: Some((operation, classify)), contest: None }
    }
}

impl<Op, Fut, C, T, E> Future for Run<'_, Op, Fut, C>
where
    Op: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some((mut operation, classify)) = this.operation.take() {
            let session = Session::begin(this.hedge.shared());
            let primary = session.attempting(1, || operation(1));
            let launcher = Operation { hedge: this.hedge, operation, classify };
            this.contest.set(Some(Contest::new(primary, session, launcher)));
        }
        this.contest.as_pin_mut().expect("a future is not polled after its first poll panicked").poll(cx)
    }
}

impl<Op, C> Governed for Operation<'_, Op, C> {
    fn policy(&self) -> &Shared {
        self.hedge.shared()
    }
}

impl<Op, Fut, C, T, E> Launcher<T, E> for Operation<'_, Op, C>
where
    Op: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Rival = Direct<Fut>;

    fn classify(&self, answer: &Result<T, E>) -> Classification {
        self.classify.classify(answer)
    }

    fn obstacle(&self) -> Option<Reason> {
        None
    }

    fn launch(&mut self, attempt: u32) -> Self::Rival {
        Direct { attempt: (self.operation)(attempt) }
    }
}

impl<Fut: Future> Future for Direct<Fut> {
    type Output = Fut::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().attempt.poll(cx)
    }
}

impl<Fut: Future> Rival for Direct<Fut> {
    fn is_sent(&self) -> bool {
        true
    }
}

impl<Op, Fut: Future, C> fmt::Debug for Run<'_, Op, Fut, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.contest.as_ref().map(Contest::session);
        f.debug_struct("Run").field("policy", self.hedge.name()).field("session", &session).finish_non_exhaustive()
    }
}
