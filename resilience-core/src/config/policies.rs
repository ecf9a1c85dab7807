//! The policies as data. What is not set is the builder's default: defaults are written down once, there.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::bulkhead::{Bulkhead, BulkheadBuilder, Discipline};
use crate::rate_limit::{RateLimiter, RateLimiterBuilder};
use crate::timeout::{Timeout, TimeoutBuilder};

/// Applies the settings that are there.
macro_rules! set {
    ($builder:ident, $($value:expr => $setter:ident),+ $(,)?) => {
        $(if let Some(value) = $value { $builder = $builder.$setter(value.into()); })+
    };
}
pub(super) use set;

/// A [`Timeout`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use std::time::Duration;
/// use resilience_core::config::TimeoutConfig;
///
/// let config: TimeoutConfig = toml::from_str(r#"limit = "250ms""#)?;
/// let timeout = config.builder().name("stock").build()?;
/// assert_eq!(timeout.limit(), Duration::from_millis(250));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TimeoutConfig {
    /// How long an answer may take; `forever` is allowed. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Span>,
    /// Whether the limit is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl TimeoutConfig {
    /// A builder with these settings, [reconfigurable](TimeoutBuilder::reconfigurable): what comes from a file may
    /// come again.
    pub fn builder(&self) -> TimeoutBuilder {
        let mut builder = Timeout::builder().reconfigurable();
        set!(builder, self.limit => limit, self.dry_run => dry_run);
        builder
    }
}

/// A [`Bulkhead`] as data.
///
/// ```
/// use resilience_core::config::BulkheadConfig;
///
/// let mut config = BulkheadConfig::default();
/// assert_eq!(config.builder().build().unwrap_err().to_string(), "limit must be set");
/// config.limit = Some(32);
/// assert!(config.builder().build().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BulkheadConfig {
    /// Calls that may run at once. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
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

impl BulkheadConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> BulkheadBuilder {
        let mut builder = Bulkhead::builder();
        set!(builder, self.limit => limit, self.queue => queue, self.max_wait => max_wait);
        set!(builder, self.discipline => discipline, self.dry_run => dry_run);
        builder
    }
}

/// A [`Discipline`] as data: `"fifo"`, `"deadline_first"`, `"priority"`, or one with times of its own.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::bulkhead::Discipline;
/// use resilience_core::config::BulkheadConfig;
///
/// let discipline = |line: &str| -> Result<_, toml::de::Error> {
///     let config: BulkheadConfig = toml::from_str(line)?;
///     Ok(config.discipline.map(Discipline::from))
/// };
/// assert_eq!(discipline(r#"discipline = "priority""#)?, Some(Discipline::priority()));
/// assert_eq!(discipline("discipline.adaptive_lifo = {}")?, Some(Discipline::adaptive_lifo()));
/// let codel = discipline(r#"discipline.codel = { target = "5ms", interval = "100ms" }"#)?;
/// assert_eq!(codel.map(Discipline::label), Some("codel"));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DisciplineConfig {
    /// First come, first served.
    Fifo,
    /// Last come, first served while the queue stands.
    AdaptiveLifo {
        /// A queue that has not been empty for so long stands. 100 ms if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<Span>,
        /// The longest wait while it stands. 5 ms if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Span>,
    },
    /// First come, first served, but for calls that waited too long while everybody does.
    #[serde(rename = "codel")]
    CoDel {
        /// The shortest wait of an interval should be at most so long.
        target: Span,
        /// For how long the shortest wait is looked for.
        interval: Span,
    },
    /// The earliest deadline first.
    DeadlineFirst,
    /// The most critical first.
    Priority,
}

impl From<DisciplineConfig> for Discipline {
    fn from(config: DisciplineConfig) -> Self {
        match config {
            DisciplineConfig::Fifo => Self::fifo(),
            DisciplineConfig::AdaptiveLifo { interval, timeout } => {
                let mut discipline = Self::adaptive_lifo();
                if let Self::AdaptiveLifo { interval: longest, timeout: hasty } = &mut discipline {
                    *longest = interval.map_or(*longest, Into::into);
                    *hasty = timeout.map_or(*hasty, Into::into);
                }
                discipline
            }
            DisciplineConfig::CoDel { target, interval } => Self::codel(target.into(), interval.into()),
            DisciplineConfig::DeadlineFirst => Self::deadline_first(),
            DisciplineConfig::Priority => Self::priority(),
        }
    }
}

/// A [`RateLimiter`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::RateLimitConfig;
///
/// let config: RateLimitConfig = toml::from_str(r#"quota = { permits = 100, per = "1s" }"#)?;
/// assert_eq!(config.builder().build()?.snapshot().burst, 100);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// So many permits in so much time. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Permits that may be had at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// How long a call may wait for its permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Span>,
    /// Whether the quota is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// Permits in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// The permits.
    pub permits: u32,
    /// The time they are handed out in, evenly.
    pub per: Span,
}

impl RateLimitConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> RateLimiterBuilder {
        let mut builder = RateLimiter::builder();
        if let Some(Quota { permits, per }) = self.quota {
            builder = builder.quota(permits, per.0);
        }
        set!(builder, self.burst => burst, self.max_wait => max_wait, self.dry_run => dry_run);
        builder
    }
}
