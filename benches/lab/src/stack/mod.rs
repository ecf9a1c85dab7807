//! Stacks put together from what a file says.
//!
//! Each layer is boxed, so that a file can choose; what is inside the box is the crate's own service, unchanged. The
//! rivals' errors are turned into [`Failure`]s at their own layer, so that what is outside of it knows a refusal from a
//! server's error, as a program that uses them would.

mod breakers;
mod ours;
mod rates;
mod resilience;
mod tower_layers;
mod writes;

use std::fmt;

use resilience_core::rng::Rng;
use tower::util::BoxCloneService;

use crate::scenario::{Layer, Variant};
use crate::sim::{Answer, Call, Clock, Failure, Station};

/// What a caller calls.
pub type Stack = BoxCloneService<Call, Answer, Failure>;

/// Why a variant cannot be run: a layer that its crate refuses to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    what: String,
    why: String,
}

impl Problem {
    /// What could not be done, and why.
    pub fn new(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { what: what.to_string(), why: why.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Problem {}

/// The stack in front of each station: all loads that call it share its layers.
///
/// # Errors
///
/// If a layer cannot be built from its settings.
pub(crate) fn build(
    variant: &Variant,
    stations: &[Station],
    clock: Clock,
    seeds: &mut Rng,
) -> Result<Vec<Stack>, Problem> {
    let stack = |station: &Station| {
        let mut stack = Stack::new(station.clone());
        for (index, layer) in variant.layers.iter().enumerate().rev() {
            let mut parts = Parts { clock, rng: seeds.fork() };
            let problem = |why: String| Problem::new(format_args!("{}: layers[{index}]", variant.name), why);
            stack = parts.wrap(layer, stack).map_err(problem)?;
        }
        Ok(stack)
    };
    stations.iter().map(stack).collect()
}

/// What layers are made with: time and chance.
pub(super) struct Parts {
    clock: Clock,
    rng: Rng,
}

impl Parts {
    fn wrap(&mut self, layer: &Layer, inner: Stack) -> Result<Stack, String> {
        match layer {
            Layer::Timeout(config) => self.timeout(config, inner),
            Layer::Retry(config) => self.retry(config, inner),
            Layer::CircuitBreaker(config) => self.circuit_breaker(config, inner),
            Layer::Bulkhead(config) => self.bulkhead(config, inner),
            Layer::AdaptiveLimit(config) => self.adaptive_limit(config, inner),
            Layer::RateLimit(config) => self.rate_limit(config, inner),
            Layer::ClientThrottle(config) => self.client_throttle(config, inner),
            Layer::ClientRateLimit(config) => self.client_rate_limit(*config, inner),
            Layer::Cache(config) => self.cache(config, inner),
            Layer::WriteThrough(_) => self.write_through(inner),
            Layer::WriteBehind(config) => self.write_behind(*config, inner),
            Layer::Batch(config) => self.batch(*config, inner),
            Layer::Hedge(config) => self.hedge(config, inner),
            Layer::TowerTimeout(config) => Ok(Self::tower_timeout(*config, inner)),
            Layer::TowerRetry(config) => self.tower_retry(config, inner),
            Layer::TowerConcurrencyLimit(config) => Ok(Self::tower_concurrency_limit(*config, inner)),
            Layer::TowerRateLimit(config) => Ok(Self::tower_rate_limit(*config, inner)),
            Layer::TowerLoadShed(_) => Ok(Self::tower_load_shed(inner)),
            Layer::TowerHedge(config) => Ok(Self::tower_hedge(config, inner)),
            Layer::TowerResilienceTimeout(config) => Ok(Self::resilience_timeout(*config, inner)),
            Layer::TowerResilienceRetry(config) => self.resilience_retry(config, inner),
            Layer::TowerResilienceBulkhead(config) => Self::resilience_bulkhead(config, inner),
            Layer::TowerResilienceCircuitBreaker(config) => Self::resilience_breaker(config, inner),
            Layer::TowerResilienceAdaptive(config) => Self::resilience_adaptive(*config, inner),
            Layer::TowerResilienceHedge(config) => Ok(Self::resilience_hedge(*config, inner)),
            Layer::TowerResilienceCache(config) => Self::resilience_cache(*config, inner),
            Layer::TowerResilienceCoalesce(_) => Ok(Self::resilience_coalesce(inner)),
            Layer::TowerResilienceRateLimit(config) => Self::resilience_rate_limit(*config, inner),
            Layer::TowerBatchControl(config) => Ok(Self::tower_batch_control(*config, inner)),
            Layer::Governor(config) => self.governor(*config, inner),
            Layer::Failsafe(config) => Ok(Self::failsafe(config, inner)),
            Layer::Recloser(config) => Ok(Self::recloser(config, inner)),
        }
    }
}
