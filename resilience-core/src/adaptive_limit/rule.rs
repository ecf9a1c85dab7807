//! Which rule finds the limit.

use std::time::Duration;

use crate::ConfigError;
use crate::control::{Aimd, Gradient2, Limit, Sample, Vegas};
use crate::time::saturating_nanos;

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
    Vegas(Unloaded),
    /// And the number of windows it was made for.
    Gradient2(Gradient2, u32),
    Custom(Box<dyn Limit + Send>),
}

impl Active {
    /// The chosen rule, which begins at `limit`.
    pub(super) fn new(chosen: Chosen, limit: u32, least: u32, most: u32) -> Self {
        let rule = match chosen {
            Chosen::Rule(rule) => rule,
            Chosen::Custom(rule) => return Self::Custom(rule),
        };
        let mut active = match rule {
            Rule::Aimd { .. } => Self::Aimd(Aimd::new(limit)),
            Rule::Vegas { .. } => Self::Vegas(Unloaded { vegas: Vegas::new(limit), noload: None, measured: 0 }),
            Rule::Gradient2 { windows, .. } => {
                Self::Gradient2(Gradient2::new(limit, windows, WARMUP.min(windows)), windows)
            }
        };
        active.set(rule, least, most);
        active
    }

    /// Takes over constants and bounds, if it is of the same kind; false if another rule must be made.
    pub(super) fn set(&mut self, rule: Rule, least: u32, most: u32) -> bool {
        match (self, rule) {
            (Self::Aimd(aimd), Rule::Aimd { backoff, timeout }) => {
                (aimd.backoff, aimd.timeout, aimd.min, aimd.max) = (backoff, timeout, least, most);
            }
            (Self::Vegas(Unloaded { vegas, .. }), Rule::Vegas { smoothing, alpha, beta, halves }) => {
                (vegas.smoothing, vegas.alpha, vegas.beta, vegas.halves) = (smoothing, alpha, beta, halves);
                (vegas.min, vegas.max) = (least, most);
            }
            // An average over other windows is another average.
            (Self::Gradient2(gradient, over), Rule::Gradient2 { tolerance, queue, smoothing, windows })
                if *over == windows =>
            {
                (gradient.tolerance, gradient.queue, gradient.smoothing) = (tolerance, queue, smoothing);
                (gradient.min, gradient.max) = (least, most);
            }
            _ => return false,
        }
        true
    }

    /// What the limit is after a sample, which shows a server without load if `is_unloaded`.
    pub(super) fn sample(&mut self, sample: Sample, is_unloaded: bool) -> u32 {
        match self {
            Self::Aimd(aimd) => aimd.sample(sample),
            Self::Vegas(unloaded) => unloaded.sample(sample, is_unloaded),
            Self::Gradient2(gradient, _) => gradient.sample(sample),
            Self::Custom(rule) => rule.sample(sample),
        }
    }

    pub(super) fn baseline(&self) -> Option<Duration> {
        match self {
            Self::Aimd(aimd) => aimd.baseline(),
            Self::Vegas(unloaded) => unloaded.noload,
            Self::Gradient2(gradient, _) => gradient.baseline(),
            Self::Custom(rule) => rule.baseline(),
        }
    }

    /// Whether it compares with the round trip of a server without load, and so has to measure that now and then.
    pub(super) fn probes(&self) -> bool {
        matches!(self, Self::Vegas(_))
    }

    /// Whether what it compares with stands on so few measurements that one more would tell.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Vegas(unloaded) if unloaded.measured < SURE)
    }
}

/// Windows at the beginning that count alike in the long average. Netflix's.
const WARMUP: u32 = 10;

/// Vegas, with a round trip to compare with that is measured, and not the least one ever seen.
///
/// The least of many windows is the luckiest of them: where calls take one time and then another, it lies so far below
/// the others that each of them looks like a queue, and the limit goes down to nearly nothing. So the rule is only told
/// what was measured without load, averaged, and is not shown less.
pub(super) struct Unloaded {
    vegas: Vegas,
    noload: Option<Duration>,
    /// How often it was measured since the path changed.
    measured: u32,
}

/// A measurement that differs by a larger share than this is a change of the path; others differ by chance.
const CHANGE: f64 = 0.5;
/// So many measurements of one path are averaged alike; from then on, each new one counts as much as the last of them did.
///
/// A single one, of as many calls as half the limit, is easily a twentieth too low, which is half the queue that the rule
/// allows: the limit then takes half a minute to grow where it could take three seconds.
const SURE: u32 = 4;
/// The weight of a window under load that takes less time than one without should.
const LUCKY: f64 = 0.0625;

impl Unloaded {
    fn sample(&mut self, sample: Sample, is_unloaded: bool) -> u32 {
        let noload = match self.noload {
            // A lost call says nothing of the path.
            _ if sample.dropped => self.noload.unwrap_or(sample.rtt).min(sample.rtt),
            // Whatever the load: better than nothing, until it is measured.
            None => *self.noload.insert(sample.rtt),
            Some(noload) => {
                if is_unloaded {
                    self.measured = (self.measured + 1).min(SURE);
                }
                let nanos = saturating_nanos(noload).max(1) as f64;
                let change = saturating_nanos(sample.rtt) as f64 / nanos - 1.0;
                let weight = match () {
                    () if is_unloaded && change.abs() > CHANGE => {
                        self.measured = 1;
                        1.0
                    }
                    () if is_unloaded => 1.0 / f64::from(self.measured),
                    () if change < 0.0 => LUCKY,
                    () => 0.0,
                };
                // Saturates.
                *self.noload.insert(Duration::from_nanos((nanos * (1.0 + weight * change)) as u64))
            }
        };
        self.vegas.set_noload(noload);
        if is_unloaded {
            // Without load, there is no queue to be judged by.
            return self.vegas.limit();
        }
        self.vegas.sample(Sample { rtt: sample.rtt.max(noload), ..sample })
    }
}
