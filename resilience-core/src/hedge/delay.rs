//! How long to wait for an answer before asking once more.

use std::time::Duration;

use crate::ConfigError;

/// How long an attempt may take before the next one joins it.
///
/// Each delay counts from the launch of the attempt before. [`Duration::MAX`] is never: then only a failure launches
/// another attempt, and a hedge is a retry without a backoff.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::hedge::{Delay, Hedge, Quantile};
///
/// let fixed = Hedge::builder().delay(Duration::from_millis(50)).build()?;
/// let at_0_0_and_100_ms = Hedge::builder().delay([Duration::ZERO, Duration::from_millis(100)]).build()?;
/// assert_eq!(at_0_0_and_100_ms.attempts(), 3); // a schedule says how many
/// let learnt = Hedge::builder().delay(Quantile::new(0.99)).build()?;
/// # let _ = (fixed, learnt, Delay::NEVER);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delay {
    /// The same before each attempt.
    Fixed(Duration),
    /// One for each attempt after the first; the last repeats.
    Schedule(Vec<Duration>),
    /// Learnt from the latencies of recent calls.
    Quantile(Quantile),
}

impl Delay {
    /// No attempt joins one that merely takes long.
    pub const NEVER: Self = Self::Fixed(Duration::MAX);

    /// The attempts in all, if the delays say so themselves.
    pub(super) fn attempts(&self) -> Option<u32> {
        match self {
            Self::Schedule(delays) => u32::try_from(delays.len() + 1).ok(),
            Self::Fixed(_) | Self::Quantile(_) => None,
        }
    }

    pub(super) fn check(&self, attempts: u32) -> Result<(), ConfigError> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::Schedule(delays) if delays.is_empty() => {
                Err(ConfigError::new("delay", "must have at least one delay"))
            }
            Self::Schedule(delays) if delays.len() >= attempts as usize => {
                Err(ConfigError::new("delay", "must not have more delays than attempts after the first"))
            }
            Self::Schedule(_) => Ok(()),
            Self::Quantile(quantile) => quantile.check(),
        }
    }
}

impl Default for Delay {
    fn default() -> Self {
        Self::Quantile(Quantile::default())
    }
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Self {
        Self::Fixed(delay)
    }
}

impl From<Vec<Duration>> for Delay {
    fn from(delays: Vec<Duration>) -> Self {
        Self::Schedule(delays)
    }
}

impl<const N: usize> From<[Duration; N]> for Delay {
    fn from(delays: [Duration; N]) -> Self {
        Self::Schedule(delays.into())
    }
}

impl From<Quantile> for Delay {
    fn from(quantile: Quantile) -> Self {
        Self::Quantile(quantile)
    }
}

/// A delay that this share of the calls is answered within, as far as recent ones tell.
///
/// A primary that is dropped, because a hedge won or the caller left, did not take as long as it ran but longer: it
/// counts as "at least this long" (a censored observation; Kaplan and Meier, "Nonparametric estimation from incomplete
/// observations", 1958). Left out, the slow calls would vanish from the figures as soon as they are hedged, the delay
/// would fall to that of the fast ones, and every call would be hedged in the end.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::hedge::{Hedge, Quantile};
///
/// let careful = Quantile { before: Some(Duration::from_millis(200)), ..Quantile::new(0.99) };
/// let hedge = Hedge::builder().delay(careful).build()?;
/// assert_eq!(hedge.snapshot().delay, Some(Duration::from_millis(200))); // nothing is known yet
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The share of calls that need no hedge, between 0 and 1. 0.95: 5 % more calls for the slowest 5 %, the figure of
    /// Dean and Barroso, "The Tail at Scale", 2013.
    pub quantile: f64,
    /// How many calls the figures go back, at least; at most twice as many. 10 to 1,000,000; 1,000.
    pub window: u32,
    /// Calls to know of before the figures are believed. 100: five of them are beyond the 95th percentile.
    pub samples: u32,
    /// The delay until then; `None`, the default, hedges nothing before something is known.
    pub before: Option<Duration>,
    /// The shortest delay. 1 ms, as in Finagle: what is faster gains nothing from a second attempt.
    pub least: Duration,
    /// The longest delay. Unlimited.
    pub most: Duration,
}

impl Quantile {
    /// Delays by `quantile`, a share of the calls, with the other figures as preset.
    pub const fn new(quantile: f64) -> Self {
        Self {
            quantile,
            window: 1_000,
            samples: 100,
            before: None,
            least: Duration::from_millis(1),
            most: Duration::MAX,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        // Written so that NaN is refused too.
        if !(self.quantile > 0.0 && self.quantile < 1.0) {
            return Err(ConfigError::new("delay.quantile", "must be above 0 and below 1"));
        }
        if !(10..=1_000_000).contains(&self.window) {
            return Err(ConfigError::new("delay.window", "must be between 10 and 1,000,000 calls"));
        }
        if self.samples == 0 || self.samples > self.window {
            return Err(ConfigError::new("delay.samples", "must be above zero and at most the window"));
        }
        if self.least > self.most {
            return Err(ConfigError::new("delay.least", "must not exceed the longest delay"));
        }
        Ok(())
    }
}

impl Default for Quantile {
    fn default() -> Self {
        Self::new(0.95)
    }
}
