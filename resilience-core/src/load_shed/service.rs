//! A throttle as a tower layer and service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{ClientThrottle, Permit, ResponseFuture};
use crate::{ByResult, Classify, Rejected};

/// Refuses what the backend would refuse; made by [`ClientThrottle::layer`]. All services it makes share the figures.
#[derive(Clone, Debug)]
pub struct ClientThrottleLayer<C = ByResult> {
    throttle: ClientThrottle,
    classify: C,
}

impl From<ClientThrottle> for ClientThrottleLayer {
    fn from(throttle: ClientThrottle) -> Self {
        Self { throttle, classify: ByResult }
    }
}

impl<C> ClientThrottleLayer<C> {
    /// Decides with `classify` what an answer means.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> ClientThrottleLayer<D> {
        ClientThrottleLayer { throttle: self.throttle, classify }
    }
}

impl<S, C: Clone> Layer<S> for ClientThrottleLayer<C> {
    type Service = ClientThrottleService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientThrottleService { inner, throttle: self.throttle.clone(), classify: self.classify.clone(), decided: None }
    }
}

/// A service behind a [`ClientThrottle`].
///
/// It decides while it gets ready: a call that is refused does not wait for the inner service. Asked again before the
/// call, it keeps what it decided, so that being polled often makes no refusal likelier.
#[derive(Debug)]
pub struct ClientThrottleService<S, C = ByResult> {
    inner: S,
    throttle: ClientThrottle,
    classify: C,
    decided: Option<Result<Permit, Rejected>>,
}

impl<S: Clone, C: Clone> Clone for ClientThrottleService<S, C> {
    fn clone(&self) -> Self {
        let (inner, throttle, classify) = (self.inner.clone(), self.throttle.clone(), self.classify.clone());
        // Neither readiness nor a decision is inherited.
        Self { inner, throttle, classify, decided: None }
    }
}

impl<S, C, Req> Service<Req> for ClientThrottleService<S, C>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.decided.get_or_insert_with(|| self.throttle.try_acquire()) {
            Ok(_) => self.inner.poll_ready(cx),
            Err(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.decided.take().unwrap_or_else(|| self.throttle.try_acquire()) {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit, self.classify.clone()),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
