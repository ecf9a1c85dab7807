//! What a breaker reports.

use super::state::{Cause, State, Transition};
use crate::event::{Fact, Severity};
use crate::{Class, Reason};

/// What happened in a breaker.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use resilience_core::Class;
/// use resilience_core::circuit_breaker::{Cause, CircuitBreaker, Event, State};
/// use resilience_core::event::{self, Sink};
///
/// #[derive(Default)]
/// struct Changes(Mutex<Vec<(State, Cause)>>);
/// impl Sink for Changes {
///     fn on_event(&self, event: &event::Event<'_>) {
///         if let Some(Event::Changed(transition)) = event.fact() {
///             self.0.lock().unwrap().push((transition.to, transition.cause));
///         }
///     }
/// }
///
/// let changes = Arc::new(Changes::default());
/// let breaker = CircuitBreaker::builder().consecutive_failures(1).listener(changes.clone()).build()?;
/// breaker.try_acquire().unwrap().settle(Class::Failure);
/// breaker.close();
/// let seen = [(State::Open, Cause::Consecutive { failures: 1 }), (State::Closed, Cause::Manual)];
/// assert_eq!(*changes.0.lock().unwrap(), seen);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The state changed. Transitions are reported one at a time, in the order in which they happened.
    Changed(Transition),
    /// A call was refused.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call would have been refused, in a [dry run](super::CircuitBreakerBuilder::dry_run).
    WouldReject {
        /// Why.
        reason: Reason,
    },
    /// The circuit would have opened, but [only counts](super::CircuitBreaker::metrics_only). Once for each time it is
    /// told to.
    WouldOpen {
        /// Why.
        cause: Cause,
    },
    /// A call was answered, and the answer counted.
    Settled {
        /// What it counted as.
        class: Class,
    },
    /// A call was given up by its caller before the answer came.
    Abandoned,
    /// An answer came after the state it was admitted in had ended; it counted for nothing.
    Stale,
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "circuit_breaker"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Changed(Transition { to: State::Closed, .. }) => "closed",
            Self::Changed(Transition { to: State::Open, .. }) => "opened",
            Self::Changed(Transition { cause: Cause::Stage { .. }, .. }) => "ramped",
            Self::Changed(Transition { to: State::HalfOpen, .. }) => "half_opened",
            Self::Changed(Transition { to: State::Isolated, .. }) => "isolated",
            Self::Changed(Transition { to: State::Disabled, .. }) => "disabled",
            Self::Changed(Transition { to: State::MetricsOnly, .. }) => "metrics_only",
            Self::Rejected { .. } => "rejected",
            Self::WouldReject { .. } => "would_reject",
            Self::WouldOpen { .. } => "would_open",
            Self::Settled { .. } => "settled",
            Self::Abandoned => "abandoned",
            Self::Stale => "stale",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Changed(Transition { to: State::Closed, .. }) => Severity::Info,
            Self::Changed(Transition { to: State::Open, .. }) => Severity::Error,
            Self::Changed(Transition { cause: Cause::Stage { .. }, .. }) => Severity::Info,
            Self::Changed(_) | Self::WouldOpen { .. } => Severity::Warn,
            _ => Severity::Debug,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Changed(transition) => Some(transition.cause.label()),
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
            Self::WouldOpen { cause } => Some(cause.label()),
            _ => None,
        }
    }

    fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Settled { class } => Some(class.label()),
            _ => None,
        }
    }

    fn state(&self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::Changed(transition) => Some((transition.to.label(), State::LABELS)),
            _ => None,
        }
    }
}
