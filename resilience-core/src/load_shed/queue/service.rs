//! Shedding by queueing time as a tower layer and service.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::QueueShed;
use crate::Rejected;
use crate::load_shed::AdmittedFuture;
use crate::time::Timestamp;

/// Refuses calls that waited too long for the inner service; made by [`QueueShed::layer`]. All services it makes share the
/// verdict.
#[derive(Clone, Debug)]
pub struct QueueShedLayer {
    shed: QueueShed,
}

impl From<QueueShed> for QueueShedLayer {
    fn from(shed: QueueShed) -> Self {
        Self { shed }
    }
}

impl<S> Layer<S> for QueueShedLayer {
    type Service = QueueShedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        QueueShedService { inner, shed: self.shed.clone(), since: None, decided: None }
    }
}

/// A service behind a [`QueueShed`].
///
/// It waits until the inner service is ready, and decides then, by how long that took: the time is known only when it is
/// over. A call that is refused leaves the inner service ready for the next.
#[derive(Debug)]
pub struct QueueShedService<S> {
    inner: S,
    shed: QueueShed,
    /// When the wait began.
    since: Option<Timestamp>,
    decided: Option<Result<(), Rejected>>,
}

impl<S: Clone> Clone for QueueShedService<S> {
    fn clone(&self) -> Self {
        // Neither readiness nor what was waited is inherited.
        Self { inner: self.inner.clone(), shed: self.shed.clone(), since: None, decided: None }
    }
}

impl<S, Req> Service<Req> for QueueShedService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AdmittedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = self.inner.poll_ready(cx);
        if polled.is_pending() && self.since.is_none() {
            self.since = Some(self.shed.now());
        }
        let ready = ready!(polled);
        if ready.is_ok() && self.decided.is_none() {
            let now = self.shed.now();
            let waited = self.since.map_or(Duration::ZERO, |since| now.since(since));
            self.decided = Some(self.shed.admit_at(waited, now));
        }
        self.since = None;
        Poll::Ready(ready)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.decided.take() {
            Some(Err(rejected)) => AdmittedFuture::refused(rejected),
            _ => AdmittedFuture::admitted(self.inner.call(request)),
        }
    }
}
