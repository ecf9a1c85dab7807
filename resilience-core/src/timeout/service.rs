//! A service whose answers come in time or not at all.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::{Limit, Own, ResponseFuture, Timeout};
use crate::context::ambient::{self, Span};
use crate::{Elapsed, Rejected};

/// Ends calls that take too long; made by [`TimeoutLayer`](super::TimeoutLayer).
#[derive(Clone)]
pub struct TimeoutService<S, L = Own> {
    inner: S,
    timeout: Timeout,
    limit: L,
}

impl<S, L> TimeoutService<S, L> {
    pub(super) fn new(inner: S, timeout: Timeout, limit: L) -> Self {
        Self { inner, timeout, limit }
    }
}

impl<S: fmt::Debug, L> fmt::Debug for TimeoutService<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutService")
            .field("inner", &self.inner)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<S, L, Req> Service<Req> for TimeoutService<S, L>
where
    S: Service<Req>,
    L: Limit<Req>,
    S::Error: From<Elapsed> + From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let outer = ambient::time();
        let limit = self.limit.limit(&request).map_or_else(|| self.timeout.span(), Span::from);
        if self.timeout.is_dry_run() {
            return self.timeout.try_out(|| self.inner.call(request), limit);
        }
        match self.timeout.begin(outer, limit) {
            Ok(mut allowance) => {
                let entered = ambient::enter_time(allowance.narrow(outer));
                let inner = self.inner.call(request);
                allowance.learn(entered.leave());
                ResponseFuture::running(inner, self.timeout.rule(limit), allowance)
            }
            Err(rejected) => ResponseFuture::refused(rejected, self.timeout.rule(limit)),
        }
    }
}
