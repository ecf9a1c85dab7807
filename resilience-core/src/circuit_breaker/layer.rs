//! The breaker as a tower layer.

use tower_layer::Layer;

use super::policy::CircuitBreaker;
use super::service::CircuitBreakerService;
use crate::ByResult;

/// Puts a [`CircuitBreaker`] in front of a service; made by [`CircuitBreaker::layer`].
///
/// Every service made by layers of one breaker shares that breaker. For a breaker per service, build one for each.
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C = ByResult> {
    breaker: CircuitBreaker,
    classify: C,
}

impl CircuitBreaker {
    /// This breaker as a layer that counts errors as failures, and its own stack's refusals as nothing.
    pub fn layer(&self) -> CircuitBreakerLayer {
        CircuitBreakerLayer { breaker: self.clone(), classify: ByResult }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Decides with `classify` what an answer means.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<D> {
        CircuitBreakerLayer { breaker: self.breaker, classify }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.breaker.clone(), self.classify.clone())
    }
}
