//! The breaker as a tower layer.

use tower_layer::Layer;

use super::keyed::KeyedCircuitBreaker;
use super::policy::CircuitBreaker;
use super::service::{CircuitBreakerService, KeyedCircuitBreakerService};
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
    ///
    /// ```
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    /// use resilience_core::{Classification, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # type Error = resilience_core::Error<std::convert::Infallible>;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = CircuitBreaker::builder().consecutive_failures(1).build()?;
    /// let service = ServiceBuilder::new()
    ///     .layer(breaker.layer().classify(|answer: &Result<u16, Error>| match answer {
    ///         Ok(500..) | Err(_) => Classification::FAILURE,
    ///         Ok(400..) => Classification::IGNORE, // a mistake of ours proves neither health nor illness
    ///         Ok(_) => Classification::SUCCESS,
    ///     }))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |status: u16| Ok(status)));
    /// assert_eq!(service.clone().oneshot(404).await?, 404);
    /// assert_eq!(breaker.state(), State::Closed);
    /// assert_eq!(service.oneshot(503).await?, 503); // passes unchanged, and opens the circuit
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok(())
    /// # }
    /// ```
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

/// Puts a [`KeyedCircuitBreaker`] in front of a service; made by [`KeyedCircuitBreaker::layer`].
#[derive(Clone, Debug)]
pub struct KeyedCircuitBreakerLayer<K, F, C = ByResult> {
    breaker: KeyedCircuitBreaker<K>,
    key: F,
    classify: C,
}

impl<K> KeyedCircuitBreaker<K> {
    /// This breaker as a layer: `key` says whose circuit a request goes through.
    ///
    /// Whether the circuit refuses is known once there is a request, so readiness is the inner service's.
    ///
    /// ```
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hosts = CircuitBreaker::builder().consecutive_failures(1).build_keyed::<&'static str>()?;
    /// let fetch = ServiceBuilder::new()
    ///     .layer(hosts.layer(|(host, _path): &(&'static str, &str)| *host))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |(host, _): (&str, &str)| if host == "up" { Ok(()) } else { Err("down") }));
    /// assert!(fetch.clone().oneshot(("down", "/")).await.is_err());
    /// assert!(matches!(fetch.clone().oneshot(("down", "/")).await, Err(Error::Rejected(_))));
    /// assert!(fetch.oneshot(("up", "/")).await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<F>(&self, key: F) -> KeyedCircuitBreakerLayer<K, F> {
        KeyedCircuitBreakerLayer { breaker: self.clone(), key, classify: ByResult }
    }
}

impl<K, F, C> KeyedCircuitBreakerLayer<K, F, C> {
    /// Decides with `classify` what an answer means.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> KeyedCircuitBreakerLayer<K, F, D> {
        KeyedCircuitBreakerLayer { breaker: self.breaker, key: self.key, classify }
    }
}

impl<S, K, F: Clone, C: Clone> Layer<S> for KeyedCircuitBreakerLayer<K, F, C> {
    type Service = KeyedCircuitBreakerService<S, K, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedCircuitBreakerService::new(inner, self.breaker.clone(), self.key.clone(), self.classify.clone())
    }
}
