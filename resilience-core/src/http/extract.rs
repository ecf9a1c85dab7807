//! The server's side: the headers of each request become its context.

use std::task::{self, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::Headers;
use crate::context::{Context, Scoped};
use crate::time::SharedTimer;

/// Reads the [context](crate::context) from the headers of what is received. Put it outermost, inside of
/// [`LowerLayer`](crate::LowerLayer) only.
///
/// The deadline a client sends is a deadline for everything inside: a [`TimeoutLayer`](crate::timeout::TimeoutLayer)
/// further in refuses what comes too late and ends what takes too long, and calls made on behalf of the request are
/// sent with what is left.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use resilience_core::context;
/// use resilience_core::http::{ExtractLayer, answer};
/// use resilience_core::timeout::TimeoutLayer;
/// use resilience_core::{LiftLayer, LowerLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = ServiceBuilder::new()
///     .layer(LowerLayer::new(answer))
///     .layer(ExtractLayer::http())
///     .layer(TimeoutLayer::new(Duration::from_secs(30)))
///     .layer(LiftLayer)
///     .service(service_fn(async |request: Request<()>| {
///         let tenant = context::correlation_id();
///         std::future::pending::<()>().await; // a database that hangs
///         Ok::<_, std::convert::Infallible>(Response::new(format!("{tenant:?} {request:?}")))
///     }));
/// let hurried = Request::builder().header("resilience-timeout-ms", "20").body(())?;
/// assert_eq!(server.oneshot(hurried).await?.status(), 504); // after 20 ms, not 30 s
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ExtractLayer {
    headers: Headers,
    timer: SharedTimer,
}

impl ExtractLayer {
    /// Reads `headers`; deadlines will be measured on this clock.
    pub fn new(headers: Headers, timer: impl Into<SharedTimer>) -> Self {
        Self { headers, timer: timer.into() }
    }

    /// Reads the headers of HTTP, on tokio's clock.
    #[cfg(feature = "tokio")]
    pub fn http() -> Self {
        Self::new(Headers::http(), SharedTimer::default())
    }

    /// Reads the headers of gRPC, on tokio's clock.
    #[cfg(feature = "tokio")]
    pub fn grpc() -> Self {
        Self::new(Headers::grpc(), SharedTimer::default())
    }
}

impl<S> Layer<S> for ExtractLayer {
    type Service = ExtractService<S>;

    fn layer(&self, inner: S) -> ExtractService<S> {
        ExtractService { inner, layer: self.clone() }
    }
}

/// A server whose requests bring their context; made by [`ExtractLayer`].
#[derive(Clone, Debug)]
pub struct ExtractService<S> {
    inner: S,
    layer: ExtractLayer,
}

impl<S, B> Service<Request<B>> for ExtractService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scoped<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ExtractLayer { headers, timer } = &self.layer;
        // What layers outside have set stays, so that a limit of the server's own holds for whatever a client asks.
        let context = headers.extend(Context::capture(timer), request.headers(), || timer.now());
        let answer = context.run(|| self.inner.call(request));
        context.scope(answer)
    }
}
