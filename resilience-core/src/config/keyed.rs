//! Policies with a state for each key, as data.
//!
//! Their keys are of the program's types, so it builds them, from a [`Template`].

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{KeyedCircuitBreakerConfig, PolicyConfig, Problem, Quota, Template};
use crate::ConfigError;
use crate::circuit_breaker::{CircuitBreakerBuilder, KeyedCircuitBreaker};
use crate::rate_limit::{KeyedRateLimiter, RateLimiter, RateLimiterBuilder};
use crate::time::ManualTimer;

impl KeyedCircuitBreakerConfig {
    /// A builder with these settings, for [`build_keyed`](CircuitBreakerBuilder::build_keyed).
    pub fn builder(&self) -> CircuitBreakerBuilder {
        let mut builder = self.of_each().builder();
        set!(builder, self.max_keys => max_keys);
        builder
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.of_each().check()?;
        Ok(self.builder().timer(ManualTimer::new()).build_keyed::<()>().map(drop)?)
    }
}

impl Template<KeyedCircuitBreakerConfig> {
    /// Builds the breaker for keys `K`: hosts, tenants, addresses.
    ///
    /// # Errors
    ///
    /// Without a timer (without the feature `tokio`).
    ///
    /// ```
    /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
    /// use resilience_core::config::{Config, Setup};
    ///
    /// const FILE: &str = r#"
    ///     [pipelines.crawler]
    ///     layers = ["hosts"]
    ///     hosts.keyed_circuit_breaker = { consecutive_failures = 5, open_for = "1m", max_keys = 10_000 }
    /// "#;
    /// let mut pipelines = Config::from_toml(FILE)?.build(&Setup::new())?;
    /// let template = pipelines.pipeline("crawler").unwrap().keyed_circuit_breaker("hosts").unwrap();
    /// let hosts = template.build::<String>()?;
    /// assert_eq!(hosts.name().as_str(), "crawler.hosts");
    ///
    /// // What has been built follows the file; its keys keep their state.
    /// pipelines.reconfigure(&Config::from_toml(&FILE.replace("10_000", "20_000"))?)?;
    /// assert_eq!(hosts.snapshot().max_keys, 20_000);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build<K>(&self) -> Result<KeyedCircuitBreaker<K>, ConfigError>
    where
        K: Hash + Eq + Send + Sync + 'static,
    {
        let config = self.config();
        let builder = self.setup().controlled(config.builder());
        let builder = super::pipeline::furnish!(builder, self.name().clone(), self.setup());
        let breaker = builder.build_keyed()?;
        self.adopt(&config, &breaker, Box::new(|_| Ok(())), PolicyConfig::KeyedCircuitBreaker)?;
        Ok(breaker)
    }
}

/// A [`KeyedRateLimiter`] as data. What its keys are says the program: [`Template::build`].
///
/// ```
/// # #[cfg(all(feature = "toml", feature = "tokio"))] {
/// use resilience_core::config::KeyedRateLimitConfig;
///
/// let config: KeyedRateLimitConfig = toml::from_str("quota = { permits = 5, per = '1m' }\nmax_keys = 50_000")?;
/// let logins = config.builder().build_keyed::<String>()?;
/// assert_eq!(logins.available("ada"), 5);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyedRateLimitConfig {
    /// So many permits in so much time for each key. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Permits that a key may have at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Keys that may be remembered at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<usize>,
    /// Whether the quota is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl KeyedRateLimitConfig {
    /// A builder with these settings, for [`build_keyed`](RateLimiterBuilder::build_keyed).
    pub fn builder(&self) -> RateLimiterBuilder {
        let mut builder = RateLimiter::builder();
        if let Some(Quota { permits, per }) = self.quota {
            builder = builder.quota(permits, per.0);
        }
        set!(builder, self.burst => burst, self.max_keys => max_keys, self.dry_run => dry_run);
        builder
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        Ok(self.builder().timer(ManualTimer::new()).build_keyed::<()>().map(drop)?)
    }
}

impl Template<KeyedRateLimitConfig> {
    /// Builds the limiter for keys `K`: users, addresses, tenants.
    ///
    /// # Errors
    ///
    /// Without a timer (without the feature `tokio`).
    ///
    /// ```
    /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
    /// use std::net::IpAddr;
    /// use resilience_core::config::{Config, Setup};
    ///
    /// const FILE: &str = r#"
    ///     [pipelines.login]
    ///     layers = ["addresses"]
    ///     addresses.keyed_rate_limit.quota = { permits = 10, per = "1m" }
    /// "#;
    /// let mut pipelines = Config::from_toml(FILE)?.build(&Setup::new())?;
    /// let login = pipelines.pipeline("login").unwrap().clone();
    /// let addresses = login.keyed_rate_limit("addresses").unwrap().build::<IpAddr>()?;
    /// let one = IpAddr::from([192, 0, 2, 1]);
    /// addresses.try_acquire_n(&one, 8)?;
    ///
    /// pipelines.reconfigure(&Config::from_toml(&FILE.replace("permits = 10", "permits = 20"))?)?;
    /// assert_eq!(addresses.available(&one), 12); // what was taken stays taken
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build<K>(&self) -> Result<KeyedRateLimiter<K>, ConfigError>
    where
        K: Hash + Eq + Send + Sync + 'static,
    {
        let config = self.config();
        let builder = super::pipeline::furnish!(config.builder(), self.name().clone(), self.setup());
        let limiter = builder.build_keyed()?;
        self.adopt(&config, &limiter, Box::new(|_| Ok(())), PolicyConfig::KeyedRateLimit)?;
        Ok(limiter)
    }
}
