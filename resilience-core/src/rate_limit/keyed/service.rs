//! A quota for each key, as a tower layer and service.

use std::fmt;
use std::hash::Hash;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::KeyedRateLimiter;
use crate::Rejected;
use crate::rate_limit::ResponseFuture;

/// Limits the calls in a time for each key; made by [`KeyedRateLimiter::layer`]. All services it makes share the quotas.
pub struct KeyedRateLimiterLayer<K, F> {
    limiter: KeyedRateLimiter<K>,
    key: F,
}

impl<K> KeyedRateLimiter<K> {
    /// This limiter as a layer: `key` says whose quota a request is taken from, one permit each.
    ///
    /// Whether there is a permit is known once there is a request, so readiness is the inner service's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::RateLimiter;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let logins = RateLimiter::builder().quota(1, Duration::from_secs(60)).build_keyed::<u32>()?;
    /// let login = ServiceBuilder::new()
    ///     .layer(logins.layer(|(user, _): &(u32, &str)| *user))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |(_, password): (u32, &str)| Ok::<_, std::io::Error>(password == "open sesame")));
    /// assert!(!login.clone().oneshot((7, "1234")).await?);
    /// assert!(matches!(login.clone().oneshot((7, "12345")).await, Err(Error::Rejected(_))));
    /// assert!(login.oneshot((8, "open sesame")).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<F>(&self, key: F) -> KeyedRateLimiterLayer<K, F> {
        KeyedRateLimiterLayer { limiter: self.clone(), key }
    }
}

impl<K, F: Clone> Clone for KeyedRateLimiterLayer<K, F> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), key: self.key.clone() }
    }
}

impl<K, F> fmt::Debug for KeyedRateLimiterLayer<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiterLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<S, K, F: Clone> Layer<S> for KeyedRateLimiterLayer<K, F> {
    type Service = KeyedRateLimiterService<S, K, F>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { limiter, key } = self.clone();
        KeyedRateLimiterService { inner, limiter, key }
    }
}

/// A service behind a [`KeyedRateLimiter`]; made by [`KeyedRateLimiterLayer`].
///
/// A permit is spent by `call` and by nothing else, and a refusal leaves the inner service ready for the next one.
pub struct KeyedRateLimiterService<S, K, F> {
    inner: S,
    limiter: KeyedRateLimiter<K>,
    key: F,
}

impl<S: Clone, K, F: Clone> Clone for KeyedRateLimiterService<S, K, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), limiter: self.limiter.clone(), key: self.key.clone() }
    }
}

impl<S: fmt::Debug, K, F> fmt::Debug for KeyedRateLimiterService<S, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiterService")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl<S, K, F, Req> Service<Req> for KeyedRateLimiterService<S, K, F>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> K,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.limiter.try_acquire(&(self.key)(&request)) {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request)),
            // The inner service stays ready for the next call.
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
