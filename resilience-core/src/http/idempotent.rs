//! Which requests may be sent twice.

use http::header::HeaderName;
use http::{Method, Request};

#[cfg(feature = "tower")]
use super::ByStatus;
use crate::context;
#[cfg(feature = "tower")]
use crate::retry::{Replay, Retry, RetryLayer};

/// The header by which a server recognises a repetition ([draft-ietf-httpapi-idempotency-key-header]).
///
/// [draft-ietf-httpapi-idempotency-key-header]:
/// https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request may be sent twice: by its method (RFC 9110, section 9.2.2) or because it carries a key, in its
/// [`Idempotency-Key`](IDEMPOTENCY_KEY) header or, for [`InjectLayer`](super::InjectLayer) to write, in the [context].
///
/// ```
/// use http::Request;
/// use resilience_core::http::is_idempotent;
///
/// assert!(is_idempotent(&Request::put("/orders/17").body(())?));
/// assert!(!is_idempotent(&Request::post("/orders").body(())?));
/// assert!(is_idempotent(&Request::post("/orders").header("idempotency-key", "order-17").body(())?));
/// # Ok::<(), http::Error>(())
/// ```
pub fn is_idempotent<B>(request: &Request<B>) -> bool {
    let by_method = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    );
    by_method || request.headers().contains_key(IDEMPOTENCY_KEY) || context::has_own_key()
}

/// Copies idempotent requests, and no others: the [`Replay`] of HTTP.
///
/// A request whose body cannot be cloned needs a [`Replay`] of its own; ask [`is_idempotent`] there.
#[cfg(feature = "tower")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idempotent;

#[cfg(feature = "tower")]
impl<B: Clone> Replay<Request<B>> for Idempotent {
    fn replay(&self, request: &Request<B>) -> Option<Request<B>> {
        is_idempotent(request).then(|| request.clone())
    }
}

#[cfg(feature = "tower")]
impl Retry {
    /// The policy as a layer over an HTTP client: answers mean what [`ByStatus`] says, and only [`Idempotent`] requests
    /// are repeated.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use http::{Request, Response};
    /// use resilience_core::LiftLayer;
    /// use resilience_core::retry::{Backoff, Retry};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # futures::executor::block_on(async {
    /// let sent = Cell::new(0);
    /// let client = ServiceBuilder::new()
    ///     .layer(Retry::builder().attempts(3).backoff(Backoff::none()).build()?.http_layer())
    ///     .layer(LiftLayer)
    ///     .service(service_fn(|_: Request<&str>| {
    ///         sent.set(sent.get() + 1);
    ///         async { Ok::<_, std::io::Error>(Response::builder().status(502).body("").unwrap()) }
    ///     }));
    /// let order = Request::post("/orders").body("socks")?;
    /// assert_eq!(client.clone().oneshot(order).await.unwrap().status(), 502);
    /// assert_eq!(sent.replace(0), 1); // it may have been placed
    /// assert_eq!(client.oneshot(Request::get("/orders").body("")?).await.unwrap().status(), 502);
    /// assert_eq!(sent.get(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn http_layer(&self) -> RetryLayer<ByStatus, Idempotent> {
        self.layer().classify(ByStatus::default()).replay(Idempotent)
    }
}
