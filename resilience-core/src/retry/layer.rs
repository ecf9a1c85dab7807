//! Puts retries around services.

use std::fmt;

use tower_layer::Layer;

use crate::ByResult;

use super::policy::Retry;
use super::replay::{Cloned, RetryIf};
use super::service::RetryService;

/// Puts a [`Retry`] around services; made by [`Retry::layer`]. All of them are one policy.
#[derive(Clone)]
pub struct RetryLayer<C = ByResult, R = Cloned> {
    retry: Retry,
    classify: C,
    replay: R,
}

impl Retry {
    /// The policy as a layer. Requests are repeated by cloning them, answers classified by [`ByResult`].
    pub fn layer(&self) -> RetryLayer {
        RetryLayer { retry: self.clone(), classify: ByResult, replay: Cloned }
    }
}

impl<C, R> RetryLayer<C, R> {
    /// Classifies answers by `classify`, any [`Classify`](crate::Classify).
    ///
    /// A `Retry-After` in the [`Classification`](crate::Classification) is heeded as [`Hint`](super::Hint) says, and
    /// counts as the server asking for less.
    pub fn classify<D>(self, classify: D) -> RetryLayer<D, R> {
        RetryLayer { retry: self.retry, classify, replay: self.replay }
    }

    /// Repeats only requests for which `predicate` holds: the gate for what must not be done twice.
    ///
    /// ```
    /// use resilience_core::retry::Retry;
    ///
    /// #[derive(Clone)]
    /// struct Request { method: &'static str, idempotency_key: Option<String> }
    ///
    /// let layer = Retry::builder().build()?.layer().retry_if(|request: &Request| {
    ///     matches!(request.method, "GET" | "PUT" | "DELETE") || request.idempotency_key.is_some()
    /// });
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn retry_if<F>(self, predicate: F) -> RetryLayer<C, RetryIf<F, R>> {
        let replay = RetryIf::new(predicate, self.replay);
        RetryLayer { retry: self.retry, classify: self.classify, replay }
    }

    /// Copies requests by `replay`, any [`Replay`](super::Replay): for requests that are not `Clone`, or not always.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use resilience_core::LiftLayer;
    /// use resilience_core::retry::{Backoff, Retry};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// struct Upload { body: Option<&'static [u8]> } // a stream, once it is too long to keep
    ///
    /// # futures::executor::block_on(async {
    /// let buffered = |upload: &Upload| upload.body.map(|body| Upload { body: Some(body) });
    /// let sent = Cell::new(0);
    /// let service = ServiceBuilder::new()
    ///     .layer(Retry::builder().attempts(3).backoff(Backoff::none()).build()?.layer().replay(buffered))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(|_: Upload| {
    ///         sent.set(sent.get() + 1);
    ///         async { Err::<(), _>("reset") }
    ///     }));
    /// assert!(service.clone().oneshot(Upload { body: None }).await.is_err());
    /// assert_eq!(sent.get(), 1);
    /// assert!(service.oneshot(Upload { body: Some(b"short") }).await.is_err());
    /// assert_eq!(sent.get(), 1 + 3);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn replay<Q>(self, replay: Q) -> RetryLayer<C, Q> {
        RetryLayer { retry: self.retry, classify: self.classify, replay }
    }
}

impl<S: Clone, C: Clone, R: Clone> Layer<S> for RetryLayer<C, R> {
    type Service = RetryService<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, self.retry.clone(), self.classify.clone(), self.replay.clone())
    }
}

impl<C, R> fmt::Debug for RetryLayer<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("retry", &self.retry).finish_non_exhaustive()
    }
}
