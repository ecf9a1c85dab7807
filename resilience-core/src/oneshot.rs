//! A call that waits for readiness inside, for layers whose own readiness must not depend on it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// Makes a service ready, and calls it.
    #[must_use = "futures do nothing unless polled"]
    pub struct Oneshot<S, Req>
    where
        S: Service<Req>,
    {
        service: S,
        request: Option<Req>,
        #[pin]
        call: Option<S::Future>,
    }
}

impl<S: Service<Req>, Req> Oneshot<S, Req> {
    pub(crate) fn new(service: S, request: Req) -> Self {
        Self { service, request: Some(request), call: None }
    }
}

impl<S: Service<Req>, Req> Future for Oneshot<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.call.is_none() {
            ready!(this.service.poll_ready(cx))?;
            let request = this.request.take().expect("a future is not polled after it is done");
            this.call.set(Some(this.service.call(request)));
        }
        match this.call.as_mut().as_pin_mut() {
            Some(call) => call.poll(cx),
            None => unreachable!("set above"),
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for Oneshot<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oneshot").field("is_called", &self.call.is_some()).finish_non_exhaustive()
    }
}
