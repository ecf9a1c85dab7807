//! tower-resilience's layers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tower::{Layer, ServiceExt};
use tower_resilience_adaptive::{AdaptiveError, AdaptiveLimiterLayer, Aimd, Algorithm, Vegas};
use tower_resilience_bulkhead::{BulkheadLayer, BulkheadServiceError};
use tower_resilience_cache::{CacheError, CacheLayer};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer, SlidingWindowType};
use tower_resilience_coalesce::{CoalesceError, CoalesceLayer};
use tower_resilience_hedge::{HedgeError, HedgeLayer};
use tower_resilience_retry::{FnInterval, RetryBudgetBuilder, RetryLayer};
use tower_resilience_timelimiter::{TimeLimiterError, TimeLimiterLayer};

use super::{Parts, Stack};
use crate::scenario::{
    AdaptiveBounds, After, Limit, Opens, TowerResilienceBreaker, TowerResilienceBulkhead, TowerResilienceRetry, Ttl,
};
use crate::sim::{Answer, Call, Failure};

const NAME: &str = "tower-resilience";

impl Parts {
    pub(super) fn resilience_timeout(config: Limit, inner: Stack) -> Stack {
        let layer = TimeLimiterLayer::builder().timeout_duration(config.limit.0).build();
        Stack::new(layer.layer(inner).map_err(|error| match error {
            TimeLimiterError::Timeout => Failure::TimedOut(NAME),
            TimeLimiterError::Inner(failure) => failure,
        }))
    }

    /// Its own random backoff draws from the thread's generator, so the same full jitter is given to it as a function.
    pub(super) fn resilience_retry(&mut self, config: &TowerResilienceRetry, inner: Stack) -> Result<Stack, String> {
        let (base, cap) = (config.base.0, config.cap.0);
        let rng = Mutex::new(self.rng.fork());
        let jittered = move |attempt: usize| {
            let doubled = base.saturating_mul(1 << attempt.min(30)).min(cap);
            doubled.mul_f64(rng.lock().unwrap_or_else(PoisonError::into_inner).unit())
        };
        let mut builder = RetryLayer::<Call, Answer, Failure>::builder()
            .max_attempts(config.attempts)
            .backoff(FnInterval::new(jittered))
            .retry_on(|failure: &Failure| !failure.is_refused());
        if let Some((least, most)) = config.aimd {
            let budget = RetryBudgetBuilder::new().aimd().min_budget(least).max_budget(most).build();
            builder = builder.budget(budget.map_err(|error| error.to_string())?);
        }
        Ok(Stack::new(builder.build().layer(inner)))
    }

    pub(super) fn resilience_bulkhead(config: &TowerResilienceBulkhead, inner: Stack) -> Result<Stack, String> {
        let mut builder = BulkheadLayer::builder().max_concurrent_calls(config.limit);
        builder = if config.max_wait.0 == Duration::ZERO {
            builder.reject_when_full()
        } else {
            builder.max_wait_duration(config.max_wait.0)
        };
        let layer = builder.build().map_err(|error| error.to_string())?;
        Ok(Stack::new(layer.layer(inner).map_err(|error| match error {
            BulkheadServiceError::Bulkhead(_) => Failure::Refused(NAME),
            BulkheadServiceError::Inner(failure) => failure,
        })))
    }

    pub(super) fn resilience_adaptive(config: AdaptiveBounds, inner: Stack) -> Result<Stack, String> {
        let rule = match config.aimd {
            None => {
                let rule = Vegas::builder().initial_limit(config.initial).max_limit(config.max).build();
                Algorithm::Vegas(rule.map_err(|error| error.to_string())?)
            }
            Some(slow) => {
                let rule = Aimd::builder().initial_limit(config.initial).max_limit(config.max);
                Algorithm::Aimd(rule.latency_threshold(slow.0).build().map_err(|error| error.to_string())?)
            }
        };
        let layer = AdaptiveLimiterLayer::new(rule);
        Ok(Stack::new(layer.layer(inner).map_err(|error| match error {
            AdaptiveError::Service(failure) => failure,
            AdaptiveError::LimitReached => Failure::Refused(NAME),
        })))
    }

    pub(super) fn resilience_hedge(config: After, inner: Stack) -> Stack {
        let layer = HedgeLayer::builder().delay(config.delay.0).max_hedged_attempts(2).build();
        Stack::new(layer.layer(inner).map_err(|error: HedgeError<Failure>| error.into_inner()))
    }

    pub(super) fn resilience_cache(config: Ttl, inner: Stack) -> Result<Stack, String> {
        let builder = CacheLayer::builder().ttl(config.ttl.0).key_extractor(|call: &Call| call.key);
        let layer = builder.build().map_err(|error| error.to_string())?;
        Ok(Stack::new(layer.layer(inner).map_err(|error| match error {
            CacheError::Inner(failure) => failure,
        })))
    }

    pub(super) fn resilience_coalesce(inner: Stack) -> Stack {
        let layer = CoalesceLayer::new(|call: &Call| call.key);
        Stack::new(layer.layer(inner).map_err(|error| match error {
            CoalesceError::Service(failure) => failure,
            CoalesceError::LeaderCancelled | CoalesceError::RecvError => Failure::Other("the leader has left".into()),
        }))
    }

    pub(super) fn resilience_breaker(config: &TowerResilienceBreaker, inner: Stack) -> Result<Stack, String> {
        let builder = CircuitBreakerLayer::builder()
            .failure_rate_threshold(0.5)
            .wait_duration_in_open(config.open_for.0)
            .permitted_calls_in_half_open(config.probes);
        let builder = match config.opens {
            Opens::Consecutive(failures) => builder.consecutive_failures(failures),
            Opens::HalfOfCalls(calls) => {
                builder.sliding_window_type(SlidingWindowType::CountBased).sliding_window_size(calls)
            }
            Opens::HalfOfTime(window) => builder
                .sliding_window_type(SlidingWindowType::TimeBased)
                .sliding_window_duration(window.0)
                .minimum_number_of_calls(20),
        };
        let layer = builder.build().map_err(|error| error.to_string())?;
        Ok(Stack::new(layer.layer(inner).map_err(|error| match error {
            CircuitBreakerError::OpenCircuit => Failure::Refused(NAME),
            CircuitBreakerError::Inner(failure) => failure,
        })))
    }
}
