//! The stamp and the fence as tower layers.

use std::fmt;
use std::task::{self, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Fence, Ownership, ResponseFuture};
use crate::Rejected;
use crate::context::{self, Context, FencingToken, Scoped};

/// Stamps calls with the token of an [`Ownership`]; made by [`Ownership::layer`].
#[derive(Clone, Debug)]
pub struct StampLayer {
    ownership: Ownership,
}

impl StampLayer {
    pub(super) const fn new(ownership: Ownership) -> Self {
        Self { ownership }
    }

    /// The token a call would be stamped with now.
    pub fn token(&self) -> Option<FencingToken> {
        self.ownership.token()
    }
}

impl<S> Layer<S> for StampLayer {
    type Service = StampService<S>;

    fn layer(&self, inner: S) -> StampService<S> {
        StampService { inner, ownership: self.ownership.clone() }
    }
}

/// A service that is called in the name of an [`Ownership`]; made by [`StampLayer`].
///
/// Without a token calls are refused, by the answer, and never sent. Its readiness is the
/// inner service's: ownership may come while that is waited for.
#[derive(Clone, Debug)]
pub struct StampService<S> {
    inner: S,
    ownership: Ownership,
}

impl<S, Req> Service<Req> for StampService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<Scoped<S::Future>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.ownership.stamp() {
            Ok(token) => {
                let context = Context::capture(self.ownership.timer()).with_fencing_token(token);
                let call = context.run(|| self.inner.call(request));
                ResponseFuture::made(context.scope(call))
            }
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}

/// Refuses calls of owners that are none any more; made by [`Fence::layer`].
#[derive(Clone)]
pub struct FenceLayer<R> {
    fence: Fence,
    resource: R,
}

impl<R> FenceLayer<R> {
    pub(super) const fn new(fence: Fence, resource: R) -> Self {
        Self { fence, resource }
    }
}

impl<R> fmt::Debug for FenceLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceLayer").field("fence", &self.fence).finish_non_exhaustive()
    }
}

impl<S, R: Clone> Layer<S> for FenceLayer<R> {
    type Service = FenceService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        FenceService { inner, fence: self.fence.clone(), resource: self.resource.clone() }
    }
}

/// A service behind a [`Fence`]; made by [`FenceLayer`].
///
/// Its readiness is the inner service's: whether a call will be refused depends on its request, and there is none yet.
#[derive(Clone)]
pub struct FenceService<S, R> {
    inner: S,
    fence: Fence,
    resource: R,
}

impl<S, R, N, Req> Service<Req> for FenceService<S, R>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    R: Fn(&Req) -> N,
    N: AsRef<str>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.fence.check((self.resource)(&request).as_ref(), context::fencing_token()) {
            Ok(()) => ResponseFuture::made(self.inner.call(request)),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for FenceService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceService").field("inner", &self.inner).field("fence", &self.fence).finish_non_exhaustive()
    }
}
