//! Rates that a server sets, or several nodes share, as data.

use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{PolicyConfig, Problem, Quota, Span, Template};
use crate::ConfigError;
use crate::rate_limit::client::{ClientRateLimiter, ClientRateLimiterBuilder};
use crate::rate_limit::distributed::{
    DistributedRateLimiter, DistributedRateLimiterBuilder, PermitStore, WhenUnavailable,
};

/// A [`ClientRateLimiter`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::ClientRateLimitConfig;
///
/// let config: ClientRateLimitConfig = toml::from_str("max_wait = \"5s\"")?;
/// assert_eq!(config.builder().build()?.rate(), None);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientRateLimitConfig {
    /// How long a call may wait for its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Span>,
    /// Whether the rate is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl ClientRateLimitConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> ClientRateLimiterBuilder {
        let mut builder = ClientRateLimiter::builder();
        set!(builder, self.max_wait => max_wait, self.dry_run => dry_run);
        builder
    }
}

/// A [`DistributedRateLimiter`] as data. Where its permits are kept says the program: [`Template::build`].
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::DistributedRateLimitConfig;
/// use resilience_core::rate_limit::distributed::LocalStore;
///
/// let config: DistributedRateLimitConfig = toml::from_str(r#"
///     quota = { permits = 1000, per = "1s" }
///     handful = 20
///     when_unavailable = "refuse"
/// "#)?;
/// assert!(config.builder(LocalStore::new()).build().is_ok());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DistributedRateLimitConfig {
    /// The calls of all nodes in a time. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Calls that may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Permits to ask the store for at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handful: Option<u32>,
    /// How long permits at hand may be spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_for: Option<Span>,
    /// How long the store may take to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<Span>,
    /// What becomes of calls while the store does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_unavailable: Option<WhenUnavailableConfig>,
    /// Whether the limit is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A [`WhenUnavailable`] as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenUnavailableConfig {
    /// They pass.
    Admit,
    /// They are refused.
    Refuse,
}

impl From<WhenUnavailableConfig> for WhenUnavailable {
    fn from(config: WhenUnavailableConfig) -> Self {
        match config {
            WhenUnavailableConfig::Admit => Self::Admit,
            WhenUnavailableConfig::Refuse => Self::Refuse,
        }
    }
}

impl DistributedRateLimitConfig {
    /// A builder with these settings, over `store`.
    pub fn builder<S: PermitStore>(&self, store: S) -> DistributedRateLimiterBuilder<S> {
        let mut builder = DistributedRateLimiter::builder(store);
        if let Some(quota) = self.quota {
            builder = builder.quota(quota.permits, quota.per.0);
        }
        set!(builder, self.burst => burst, self.handful => handful, self.keep_for => keep_for);
        set!(builder, self.patience => patience, self.when_unavailable => when_unavailable, self.dry_run => dry_run);
        builder
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        Ok(self.builder(NoStore).can_work()?)
    }
}

/// Stands where a store will be.
#[derive(Debug)]
pub(crate) struct NoStore;

impl PermitStore for NoStore {
    type Error = std::convert::Infallible;

    async fn take(
        &self,
        _: &crate::Name,
        _: u32,
        _: crate::rate_limit::distributed::Quota,
    ) -> Result<crate::rate_limit::distributed::Taken, Self::Error> {
        std::future::pending().await
    }
}

impl Template<DistributedRateLimitConfig> {
    /// Builds a node's limiter over `store`. Nodes whose files call it by the same name share the limit.
    ///
    /// # Errors
    ///
    /// Without a timer (without the feature `tokio`).
    ///
    /// ```
    /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
    /// use resilience_core::config::{Config, Setup};
    /// use resilience_core::rate_limit::distributed::LocalStore;
    ///
    /// const FILE: &str = r#"
    ///     [pipelines.partner]
    ///     layers = ["agreed"]
    ///     agreed.distributed_rate_limit.quota = { permits = 100, per = "1s" }
    /// "#;
    /// let pipelines = Config::from_toml(FILE)?.build(&Setup::new())?;
    /// let template = pipelines.pipeline("partner").unwrap().distributed_rate_limit("agreed").unwrap();
    /// let limiter = template.build(LocalStore::new())?;
    /// assert_eq!(limiter.name().as_str(), "partner.agreed");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build<S>(&self, store: S) -> Result<DistributedRateLimiter<S>, ConfigError>
    where
        S: PermitStore + Send + Sync + 'static,
    {
        let config = self.config();
        let limiter = super::pipeline::furnish!(config.builder(store), self.name().clone(), self.setup()).build()?;
        self.adopt(&config, &limiter, Box::new(|_| Ok(())), PolicyConfig::DistributedRateLimit)?;
        Ok(limiter)
    }
}
