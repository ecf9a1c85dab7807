//! Our own layers.

use resilience_core::config::{BulkheadConfig, CircuitBreakerConfig, RateLimitConfig, RetryConfig, TimeoutConfig};
use resilience_core::load_shed;
use tower::Layer;

use super::{Parts, Stack};
use crate::scenario::ClientThrottle;

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

    pub(super) fn rate_limit(&self, config: &RateLimitConfig, inner: Stack) -> Result<Stack, String> {
        let limiter = config.builder().timer(self.clock.timer()).build().map_err(text)?;
        Ok(Stack::new(limiter.layer().layer(inner)))
    }

    pub(super) fn client_throttle(&mut self, config: &ClientThrottle, inner: Stack) -> Result<Stack, String> {
        let mut builder = load_shed::ClientThrottle::builder().timer(self.clock.timer()).seed(self.rng.next_u64());
        if let Some(window) = config.window {
            builder = builder.window(window.into());
        }
        Ok(Stack::new(builder.build().map_err(text)?.layer().layer(inner)))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
