//! The layer that holds permits until the body has ended.

use tower_layer::Layer;

use super::{ByHead, Gate, UntilEndService};
use crate::http::ByStatus;

/// Puts a policy in front of an HTTP service and holds its permit until the response's body has ended.
///
/// It takes the place of the policy's own layer
/// ([`CircuitBreaker::layer`](crate::circuit_breaker::CircuitBreaker::layer),
/// [`Bulkhead::layer`](crate::bulkhead::Bulkhead::layer)), at the same height of the stack, and shares the policy with
/// whoever else uses it. Retry stays as it is: it decides by the head, for once a body has begun to flow nothing can be
/// sent again.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use resilience_core::LiftLayer;
/// use resilience_core::bulkhead::Bulkhead;
/// use resilience_core::http::UntilEndLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let downloads = Bulkhead::builder().name("downloads").limit(4).build()?;
/// let client = ServiceBuilder::new()
///     .layer(UntilEndLayer::new(downloads.clone()))
///     .layer(LiftLayer)
///     .service(service_fn(async |_: Request<()>| {
///         Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::from("a film")))
///     }));
/// let response = client.oneshot(Request::new(())).await?;
/// assert_eq!(downloads.snapshot().in_flight, 1); // the head is there, the film is still to come
/// response.into_body().collect().await?;
/// assert_eq!(downloads.snapshot().in_flight, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UntilEndLayer<G, C = ByStatus, T = ByHead> {
    gate: G,
    classify: C,
    classify_end: T,
}

impl<G: Gate> UntilEndLayer<G> {
    /// Holds the permits of `gate`; heads mean what [`ByStatus`] says.
    pub fn new(gate: G) -> Self {
        Self { gate, classify: ByStatus::default(), classify_end: ByHead }
    }
}

impl<G, C, T> UntilEndLayer<G, C, T> {
    /// Decides with `classify` what a head, or an error without one, means: any [`Classify`](crate::Classify).
    #[must_use]
    pub fn classify<D>(self, classify: D) -> UntilEndLayer<G, D, T> {
        UntilEndLayer { gate: self.gate, classify, classify_end: self.classify_end }
    }

    /// Decides with `classify` what a whole response means: any [`ClassifyEnd`](super::ClassifyEnd).
    #[must_use]
    pub fn classify_end<D>(self, classify: D) -> UntilEndLayer<G, C, D> {
        UntilEndLayer { gate: self.gate, classify: self.classify, classify_end: classify }
    }
}

impl<S, G: Gate + Clone, C: Clone, T: Clone> Layer<S> for UntilEndLayer<G, C, T> {
    type Service = UntilEndService<S, G, C, T>;

    fn layer(&self, inner: S) -> Self::Service {
        UntilEndService::new(inner, self.gate.clone(), self.classify.clone(), self.classify_end.clone())
    }
}
