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

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        let outer = ambient::time();
        let limit = self.limit.limit(&request).map_or_else(|| self.timeout.span(), Span::from);
        match self.timeout.begin(outer, limit) {
            Ok(mut allowance) => {
                let rule = self.timeout.rule(limit);
                let entered = ambient::enter_time(rule.narrow(&allowance, outer));
                let inner = self.inner.call(request);
                allowance.learn(entered.leave());
                ResponseFuture::running(inner, rule, allowance)
            }
            Err(rejected) => ResponseFuture::refused(rejected, self.timeout.rule(limit)),
        }
    }
}
