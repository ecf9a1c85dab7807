//! What sheds load, as data.

use serde::{Deserialize, Serialize};

use super::Span;
use super::adaptive::{ByCriticality, replace};
use super::policies::set;
use crate::control::Throttle;
use crate::load_shed::admission::AdmissionControlBuilder;
use crate::load_shed::queue::QueueShedBuilder;
use crate::load_shed::signal::SignalShedBuilder;
use crate::load_shed::{AdmissionControl, ClientThrottle, ClientThrottleBuilder, Cohort, QueueShed, SignalShed};

/// A [`Cohort`] as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CohortConfig {
    /// By chance.
    Random,
    /// By the correlation id.
    Correlation,
}

impl From<CohortConfig> for Cohort {
    fn from(config: CohortConfig) -> Self {
        match config {
            CohortConfig::Random => Self::Random,
            CohortConfig::Correlation => Self::Correlation,
        }
    }
}

/// A [`ClientThrottle`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::ClientThrottleConfig;
///
/// let config: ClientThrottleConfig = toml::from_str("rule.k = 1.5\nrule.most = 0.9\nwindow = \"1m\"")?;
/// assert!(config.builder().build().is_ok());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientThrottleConfig {
    /// How refusals follow from what is accepted: what is to differ from [`Throttle::SRE`].
    #[serde(skip_serializing_if = "ThrottleConfig::is_empty")]
    pub rule: ThrottleConfig,
    /// How long calls count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Whether refusal is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A [`Throttle`] as data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ThrottleConfig {
    /// How many requests are sent for each that is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<f64>,
    /// Keeps a few requests from deciding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad: Option<f64>,
    /// The highest probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// Above 1, refusal sets in earlier and rises more gently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggression: Option<f64>,
    /// With fewer requests than this, none is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
}

impl ThrottleConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ClientThrottleConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> ClientThrottleBuilder {
        let mut rule = Throttle::SRE;
        let ThrottleConfig { k, pad, most, aggression, min_requests } = self.rule;
        replace(&mut rule.k, k);
        replace(&mut rule.pad, pad);
        replace(&mut rule.most, most);
        replace(&mut rule.aggression, aggression);
        replace(&mut rule.min_requests, min_requests);
        let mut builder = ClientThrottle::builder().rule(rule);
        set!(builder, self.window => window, self.dry_run => dry_run);
        builder
    }
}

/// An [`AdmissionControl`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::AdmissionControlConfig;
///
/// let config: AdmissionControlConfig = toml::from_str("success_rate = 0.9\ncohort = \"correlation\"")?;
/// assert!(config.builder().build().is_ok());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdmissionControlConfig {
    /// The share of successes that is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Above 1, refusal sets in earlier and rises more gently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggression: Option<f64>,
    /// Calls a second below which nothing is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rate: Option<f64>,
    /// The highest share of all calls that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// How long calls count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// By what calls of one criticality are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortConfig>,
    /// Whether refusal is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl AdmissionControlConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> AdmissionControlBuilder {
        let mut builder = AdmissionControl::builder();
        set!(builder, self.success_rate => success_rate, self.aggression => aggression, self.min_rate => min_rate);
        set!(builder, self.most => most, self.window => window, self.cohort => cohort, self.dry_run => dry_run);
        builder
    }
}

/// A [`QueueShed`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::QueueShedConfig;
///
/// let config: QueueShedConfig = toml::from_str("target = \"10ms\"\npatience = { sheddable = 1.0, critical_plus = 100.0 }")?;
/// assert!(config.builder().build().is_ok());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QueueShedConfig {
    /// What even the luckiest call may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Span>,
    /// How long a burst may take to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How many times the target a call may have waited while the queue stands.
    #[serde(skip_serializing_if = "ByCriticality::is_empty")]
    pub patience: ByCriticality,
    /// By what calls of one criticality are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortConfig>,
    /// Whether refusal is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl QueueShedConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> QueueShedBuilder {
        let mut builder = QueueShed::builder();
        set!(builder, self.target => target, self.interval => interval);
        set!(builder, self.cohort => cohort, self.dry_run => dry_run);
        self.patience.set().fold(builder, |builder, (criticality, times)| builder.patience(criticality, times))
    }
}

/// A [`SignalShed`] as data. Its signal is its own: [`SignalShed::signal`] of the policy that is built.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::SignalShedConfig;
///
/// let config: SignalShedConfig = toml::from_str("from = 0.7\nfresh_for = \"10s\"")?;
/// let shed = config.builder().build()?;
/// shed.signal().set(0.9);
/// assert!(shed.snapshot().ratio > 0.6);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SignalShedConfig {
    /// The signal above which calls are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// The highest share of all calls that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// How long a signal is believed that is not set again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_for: Option<Span>,
    /// By what calls of one criticality are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortConfig>,
    /// Whether refusal is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl SignalShedConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> SignalShedBuilder {
        let mut builder = SignalShed::builder();
        set!(builder, self.from => from, self.most => most, self.fresh_for => fresh_for);
        set!(builder, self.cohort => cohort, self.dry_run => dry_run);
        builder
    }
}
