//! The settings of the rivals' layers.

use resilience_core::config::Span;
use serde::Deserialize;

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

/// Calls in a time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// So many.
    pub calls: u32,
    /// In this time.
    pub per: Span,
}

/// tower-resilience's rate limit.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerResilienceRate {
    /// So many calls.
    pub calls: usize,
    /// In this time.
    pub per: Span,
    /// The longest wait.
    pub max_wait: Span,
    /// How the time is looked at.
    pub window: RateWindow,
}

/// How tower-resilience's rate limit counts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateWindow {
    /// Anew in each period.
    Fixed,
    /// Every call of the last period.
    SlidingLog,
    /// This period and a share of the last one.
    SlidingCounter,
}

/// governor's limiter.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Governor {
    /// Calls a second.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
    /// Whether a call that finds no permit waits for one however long, as with its `until_ready`; else it is refused.
    #[serde(default)]
    pub waits: bool,
}

/// tower-batch-control's batches.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerBatchControl {
    /// Calls in one.
    pub size: usize,
    /// Batches at once.
    pub batches: usize,
    /// How long the first call of one waits for others.
    pub delay: Span,
}
