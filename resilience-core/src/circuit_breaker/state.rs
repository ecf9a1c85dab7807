//! Where a circuit can stand, and why it moves.

use std::time::Duration;

use crate::time::Timestamp;

/// Where the circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass and their answers are watched.
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// Some calls pass; their answers decide.
    HalfOpen,
    /// Calls are refused until somebody closes the circuit by hand.
    Isolated,
    /// Calls pass and are reported, and nothing is counted, until somebody closes the circuit by hand.
    Disabled,
    /// Calls pass and are counted; what would have opened the circuit is reported, and it stays as it is until somebody
    /// closes it by hand.
    MetricsOnly,
}

impl State {
    /// All states, as labels for a one-hot gauge.
    pub(crate) const LABELS: &'static [&'static str] =
        &["closed", "open", "half_open", "isolated", "disabled", "metrics_only"];

    /// The state as a label for metrics.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }

    /// Whether some calls are refused in this state.
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Open | Self::HalfOpen | Self::Isolated)
    }
}

/// What made the circuit change its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// So many failures in a row.
    Consecutive {
        /// The failures.
        failures: u32,
    },
    /// Too large a share of the calls in the window failed.
    Rate {
        /// Failed calls in the window.
        failures: u64,
        /// Calls in the window.
        calls: u64,
    },
    /// Too large a share of the calls took too long.
    Slow {
        /// Slow calls in the window, and calls that still run and are slow already.
        slow: u64,
        /// Calls in the window, and those that still run and are slow.
        calls: u64,
    },
    /// Nothing but calls given up by their callers: nobody got an answer in time.
    Abandoned {
        /// The calls given up.
        calls: u64,
    },
    /// The wait was over.
    Waited,
    /// The probes decided.
    Probes {
        /// Probes that succeeded.
        succeeded: u32,
        /// Probes that failed.
        failed: u32,
    },
    /// A stage of the ramp went well, or badly: the next one, or the one before it, begins.
    Stage {
        /// Which stage begins, counted from zero.
        stage: u32,
        /// The share of calls that pass in it, in per cent.
        percent: u32,
    },
    /// The probes had not decided when the half-open state's time was up.
    Undecided,
    /// Somebody asked for it.
    Manual,
}

impl Cause {
    /// The cause as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Consecutive { .. } => "consecutive",
            Self::Rate { .. } => "rate",
            Self::Slow { .. } => "slow",
            Self::Abandoned { .. } => "abandoned",
            Self::Waited => "waited",
            Self::Probes { .. } => "probes",
            Self::Stage { .. } => "stage",
            Self::Undecided => "undecided",
            Self::Manual => "manual",
        }
    }

    /// The share of calls that were bad, where the cause is one.
    ///
    /// ```
    /// use resilience_core::circuit_breaker::Cause;
    ///
    /// assert_eq!(Cause::Rate { failures: 3, calls: 4 }.share(), Some(0.75));
    /// assert_eq!(Cause::Probes { succeeded: 1, failed: 1 }.share(), Some(0.5));
    /// assert_eq!(Cause::Consecutive { failures: 5 }.share(), Some(1.0));
    /// assert_eq!(Cause::Manual.share(), None);
    /// ```
    pub fn share(self) -> Option<f64> {
        let of = |part: f64, all: f64| (all > 0.0).then(|| part / all);
        match self {
            Self::Rate { failures: part, calls } | Self::Slow { slow: part, calls } => of(part as f64, calls as f64),
            Self::Probes { succeeded, failed } => of(failed.into(), f64::from(succeeded) + f64::from(failed)),
            Self::Consecutive { .. } | Self::Abandoned { .. } => Some(1.0),
            Self::Waited | Self::Stage { .. } | Self::Undecided | Self::Manual => None,
        }
    }
}

/// A change of state, numbered by the generation it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after. The same as before when a stage of the ramp begins.
    pub to: State,
    /// The generation the new state begins; it grows by one with each transition.
    pub generation: u32,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Timestamp,
    /// When the new state ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// What is known when a circuit opens, for [rules of one's own](super::CircuitBreakerBuilder::open_for_each) about how long.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Opening {
    /// How often it has opened before without a lasting recovery between: 0 the first time.
    pub attempt: u32,
    /// Why it opens, with the counts.
    pub cause: Cause,
    /// When the server wants to be called again, if the answer that opened the circuit said so.
    pub hint: Option<Duration>,
}
