//! Hedge and fallback as data.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{BudgetChoice, Span};
use crate::ConfigError;
use crate::fallback::{Fallback, FallbackBuilder};
use crate::hedge::{Delay, Hedge, HedgeBuilder, Quantile};

/// A [`Hedge`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use std::time::Duration;
/// use resilience_core::config::HedgeConfig;
///
/// let config: HedgeConfig = toml::from_str(r#"
///     delay = { quantile = 0.95, before = "50ms" }
///     budget.own = { ratio = 0.05 }
/// "#)?;
/// let hedge = config.builder()?.name("search").build()?;
/// assert_eq!(hedge.snapshot().delay, Some(Duration::from_millis(50)));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HedgeConfig {
    /// Attempts in all, the primary included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long an attempt may take before the next one joins it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<DelayConfig>,
    /// What hedges are paid from. Unless set, the policy has a budget of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetChoice>,
    /// Whether hedges are only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl HedgeConfig {
    /// A builder with these settings.
    ///
    /// A [shared](BudgetChoice::Shared) budget is not known here: set it on the builder, or build a whole
    /// [`Config`](super::Config).
    ///
    /// # Errors
    ///
    /// If an own budget cannot work.
    pub fn builder(&self) -> Result<HedgeBuilder, ConfigError> {
        let builder = self.rules();
        Ok(match &self.budget {
            Some(BudgetChoice::Unlimited) => builder.unlimited(),
            Some(BudgetChoice::Own(budget)) => builder.budget(budget.builder().build()?),
            Some(BudgetChoice::Shared(_)) | None => builder,
        })
    }

    /// All but the budget.
    pub(super) fn rules(&self) -> HedgeBuilder {
        let mut builder = Hedge::builder();
        set!(builder, self.attempts => attempts, self.dry_run => dry_run);
        match &self.delay {
            Some(delay) => builder.delay(delay.clone()),
            None => builder,
        }
    }
}

/// A [`Delay`] as data: `"50ms"`, `["0s", "100ms"]`, or `{ quantile = 0.95 }`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum DelayConfig {
    /// The same before each attempt; `forever` if only a failure launches another.
    Fixed(Span),
    /// One for each attempt after the first; the last repeats.
    Schedule(Vec<Span>),
    /// Learnt from the latencies of recent calls.
    Quantile(QuantileConfig),
}

impl From<DelayConfig> for Delay {
    fn from(config: DelayConfig) -> Self {
        match config {
            DelayConfig::Fixed(span) => Self::Fixed(span.0),
            DelayConfig::Schedule(spans) => Self::Schedule(spans.into_iter().map(|span| span.0).collect()),
            DelayConfig::Quantile(quantile) => Self::Quantile(quantile.into()),
        }
    }
}

/// Told apart by form, so that what is wrong within a form is told as that, and not as "none of the three".
impl<'de> Deserialize<'de> for DelayConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = DelayConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a delay: \"50ms\", a list of such, or { quantile = 0.95 }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DelayConfig, E> {
                text.parse().map(DelayConfig::Fixed).map_err(E::custom)
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<DelayConfig, S::Error> {
                let mut spans = Vec::new();
                while let Some(span) = list.next_element()? {
                    spans.push(span);
                }
                Ok(DelayConfig::Schedule(spans))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<DelayConfig, M::Error> {
                QuantileConfig::deserialize(MapAccessDeserializer::new(map)).map(DelayConfig::Quantile)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// A [`Quantile`] as data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct QuantileConfig {
    /// The share of calls that need no hedge. Required.
    pub quantile: f64,
    /// How many calls the figures go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Calls to know of before the figures are believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
    /// The delay until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Span>,
    /// The shortest delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<Span>,
    /// The longest delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<Span>,
}

impl QuantileConfig {
    /// The delay that this share of the calls is answered within.
    pub const fn new(quantile: f64) -> Self {
        Self { quantile, window: None, samples: None, before: None, least: None, most: None }
    }
}

impl From<QuantileConfig> for Quantile {
    fn from(config: QuantileConfig) -> Self {
        let preset = Self::new(config.quantile);
        Self {
            window: config.window.unwrap_or(preset.window),
            samples: config.samples.unwrap_or(preset.samples),
            before: config.before.map(|span| span.0),
            least: config.least.map_or(preset.least, |span| span.0),
            most: config.most.map_or(preset.most, |span| span.0),
            ..preset
        }
    }
}

/// A [`Fallback`] as data: what is replaced. What it is replaced by is code.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::FallbackConfig;
///
/// let config: FallbackConfig = toml::from_str("timeouts = false")?;
/// assert!(config.builder().build().is_ok());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FallbackConfig {
    /// Whether refusals of the own stack are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusals: Option<bool>,
    /// Whether timeouts are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<bool>,
    /// Whether other failures are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<bool>,
    /// Whether replacing is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl FallbackConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> FallbackBuilder {
        let mut builder = Fallback::builder();
        set!(builder,
            self.refusals => refusals,
            self.timeouts => timeouts,
            self.failures => failures,
            self.dry_run => dry_run,
        );
        builder
    }
}
