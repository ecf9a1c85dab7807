//! A service that meets faults.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::ResponseFuture;
use super::policy::Chaos;

/// A service behind a [`Chaos`]; made by [`ChaosLayer`](super::ChaosLayer). Its readiness is the inner service's.
pub struct ChaosService<S, Req, Res, E> {
    inner: S,
    chaos: Chaos<Req, Res, E>,
}

impl<S, Req, Res, E> ChaosService<S, Req, Res, E> {
    pub(super) const fn new(inner: S, chaos: Chaos<Req, Res, E>) -> Self {
        Self { inner, chaos }
    }

    /// The policy.
    pub const fn chaos(&self) -> &Chaos<Req, Res, E> {
        &self.chaos
    }

    /// The service behind it.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req> Service<Req> for ChaosService<S, Req, S::Response, S::Error>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.chaos.plan(&request) {
            // The service is not called, and stays ready for the next call.
            Some(plan) if plan.outcome.is_some() => ResponseFuture::instead(plan),
            plan => ResponseFuture::new(self.inner.call(request), plan),
        }
    }
}

impl<S: Clone, Req, Res, E> Clone for ChaosService<S, Req, Res, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), chaos: self.chaos.clone() }
    }
}

impl<S: fmt::Debug, Req, Res, E> fmt::Debug for ChaosService<S, Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosService").field("inner", &self.inner).field("chaos", &self.chaos).finish()
    }
}
