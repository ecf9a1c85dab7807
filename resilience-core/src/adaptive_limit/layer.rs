//! An adaptive limit as a tower layer.

use tower_layer::Layer;

use super::{AdaptiveLimit, AdaptiveLimitService, ByOverload};

/// Limits the calls that run at once to what the service can take; made by [`AdaptiveLimit::layer`]. All services it makes
/// share one limit.
#[derive(Clone, Debug)]
pub struct AdaptiveLimitLayer<C = ByOverload> {
    limit: AdaptiveLimit,
    classify: C,
}

impl From<AdaptiveLimit> for AdaptiveLimitLayer {
    fn from(limit: AdaptiveLimit) -> Self {
        Self { limit, classify: ByOverload }
    }
}

impl<C> AdaptiveLimitLayer<C> {
    /// Decides with `classify` what an answer says about load: failures and slow answers lower the limit.
    ///
    /// ```
    /// use resilience_core::adaptive_limit::AdaptiveLimit;
    /// use resilience_core::{Classification, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # type Error = resilience_core::Error<std::convert::Infallible>;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limit = AdaptiveLimit::builder().aimd().initial(20).build()?;
    /// let service = ServiceBuilder::new()
    ///     .layer(limit.layer().classify(|answer: &Result<u16, Error>| match answer {
    ///         Ok(503 | 429) => Classification::FAILURE, // it has too much to do
    ///         Ok(400..) | Err(_) => Classification::IGNORE,
    ///         Ok(_) => Classification::SUCCESS,
    ///     }))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |status: u16| Ok(status)));
    /// assert_eq!(service.clone().oneshot(500).await?, 500);
    /// assert_eq!(limit.snapshot().limit, 20);
    /// assert_eq!(service.oneshot(503).await?, 503);
    /// assert_eq!(limit.snapshot().limit, 18);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn classify<D>(self, classify: D) -> AdaptiveLimitLayer<D> {
        AdaptiveLimitLayer { limit: self.limit, classify }
    }
}

impl<S, C: Clone> Layer<S> for AdaptiveLimitLayer<C> {
    type Service = AdaptiveLimitService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AdaptiveLimitService::new(inner, self.limit.clone(), self.classify.clone())
    }
}
