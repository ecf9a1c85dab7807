//! Waiting for one endpoint's service, while no call does.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use resilience_core::time::{SharedTimer, Sleep, Timestamp};
use tower_service::Service;

/// Asks a service for readiness until it has an answer, after a pause; or only pauses.
///
/// The instance that was asked is dropped with the answer: whatever readiness reserves is not kept from the calls.
#[derive(Debug)]
pub(super) struct Watch<S, Req> {
    key: u64,
    pause: Option<Pin<Box<Sleep>>>,
    service: Option<S>,
    until: Option<Pin<Box<Sleep>>>,
    request: PhantomData<fn(Req)>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service is ready.
    Ready,
    /// The service answered with an error.
    Broken,
    /// The pause is over, and that was all.
    Rested,
    /// It may not wait any longer.
    Overdue,
}

impl<S, Req> Watch<S, Req> {
    /// Asks `service` for readiness, `after` a pause, `until` a time if there is one.
    pub(super) fn for_readiness(
        key: u64,
        timer: &SharedTimer,
        after: Duration,
        service: S,
        until: Option<Timestamp>,
    ) -> Self {
        let pause = (!after.is_zero()).then(|| Box::pin(timer.sleep(after)));
        let until = until.map(|until| Box::pin(timer.sleep_until(until)));
        Self { key, pause, service: Some(service), until, request: PhantomData }
    }

    /// Only pauses.
    pub(super) fn for_rest(key: u64, timer: &SharedTimer, pause: Duration, until: Option<Timestamp>) -> Self {
        let until = until.map(|until| Box::pin(timer.sleep_until(until)));
        Self { key, pause: Some(Box::pin(timer.sleep(pause))), service: None, until, request: PhantomData }
    }
}

// Nothing is pinned in place: the sleeps are in boxes of their own, and services are polled by reference.
impl<S, Req> Unpin for Watch<S, Req> {}

impl<S: Service<Req>, Req> Future for Watch<S, Req> {
    type Output = (u64, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(until) = &mut this.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready((this.key, Outcome::Overdue));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let outcome = match &mut this.service {
            None => Outcome::Rested,
            Some(service) => match ready!(service.poll_ready(cx)) {
                Ok(()) => Outcome::Ready,
                Err(_) => Outcome::Broken,
            },
        };
        Poll::Ready((this.key, outcome))
    }
}
