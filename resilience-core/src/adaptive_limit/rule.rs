//! Which rule finds the limit.

use std::time::Duration;

use crate::ConfigError;
use crate::control::{Aimd, Gradient2, Limit, Sample, Vegas};

/// A rule of [`control`](crate::control) and its constants, as data.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::adaptive_limit::{AdaptiveLimit, Rule};
///
/// // A server whose answers should not take longer than 40 ms: by one up, by a quarter down.
/// let rule = Rule::Aimd { backoff: 0.75, timeout: Duration::from_millis(40) };
/// let limit = AdaptiveLimit::builder().rule(rule).build()?;
/// # let _ = limit;
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// [`Aimd`]: by one up while it is used, by a share down when calls are lost or take too long.
    Aimd {
        /// What remains of the limit after a loss, above 0 and below 1.
        backoff: f64,
        /// Round trips that take longer count as lost.
        timeout: Duration,
    },
    /// [`Vegas`]: up while the queue it estimates is short, down while it is long.
    Vegas {
        /// The weight of the newest limit, above 0 and at most 1.
        smoothing: f64,
        /// Queues shorter than this let it grow; `None`: three times the decimal logarithm of the limit.
        alpha: Option<u32>,
        /// Queues longer than this shrink it; `None`: six times that logarithm.
        beta: Option<u32>,
        /// Whether it halves when it shrinks, instead of going down by that logarithm.
        halves: bool,
    },
    /// [`Gradient2`]: by how much round trips are longer than their long average.
    Gradient2 {
        /// How many times the average a round trip may take, at least 1.
        tolerance: f64,
        /// The queue allowed on top, in calls.
        queue: u32,
        /// The weight of the newest limit, above 0 and at most 1.
        smoothing: f64,
        /// Windows the long average covers, above zero.
        windows: u32,
    },
}

impl Rule {
    /// Netflix's constants: a tenth down, 5 s.
    pub const AIMD: Self = Self::Aimd { backoff: 0.9, timeout: Duration::from_secs(5) };
    /// Netflix's constants.
    pub const VEGAS: Self = Self::Vegas { smoothing: 1.0, alpha: None, beta: None, halves: false };
    /// Netflix's constants: 1.5 times the average of 600 windows, and 4 calls.
    pub const GRADIENT2: Self = Self::Gradient2 { tolerance: 1.5, queue: 4, smoothing: 0.2, windows: 600 };

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // Written so that NaN is refused too.
        let is_weight = |share: f64| share > 0.0 && share <= 1.0;
        match *self {
            Self::Aimd { backoff, .. } if !(backoff > 0.0 && backoff < 1.0) => {
                Err(ConfigError::new("rule.backoff", "must be above 0 and below 1"))
            }
            Self::Aimd { timeout: Duration::ZERO, .. } => Err(ConfigError::new("rule.timeout", "must be above zero")),
            Self::Vegas { smoothing, .. } | Self::Gradient2 { smoothing, .. } if !is_weight(smoothing) => {
                Err(ConfigError::new("rule.smoothing", "must be above 0 and at most 1"))
            }
            Self::Vegas { alpha: Some(alpha), beta: Some(beta), .. } if alpha > beta => {
                Err(ConfigError::new("rule.alpha", "must be at most rule.beta"))
            }
            Self::Gradient2 { tolerance, .. } if !(tolerance >= 1.0 && tolerance.is_finite()) => {
                Err(ConfigError::new("rule.tolerance", "must be a number at least 1"))
            }
            Self::Gradient2 { windows: 0, .. } => Err(ConfigError::new("rule.windows", "must be above zero")),
            _ => Ok(()),
        }
    }
}

/// What the builder was told: constants of a rule, or a rule of the user's.
pub(super) enum Chosen {
    Rule(Rule),
    Custom(Box<dyn Limit + Send>),
}

/// A rule at work.
pub(super) enum Active {
    Aimd(Aimd),
    Vegas(Vegas),
    Gradient2(Gradient2),
    Custom(Box<dyn Limit + Send>),
}

impl Active {
    /// The chosen rule, which begins at `limit`.
    pub(super) fn new(chosen: Chosen, limit: u32, min: u32, max: u32) -> Self {
        let mut active = match chosen {
            Chosen::Rule(rule @ Rule::Aimd { .. }) => (Self::Aimd(Aimd::new(limit)), Some(rule)),
            Chosen::Rule(rule @ Rule::Vegas { .. }) => (Self::Vegas(Vegas::new(limit)), Some(rule)),
            Chosen::Rule(rule @ Rule::Gradient2 { windows, .. }) => {
                (Self::Gradient2(Gradient2::new(limit, windows, WARMUP.min(windows))), Some(rule))
            }
            Chosen::Custom(rule) => (Self::Custom(rule), None),
        };
        if let Some(rule) = active.1 {
            active.0.set(rule, min, max);
        }
        active.0
    }

    /// Takes over constants and bounds, if it is of the same kind; false if another rule must be made.
    pub(super) fn set(&mut self, rule: Rule, least: u32, most: u32) -> bool {
        match (self, rule) {
            (Self::Aimd(aimd), Rule::Aimd { backoff, timeout }) => {
                (aimd.backoff, aimd.timeout, aimd.min, aimd.max) = (backoff, timeout, least, most);
            }
            (Self::Vegas(vegas), Rule::Vegas { smoothing, alpha, beta, halves }) => {
                (vegas.smoothing, vegas.alpha, vegas.beta, vegas.halves) = (smoothing, alpha, beta, halves);
                (vegas.min, vegas.max) = (least, most);
            }
            (Self::Gradient2(gradient), Rule::Gradient2 { tolerance, queue, smoothing, windows: _ }) => {
                (gradient.tolerance, gradient.queue, gradient.smoothing) = (tolerance, queue, smoothing);
                (gradient.min, gradient.max) = (least, most);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn sample(&mut self, sample: Sample) -> u32 {
        match self {
            Self::Aimd(aimd) => aimd.sample(sample),
            Self::Vegas(vegas) if sample.dropped && vegas.baseline().is_none() => {
                // The rule takes the first round trip for that of an idle server; that of a lost call is not.
                vegas.set_noload(sample.rtt);
                let limit = vegas.sample(sample);
                vegas.probe_after(1);
                limit
            }
            Self::Vegas(vegas) => vegas.sample(sample),
            Self::Gradient2(gradient) => gradient.sample(sample),
            Self::Custom(rule) => rule.sample(sample),
        }
    }

    pub(super) fn baseline(&self) -> Option<Duration> {
        match self {
            Self::Aimd(aimd) => aimd.baseline(),
            Self::Vegas(vegas) => vegas.baseline(),
            Self::Gradient2(gradient) => gradient.baseline(),
            Self::Custom(rule) => rule.baseline(),
        }
    }

    /// Whether it compares with the least round trip ever seen, and so has to measure it anew now and then.
    pub(super) fn probes(&self) -> bool {
        matches!(self, Self::Vegas(_))
    }

    /// Takes the next sample for the round trip of an idle server.
    pub(super) fn remeasure(&mut self) {
        if let Self::Vegas(vegas) = self {
            vegas.probe_after(1);
        }
    }
}

/// Windows at the beginning that count alike in the long average. Netflix's.
const WARMUP: u32 = 10;
