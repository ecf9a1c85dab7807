//! Retry, its backoff and its budget as data.

use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{BudgetConfig, Span};
use crate::ConfigError;
use crate::retry::{Backoff, Hint, Jitter, Retry, RetryBuilder};

/// A [`Retry`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::RetryConfig;
///
/// let config: RetryConfig = toml::from_str(r#"
///     attempts = 4
///     backoff = { curve = "exponential", base = "50ms", cap = "2s", jitter = "full" }
/// "#)?;
/// let retry = config.builder()?.name("stock").build()?;
/// assert!(retry.budget().is_some()); // its own, unless the data say otherwise
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Attempts in all, the first included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long to wait before each retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffConfig>,
    /// Another backoff after an answer that says when to come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_backoff: Option<BackoffConfig>,
    /// What to make of the server's wish when to be called again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<HintConfig>,
    /// The longest a call may take for a retry still to be scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_elapsed: Option<Span>,
    /// Whether a call without budget waits once more before it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_poll: Option<bool>,
    /// Whether retries are decided and counted, and not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// What retries are paid from. Unless set, the policy has a budget of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetChoice>,
    /// Fixes the sequence of the jitter, for tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// Which budget a retry draws on: `"unlimited"`, `{ shared = "name" }` or `{ own = { ratio = 0.1 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BudgetChoice {
    /// None: a service that is down gets `attempts` times its load.
    Unlimited,
    /// One of the configuration's [budgets](super::Config::budgets).
    Shared(String),
    /// One of its own.
    Own(BudgetConfig),
}

impl RetryConfig {
    /// A builder with these settings.
    ///
    /// A [shared](BudgetChoice::Shared) budget is not known here: set it on the builder, or build a whole
    /// [`Config`](super::Config).
    ///
    /// # Errors
    ///
    /// If a backoff has settings that are not its curve's, or an own budget cannot work.
    pub fn builder(&self) -> Result<RetryBuilder, ConfigError> {
        let builder = self.rules()?;
        Ok(match &self.budget {
            Some(BudgetChoice::Unlimited) => builder.unlimited(),
            Some(BudgetChoice::Own(budget)) => builder.budget(budget.builder().build()?),
            Some(BudgetChoice::Shared(_)) | None => builder,
        })
    }

    /// All but the budget.
    pub(super) fn rules(&self) -> Result<RetryBuilder, ConfigError> {
        let mut builder = Retry::builder();
        set!(builder,
            self.attempts => attempts,
            self.hint => hint,
            self.max_elapsed => max_elapsed,
            self.long_poll => long_poll,
            self.dry_run => dry_run,
            self.seed => seed,
        );
        if let Some(backoff) = &self.backoff {
            builder = builder.backoff(backoff.backoff()?);
        }
        if let Some(backoff) = &self.throttled_backoff {
            builder = builder.throttled_backoff(backoff.backoff()?);
        }
        Ok(builder)
    }
}

/// A [`Backoff`] as data. Which fields a curve has is said at [`Curve`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// How delays grow. Exponential unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<Curve>,
    /// The first delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Span>,
    /// What no delay exceeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<Span>,
    /// What an exponential curve grows by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The delays of a sequence; the last repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delays: Option<Vec<Span>>,
    /// How delays are spread. Full unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<JitterConfig>,
}

/// How delays grow.
///
/// | curve | needs | may have |
/// |---|---|---|
/// | `none` | | |
/// | `constant` | `base` | `cap`, `jitter` |
/// | `linear` | `base`, `cap` | `jitter` |
/// | `exponential` | `base`, `cap` | `factor`, `jitter` |
/// | `sequence` | `delays` | `cap`, `jitter` |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Curve {
    /// No wait.
    None,
    /// The same each time.
    Constant,
    /// `base` longer each time.
    Linear,
    /// `factor` times as long each time.
    #[default]
    Exponential,
    /// As listed.
    Sequence,
}

impl BackoffConfig {
    /// The backoff.
    ///
    /// # Errors
    ///
    /// If a field is missing that the curve needs, or one is there that it has not. The figures themselves are checked
    /// when the policy is built.
    pub fn backoff(&self) -> Result<Backoff, ConfigError> {
        let curve = self.curve.unwrap_or_default();
        let is_sequence = curve == Curve::Sequence;
        let strangers = [
            ("backoff.factor", self.factor.is_some(), curve == Curve::Exponential),
            ("backoff.delays", self.delays.is_some(), is_sequence),
            ("backoff.base", self.base.is_some(), !is_sequence && curve != Curve::None),
            ("backoff.cap", self.cap.is_some(), curve != Curve::None),
            ("backoff.jitter", self.jitter.is_some(), curve != Curve::None),
        ];
        if let Some((field, ..)) = strangers.into_iter().find(|(_, given, allowed)| *given && !allowed) {
            return Err(ConfigError::new(field, "is not a setting of this curve"));
        }
        let base =
            || self.base.map(|span| span.0).ok_or(ConfigError::new("backoff.base", "must be set for this curve"));
        let cap = || self.cap.map(|span| span.0).ok_or(ConfigError::new("backoff.cap", "must be set for this curve"));
        let mut backoff = match curve {
            Curve::None => return Ok(Backoff::none()),
            Curve::Constant => Backoff::constant(base()?),
            Curve::Linear => Backoff::linear(base()?, cap()?),
            Curve::Exponential => Backoff::exponential(base()?, cap()?),
            Curve::Sequence => match &self.delays {
                Some(delays) => Backoff::sequence(delays.iter().map(|span| span.0)),
                None => return Err(ConfigError::new("backoff.delays", "must be set for this curve")),
            },
        };
        if let (Curve::Constant | Curve::Sequence, Some(cap)) = (curve, self.cap) {
            backoff = backoff.capped(cap.0);
        }
        set!(backoff, self.factor => factor, self.jitter => jitter);
        Ok(backoff)
    }
}

/// [`Jitter`] as data: `"full"`, or `{ around = 0.2 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JitterConfig {
    /// The curve as it is.
    None,
    /// Anything from zero to the curve.
    Full,
    /// At least half of the curve.
    Equal,
    /// From the base to three times the previous delay.
    Decorrelated,
    /// Polly's smooth decorrelated jitter.
    PollyV2,
    /// The curve, this share of it more or less.
    Around(f64),
}

impl From<JitterConfig> for Jitter {
    fn from(config: JitterConfig) -> Self {
        match config {
            JitterConfig::None => Self::None,
            JitterConfig::Full => Self::Full,
            JitterConfig::Equal => Self::Equal,
            JitterConfig::Decorrelated => Self::Decorrelated,
            JitterConfig::PollyV2 => Self::PollyV2,
            JitterConfig::Around(share) => Self::Around(share),
        }
    }
}

/// [`Hint`] as data: `"clamped"`, `"exact"`, `"ignored"`, `{ up_to = "5s" }` or `{ within = "5s" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HintConfig {
    /// Between the backoff's delay and its cap.
    Clamped,
    /// At most this long.
    UpTo(Span),
    /// This much more than the backoff's delay at most.
    Within(Span),
    /// Exactly what the server says.
    Exact,
    /// As if it had not been said.
    Ignored,
}

impl From<HintConfig> for Hint {
    fn from(config: HintConfig) -> Self {
        match config {
            HintConfig::Clamped => Self::Clamped,
            HintConfig::UpTo(span) => Self::UpTo(span.0),
            HintConfig::Within(span) => Self::Within(span.0),
            HintConfig::Exact => Self::Exact,
            HintConfig::Ignored => Self::Ignored,
        }
    }
}
