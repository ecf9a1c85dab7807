//! Limits that find themselves, as data.

use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{DisciplineConfig, Problem, Span};
use crate::adaptive_limit::{Abandoned, AdaptiveLimit, AdaptiveLimitBuilder, Figure, Rule};
use crate::context::Criticality;
use crate::time::ManualTimer;

/// An [`AdaptiveLimit`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::AdaptiveLimitConfig;
///
/// let config: AdaptiveLimitConfig = toml::from_str(r#"
///     max = 200
///     rule.aimd = { backoff = 0.8, timeout = "40ms" }
///     window = { least = "50ms", most = "1s" }
///     figure = { percentile = 0.9 }
///     reserve = { critical = 0.2 }
///     queue = 16
/// "#)?;
/// assert_eq!(config.builder().build()?.snapshot().limit, 20);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdaptiveLimitConfig {
    /// By which rule the limit is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleConfig>,
    /// The limit to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<u32>,
    /// The least limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// The highest limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How long a window of calls lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowConfig>,
    /// How many calls a window holds at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
    /// What stands for the round trips of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<FigureConfig>,
    /// Whether a call dropped before its answer counts as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abandoned_is_lost: Option<bool>,
    /// The shares kept for calls of a criticality and above.
    #[serde(skip_serializing_if = "ByCriticality::is_empty")]
    pub reserve: ByCriticality,
    /// Calls that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long a call may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Span>,
    /// Who of those who wait is next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discipline: Option<DisciplineConfig>,
    /// Whether the limit is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A [`Rule`] as data: `vegas = {}`, `aimd = {}`, `gradient2 = {}`, with what is to differ from the rule's constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RuleConfig {
    /// [`Rule::AIMD`].
    Aimd {
        /// What remains of the limit after a loss.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backoff: Option<f64>,
        /// Round trips that take longer count as lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Span>,
    },
    /// [`Rule::VEGAS`].
    Vegas {
        /// The weight of the newest limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        smoothing: Option<f64>,
        /// Queues shorter than this let it grow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<u32>,
        /// Queues longer than this shrink it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beta: Option<u32>,
    },
    /// [`Rule::GRADIENT2`].
    Gradient2 {
        /// How many times the average a round trip may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tolerance: Option<f64>,
        /// The queue allowed on top.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
        /// The weight of the newest limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        smoothing: Option<f64>,
        /// Windows the long average covers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        windows: Option<u32>,
    },
}

/// Replaces what is there.
pub(super) fn replace<T>(place: &mut T, value: Option<impl Into<T>>) {
    if let Some(value) = value {
        *place = value.into();
    }
}

impl From<RuleConfig> for Rule {
    fn from(config: RuleConfig) -> Self {
        let mut rule = match config {
            RuleConfig::Aimd { .. } => Self::AIMD,
            RuleConfig::Vegas { .. } => Self::VEGAS,
            RuleConfig::Gradient2 { .. } => Self::GRADIENT2,
        };
        match (&mut rule, config) {
            (Self::Aimd { backoff, timeout }, RuleConfig::Aimd { backoff: b, timeout: t }) => {
                replace(backoff, b);
                replace(timeout, t);
            }
            (Self::Vegas { smoothing, alpha, beta, .. }, RuleConfig::Vegas { smoothing: s, alpha: a, beta: b }) => {
                replace(smoothing, s);
                (*alpha, *beta) = (a, b);
            }
            (
                Self::Gradient2 { tolerance, queue, smoothing, windows },
                RuleConfig::Gradient2 { tolerance: t, queue: q, smoothing: s, windows: w },
            ) => {
                replace(tolerance, t);
                replace(queue, q);
                replace(smoothing, s);
                replace(windows, w);
            }
            _ => {}
        }
        rule
    }
}

impl RuleConfig {
    const fn name(&self) -> &'static str {
        match self {
            Self::Aimd { .. } => "aimd",
            Self::Vegas { .. } => "vegas",
            Self::Gradient2 { .. } => "gradient2",
        }
    }
}

/// How long a window lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// At least.
    pub least: Span,
    /// At most.
    pub most: Span,
}

/// A [`Figure`] as data: `"mean"`, or `{ percentile = 0.5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FigureConfig {
    /// The mean.
    Mean,
    /// The round trip that this share does not exceed.
    Percentile(f64),
}

impl From<FigureConfig> for Figure {
    fn from(config: FigureConfig) -> Self {
        match config {
            FigureConfig::Mean => Self::Mean,
            FigureConfig::Percentile(share) => Self::Percentile(share),
        }
    }
}

/// A figure for each criticality. What is not set is the builder's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ByCriticality {
    /// For [`Criticality::Sheddable`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheddable: Option<f64>,
    /// For [`Criticality::SheddablePlus`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheddable_plus: Option<f64>,
    /// For [`Criticality::Critical`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<f64>,
    /// For [`Criticality::CriticalPlus`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_plus: Option<f64>,
}

impl ByCriticality {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn set(&self) -> impl Iterator<Item = (Criticality, f64)> {
        let figures = [
            (Criticality::Sheddable, self.sheddable),
            (Criticality::SheddablePlus, self.sheddable_plus),
            (Criticality::Critical, self.critical),
            (Criticality::CriticalPlus, self.critical_plus),
        ];
        figures.into_iter().filter_map(|(criticality, figure)| Some((criticality, figure?)))
    }
}

impl AdaptiveLimitConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> AdaptiveLimitBuilder {
        let mut builder = AdaptiveLimit::builder();
        set!(builder, self.rule => rule, self.initial => initial, self.min => min, self.max => max);
        set!(builder, self.samples => samples, self.figure => figure, self.queue => queue, self.max_wait => max_wait);
        set!(builder, self.discipline => discipline, self.dry_run => dry_run);
        if let Some(WindowConfig { least, most }) = self.window {
            builder = builder.window(least.into(), most.into());
        }
        if let Some(is_lost) = self.abandoned_is_lost {
            builder = builder.abandoned(if is_lost { Abandoned::Loss } else { Abandoned::Ignore });
        }
        self.reserve.set().fold(builder, |builder, (criticality, share)| builder.reserve(criticality, share))
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let rule = self.rule.map_or("", |rule| rule.name());
        self.builder().timer(ManualTimer::new()).build().map(drop).map_err(|error| match error.field() {
            // The builder calls every rule by the same name.
            field if field.starts_with("rule.") => {
                Problem::new(field.replacen("rule", &format!("rule.{rule}"), 1), error.rule())
            }
            _ => error.into(),
        })
    }
}
