//! What a detector goes by, and the arithmetic of it.

use std::time::Duration;

use resilience_core::ConfigError;

/// What makes an endpoint an outlier, for how long, and how many may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How often the owner sweeps. Default: 10 s.
    pub interval: Duration,
    /// How long a first ejection lasts. Default: 30 s.
    pub base: Duration,
    /// How long one lasts at most; never less than `base`. Default: 300 s.
    pub max: Duration,
    /// Whether ejections are counted beyond those that make one last for `max`, so that an endpoint which was bad for long
    /// has to be well for long. gRPC counts on, Envoy does not.
    pub counts_beyond_max: bool,
    /// How many may be ejected at once.
    pub cap: Cap,
    /// By comparison with the others.
    pub success_rate: Option<SuccessRate>,
    /// By its own share of failures.
    pub failure_percentage: Option<FailurePercentage>,
    /// By failures in a row, at once and not at the next sweep.
    pub consecutive: Option<u32>,
}

/// How many endpoints may be ejected at once.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cap {
    /// As long as fewer than this percentage are: one always may, unless this is 0. gRPC's reading.
    Below(f64),
    /// If afterwards no more than this percentage are. Envoy's reading.
    AtMost {
        /// The percentage.
        percent: f64,
        /// Whether the first one may go whatever the percentage says.
        always_one: bool,
    },
}

/// Ejects endpoints whose success rate lies too far below the mean of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// How many standard deviations below, in thousandths. Default: 1,900.
    pub stdev_factor: u32,
    /// The share of such endpoints that are really ejected, in percent. Default: 100.
    pub enforcement: f64,
    /// Endpoints with enough calls that there must be. Default: 5.
    pub min_hosts: usize,
    /// Calls between two sweeps that are enough. Default: 100.
    pub volume: u64,
}

/// Ejects endpoints of whose calls too many fail, whatever the others do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailurePercentage {
    /// Of a hundred calls, how many may fail. Default: 85.
    pub threshold: f64,
    /// Whether exactly so many are too many: Envoy says yes, gRPC no.
    pub judged: Judged,
    /// The share of such endpoints that are really ejected, in percent. Default: 100 with gRPC, 0 with Envoy.
    pub enforcement: f64,
    /// Endpoints with enough calls that there must be. Default: 5.
    pub min_hosts: usize,
    /// Calls between two sweeps that are enough. Default: 50.
    pub volume: u64,
}

/// Whether a threshold belongs to the good or to the bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Only what is above the threshold is bad.
    Above,
    /// What is on the threshold is bad already.
    AtOrAbove,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { stdev_factor: 1_900, enforcement: 100.0, min_hosts: 5, volume: 100 }
    }
}

impl FailurePercentage {
    /// The defaults of gRPC's proposal A50.
    pub const GRPC: Self =
        Self { threshold: 85.0, judged: Judged::Above, enforcement: 100.0, min_hosts: 5, volume: 50 };
    /// Envoy's defaults, which detect and do not enforce.
    pub const ENVOY: Self = Self { judged: Judged::AtOrAbove, enforcement: 0.0, ..Self::GRPC };
}

impl Rules {
    /// gRPC's proposal A50 with its defaults: both algorithms, none by failures in a row.
    pub fn grpc() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            max: Duration::from_secs(300),
            counts_beyond_max: true,
            cap: Cap::Below(10.0),
            success_rate: Some(SuccessRate::default()),
            failure_percentage: Some(FailurePercentage::GRPC),
            consecutive: None,
        }
    }

    /// Envoy's defaults: five failures in a row, or the success rate; the percentage only watched.
    pub fn envoy() -> Self {
        Self {
            counts_beyond_max: false,
            cap: Cap::AtMost { percent: 10.0, always_one: true },
            failure_percentage: Some(FailurePercentage::ENVOY),
            consecutive: Some(5),
            ..Self::grpc()
        }
    }

    /// How long the `ejections`-th ejection in a row lasts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_discovery::outlier::Rules;
    ///
    /// let lasts = |ejections| Rules::envoy().lasts(ejections).as_secs();
    /// assert_eq!([lasts(1), lasts(2), lasts(10), lasts(u32::MAX)], [30, 60, 300, 300]);
    /// ```
    pub fn lasts(&self, ejections: u32) -> Duration {
        self.base.saturating_mul(ejections).min(self.max.max(self.base))
    }

    /// Whether an ejection after so many is counted.
    pub(super) fn grows(&self, ejections: u32) -> bool {
        // Envoy: while the ejections counted would last less than the longest and one more.
        self.counts_beyond_max || self.base.saturating_mul(ejections) < self.max.saturating_add(self.base)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.interval.is_zero() {
            return Err(ConfigError::new("interval", "must be above zero"));
        }
        if self.base.is_zero() {
            return Err(ConfigError::new("base", "must be above zero"));
        }
        if self.consecutive == Some(0) {
            return Err(ConfigError::new("consecutive", "must be above zero"));
        }
        let (Cap::Below(percent) | Cap::AtMost { percent, .. }) = self.cap;
        percentage("cap", percent)?;
        if let Some(rule) = &self.success_rate {
            percentage("success_rate.enforcement", rule.enforcement)?;
        }
        if let Some(rule) = &self.failure_percentage {
            percentage("failure_percentage.threshold", rule.threshold)?;
            percentage("failure_percentage.enforcement", rule.enforcement)?;
        }
        Ok(())
    }
}

impl Cap {
    /// Whether one more of `hosts` may be ejected when `ejected` are.
    pub(super) fn allows(self, ejected: usize, hosts: usize) -> bool {
        let share = |count: usize| 100.0 * count as f64 / hosts as f64;
        match self {
            Self::Below(percent) => share(ejected) < percent,
            Self::AtMost { percent, always_one } => share(ejected + 1) <= percent || (always_one && ejected == 0),
        }
    }
}

/// The success rates of some endpoints, and what follows for each.
///
/// ```
/// use resilience_discovery::outlier::Spread;
///
/// let spread = Spread::of(&[50.0, 100.0, 100.0, 100.0, 100.0]);
/// assert_eq!((spread.mean, spread.deviation, spread.required(1_900)), (90.0, 20.0, 52.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the population: these are all endpoints, not a sample of them.
    pub deviation: f64,
}

impl Spread {
    /// Of these rates; zeros if there are none.
    pub fn of(rates: &[f64]) -> Self {
        let count = rates.len().max(1) as f64;
        let mean = rates.iter().sum::<f64>() / count;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
        Self { mean, deviation: variance.sqrt() }
    }

    /// The rate below which an endpoint is an outlier, `factor` being thousandths of a standard deviation.
    pub fn required(&self, factor: u32) -> f64 {
        self.mean - self.deviation * (f64::from(factor) / 1_000.0)
    }
}

fn percentage(field: &'static str, percent: f64) -> Result<(), ConfigError> {
    // NaN is in no range.
    if (0.0..=100.0).contains(&percent) { Ok(()) } else { Err(ConfigError::new(field, "must be between 0 and 100")) }
}
