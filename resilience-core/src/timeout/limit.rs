//! A limit of each request's own.

use std::time::Duration;

/// How long the answer to a request may take.
///
/// Any `Fn(&Req) -> Option<Duration>` is one; given to [`TimeoutLayer::limit_by`](super::TimeoutLayer::limit_by).
pub trait Limit<Req> {
    /// The limit for `request`; `None` for the timeout's own. Asked once, at the call, in the call's
    /// [context](crate::context).
    fn limit(&self, request: &Req) -> Option<Duration>;
}

impl<F: Fn(&Req) -> Option<Duration>, Req> Limit<Req> for F {
    #[inline]
    fn limit(&self, request: &Req) -> Option<Duration> {
        self(request)
    }
}

/// The timeout's own limit, for every request. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own;

impl<Req> Limit<Req> for Own {
    #[inline]
    fn limit(&self, _: &Req) -> Option<Duration> {
        None
    }
}
