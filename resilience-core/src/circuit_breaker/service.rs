//! A service behind a breaker.

use std::hash::Hash;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::ResponseFuture;
use super::keyed::KeyedCircuitBreaker;
use super::policy::CircuitBreaker;
use crate::{ByResult, Classify, Rejected};

/// A service behind a [`CircuitBreaker`]; made by [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
///
/// While the circuit refuses, it is ready at once and the call is answered with the refusal: a dependency that is down is
/// not waited for. Otherwise its readiness is the inner service's.
#[derive(Debug)]
pub struct CircuitBreakerService<S, C = ByResult> {
    inner: S,
    breaker: CircuitBreaker,
    classify: C,
    /// The refusal that made this service ready without asking the inner one.
    refused: Option<Rejected>,
}

impl<S, C> CircuitBreakerService<S, C> {
    pub(super) const fn new(inner: S, breaker: CircuitBreaker, classify: C) -> Self {
        Self { inner, breaker, classify, refused: None }
    }

    /// The breaker.
    pub const fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// The service behind it.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone, C: Clone> Clone for CircuitBreakerService<S, C> {
    fn clone(&self) -> Self {
        // Readiness is not inherited: the clone asks for itself.
        Self::new(self.inner.clone(), self.breaker.clone(), self.classify.clone())
    }
}

impl<S, C, Req> Service<Req> for CircuitBreakerService<S, C>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Asked anew at each poll: a circuit closed by hand meanwhile lets the call pass.
        match self.breaker.would_refuse() {
            Some(rejected) => {
                self.refused = Some(rejected);
                Poll::Ready(Ok(()))
            }
            None => {
                // Tested first: to write is to drop the old one, on every call.
                if self.refused.is_some() {
                    self.refused = None;
                }
                self.inner.poll_ready(cx)
            }
        }
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        if let Some(rejected) = self.refused.take() {
            return ResponseFuture::refused(self.breaker.reject(rejected));
        }
        match self.breaker.try_acquire() {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit, self.classify.clone()),
            // The inner service stays ready for the next call.
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}

/// A service behind a [`KeyedCircuitBreaker`]; made by [`KeyedCircuitBreakerLayer`](super::KeyedCircuitBreakerLayer).
#[derive(Clone, Debug)]
pub struct KeyedCircuitBreakerService<S, K, F, C = ByResult> {
    inner: S,
    breaker: KeyedCircuitBreaker<K>,
    key: F,
    classify: C,
}

impl<S, K, F, C> KeyedCircuitBreakerService<S, K, F, C> {
    pub(super) const fn new(inner: S, breaker: KeyedCircuitBreaker<K>, key: F, classify: C) -> Self {
        Self { inner, breaker, key, classify }
    }

    /// The breakers.
    pub const fn breaker(&self) -> &KeyedCircuitBreaker<K> {
        &self.breaker
    }

    /// The service behind them.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, K, F, C, Req> Service<Req> for KeyedCircuitBreakerService<S, K, F, C>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> K,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.breaker.try_acquire(&(self.key)(&request)) {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit, self.classify.clone()),
            // The inner service stays ready for the next call.
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
