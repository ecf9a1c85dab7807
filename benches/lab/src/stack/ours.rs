//! Our own layers.

use resilience_core::adaptive_limit::{AdaptiveLimit, Rule};
use resilience_core::cache::{Background, Cache, Task, Ttl};
use resilience_core::config::{BulkheadConfig, CircuitBreakerConfig, RateLimitConfig, RetryConfig, TimeoutConfig};
use resilience_core::context::Criticality;
use resilience_core::hedge::{Hedge, Quantile};
use resilience_core::load_shed;
use resilience_core::rate_limit::ClientRateLimiter;
use tower::Layer;

use super::{Parts, Stack};
use crate::scenario::{self, ClientThrottle, HedgeDelay, LimitRule};
use crate::sim::{Answer, Call, Failure};

impl Parts {
    pub(super) fn timeout(&self, config: &TimeoutConfig, inner: Stack) -> Result<Stack, String> {
        let timeout = config.builder().timer(self.clock.timer()).build().map_err(text)?;
        Ok(Stack::new(timeout.layer().layer(inner)))
    }

    pub(super) fn retry(&mut self, config: &RetryConfig, inner: Stack) -> Result<Stack, String> {
        let builder = config.builder().map_err(text)?;
        let retry = builder.timer(self.clock.timer()).seed(self.rng.next_u64()).build().map_err(text)?;
        Ok(Stack::new(retry.layer().layer(inner)))
    }

    pub(super) fn circuit_breaker(&self, config: &CircuitBreakerConfig, inner: Stack) -> Result<Stack, String> {
        let breaker = config.builder().timer(self.clock.timer()).build().map_err(text)?;
        Ok(Stack::new(breaker.layer().layer(inner)))
    }

    pub(super) fn bulkhead(&self, config: &BulkheadConfig, inner: Stack) -> Result<Stack, String> {
        let bulkhead = config.builder().timer(self.clock.timer()).build().map_err(text)?;
        Ok(Stack::new(bulkhead.layer().layer(inner)))
    }

    pub(super) fn adaptive_limit(&mut self, config: &scenario::AdaptiveLimit, inner: Stack) -> Result<Stack, String> {
        let mut builder = AdaptiveLimit::builder().timer(self.clock.timer()).seed(self.rng.next_u64());
        builder = match config.rule {
            Some(LimitRule::Vegas) => builder.vegas(),
            Some(LimitRule::Gradient2) => builder.gradient2(),
            Some(LimitRule::Aimd(timeout)) => builder.rule(Rule::Aimd { backoff: 0.9, timeout: timeout.0 }),
            None => builder,
        };
        if let Some(initial) = config.initial {
            builder = builder.initial(initial);
        }
        if let Some(queue) = config.queue {
            builder = builder.queue(queue);
        }
        if let Some(max_wait) = config.max_wait {
            builder = builder.max_wait(max_wait.0);
        }
        if let Some(discipline) = config.discipline {
            builder = builder.discipline(discipline.into());
        }
        if let Some(share) = config.reserve {
            builder = builder.reserve(Criticality::Critical, share);
        }
        Ok(Stack::new(builder.build().map_err(text)?.layer().layer(inner)))
    }

    pub(super) fn rate_limit(&self, config: &RateLimitConfig, inner: Stack) -> Result<Stack, String> {
        let limiter = config.builder().timer(self.clock.timer()).build().map_err(text)?;
        Ok(Stack::new(limiter.layer().layer(inner)))
    }

    pub(super) fn client_rate_limit(&self, config: scenario::ClientRateLimit, inner: Stack) -> Result<Stack, String> {
        let mut builder = ClientRateLimiter::builder().timer(self.clock.timer());
        if let Some(max_wait) = config.max_wait {
            builder = builder.max_wait(max_wait.0);
        }
        let limiter = builder.build().map_err(text)?;
        Ok(Stack::new(limiter.layer(is_throttled).layer(inner)))
    }

    pub(super) fn client_throttle(&mut self, config: &ClientThrottle, inner: Stack) -> Result<Stack, String> {
        let mut builder = load_shed::ClientThrottle::builder().timer(self.clock.timer()).seed(self.rng.next_u64());
        if let Some(window) = config.window {
            builder = builder.window(window.into());
        }
        Ok(Stack::new(builder.build().map_err(text)?.layer().layer(inner)))
    }

    pub(super) fn hedge(&self, config: &scenario::Hedge, inner: Stack) -> Result<Stack, String> {
        let mut builder = Hedge::builder().timer(self.clock.timer());
        builder = match config.delay {
            Some(HedgeDelay::Fixed(delay)) => builder.delay(delay.0),
            Some(HedgeDelay::Quantile(quantile)) => builder.delay(Quantile::new(quantile)),
            None => builder,
        };
        if config.unlimited {
            builder = builder.unlimited();
        }
        Ok(Stack::new(builder.build().map_err(text)?.layer().layer(inner)))
    }

    pub(super) fn cache(&mut self, config: &scenario::Cache, inner: Stack) -> Result<Stack, String> {
        let ttl = Ttl::fresh(config.ttl.0)
            .stale_while_revalidate(config.stale_while_revalidate.0)
            .stale_if_error(config.stale_if_error.0);
        let builder = Cache::<u64, Answer, Failure>::builder().ttl(ttl).seed(self.rng.next_u64());
        let layer = builder.timer(self.clock.timer()).build().map_err(text)?.layer(|call: &Call| Some(call.key));
        Ok(if config.in_background {
            Stack::new(
                layer.in_background(Background::new(|task: Task| drop(tokio::task::spawn_local(task)))).layer(inner),
            )
        } else {
            Stack::new(layer.layer(inner))
        })
    }
}

fn is_throttled(answer: &Result<Answer, Failure>) -> bool {
    answer.as_ref().is_err_and(Failure::is_throttled)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
