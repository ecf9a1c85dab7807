//! The client's side: the context goes into the headers of each request.

use std::task::{self, Poll};

use http::{HeaderMap, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::Headers;
use crate::context::Context;
use crate::time::SharedTimer;

/// Writes the [context](crate::context) into the headers of what is sent. Put it innermost, next to the client.
///
/// Inside of retry and timeouts, that is, so that each attempt is sent with its own number and with the time that is
/// left to it. A deadline that has passed is sent as no time at all; a [`TimeoutLayer`](crate::timeout::TimeoutLayer)
/// outside refuses such a call before it gets here.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use resilience_core::LiftLayer;
/// use resilience_core::http::InjectLayer;
/// use resilience_core::timeout::TimeoutLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_millis(300)))
///     .layer(LiftLayer)
///     .layer(InjectLayer::http())
///     .service(service_fn(async |request: Request<()>| {
///         let left = request.headers()["resilience-timeout-ms"].clone(); // what the server would see
///         Ok::<_, std::io::Error>(Response::new(left))
///     }));
/// assert_eq!(client.oneshot(Request::new(())).await?.body(), "300");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct InjectLayer {
    headers: Headers,
    timer: SharedTimer,
}

impl InjectLayer {
    /// Writes `headers`, by the clock that deadlines are measured on.
    pub fn new(headers: Headers, timer: impl Into<SharedTimer>) -> Self {
        Self { headers, timer: timer.into() }
    }

    /// Writes the headers of HTTP, on tokio's clock.
    #[cfg(feature = "tokio")]
    pub fn http() -> Self {
        Self::new(Headers::http(), SharedTimer::default())
    }

    /// Writes the headers of gRPC, on tokio's clock.
    #[cfg(feature = "tokio")]
    pub fn grpc() -> Self {
        Self::new(Headers::grpc(), SharedTimer::default())
    }
}

impl InjectLayer {
    /// Writes the context of the call in progress.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let timer = &self.timer;
        self.headers.inject(&Context::capture(timer), || timer.now(), headers);
    }
}

impl<S> Layer<S> for InjectLayer {
    type Service = InjectService<S>;

    fn layer(&self, inner: S) -> InjectService<S> {
        InjectService { inner, layer: self.clone() }
    }
}

/// A client that sends the context along; made by [`InjectLayer`].
#[derive(Clone, Debug)]
pub struct InjectService<S> {
    inner: S,
    layer: InjectLayer,
}

impl<S, B> Service<Request<B>> for InjectService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.write(request.headers_mut());
        self.inner.call(request)
    }
}
