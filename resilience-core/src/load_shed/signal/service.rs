//! Shedding by a signal as a tower layer and service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::SignalShed;
use crate::Rejected;
use crate::load_shed::AdmittedFuture;

/// Refuses as many calls as a signal asks for; made by [`SignalShed::layer`]. All services it makes share the policy.
#[derive(Clone, Debug)]
pub struct SignalShedLayer {
    shed: SignalShed,
}

impl From<SignalShed> for SignalShedLayer {
    fn from(shed: SignalShed) -> Self {
        Self { shed }
    }
}

impl<S> Layer<S> for SignalShedLayer {
    type Service = SignalShedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SignalShedService { inner, shed: self.shed.clone(), decided: None }
    }
}

/// A service behind a [`SignalShed`].
///
/// It decides while it gets ready: a call that is refused does not wait for the inner service. Asked again before the
/// call, it keeps what it decided, so that being polled often makes no refusal likelier.
#[derive(Debug)]
pub struct SignalShedService<S> {
    inner: S,
    shed: SignalShed,
    decided: Option<Result<(), Rejected>>,
}

impl<S: Clone> Clone for SignalShedService<S> {
    fn clone(&self) -> Self {
        // Neither readiness nor a decision is inherited.
        Self { inner: self.inner.clone(), shed: self.shed.clone(), decided: None }
    }
}

impl<S, Req> Service<Req> for SignalShedService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AdmittedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.decided.get_or_insert_with(|| self.shed.try_admit()) {
            Ok(()) => self.inner.poll_ready(cx),
            Err(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.decided.take().unwrap_or_else(|| self.shed.try_admit()) {
            Ok(()) => AdmittedFuture::admitted(self.inner.call(request)),
            Err(rejected) => AdmittedFuture::refused(rejected),
        }
    }
}
