//! A client's limiter as a tower layer and service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use super::future::{Acquire, ResponseFuture};
use super::policy::ClientRateLimiter;
use crate::Rejected;

/// Puts a [`ClientRateLimiter`] in front of a service; made by [`ClientRateLimiter::layer`].
#[derive(Clone)]
pub struct ClientRateLimiterLayer<T> {
    limiter: ClientRateLimiter,
    is_throttled: T,
}

impl ClientRateLimiter {
    /// This limiter as a layer; `is_throttled` says whether the server refused because of too many calls: a 429, a
    /// `RESOURCE_EXHAUSTED`.
    ///
    /// Calls wait in `poll_ready`, before the service is asked whether it is ready.
    pub fn layer<T>(&self, is_throttled: T) -> ClientRateLimiterLayer<T> {
        ClientRateLimiterLayer { limiter: self.clone(), is_throttled }
    }
}

impl<S, T: Clone> Layer<S> for ClientRateLimiterLayer<T> {
    type Service = ClientRateLimiterService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientRateLimiterService {
            inner,
            limiter: self.limiter.clone(),
            is_throttled: self.is_throttled.clone(),
            admission: Admission::Outside,
        }
    }
}

/// A service behind a [`ClientRateLimiter`]; made by [`ClientRateLimiterLayer`].
///
/// A token is taken while it gets ready; one that was taken for a call that was not made is gone.
pub struct ClientRateLimiterService<S, T> {
    inner: S,
    limiter: ClientRateLimiter,
    is_throttled: T,
    admission: Admission,
}

enum Admission {
    Outside,
    Waiting(Acquire),
    Admitted,
    Refused(Rejected),
}

impl<S, T, Req> Service<Req> for ClientRateLimiterService<S, T>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    T: Fn(&Result<S::Response, S::Error>) -> bool + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Admission::Outside | Admission::Refused(_) = self.admission {
            self.admission = Admission::Waiting(self.limiter.acquire());
        }
        if let Admission::Waiting(acquire) = &mut self.admission {
            match ready!(Pin::new(acquire).poll(cx)) {
                Ok(()) => self.admission = Admission::Admitted,
                Err(rejected) => {
                    self.admission = Admission::Refused(rejected);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match std::mem::replace(&mut self.admission, Admission::Outside) {
            Admission::Refused(rejected) => ResponseFuture::refused(rejected),
            _ => {
                let cuts = self.limiter.cuts();
                let inner = self.inner.call(request);
                ResponseFuture::admitted(inner, self.limiter.clone(), cuts, self.is_throttled.clone())
            }
        }
    }
}

impl<S: Clone, T: Clone> Clone for ClientRateLimiterService<S, T> {
    fn clone(&self) -> Self {
        let (inner, limiter, is_throttled) = (self.inner.clone(), self.limiter.clone(), self.is_throttled.clone());
        // Neither readiness nor a token is inherited.
        Self { inner, limiter, is_throttled, admission: Admission::Outside }
    }
}

impl<T> fmt::Debug for ClientRateLimiterLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRateLimiterLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, T> fmt::Debug for ClientRateLimiterService<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRateLimiterService")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
