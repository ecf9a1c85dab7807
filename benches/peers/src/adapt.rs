//! recloser and failsafe are not tower layers: the thinnest layers that make them so.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use failsafe::futures::CircuitBreaker as _;
use pin_project_lite::pin_project;
use tower::{BoxError, Service};

use crate::cases::breaker::KEYS;

/// A service behind a recloser.
#[derive(Clone, Debug)]
pub struct Reclosed<S> {
    inner: S,
    breaker: recloser::AsyncRecloser,
}

impl<S> Reclosed<S> {
    /// `inner` behind `breaker`.
    pub fn new(inner: S, breaker: recloser::AsyncRecloser) -> Self {
        Self { inner, breaker }
    }
}

impl<S> Service<u64> for Reclosed<S>
where
    S: Service<u64, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Unified<recloser::RecloserFuture<S::Future, recloser::AnyError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        Unified { future: self.breaker.call(self.inner.call(request)) }
    }
}

/// A service behind a recloser for each key: a map behind a lock, as one writes it.
#[derive(Clone, Debug)]
pub struct ByKey<S> {
    /// The service.
    pub inner: S,
    /// Its breakers.
    pub breakers: Arc<Mutex<HashMap<u64, recloser::AsyncRecloser>>>,
}

impl<S> Service<u64> for ByKey<S>
where
    S: Service<u64, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Unified<recloser::RecloserFuture<S::Future, recloser::AnyError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        let breaker = lock_of(&self.breakers)[&(request % KEYS)].clone();
        Unified { future: breaker.call(self.inner.call(request)) }
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// failsafe's breaker with policy `P`.
pub type Failsafe<P> = failsafe::StateMachine<P, ()>;

/// A service behind a failsafe breaker.
#[derive(Debug)]
pub struct Safe<S, P> {
    inner: S,
    breaker: Failsafe<P>,
}

impl<S: Clone, P> Clone for Safe<S, P>
where
    Failsafe<P>: Clone,
{
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), breaker: self.breaker.clone() }
    }
}

impl<S, P> Safe<S, P> {
    /// `inner` behind `breaker`.
    pub fn new(inner: S, breaker: Failsafe<P>) -> Self {
        Self { inner, breaker }
    }
}

impl<S, P> Service<u64> for Safe<S, P>
where
    S: Service<u64, Error = BoxError>,
    P: failsafe::FailurePolicy + Send + Sync,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Unified<failsafe::futures::ResponseFuture<S::Future, P, (), failsafe::Any>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        Unified { future: self.breaker.call(self.inner.call(request)) }
    }
}

/// The error of a breaker around boxed errors, as one boxed error.
pub trait Unify {
    /// The refusal or the inner error.
    fn unify(self) -> BoxError;
}

impl Unify for recloser::Error<BoxError> {
    fn unify(self) -> BoxError {
        match self {
            Self::Inner(error) => error,
            Self::Rejected => Box::new(Refused),
        }
    }
}

impl Unify for failsafe::Error<BoxError> {
    fn unify(self) -> BoxError {
        match self {
            Self::Inner(error) => error,
            Self::Rejected => Box::new(Refused),
        }
    }
}

/// A refusal; without fields, so that boxing it allocates nothing.
#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

pin_project! {
    /// A breaker's future with its error unified.
    #[derive(Debug)]
    pub struct Unified<F> {
        #[pin]
        future: F,
    }
}

impl<F, T, E> Future for Unified<F>
where
    F: Future<Output = Result<T, E>>,
    E: Unify,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().future.poll(cx)).map_err(Unify::unify))
    }
}
