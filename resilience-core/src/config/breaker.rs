//! The circuit breaker as data.

use serde::{Deserialize, Serialize};

use super::Span;
use super::policies::set;
use crate::circuit_breaker::{Abandoned, CircuitBreaker, CircuitBreakerBuilder};

/// A [`CircuitBreaker`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::CircuitBreakerConfig;
///
/// let config: CircuitBreakerConfig = toml::from_str("consecutive_failures = 5\nopen_for = \"10s\"")?;
/// let breaker = config.builder().name("stock").build()?;
/// # let _ = breaker;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CircuitBreakerConfig {
    /// Opens after so many failures in a row, instead of by rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<u32>,
    /// Opens when this share of the calls in the window failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// How far back the rate looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Calls the window must hold before the rate means anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_calls: Option<u32>,
    /// How long the circuit stays open before it probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for: Option<Span>,
    /// Calls a half-open circuit lets pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// The share of probes whose failure opens the circuit again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_failure_rate: Option<f64>,
    /// How long probes may take to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open_for: Option<Span>,
    /// What a call counts as whose caller gave it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<AbandonedConfig>,
}

/// [`Abandoned`] as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbandonedConfig {
    /// As nothing.
    Ignore,
    /// As a failure, when nothing better is known.
    WhenNothingElse,
    /// As a failure.
    Failure,
}

impl From<AbandonedConfig> for Abandoned {
    fn from(config: AbandonedConfig) -> Self {
        match config {
            AbandonedConfig::Ignore => Self::Ignore,
            AbandonedConfig::WhenNothingElse => Self::WhenNothingElse,
            AbandonedConfig::Failure => Self::Failure,
        }
    }
}

impl CircuitBreakerConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> CircuitBreakerBuilder {
        let mut builder = CircuitBreaker::builder();
        // The rate first: the builder takes the later of the two rules for the one that is meant.
        set!(builder,
            self.failure_rate => failure_rate,
            self.consecutive_failures => consecutive_failures,
            self.window => window,
            self.minimum_calls => minimum_calls,
            self.open_for => open_for,
            self.probes => probes,
            self.probe_failure_rate => probe_failure_rate,
            self.half_open_for => half_open_for,
            self.abandoned => abandoned,
        );
        builder
    }

    pub(super) fn check(&self) -> Result<(), crate::ConfigError> {
        if self.consecutive_failures.is_some() && self.failure_rate.is_some() {
            return Err(crate::ConfigError::new("consecutive_failures", "must not be combined with failure_rate"));
        }
        self.builder().timer(crate::time::ManualTimer::new()).build().map(drop)
    }
}
