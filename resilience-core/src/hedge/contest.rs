//! A primary and its rivals, polled together: what services and plain operations have in common.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::Classification;
use crate::retry::budget::Permit;

use super::event::Reason;
use super::machine::Then;
use super::policy::Shared;
use super::session::{Launch, Session, Why};

/// What knows the policy of a call.
pub(super) trait Governed {
    fn policy(&self) -> &Shared;
}

/// What launches attempts, and knows what their answers mean.
pub(super) trait Launcher<T, E>: Governed {
    type Rival: Rival<Output = Result<T, E>>;

    fn classify(&self, answer: &Result<T, E>) -> Classification;

    /// Why another attempt could not be sent, apart from the rules.
    fn obstacle(&self) -> Option<Reason>;

    /// Makes an attempt; asked only if there is no obstacle.
    fn launch(&mut self, attempt: u32) -> Self::Rival;
}

/// An attempt beside the primary.
pub(super) trait Rival: Future {
    /// Whether it went out: before, it is refunded.
    fn is_sent(&self) -> bool;
}

pin_project! {
    /// The primary in place, and the rivals, few and seldom, in boxes of their own.
    pub(super) struct Contest<F, L, R>
    where
        F: Future,
        L: Governed,
    {
        #[pin]
        primary: Option<F>,
        rivals: Vec<Running<R>>,
        session: Session,
        // The best failure so far.
        kept: Option<Box<F::Output>>,
        launcher: L,
    }

    impl<F, L, R> PinnedDrop for Contest<F, L, R>
    where
        F: Future,
        L: Governed,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.session.abandoned(this.launcher.policy());
        }
    }
}

struct Running<R> {
    attempt: u32,
    rival: Pin<Box<R>>,
    permit: Option<Permit>,
}

/// An answer, and whose it is.
struct Answered<T, E> {
    attempt: u32,
    answer: Result<T, E>,
    sent: bool,
    permit: Option<Permit>,
}

impl<F: Future, L: Governed, R> Contest<F, L, R> {
    #[inline]
    pub(super) fn new(primary: F, session: Session, launcher: L) -> Self {
        Self { primary: Some(primary), rivals: Vec::new(), session, kept: None, launcher }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl<F, L, T, E> Future for Contest<F, L, L::Rival>
where
    F: Future<Output = Result<T, E>>,
    L: Launcher<T, E>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if let Some(primary) = this.primary.as_mut().as_pin_mut() {
            // Returned as it came, if it is: taken apart and put together, the answer would be copied at every layer.
            let polled = this.session.attempting(1, || primary.poll(cx));
            if let Poll::Ready(answer) = &polled {
                let means = this.launcher.classify(answer);
                if this.session.is_plain(this.launcher.policy(), answer.is_ok(), &means) {
                    return polled;
                }
                this.primary.set(None);
                let answer = ready!(polled);
                let answered = Answered { attempt: 1, answer, sent: true, permit: None };
                if let Some(answer) = self.as_mut().settle(answered, &means) {
                    return Poll::Ready(answer);
                }
            }
        }
        self.poll_rivals(cx)
    }
}

impl<F, L, T, E> Contest<F, L, L::Rival>
where
    F: Future<Output = Result<T, E>>,
    L: Launcher<T, E>,
{
    /// Polls the rivals, and launches what is due.
    fn poll_rivals(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut at = 0;
        loop {
            let this = self.as_mut().project();
            if let Some(running) = this.rivals.get_mut(at) {
                let polled = this.session.attempting(running.attempt, || running.rival.as_mut().poll(cx));
                let sent = running.rival.is_sent();
                if let (true, Some(permit)) = (sent, &mut running.permit) {
                    permit.spend();
                }
                let Poll::Ready(answer) = polled else {
                    at += 1;
                    continue;
                };
                let Running { attempt, permit, .. } = this.rivals.remove(at);
                let means = this.launcher.classify(&answer);
                let answered = Answered { attempt, answer, sent, permit };
                if let Some(answer) = self.as_mut().settle(answered, &means) {
                    return Poll::Ready(answer);
                }
            } else {
                // All were polled, those launched meanwhile included.
                let policy = this.launcher.policy();
                let why = ready!(this.session.poll_due(policy, this.launcher.obstacle(), cx));
                self.as_mut().launch(why);
                if let Some(answer) = self.as_mut().end_if_over() {
                    return Poll::Ready(answer);
                }
            }
        }
    }

    /// Goes on after an answer; what the caller gets, if the call is over.
    #[cold]
    fn settle(mut self: Pin<&mut Self>, answered: Answered<T, E>, means: &Classification) -> Option<Result<T, E>> {
        let Answered { attempt, answer, sent, permit } = answered;
        let this = self.as_mut().project();
        let decision = this.session.answered(this.launcher.policy(), attempt, answer.is_ok(), sent, means);
        if decision.then == Then::Win {
            self.as_mut().end();
            let this = self.project();
            this.session.won(this.launcher.policy(), attempt, means, permit);
            return Some(answer);
        }
        // What the attempt cost stays spent, if it was sent; where those in flight are counted, it is one less.
        drop(permit);
        if decision.keep {
            *this.kept = Some(Box::new(answer));
        }
        match decision.then {
            Then::Win | Then::Wait => {}
            Then::Launch => this.session.hurry(means),
            Then::Hold(after) => this.session.hold(this.launcher.policy(), after, means),
            Then::End => return self.fail(),
        }
        None
    }

    /// The best failure, if nobody is left who could answer.
    fn end_if_over(self: Pin<&mut Self>) -> Option<Result<T, E>> {
        if self.session.running() == 0 { self.fail() } else { None }
    }

    fn fail(mut self: Pin<&mut Self>) -> Option<Result<T, E>> {
        self.as_mut().end();
        let this = self.project();
        this.session.failed(this.launcher.policy());
        // There is one: the first failure was kept, whatever it was.
        this.kept.take().map(|kept| *kept)
    }

    /// Launches the next attempt, if the rules, the clock and the budget agree.
    #[cold]
    fn launch(self: Pin<&mut Self>, why: Why) {
        let this = self.project();
        let obstacle = this.launcher.obstacle();
        if let Some(Launch { attempt, permit }) = this.session.launch(this.launcher.policy(), obstacle, why) {
            let rival = this.session.attempting(attempt, || this.launcher.launch(attempt));
            this.rivals.push(Running { attempt, rival: Box::pin(rival), permit });
        }
    }

    /// Drops whatever still runs: before the caller can see how the call ended, and before anybody is told.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.primary.set(None);
        this.rivals.clear();
    }
}
