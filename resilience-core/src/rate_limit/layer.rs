//! A rate limiter as a tower layer.

use tower_layer::Layer;

use super::{RateLimiter, RateLimiterService};

/// Limits the calls in a time; made by [`RateLimiter::layer`]. All services it makes share one quota.
#[derive(Clone, Debug)]
pub struct RateLimiterLayer {
    limiter: RateLimiter,
}

impl From<RateLimiter> for RateLimiterLayer {
    fn from(limiter: RateLimiter) -> Self {
        Self { limiter }
    }
}

impl<S> Layer<S> for RateLimiterLayer {
    type Service = RateLimiterService<S>;

    fn layer(&self, inner: S) -> RateLimiterService<S> {
        RateLimiterService::new(inner, self.limiter.clone())
    }
}
