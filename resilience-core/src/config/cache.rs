//! A cache as data.

use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{PolicyConfig, Problem, Span, Template};
use crate::ConfigError;
use crate::cache::{Cache, CacheBuilder, Ttl};
use std::hash::Hash;

/// A [`Cache`] as data. What is kept, and which errors are answers, says the program: [`Template::build`].
///
/// ```
/// # #[cfg(all(feature = "toml", feature = "tokio"))] {
/// use resilience_core::config::CacheConfig;
///
/// let config: CacheConfig = toml::from_str(r#"
///     capacity = 50_000
///     ttl = "1m"
///     stale_while_revalidate = "30s"
///     stale_if_error = "1h"
///     jitter = 0.1
/// "#)?;
/// let pages = config.builder::<u64, String, ()>().name("pages").build()?;
/// assert!(pages.snapshot().capacity >= 50_000); // shared out evenly to the parts of the map
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// How much is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// How long an answer is fresh; `forever` is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// For how long after that it is served while a new one is fetched. Unless set, not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Span>,
    /// For how long after that it is served when a new one cannot be had. Unless set, not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Span>,
    /// Up to which share of its time as fresh an answer may lose, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// How long a stale answer is served without a further try after one has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after_failure: Option<Span>,
    /// Whether answers are kept and none is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl CacheConfig {
    /// A builder with these settings.
    pub fn builder<K, V, E>(&self) -> CacheBuilder<K, V, E> {
        let mut builder = Cache::builder();
        set!(builder, self.capacity => capacity, self.jitter => jitter, self.dry_run => dry_run);
        set!(builder, self.pause_after_failure => pause_after_failure);
        let mut ttl = self.ttl.map_or(builder.preset_ttl(), |span| Ttl::fresh(span.0));
        if let Some(window) = self.stale_while_revalidate {
            ttl = ttl.stale_while_revalidate(window.0);
        }
        if let Some(window) = self.stale_if_error {
            ttl = ttl.stale_if_error(window.0);
        }
        builder.ttl(ttl)
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        Ok(self.builder::<(), (), ()>().can_work()?)
    }
}

impl Template<CacheConfig> {
    /// Builds the cache for keys `K`, answers `V` and errors `E`. `set` adds what no file can say: weights, times by what an
    /// answer says, which errors are answers.
    ///
    /// # Errors
    ///
    /// What the builder refuses of what `set` adds, or without a timer (without the feature `tokio`).
    ///
    /// ```
    /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
    /// use resilience_core::config::{Config, Setup};
    ///
    /// let file = "[pipelines.shop]\nlayers = ['prices']\nprices.cache = { capacity = 500, ttl = '10s' }";
    /// let pipelines = Config::from_toml(file)?.build(&Setup::new())?;
    /// let template = pipelines.pipeline("shop").unwrap().cache("prices").unwrap();
    /// let prices = template.build::<u64, u32, String>(|cache| cache.own_errors(|error| error == "deadline"))?;
    /// assert_eq!(prices.name().as_str(), "shop.prices");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build<K, V, E>(
        &self,
        set: impl FnOnce(CacheBuilder<K, V, E>) -> CacheBuilder<K, V, E>,
    ) -> Result<Cache<K, V, E>, ConfigError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        E: Clone + Send + Sync + 'static,
    {
        let config = self.config();
        let cache = super::pipeline::furnish!(set(config.builder()), self.name().clone(), self.setup()).build()?;
        self.adopt(&config, &cache, Box::new(|_| Ok(())), PolicyConfig::Cache)?;
        Ok(cache)
    }
}
