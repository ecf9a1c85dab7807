//! The policies a configuration was made into.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BudgetChoice, BudgetConfig, Config, PipelineConfig, PolicyConfig, Problem, Problems, Setup, Template};
use crate::adaptive_limit::AdaptiveLimit;
use crate::batch::Batch;
use crate::bulkhead::Bulkhead;
use crate::bulkhead::partitioned::PartitionedBulkhead;
use crate::circuit_breaker::CircuitBreaker;
use crate::fallback::Fallback;
use crate::hedge::Hedge;
use crate::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
use crate::rate_limit::RateLimiter;
use crate::rate_limit::client::ClientRateLimiter;
use crate::retry::{Retry, RetryBudget};
use crate::timeout::Timeout;

/// A builder with what a file does not hold.
macro_rules! furnish {
    ($builder:expr, $name:expr, $setup:expr) => {{
        let setup: &$crate::config::Setup = $setup;
        let mut builder = $builder.name($name);
        if let Some(timer) = &setup.timer {
            builder = builder.timer(timer.clone());
        }
        for sink in &setup.listeners {
            builder = builder.listener(sink.clone());
        }
        builder
    }};
}
pub(super) use furnish;

/// One policy of a pipeline. Clones share it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Policy {
    /// A time limit.
    Timeout(Timeout),
    /// Retries.
    Retry(Retry),
    /// Second attempts beside slow ones.
    Hedge(Hedge),
    /// Other answers in place of failures.
    Fallback(Fallback),
    /// A circuit breaker.
    CircuitBreaker(CircuitBreaker),
    /// A circuit breaker for each key.
    KeyedCircuitBreaker(Template<super::KeyedCircuitBreakerConfig>),
    /// A limit on calls at once.
    Bulkhead(Bulkhead),
    /// A limit on calls at once, with shares.
    PartitionedBulkhead(PartitionedBulkhead<Arc<str>>),
    /// A limit on calls at once that finds itself.
    AdaptiveLimit(AdaptiveLimit),
    /// A client's refusal of what the backend would refuse.
    ClientThrottle(ClientThrottle),
    /// Refusal in proportion to failures.
    AdmissionControl(AdmissionControl),
    /// Refusal by time in the queue.
    QueueShed(QueueShed),
    /// Refusal by a signal.
    SignalShed(SignalShed),
    /// A limit on the calls in a time.
    RateLimit(RateLimiter),
    /// A limit on the calls in a time for each key.
    KeyedRateLimit(Template<super::KeyedRateLimitConfig>),
    /// A limit at the rate that a server allows.
    ClientRateLimit(ClientRateLimiter),
    /// A limit that several nodes share.
    DistributedRateLimit(Template<super::DistributedRateLimitConfig>),
    /// Many calls as one.
    Batch(Batch),
    /// Faults on purpose.
    Chaos(Template<super::ChaosConfig>),
    /// Answers that are kept.
    #[cfg(feature = "cache")]
    Cache(Template<super::CacheConfig>),
}

/// The policies in front of one dependency, made by [`PipelineConfig::build`] or [`Config::build`]. Clones share them.
#[derive(Clone, Debug)]
pub struct Pipeline {
    name: Arc<str>,
    policies: Arc<[(String, Policy)]>,
}

/// All pipelines of a configuration.
#[derive(Debug)]
pub struct Pipelines {
    pub(super) config: Config,
    pipelines: BTreeMap<String, Pipeline>,
    budgets: BTreeMap<String, RetryBudget>,
}

impl Config {
    /// Makes the policies.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); and without the feature `tokio`, if `setup` has no timer.
    pub fn build(&self, setup: &Setup) -> Result<Pipelines, Problems> {
        self.check()?;
        let mut budgets = BTreeMap::new();
        for (name, config) in &self.budgets {
            let budget = config.make(name, setup).map_err(|problem| problem.under(name).under("budgets"))?;
            budgets.insert(name.clone(), budget);
        }
        let build = |(name, config): (&String, &PipelineConfig)| {
            let pipeline = config.assemble(name, setup, &budgets);
            Ok((name.clone(), pipeline.map_err(|problem| problem.under(name).under("pipelines"))?))
        };
        let pipelines = self.pipelines.iter().map(build).collect::<Result<_, Problem>>()?;
        Ok(Pipelines { config: self.clone(), pipelines, budgets })
    }
}

impl PipelineConfig {
    /// Makes the policies of this pipeline alone. They are called `name.ENTRY`.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, a shared budget included: only a whole [`Config`] has some.
    pub fn build(&self, name: &str, setup: &Setup) -> Result<Pipeline, Problems> {
        Problems::none_or(self.problems())?;
        Ok(self.assemble(name, setup, &BTreeMap::new())?)
    }

    fn assemble(
        &self,
        name: &str,
        setup: &Setup,
        budgets: &BTreeMap<String, RetryBudget>,
    ) -> Result<Pipeline, Problem> {
        let build = |(entry, config): (&str, &PolicyConfig)| {
            let policy = config.build(format!("{name}.{entry}"), setup, budgets);
            Ok((entry.to_owned(), policy.map_err(|problem| problem.under(&config.path_in(entry)))?))
        };
        let policies = self.in_order().map(build).collect::<Result<Vec<_>, Problem>>()?;
        Ok(Pipeline { name: name.into(), policies: policies.into() })
    }
}

impl BudgetConfig {
    fn make(&self, name: &str, setup: &Setup) -> Result<RetryBudget, Problem> {
        let mut builder = self.builder().name(name.to_owned());
        if let Some(timer) = &setup.timer {
            builder = builder.timer(timer.clone());
        }
        Ok(builder.build()?)
    }
}

impl PolicyConfig {
    fn build(&self, name: String, setup: &Setup, budgets: &BTreeMap<String, RetryBudget>) -> Result<Policy, Problem> {
        macro_rules! build {
            ($builder:expr) => {
                furnish!($builder, name, setup).build()?
            };
        }
        macro_rules! template {
            ($variant:ident($config:ident): $type:ty) => {{
                fn pick(settings: &PolicyConfig) -> Option<&$type> {
                    if let PolicyConfig::$variant(config) = settings { Some(config) } else { None }
                }
                Policy::$variant(Template::new(name, self.pattern(), pick, setup, $config))
            }};
        }
        macro_rules! paid {
            ($builder:expr) => {
                match self.budget() {
                    None => $builder,
                    Some(BudgetChoice::Unlimited) => $builder.unlimited(),
                    Some(BudgetChoice::Own(own)) => {
                        let budget = own.make(&name, setup).map_err(|problem| problem.under("budget.own"))?;
                        $builder.budget(budget)
                    }
                    Some(BudgetChoice::Shared(shared)) => {
                        let missing = || Problem::new("budget.shared", format!("there is no budget {shared:?}"));
                        $builder.budget(budgets.get(shared).ok_or_else(missing)?.clone())
                    }
                }
            };
        }
        Ok(match self {
            Self::Timeout(config) => Policy::Timeout(build!(config.builder())),
            Self::CircuitBreaker(config) => Policy::CircuitBreaker(build!(setup.controlled(config.builder()))),
            Self::KeyedCircuitBreaker(config) => {
                template!(KeyedCircuitBreaker(config): super::KeyedCircuitBreakerConfig)
            }
            Self::Bulkhead(config) => Policy::Bulkhead(build!(config.builder())),
            Self::PartitionedBulkhead(config) => Policy::PartitionedBulkhead(build!(config.builder())),
            Self::AdaptiveLimit(config) => Policy::AdaptiveLimit(build!(config.builder())),
            Self::ClientThrottle(config) => Policy::ClientThrottle(build!(config.builder())),
            Self::AdmissionControl(config) => Policy::AdmissionControl(build!(config.builder())),
            Self::QueueShed(config) => Policy::QueueShed(build!(config.builder())),
            Self::SignalShed(config) => Policy::SignalShed(build!(config.builder())),
            Self::RateLimit(config) => Policy::RateLimit(build!(config.builder())),
            Self::KeyedRateLimit(config) => template!(KeyedRateLimit(config): super::KeyedRateLimitConfig),
            Self::Retry(config) => Policy::Retry(build!(paid!(config.rules()?))),
            Self::Hedge(config) => Policy::Hedge(build!(paid!(config.rules()))),
            Self::Fallback(config) => Policy::Fallback(build!(config.builder())),
            Self::Batch(config) => Policy::Batch(build!(config.builder())),
            Self::ClientRateLimit(config) => Policy::ClientRateLimit(build!(config.builder())),
            Self::DistributedRateLimit(config) => {
                template!(DistributedRateLimit(config): super::DistributedRateLimitConfig)
            }
            Self::Chaos(config) => template!(Chaos(config): super::ChaosConfig),
            #[cfg(feature = "cache")]
            Self::Cache(config) => template!(Cache(config): super::CacheConfig),
        })
    }
}

impl Pipelines {
    /// The pipeline called `name`.
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.get(name)
    }

    /// The shared budget called `name`, for policies that are not in the file.
    pub fn budget(&self, name: &str) -> Option<&RetryBudget> {
        self.budgets.get(name)
    }

    /// All pipelines, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Pipeline> {
        self.pipelines.values()
    }

    /// What they are configured as now.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

macro_rules! accessors {
    ($($(#[$doc:meta])* $([$feature:literal])? $accessor:ident: $variant:ident($policy:ty),)+) => {
        impl Pipeline {
            $($(#[$doc])*
            $(#[cfg(feature = $feature)])?
            pub fn $accessor(&self, entry: &str) -> Option<&$policy> {
                match self.policy(entry) {
                    Some(Policy::$variant(policy)) => Some(policy),
                    _ => None,
                }
            })+
        }
    };
}

impl Pipeline {
    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its policies with the names of their entries, outermost first.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.policies.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// The policy of the entry called `entry`.
    pub fn policy(&self, entry: &str) -> Option<&Policy> {
        self.policies().find(|(name, _)| *name == entry).map(|(_, policy)| policy)
    }

    /// Whether the file's layers are among `layers`, those the code composes, and in the same order, outermost first.
    ///
    /// # Errors
    ///
    /// If the file has a layer the code would leave out, or has them in another order.
    ///
    /// ```
    /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
    /// use resilience_core::config::{Config, Setup};
    ///
    /// let file = Config::from_toml(r#"
    ///     [pipelines.stock]
    ///     layers = ["bulkhead", "timeout"]
    ///     bulkhead.limit = 8
    ///     timeout.limit = "1s"
    /// "#)?;
    /// let pipelines = file.build(&Setup::new())?;
    /// let stock = pipelines.pipeline("stock").unwrap();
    /// assert!(stock.expect(&["retry", "bulkhead", "timeout"]).is_ok());
    /// let wrong = stock.expect(&["timeout", "bulkhead"]).unwrap_err();
    /// assert_eq!(wrong.to_string(), "pipelines.stock.layers: must have \"timeout\" outside of \"bulkhead\"");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expect(&self, layers: &[&str]) -> Result<(), Problem> {
        let problem = |rule| Err(Problem::new("layers", rule).under(&self.name).under("pipelines"));
        let mut outer: Option<(usize, &str)> = None;
        for (name, _) in self.policies() {
            let Some(at) = layers.iter().position(|layer| *layer == name) else {
                return problem(format!("must not have {name:?}, which this program does not use"));
            };
            if let Some((_, outer)) = outer.filter(|(before, _)| *before > at) {
                return problem(format!("must have {name:?} outside of {outer:?}"));
            }
            outer = Some((at, name));
        }
        Ok(())
    }
}

accessors! {
    /// The timeout of that name; none if there is no such entry, or it is another pattern's.
    timeout: Timeout(Timeout),
    /// The retry of that name.
    retry: Retry(Retry),
    /// The hedge of that name.
    hedge: Hedge(Hedge),
    /// The fallback of that name.
    fallback: Fallback(Fallback),
    /// The circuit breaker of that name.
    circuit_breaker: CircuitBreaker(CircuitBreaker),
    /// What the keyed circuit breaker of that name is built from.
    keyed_circuit_breaker: KeyedCircuitBreaker(Template<super::KeyedCircuitBreakerConfig>),
    /// The bulkhead of that name.
    bulkhead: Bulkhead(Bulkhead),
    /// The partitioned bulkhead of that name.
    partitioned_bulkhead: PartitionedBulkhead(PartitionedBulkhead<Arc<str>>),
    /// The adaptive limit of that name.
    adaptive_limit: AdaptiveLimit(AdaptiveLimit),
    /// The client throttle of that name.
    client_throttle: ClientThrottle(ClientThrottle),
    /// The admission control of that name.
    admission_control: AdmissionControl(AdmissionControl),
    /// The queue shed of that name.
    queue_shed: QueueShed(QueueShed),
    /// The signal shed of that name.
    signal_shed: SignalShed(SignalShed),
    /// The rate limiter of that name.
    rate_limit: RateLimit(RateLimiter),
    /// What the keyed rate limiter of that name is built from.
    keyed_rate_limit: KeyedRateLimit(Template<super::KeyedRateLimitConfig>),
    /// The client's rate limiter of that name.
    client_rate_limit: ClientRateLimit(ClientRateLimiter),
    /// What the distributed rate limiter of that name is built from.
    distributed_rate_limit: DistributedRateLimit(Template<super::DistributedRateLimitConfig>),
    /// The batch of that name.
    batch: Batch(Batch),
    /// What the chaos of that name is built from.
    chaos: Chaos(Template<super::ChaosConfig>),
    /// What the cache of that name is built from.
    ["cache"] cache: Cache(Template<super::CacheConfig>),
}
