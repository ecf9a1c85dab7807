//! A limiter of several nodes as a tower layer and service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::policy::DistributedRateLimiter;
use super::store::PermitStore;
use crate::Rejected;

/// Puts a [`DistributedRateLimiter`] in front of a service; made by [`DistributedRateLimiter::layer`].
#[derive(Debug)]
pub struct DistributedRateLimiterLayer<P> {
    limiter: DistributedRateLimiter<P>,
}

impl<P: PermitStore> DistributedRateLimiter<P> {
    /// This limiter as a layer. Calls wait for the store in `poll_ready`, before the service is asked whether it is ready.
    pub fn layer(&self) -> DistributedRateLimiterLayer<P> {
        DistributedRateLimiterLayer { limiter: self.clone() }
    }
}

impl<P> Clone for DistributedRateLimiterLayer<P> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone() }
    }
}

impl<S, P: PermitStore> Layer<S> for DistributedRateLimiterLayer<P> {
    type Service = DistributedRateLimiterService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        DistributedRateLimiterService { inner, admission: Admission::Outside, limiter: self.limiter.clone() }
    }
}

/// A service behind a [`DistributedRateLimiter`]; made by [`DistributedRateLimiterLayer`].
///
/// A permit is spent while it gets ready; dropped before the call, it gives the permit back.
pub struct DistributedRateLimiterService<S, P: PermitStore> {
    inner: S,
    admission: Admission,
    limiter: DistributedRateLimiter<P>,
}

enum Admission {
    Outside,
    /// Boxed, as a waiting service is not pinned; only where there was no permit at hand.
    Waiting(Pin<Box<dyn Future<Output = Result<(), Rejected>> + Send>>),
    Admitted,
    Refused(Rejected),
}

impl<S, P: PermitStore> DistributedRateLimiterService<S, P> {
    fn poll_admission(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Admission::Outside | Admission::Refused(_) = self.admission {
            self.admission = if self.limiter.try_acquire() {
                Admission::Admitted
            } else {
                let limiter = self.limiter.clone();
                Admission::Waiting(Box::pin(async move { limiter.acquire().await }))
            };
        }
        if let Admission::Waiting(acquire) = &mut self.admission {
            self.admission = match ready!(acquire.as_mut().poll(cx)) {
                Ok(()) => Admission::Admitted,
                Err(rejected) => Admission::Refused(rejected),
            };
        }
        Poll::Ready(())
    }
}

impl<S, P, Req> Service<Req> for DistributedRateLimiterService<S, P>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    P: PermitStore,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.poll_admission(cx));
        match self.admission {
            Admission::Refused(_) => Poll::Ready(Ok(())),
            _ => self.inner.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match std::mem::replace(&mut self.admission, Admission::Outside) {
            Admission::Refused(rejected) => ResponseFuture { call: Call::Refused { rejected: Some(rejected) } },
            _ => ResponseFuture { call: Call::Admitted { inner: self.inner.call(request) } },
        }
    }
}

impl<S, P: PermitStore> Drop for DistributedRateLimiterService<S, P> {
    fn drop(&mut self) {
        if let Admission::Admitted = self.admission {
            self.limiter.shared.give_back();
        }
    }
}

impl<S: Clone, P: PermitStore> Clone for DistributedRateLimiterService<S, P> {
    fn clone(&self) -> Self {
        // Neither readiness nor a permit is inherited.
        Self { inner: self.inner.clone(), admission: Admission::Outside, limiter: self.limiter.clone() }
    }
}

impl<S: fmt::Debug, P: PermitStore> fmt::Debug for DistributedRateLimiterService<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedRateLimiterService")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a [`DistributedRateLimiterService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        call: Call<F>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F> {
        Admitted { #[pin] inner: F },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Admitted { inner } => inner.poll(cx),
            CallProjection::Refused { rejected } => {
                let rejected = rejected.take().expect("a future is not polled after it is done");
                Poll::Ready(Err(rejected.into()))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_refused = matches!(self.call, Call::Refused { .. });
        f.debug_struct("distributed::ResponseFuture").field("refused", &is_refused).finish_non_exhaustive()
    }
}
