//! The layers a variant may have. Ours take the settings of the crate's own configuration files.

use resilience_core::config::{
    BulkheadConfig, CircuitBreakerConfig, DisciplineConfig, RateLimitConfig, RetryConfig, Span, TimeoutConfig,
};
use serde::Deserialize;

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
    /// `resilience_core::cache`, by the key of the call.
    Cache(Cache),
    /// `resilience_core::hedge`
    Hedge(Hedge),
    /// `tower::timeout`
    TowerTimeout(Limit),
    /// `tower::retry` with the policy of its documentation: attempts, exponential backoff, maybe a budget.
    TowerRetry(TowerRetry),
    /// `tower::limit::ConcurrencyLimit`: calls wait for as long as they like.
    TowerConcurrencyLimit(Slots),
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
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// So long.
    pub limit: Span,
}

/// Calls at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// So many.
    pub limit: usize,
}

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

/// The bounds of tower-resilience's adaptive limit.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveBounds {
    /// The limit to begin with.
    pub initial: usize,
    /// The highest.
    pub max: usize,
    /// By AIMD, where calls that take longer than this count as lost; by Vegas, if not said.
    pub aimd: Option<Span>,
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

/// tower's hedge.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerHedge {
    /// After what this share of calls takes at most.
    pub quantile: f32,
    /// Calls it must know of before.
    pub samples: u64,
    /// How far back it looks; twice that at most.
    pub period: Span,
}

/// A fixed time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// So long.
    pub delay: Span,
}

/// How long an answer is kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    /// So long.
    pub ttl: Span,
}

/// A client throttle, by the SRE book's rule.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientThrottle {
    /// How far back it looks.
    pub window: Option<Span>,
}

/// tower's retry.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerRetry {
    /// Attempts in all.
    pub attempts: u32,
    /// The first wait; the next ones double.
    pub base: Span,
    /// The longest wait.
    pub cap: Span,
    /// None, unless said.
    pub budget: Option<TpsBudget>,
}

/// tower's `TpsBudget`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpsBudget {
    /// How long a deposit counts.
    pub ttl: Span,
    /// Retries per second beside.
    pub min_per_second: u32,
    /// Retries per success.
    pub ratio: f32,
}

/// tower-resilience's retry.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerResilienceRetry {
    /// Attempts in all.
    pub attempts: usize,
    /// The first wait; the next ones double.
    pub base: Span,
    /// The longest wait.
    pub cap: Span,
    /// Its budget that needs no clock: as many retries saved up as this at least and at most. None, unless said.
    pub aimd: Option<(usize, usize)>,
}

/// tower-resilience's bulkhead.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerResilienceBulkhead {
    /// Calls at once.
    pub limit: usize,
    /// The longest wait for a slot.
    pub max_wait: Span,
}

/// tower-resilience's breaker.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerResilienceBreaker {
    /// When it opens.
    pub opens: Opens,
    /// How long it stays open.
    pub open_for: Span,
    /// Calls a half-open circuit lets pass.
    pub probes: usize,
}

/// When a breaker opens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opens {
    /// After so many failures in a row.
    Consecutive(usize),
    /// When half of the calls of a count-based window of this size failed.
    HalfOfCalls(usize),
    /// When half of the calls of a time failed, of 20 at least.
    HalfOfTime(Span),
}

/// failsafe's breaker.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failsafe {
    /// After so many failures in a row.
    Consecutive(FailsafeConsecutive),
    /// When the success rate in a window is too low.
    SuccessRate(FailsafeRate),
}

/// failsafe, by failures in a row.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailsafeConsecutive {
    /// So many.
    pub failures: u32,
    /// How long it stays open.
    pub open_for: Span,
}

/// failsafe, by rate.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailsafeRate {
    /// The share of calls that must succeed.
    pub success_rate: f64,
    /// Calls the window must hold.
    pub minimum_calls: u32,
    /// How far back it looks.
    pub window: Span,
    /// How long it stays open.
    pub open_for: Span,
}

/// recloser's breaker.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recloser {
    /// Opens when this share of the calls in the ring failed.
    pub error_rate: f32,
    /// Calls the ring holds while closed.
    pub closed_len: usize,
    /// Calls the ring holds while half-open.
    pub half_open_len: usize,
    /// How long it stays open.
    pub open_for: Span,
}
