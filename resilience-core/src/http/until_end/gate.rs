//! The policies whose permits can be held: whom to ask, and whom to tell.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::bulkhead::{self, Acquire, Bulkhead};
use crate::circuit_breaker::{self, CircuitBreaker};
use crate::{Classification, Rejected};

/// A permit that is told how its call ended. Dropped untold, the call was given up.
pub trait Settle {
    /// The call ended, and this is what it meant: about the service, and about when to come back.
    fn settle(self, meaning: Classification);
}

impl Settle for circuit_breaker::Permit {
    fn settle(self, meaning: Classification) {
        circuit_breaker::Permit::settle(self, meaning.class());
    }
}

/// A slot does not care how its call ended.
impl Settle for bulkhead::Permit {
    fn settle(self, _: Classification) {}
}

/// Whose turn it is, once a [`Gate`] can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The call may go on to the service, as soon as that is ready.
    Inner,
    /// The call will be refused, and so need not wait for the service.
    Refusal,
}

/// A policy that gives permits; [`UntilEndLayer`](super::UntilEndLayer) holds them until the body has ended.
///
/// Given for [`CircuitBreaker`] and [`Bulkhead`].
pub trait Gate {
    /// Leave to make one call.
    type Permit: Settle;
    /// What a service keeps between readiness and call. Dropping it gives back whatever it holds.
    type Waiting: Default;

    /// Waits for this call's turn. Asked again before [`admit`](Self::admit), it answers anew.
    fn poll_turn(&self, waiting: &mut Self::Waiting, cx: &mut Context<'_>) -> Poll<Turn>;

    /// The permit for the call that is made now.
    ///
    /// # Errors
    ///
    /// The refusal that [`poll_turn`](Self::poll_turn) announced, or one that has come up since.
    fn admit(&self, waiting: Self::Waiting) -> Result<Self::Permit, Rejected>;
}

impl Gate for CircuitBreaker {
    type Permit = circuit_breaker::Permit;
    type Waiting = Option<Rejected>;

    fn poll_turn(&self, waiting: &mut Option<Rejected>, _: &mut Context<'_>) -> Poll<Turn> {
        *waiting = self.would_refuse();
        Poll::Ready(if waiting.is_some() { Turn::Refusal } else { Turn::Inner })
    }

    fn admit(&self, waiting: Option<Rejected>) -> Result<circuit_breaker::Permit, Rejected> {
        match waiting {
            Some(rejected) => Err(self.reject(rejected)),
            None => self.try_acquire(),
        }
    }
}

/// How far a call has come on its way into a [`Bulkhead`].
#[derive(Default)]
pub struct Waiting(State);

#[derive(Default)]
enum State {
    #[default]
    Outside,
    Queued(Acquire),
    Decided(Result<bulkhead::Permit, Rejected>),
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Outside => "outside",
            State::Queued(_) => "queued",
            State::Decided(Ok(_)) => "admitted",
            State::Decided(Err(_)) => "refused",
        })
    }
}

impl Gate for Bulkhead {
    type Permit = bulkhead::Permit;
    type Waiting = Waiting;

    fn poll_turn(&self, waiting: &mut Waiting, cx: &mut Context<'_>) -> Poll<Turn> {
        if let State::Outside | State::Decided(Err(_)) = waiting.0 {
            waiting.0 = State::Queued(self.acquire());
        }
        if let State::Queued(acquire) = &mut waiting.0 {
            let decided = std::task::ready!(Pin::new(acquire).poll(cx));
            waiting.0 = State::Decided(decided);
        }
        Poll::Ready(if let State::Decided(Err(_)) = waiting.0 { Turn::Refusal } else { Turn::Inner })
    }

    fn admit(&self, waiting: Waiting) -> Result<bulkhead::Permit, Rejected> {
        match waiting.0 {
            State::Decided(decided) => decided,
            // Called without having been ready, against the contract: it takes its chance like any newcomer.
            State::Outside | State::Queued(_) => self.try_acquire(),
        }
    }
}
