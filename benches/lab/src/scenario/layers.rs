//! The layers a variant may have. Ours take the settings of the crate's own configuration files.

use resilience_core::config::{
    BulkheadConfig, CircuitBreakerConfig, DisciplineConfig, RateLimitConfig, RetryConfig, Span, TimeoutConfig,
};
use serde::Deserialize;

use super::rivals::*;

/// One layer, and its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// `resilience_core::timeout`
    Timeout(TimeoutConfig),
    /// `resilience_core::retry`; its budget is `unlimited` or its `own`.
    Retry(Box<RetryConfig>),
    /// `resilience_core::circuit_breaker`
    CircuitBreaker(CircuitBreakerConfig),
    /// `resilience_core::bulkhead`
    Bulkhead(BulkheadConfig),
    /// `resilience_core::adaptive_limit`
    AdaptiveLimit(AdaptiveLimit),
    /// `resilience_core::rate_limit`
    RateLimit(RateLimitConfig),
    /// `resilience_core::load_shed::ClientThrottle`
    ClientThrottle(ClientThrottle),
    /// `resilience_core::rate_limit::ClientRateLimiter`, told by the server's "too many".
    ClientRateLimit(ClientRateLimit),
    /// `resilience_core::cache`, by the key of the call.
    Cache(Cache),
    /// `resilience_core::cache::write::WriteThrough`: a call writes its key.
    WriteThrough(Nothing),
    /// `resilience_core::cache::write::WriteBehind`: a call writes its key.
    WriteBehind(WriteBehind),
    /// `resilience_core::batch`: what is inside gets calls of many items.
    Batch(Batch),
    /// `resilience_core::hedge`
    Hedge(Hedge),
    /// `tower::timeout`
    TowerTimeout(Limit),
    /// `tower::retry` with the policy of its documentation: attempts, exponential backoff, maybe a budget.
    TowerRetry(TowerRetry),
    /// `tower::limit::ConcurrencyLimit`: calls wait for as long as they like.
    TowerConcurrencyLimit(Slots),
    /// `tower::limit::RateLimit`, behind a `tower::buffer`, since it is not `Clone`.
    TowerRateLimit(Rate),
    /// `tower::load_shed`: refuses while what is inside is not ready.
    TowerLoadShed(Nothing),
    /// `tower::hedge`, behind a `tower::buffer`, since it is not `Clone`.
    TowerHedge(TowerHedge),
    /// `tower_resilience_timelimiter`
    TowerResilienceTimeout(Limit),
    /// `tower_resilience_retry`
    TowerResilienceRetry(TowerResilienceRetry),
    /// `tower_resilience_bulkhead`
    TowerResilienceBulkhead(TowerResilienceBulkhead),
    /// `tower_resilience_circuitbreaker`; needs the real clock.
    TowerResilienceCircuitBreaker(TowerResilienceBreaker),
    /// `tower_resilience_hedge` after a fixed time, the only kind it has
    TowerResilienceHedge(After),
    /// `tower_resilience_cache`; needs the real clock.
    TowerResilienceCache(Ttl),
    /// `tower_resilience_coalesce`
    TowerResilienceCoalesce(Nothing),
    /// `tower_resilience_adaptive`: calls wait for as long as they like. Needs the real clock.
    TowerResilienceAdaptive(AdaptiveBounds),
    /// `tower_resilience_ratelimiter`
    TowerResilienceRateLimit(TowerResilienceRate),
    /// `tower_batch_control`
    TowerBatchControl(TowerBatchControl),
    /// governor's limiter
    Governor(Governor),
    /// failsafe's breaker
    Failsafe(Failsafe),
    /// recloser; needs the real clock.
    Recloser(Recloser),
}

impl Layer {
    /// Whether it asks the operating system for the time and cannot be told another.
    pub const fn reads_the_real_clock(&self) -> bool {
        matches!(
            self,
            Self::TowerResilienceAdaptive(_)
                | Self::TowerResilienceCircuitBreaker(_)
                | Self::TowerResilienceCache(_)
                | Self::Recloser(_)
        )
    }
}

/// No settings.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// An adaptive limit. What is not said is the builder's default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveLimit {
    /// By which rule the limit is found.
    pub rule: Option<LimitRule>,
    /// The limit to begin with.
    pub initial: Option<u32>,
    /// Calls that may wait.
    pub queue: Option<u32>,
    /// How long they may.
    pub max_wait: Option<Span>,
    /// Who of them is next.
    pub discipline: Option<DisciplineConfig>,
    /// The share that is kept for critical calls.
    pub reserve: Option<f64>,
}

/// A rule that finds a limit, with its usual constants.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitRule {
    /// By the queue that round trips betray.
    Vegas,
    /// By round trips against their long average.
    Gradient2,
    /// By losses, and by round trips longer than this.
    Aimd(Span),
}

/// A cache.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// How long an answer is fresh.
    pub ttl: Span,
    /// How long it may be served beyond, while a new one is fetched.
    #[serde(default)]
    pub stale_while_revalidate: Span,
    /// How long it may be served beyond, when a new one cannot be had.
    #[serde(default)]
    pub stale_if_error: Span,
    /// Whether new answers are fetched by a task of their own while the old ones may be served.
    #[serde(default)]
    pub in_background: bool,
}

/// A hedge.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// How long an attempt may take before the next one joins it; the builder's default, unless said.
    pub delay: Option<HedgeDelay>,
    /// Whether it has no budget, instead of its own.
    #[serde(default)]
    pub unlimited: bool,
}

/// When a hedge asks once more.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HedgeDelay {
    /// After this.
    Fixed(Span),
    /// After what this share of calls takes at most.
    Quantile(f64),
}

/// A client throttle, by the SRE book's rule.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientThrottle {
    /// How far back it looks.
    pub window: Option<Span>,
}

/// A limit that the server's refusals show.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRateLimit {
    /// The longest wait; the builder's default, unless said.
    pub max_wait: Option<Span>,
}

/// Writes after the answer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteBehind {
    /// Keys that may wait; the builder's default, unless said.
    pub limit: Option<usize>,
    /// Writes at once.
    pub writers: usize,
}

/// Many calls as one.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Calls in one; the builder's default, unless said.
    pub size: Option<usize>,
    /// How long the first of them waits; the builder's default, unless said.
    pub delay: Option<Span>,
}
