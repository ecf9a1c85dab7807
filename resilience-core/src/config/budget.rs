//! A retry budget as data.

use serde::{Deserialize, Serialize};

use super::Span;
use super::policies::set;
use crate::ConfigError;
use crate::retry::budget::{Costs, Leaky, RetryBudget, RetryBudgetBuilder, Rule, Share, Throttle};
use crate::time::ManualTimer;

/// A [`RetryBudget`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::BudgetConfig;
///
/// let google: BudgetConfig = toml::from_str("ratio = 0.1\nreserve = 10")?;
/// assert_eq!(google.builder().build()?.snapshot().available, 10.0);
/// let envoy: BudgetConfig = toml::from_str("rule = { share = { ratio = 0.2, floor = 3, counts_itself = true } }")?;
/// assert_eq!(envoy.builder().build()?.snapshot().available, 3.0);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// Retries per request in the long run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Retries saved up when the bucket is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<u32>,
    /// Retries in the bucket in the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<u32>,
    /// Retries per second that are granted even when the bucket is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<u32>,
    /// Another rule than a ratio of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<BudgetRule>,
}

/// A budget's rule other than a ratio of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BudgetRule {
    /// [`Costs::AWS_2_0`].
    #[serde(rename = "aws_2_0")]
    Aws20,
    /// [`Costs::AWS_2_1`].
    #[serde(rename = "aws_2_1")]
    Aws21,
    /// [`Costs::BROOKER`].
    Brooker,
    /// gRPC's throttle.
    Throttle {
        /// Tokens in the beginning and at most.
        max_tokens: u32,
        /// What a success pays in.
        ratio: f64,
    },
    /// Envoy's and failsafe-go's share of the requests in flight.
    Share {
        /// The share.
        ratio: f64,
        /// Retries that may be in flight whatever the share.
        floor: u32,
        /// Whether the retry that asks counts itself.
        counts_itself: bool,
    },
    /// Finagle's deposits that expire.
    Leaky {
        /// How long a deposit counts.
        ttl: Span,
        /// Retries per second that need no deposit.
        min_per_second: u32,
        /// Retries per request.
        ratio: f64,
    },
}

impl From<BudgetRule> for Rule {
    fn from(rule: BudgetRule) -> Self {
        match rule {
            BudgetRule::Aws20 => Self::Costs(Costs::AWS_2_0),
            BudgetRule::Aws21 => Self::Costs(Costs::AWS_2_1),
            BudgetRule::Brooker => Self::Costs(Costs::BROOKER),
            BudgetRule::Throttle { max_tokens, ratio } => Self::Throttle(Throttle { max_tokens, ratio }),
            BudgetRule::Share { ratio, floor, counts_itself } => Self::Share(Share { ratio, floor, counts_itself }),
            BudgetRule::Leaky { ttl, min_per_second, ratio } => {
                Self::Leaky(Leaky { ttl: ttl.0, min_per_second, ratio })
            }
        }
    }
}

impl BudgetConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> RetryBudgetBuilder {
        let mut builder = RetryBudget::builder();
        set!(builder,
            self.ratio => ratio,
            self.reserve => reserve,
            self.start => start,
            self.floor => floor,
            self.rule => rule,
        );
        builder
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.builder().timer(ManualTimer::new()).build().map(drop)
    }
}
