//! Whether and how a request can be sent twice.

use std::fmt;

/// Makes the copy of a request that a retry would send.
///
/// Asked before an attempt is sent, and only if another may follow it. Any `Fn(&Req) -> Option<Req>` is one.
pub trait Replay<Req> {
    /// A copy of `request`, or `None` if it cannot or must not be sent twice: then its first answer is its last.
    fn replay(&self, request: &Req) -> Option<Req>;
}

impl<F, Req> Replay<Req> for F
where
    F: Fn(&Req) -> Option<Req>,
{
    fn replay(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// Copies requests by `Clone`. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cloned;

impl<Req: Clone> Replay<Req> for Cloned {
    fn replay(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

/// Copies only the requests a predicate admits; made by [`RetryLayer::retry_if`](super::RetryLayer::retry_if) and
/// [`HedgeLayer::hedge_if`](crate::hedge::HedgeLayer::hedge_if).
#[derive(Clone, Copy)]
pub struct RetryIf<F, R> {
    predicate: F,
    replay: R,
}

impl<F, R> RetryIf<F, R> {
    pub(crate) fn new(predicate: F, replay: R) -> Self {
        Self { predicate, replay }
    }
}

impl<F, R, Req> Replay<Req> for RetryIf<F, R>
where
    F: Fn(&Req) -> bool,
    R: Replay<Req>,
{
    fn replay(&self, request: &Req) -> Option<Req> {
        if (self.predicate)(request) { self.replay.replay(request) } else { None }
    }
}

impl<F, R: fmt::Debug> fmt::Debug for RetryIf<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryIf").field("replay", &self.replay).finish_non_exhaustive()
    }
}
