//! A service whose answers come in time or not at all.

use std::task::{Context, Poll};

use tower_service::Service;

use super::{ResponseFuture, Timeout};
use crate::context::ambient;
use crate::{Elapsed, Rejected};

/// Ends calls that take too long; made by [`TimeoutLayer`](super::TimeoutLayer).
#[derive(Clone, Debug)]
pub struct TimeoutService<S> {
    inner: S,
    timeout: Timeout,
}

impl<S> TimeoutService<S> {
    pub(super) fn new(inner: S, timeout: Timeout) -> Self {
        Self { inner, timeout }
    }
}

impl<S, Req> Service<Req> for TimeoutService<S>
where
    S: Service<Req>,
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
        let limit = self.timeout.span();
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
