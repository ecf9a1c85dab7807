//! A stack as the linter sees it.

use std::time::Duration;

use super::Finding;
use crate::adaptive_limit::AdaptiveLimit;
use crate::batch::Batch;
use crate::bulkhead::Bulkhead;
use crate::bulkhead::partitioned::PartitionedBulkhead;
use crate::chaos::Chaos;
use crate::circuit_breaker::{CircuitBreaker, KeyedCircuitBreaker};
use crate::fallback::Fallback;
use crate::hedge::Hedge;
use crate::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
use crate::rate_limit::client::ClientRateLimiter;
use crate::rate_limit::distributed::{DistributedRateLimiter, PermitStore};
use crate::rate_limit::{KeyedRateLimiter, RateLimiter};
use crate::retry::Retry;
use crate::timeout::Timeout;

/// One layer: its pattern, its name, and the facts that lints ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The pattern's noun, as in its module.
    pub pattern: &'static str,
    /// What it is called in findings.
    pub name: String,
    /// A timeout's limit.
    pub limit: Option<Duration>,
    /// A retry's or a hedge's attempts; another number than 1 if not known.
    pub attempts: u32,
    /// Whether a retry or a hedge has a budget.
    pub has_budget: bool,
    /// Whether calls wait in it.
    pub has_queue: bool,
    /// Whether it makes faults on purpose, now.
    pub makes_faults: bool,
}

impl Layer {
    /// A layer of `pattern` of which nothing else is known, for layers that no policy object stands for.
    pub fn new(pattern: &'static str, name: impl Into<String>) -> Self {
        Self {
            pattern,
            name: name.into(),
            limit: None,
            attempts: u32::MAX,
            has_budget: true,
            has_queue: false,
            makes_faults: false,
        }
    }

    /// Whether it is of `pattern`, for all calls or for those of each key.
    pub(super) fn is(&self, pattern: &str) -> bool {
        self.pattern.strip_prefix("keyed_").unwrap_or(self.pattern) == pattern
    }

    /// Whether it sends a call more than once, and waits in between.
    pub(super) fn retries(&self) -> bool {
        self.is("retry") && self.attempts > 1
    }
}

/// Says what kind of layer it makes.
pub trait Describe {
    /// The layer.
    fn describe(&self) -> Layer;
}

impl Describe for Layer {
    fn describe(&self) -> Layer {
        self.clone()
    }
}

impl Describe for Timeout {
    fn describe(&self) -> Layer {
        Layer { limit: Some(self.limit()), ..Layer::new("timeout", self.name().as_str()) }
    }
}

impl Describe for Retry {
    fn describe(&self) -> Layer {
        let (attempts, has_budget) = (self.attempts(), self.budget().is_some());
        Layer { attempts, has_budget, ..Layer::new("retry", self.name().as_str()) }
    }
}

impl Describe for Hedge {
    fn describe(&self) -> Layer {
        let (attempts, has_budget) = (self.attempts(), self.budget().is_some());
        Layer { attempts, has_budget, ..Layer::new("hedge", self.name().as_str()) }
    }
}

impl Describe for Fallback {
    fn describe(&self) -> Layer {
        Layer::new("fallback", self.name().as_str())
    }
}

impl Describe for CircuitBreaker {
    fn describe(&self) -> Layer {
        Layer::new("circuit_breaker", self.name().as_str())
    }
}

impl<K> Describe for KeyedCircuitBreaker<K> {
    fn describe(&self) -> Layer {
        Layer::new("keyed_circuit_breaker", self.name().as_str())
    }
}

impl<K> Describe for KeyedRateLimiter<K> {
    fn describe(&self) -> Layer {
        Layer::new("keyed_rate_limit", self.name().as_str())
    }
}

impl Describe for Bulkhead {
    fn describe(&self) -> Layer {
        Layer { has_queue: self.snapshot().queue > 0, ..Layer::new("bulkhead", self.name().as_str()) }
    }
}

impl<K> Describe for PartitionedBulkhead<K> {
    fn describe(&self) -> Layer {
        Layer::new("partitioned_bulkhead", self.name().as_str())
    }
}

impl Describe for AdaptiveLimit {
    fn describe(&self) -> Layer {
        Layer { has_queue: self.snapshot().queue > 0, ..Layer::new("adaptive_limit", self.name().as_str()) }
    }
}

impl Describe for ClientThrottle {
    fn describe(&self) -> Layer {
        Layer::new("client_throttle", self.name().as_str())
    }
}

impl Describe for AdmissionControl {
    fn describe(&self) -> Layer {
        Layer::new("admission_control", self.name().as_str())
    }
}

impl Describe for QueueShed {
    fn describe(&self) -> Layer {
        Layer::new("queue_shed", self.name().as_str())
    }
}

impl Describe for SignalShed {
    fn describe(&self) -> Layer {
        Layer::new("signal_shed", self.name().as_str())
    }
}

impl Describe for Batch {
    fn describe(&self) -> Layer {
        Layer::new("batch", self.name().as_str())
    }
}

#[cfg(feature = "cache")]
impl<K, V, E> Describe for crate::cache::Cache<K, V, E> {
    fn describe(&self) -> Layer {
        Layer::new("cache", self.name().as_str())
    }
}

impl Describe for ClientRateLimiter {
    fn describe(&self) -> Layer {
        Layer { has_queue: self.waits(), ..Layer::new("client_rate_limit", self.name().as_str()) }
    }
}

impl<S: PermitStore> Describe for DistributedRateLimiter<S> {
    fn describe(&self) -> Layer {
        Layer::new("distributed_rate_limit", self.name().as_str())
    }
}

impl<Req, Res, E> Describe for Chaos<Req, Res, E> {
    fn describe(&self) -> Layer {
        Layer { makes_faults: self.snapshot().enabled, ..Layer::new("chaos", self.name().as_str()) }
    }
}

impl Describe for RateLimiter {
    fn describe(&self) -> Layer {
        Layer::new("rate_limit", self.name().as_str())
    }
}

/// The layers of one service, from the outside in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    name: String,
    layers: Vec<Layer>,
}

impl Stack {
    /// A stack of no layers.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), layers: Vec::new() }
    }

    /// Adds a layer inside of those there are.
    #[must_use]
    pub fn layer(mut self, layer: &impl Describe) -> Self {
        self.layers.push(layer.describe());
        self
    }

    /// What is wrong with the order, by lint and then from the outside in.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = super::rules::all(&self.name, &self.layers);
        found.sort_by_key(|finding| finding.lint);
        found
    }
}
