//! A call behind a cache.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Cache;
use super::load::{GetOrLoad, Load};
use super::refresh::{InCall, Refresh, Refreshing};
use crate::oneshot::Oneshot;

pin_project! {
    /// The answer of a [`CacheService`](super::CacheService). Dropped before it, the call it made falls to one of those who
    /// wait for it.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, K, R = InCall>
    where
        S: Service<Req>,
        K: Hash,
        K: Eq,
        K: Clone,
    {
        #[pin]
        call: Call<S, Req, K, R>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<S, Req, K, R>
    where
        S: Service<Req>,
        K: Hash,
        K: Eq,
        K: Clone,
    {
        Found { answer: Option<Result<S::Response, S::Error>> },
        // In a box, because a hit would move it about unused, and so would every layer outside; a miss allocates anyway.
        Asked { answer: Pin<Box<GetOrLoad<K, S::Response, S::Error, CallInner<S, Req>, R>>> },
        Passing { #[pin] oneshot: Oneshot<S, Req> },
    }
}

impl<S: Service<Req>, Req, K: Hash + Eq + Clone, R> ResponseFuture<S, Req, K, R> {
    #[inline]
    pub(super) fn found(answer: Result<S::Response, S::Error>) -> Self {
        Self { call: Call::Found { answer: Some(answer) } }
    }

    pub(super) fn ask(cache: Cache<K, S::Response, S::Error>, key: K, call: CallInner<S, Req>, refresh: R) -> Self {
        Self { call: Call::Asked { answer: Box::pin(GetOrLoad::ask(cache, key, call, refresh)) } }
    }

    pub(super) fn passing(oneshot: Oneshot<S, Req>) -> Self {
        Self { call: Call::Passing { oneshot } }
    }
}

impl<S, Req, K, R> Future for ResponseFuture<S, Req, K, R>
where
    S: Service<Req>,
    S::Response: Clone,
    S::Error: Clone,
    K: Hash + Eq + Clone,
    R: Refresh<Refreshing<K, S::Response, S::Error, CallInner<S, Req>>>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Found { answer } => {
                Poll::Ready(answer.take().expect("a future is not polled after it is done"))
            }
            CallProjection::Asked { answer } => answer.as_mut().poll(cx),
            CallProjection::Passing { oneshot } => oneshot.poll(cx),
        }
    }
}

impl<S: Service<Req>, Req, K: Hash + Eq + Clone, R> fmt::Debug for ResponseFuture<S, Req, K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.call {
            Call::Found { .. } => "found",
            Call::Asked { .. } => "asked",
            Call::Passing { .. } => "passing",
        };
        f.debug_struct("cache::ResponseFuture").field("stage", &stage).finish_non_exhaustive()
    }
}

/// Fetches an answer by calling a service.
pub struct CallInner<S, Req> {
    pub(super) service: S,
    pub(super) request: Req,
}

impl<S: Service<Req>, Req> Load for CallInner<S, Req> {
    type Future = Oneshot<S, Req>;

    fn load(self) -> Oneshot<S, Req> {
        Oneshot::new(self.service, self.request)
    }
}

impl<S, Req> fmt::Debug for CallInner<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallInner").finish_non_exhaustive()
    }
}
