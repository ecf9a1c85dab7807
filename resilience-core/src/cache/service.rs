//! A service in front of which a cache stands.

use std::fmt;
use std::hash::Hash;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::CallInner;
use super::refresh::{Refresh, Refreshing};
use super::{Cache, InCall, ResponseFuture};
use crate::oneshot::Oneshot;

/// Serves from a cache what it can; made by [`CacheLayer`](super::CacheLayer).
///
/// It is always ready, and does not ask whether the inner service is: a hit needs nothing of it, and a permit reserved
/// for a call that then is a hit is one that another call lacks. On a miss a clone of the inner service is made ready
/// and called inside the response future; an error of its readiness is the answer of that call.
#[derive(Clone)]
pub struct CacheService<S, K, V, E, F, R = InCall> {
    inner: S,
    cache: Cache<K, V, E>,
    key: F,
    refresh: R,
}

impl<S, K, V, E, F, R> CacheService<S, K, V, E, F, R> {
    pub(super) fn new(inner: S, cache: Cache<K, V, E>, key: F, refresh: R) -> Self {
        Self { inner, cache, key, refresh }
    }
}

impl<S, Req, K, F, R> Service<Req> for CacheService<S, K, S::Response, S::Error, F, R>
where
    S: Service<Req> + Clone,
    S::Response: Clone,
    S::Error: Clone,
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> Option<K>,
    R: Refresh<Refreshing<K, S::Response, S::Error, CallInner<S, Req>>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, K, R>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Some(key) = (self.key)(&request) else {
            return ResponseFuture::passing(Oneshot::new(self.inner.clone(), request));
        };
        match self.cache.hit(&key) {
            Some(answer) => ResponseFuture::found(answer),
            None => {
                let call = CallInner { service: self.inner.clone(), request };
                ResponseFuture::ask(self.cache.clone(), key, call, self.refresh.clone())
            }
        }
    }
}

impl<S: fmt::Debug, K, V, E, F, R> fmt::Debug for CacheService<S, K, V, E, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService").field("inner", &self.inner).field("cache", &self.cache).finish_non_exhaustive()
    }
}
