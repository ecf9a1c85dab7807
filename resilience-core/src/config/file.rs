//! A configuration file: pipelines of policies, and the budgets they share.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{
    AdaptiveLimitConfig, AdmissionControlConfig, BatchConfig, BudgetConfig, BulkheadConfig, ChaosConfig,
    CircuitBreakerConfig, ClientRateLimitConfig, ClientThrottleConfig, DistributedRateLimitConfig, FallbackConfig,
    HedgeConfig, KeyedCircuitBreakerConfig, KeyedRateLimitConfig, PartitionedBulkheadConfig, QueueShedConfig,
    RateLimitConfig, RetryConfig, SignalShedConfig, TimeoutConfig,
};
use crate::lint::Level;

/// Everything a file says; see the [module](super).
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Budgets that several retries draw on, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, BudgetConfig>,
    /// What to do about lints, by their names; see [`lint`](crate::lint). They warn unless set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lints: BTreeMap<String, Level>,
    /// Pipelines by name.
    pub pipelines: BTreeMap<String, PipelineConfig>,
}

/// The policies in front of one dependency.
///
/// As data, a map: `layers` lists the names of the other entries from the outside in, and each of them is a policy. An
/// entry called as its pattern is (`retry`) holds the settings at once, any other says its pattern first
/// (`attempt.timeout.limit`).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PipelineConfig {
    /// The names of the policies, outermost first.
    pub layers: Vec<String>,
    /// The policies by name.
    pub policies: BTreeMap<String, PolicyConfig>,
}

/// The order of a pipeline's layers in data.
const LAYERS: &str = "layers";

macro_rules! policies {
    ($($(#[$doc:meta])* $([$feature:literal])? $variant:ident($config:ty) = $pattern:literal,)+) => {
        /// One policy as data, with its pattern.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        #[allow(clippy::large_enum_variant)] // There are a few dozen in a program.
        pub enum PolicyConfig {
            $($(#[$doc])* $(#[cfg(feature = $feature)])? $variant($config),)+
        }

        impl PolicyConfig {
            /// The pattern's noun, as in its module.
            pub const fn pattern(&self) -> &'static str {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(_) => $pattern,)+
                }
            }
        }

        /// An entry's policy, by the entry's name.
        impl<'de> DeserializeSeed<'de> for Entry<'_> {
            type Value = PolicyConfig;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PolicyConfig, D::Error> {
                match self.0 {
                    $($(#[cfg(feature = $feature)])? $pattern => <$config>::deserialize(deserializer).map(PolicyConfig::$variant),)+
                    _ => PolicyConfig::deserialize(deserializer),
                }
            }
        }

        /// A policy without the name of its pattern, which the entry's name says.
        impl Serialize for Settings<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    $($(#[cfg(feature = $feature)])? PolicyConfig::$variant(config) => config.serialize(serializer),)+
                }
            }
        }
    };
}

struct Entry<'a>(&'a str);

struct Settings<'a>(&'a PolicyConfig);

policies! {
    /// A time limit.
    Timeout(TimeoutConfig) = "timeout",
    /// Retries.
    Retry(RetryConfig) = "retry",
    /// Second attempts beside slow ones.
    Hedge(HedgeConfig) = "hedge",
    /// Other answers in place of failures.
    Fallback(FallbackConfig) = "fallback",
    /// A circuit breaker.
    CircuitBreaker(CircuitBreakerConfig) = "circuit_breaker",
    /// A circuit breaker for each key.
    KeyedCircuitBreaker(KeyedCircuitBreakerConfig) = "keyed_circuit_breaker",
    /// A limit on calls at once.
    Bulkhead(BulkheadConfig) = "bulkhead",
    /// A limit on calls at once, with shares.
    PartitionedBulkhead(PartitionedBulkheadConfig) = "partitioned_bulkhead",
    /// A limit on calls at once that finds itself.
    AdaptiveLimit(AdaptiveLimitConfig) = "adaptive_limit",
    /// A client's refusal of what the backend would refuse.
    ClientThrottle(ClientThrottleConfig) = "client_throttle",
    /// Refusal in proportion to failures.
    AdmissionControl(AdmissionControlConfig) = "admission_control",
    /// Refusal by time in the queue.
    QueueShed(QueueShedConfig) = "queue_shed",
    /// Refusal by a signal.
    SignalShed(SignalShedConfig) = "signal_shed",
    /// A limit on the calls in a time.
    RateLimit(RateLimitConfig) = "rate_limit",
    /// A limit on the calls in a time for each key.
    KeyedRateLimit(KeyedRateLimitConfig) = "keyed_rate_limit",
    /// A limit at the rate that a server allows.
    ClientRateLimit(ClientRateLimitConfig) = "client_rate_limit",
    /// A limit that several nodes share.
    DistributedRateLimit(DistributedRateLimitConfig) = "distributed_rate_limit",
    /// Many calls as one.
    Batch(BatchConfig) = "batch",
    /// Faults on purpose, off unless it says otherwise.
    Chaos(ChaosConfig) = "chaos",
    /// Answers that are kept.
    ["cache"] Cache(super::CacheConfig) = "cache",
}

impl PipelineConfig {
    /// Adds a policy as the innermost layer so far.
    ///
    /// ```
    /// use resilience_core::config::{BulkheadConfig, PipelineConfig, PolicyConfig};
    ///
    /// let mut bulkhead = BulkheadConfig::default();
    /// bulkhead.limit = Some(8);
    /// let pipeline = PipelineConfig::default().with("bulkhead", PolicyConfig::Bulkhead(bulkhead));
    /// assert_eq!(pipeline.layers, ["bulkhead"]);
    /// ```
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, policy: PolicyConfig) -> Self {
        let name = name.into();
        self.layers.push(name.clone());
        self.policies.insert(name, policy);
        self
    }

    /// The policies that are layers, outermost first.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, &PolicyConfig)> {
        self.layers.iter().filter_map(|name| Some((name.as_str(), self.policies.get(name)?)))
    }
}

impl Serialize for PipelineConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.policies.len() + 1))?;
        map.serialize_entry(LAYERS, &self.layers)?;
        for (name, policy) in &self.policies {
            if name == policy.pattern() {
                map.serialize_entry(name, &Settings(policy))?;
            } else {
                map.serialize_entry(name, policy)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for PipelineConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = PipelineConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pipeline: `layers`, and a policy for each of them")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<PipelineConfig, M::Error> {
                let (mut layers, mut policies) = (None, BTreeMap::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name == LAYERS {
                        if layers.replace(map.next_value()?).is_some() {
                            return Err(de::Error::duplicate_field(LAYERS));
                        }
                    } else {
                        let policy = map.next_value_seed(Entry(&name))?;
                        if policies.insert(name, policy).is_some() {
                            return Err(de::Error::custom("a policy comes twice"));
                        }
                    }
                }
                let layers = layers.ok_or_else(|| de::Error::missing_field(LAYERS))?;
                Ok(PipelineConfig { layers, policies })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
