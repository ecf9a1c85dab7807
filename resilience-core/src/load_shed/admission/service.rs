//! Admission control as a tower layer and service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{AdmissionControl, Permit};
use crate::load_shed::ResponseFuture;
use crate::{ByResult, Classify, Rejected};

/// Refuses as many calls as fail; made by [`AdmissionControl::layer`]. All services it makes share the figures.
#[derive(Clone, Debug)]
pub struct AdmissionControlLayer<C = ByResult> {
    policy: AdmissionControl,
    classify: C,
}

impl From<AdmissionControl> for AdmissionControlLayer {
    fn from(policy: AdmissionControl) -> Self {
        Self { policy, classify: ByResult }
    }
}

impl<C> AdmissionControlLayer<C> {
    /// Decides with `classify` what an answer means.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> AdmissionControlLayer<D> {
        AdmissionControlLayer { policy: self.policy, classify }
    }
}

impl<S, C: Clone> Layer<S> for AdmissionControlLayer<C> {
    type Service = AdmissionControlService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AdmissionControlService { inner, policy: self.policy.clone(), classify: self.classify.clone(), decided: None }
    }
}

/// A service behind an [`AdmissionControl`].
///
/// It decides while it gets ready: a call that is refused does not wait for the inner service. Asked again before the
/// call, it keeps what it decided, so that being polled often makes no refusal likelier.
#[derive(Debug)]
pub struct AdmissionControlService<S, C = ByResult> {
    inner: S,
    policy: AdmissionControl,
    classify: C,
    /// Whether the next call is let in. Its permit is made when it is sent: a service that is dropped has not failed.
    decided: Option<Result<(), Rejected>>,
}

impl<S: Clone, C: Clone> Clone for AdmissionControlService<S, C> {
    fn clone(&self) -> Self {
        let (inner, policy, classify) = (self.inner.clone(), self.policy.clone(), self.classify.clone());
        // Neither readiness nor a decision is inherited.
        Self { inner, policy, classify, decided: None }
    }
}

impl<S, C, Req> Service<Req> for AdmissionControlService<S, C>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C, Permit>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.decided.get_or_insert_with(|| self.policy.decide()) {
            Ok(()) => self.inner.poll_ready(cx),
            Err(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.decided.take().unwrap_or_else(|| self.policy.decide()) {
            Ok(()) => {
                let inner = self.inner.call(request);
                ResponseFuture::admitted(inner, self.policy.permit(), self.classify.clone())
            }
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
