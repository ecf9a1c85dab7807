//! Refusals as responses.

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::retry_after::seconds;
use crate::{AsRejected, Reason, Rejected};

/// Answers an error of a server's stack with an empty response; what [`LowerLayer`](crate::LowerLayer) wants.
///
/// | error | status |
/// |---|---|
/// | refused: rate limit | 429 Too Many Requests |
/// | refused: the request's deadline | 504 Gateway Timeout |
/// | refused: a stale owner | 409 Conflict |
/// | refused for any other reason | 503 Service Unavailable |
/// | no answer in time | 504 Gateway Timeout |
/// | the service's own | 500 Internal Server Error |
///
/// A refusal that says when to come back gets a `Retry-After`, in whole seconds and rounded up: a client that keeps to
/// it is never early.
///
/// ```
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use http::{Request, Response};
/// use resilience_core::rate_limit::RateLimiter;
/// use resilience_core::{LiftLayer, LowerLayer, http::answer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RateLimiter::builder().quota(1, Duration::from_millis(200)).build()?;
/// let server = ServiceBuilder::new()
///     .layer(LowerLayer::new(answer))
///     .layer(limiter.layer())
///     .layer(LiftLayer)
///     .service(service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::from("hello")))));
/// assert_eq!(server.clone().oneshot(Request::default()).await?.status(), 200);
/// let refused = server.oneshot(Request::default()).await?;
/// assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse()?)); // 200 ms
/// # Ok(())
/// # }
/// ```
pub fn answer<B: Default, E: AsRejected>(error: E) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = status(&error);
    if let Some(wait) = error.as_rejected().and_then(Rejected::retry_after) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    response
}

/// The status [`answer`] gives: for answers with a body of your own.
///
/// ```
/// use resilience_core::{Error, Reason, Rejected, http::status};
///
/// let full: Error<std::io::Error> = Rejected::new("stock", Reason::Open).into();
/// assert_eq!(status(&full), 503);
/// ```
pub fn status<E: AsRejected>(error: &E) -> StatusCode {
    match error.as_rejected().map(Rejected::reason) {
        Some(Reason::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
        Some(Reason::Deadline) => StatusCode::GATEWAY_TIMEOUT,
        Some(Reason::Fenced) => StatusCode::CONFLICT,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None if error.as_elapsed().is_some() => StatusCode::GATEWAY_TIMEOUT,
        None => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
