//! A limit that counts the wait for readiness, too.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Timeout, TimeoutLayer};
use crate::Rejected;
use crate::context::ambient::{self, Span, TimeLeft};
use crate::time::{Sleep, Timestamp};

impl<L> TimeoutLayer<L> {
    /// Counts the wait for the inner service's readiness as a part of the limit.
    ///
    /// tower asks a service whether it is ready before there is a call whose time could run, so time counts from the
    /// first answer "not yet" that this *instance* gives, to the end of the call it leads to. A caller who has an
    /// instance of its own (a clone for each call, as `oneshot` and axum use them) so gets one limit for both. Where
    /// several callers take turns with one instance, one that gives up while it waits leaves its wait to the next, who
    /// has that much less time: `poll_ready` cannot tell a patient caller from a new one. It can only be refused too
    /// early, never wait too long.
    ///
    /// When the limit, or the deadline in the context, is reached before the inner service is ready, the instance says
    /// that it is ready and refuses the call with [`Reason::Deadline`](crate::Reason::Deadline): it was never sent. The
    /// wait after that begins anew.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Error;
    /// use resilience_core::bulkhead::Bulkhead;
    /// use resilience_core::timeout::TimeoutLayer;
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let bulkhead = Bulkhead::builder().limit(1).queue(1).build().unwrap();
    /// let busy = bulkhead.layer().layer(service_fn(async |(): ()| Ok::<_, Error<()>>("answered")));
    /// let slot = bulkhead.try_acquire().unwrap(); // and never given back
    /// let refused = TimeoutLayer::new(Duration::from_secs(2)).covers_readiness().layer(busy).oneshot(()).await;
    /// assert!(refused.unwrap_err().is_rejected()); // after two seconds
    /// # drop(slot);
    /// # });
    /// ```
    #[must_use]
    pub fn covers_readiness(self) -> ReadinessLayer<L> {
        ReadinessLayer { layer: self }
    }
}

/// A timeout that covers readiness; made by [`TimeoutLayer::covers_readiness`].
#[derive(Clone, Debug)]
pub struct ReadinessLayer<L> {
    layer: TimeoutLayer<L>,
}

impl<S, L> Layer<S> for ReadinessLayer<L>
where
    TimeoutLayer<L>: Layer<S>,
{
    type Service = ReadinessService<<TimeoutLayer<L> as Layer<S>>::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        ReadinessService { inner: self.layer.layer(inner), timeout: self.layer.timeout().clone(), waiting: Waiting::No }
    }
}

/// A service whose limit counts from the moment it was found not ready; made by [`ReadinessLayer`].
#[derive(Debug)]
pub struct ReadinessService<S> {
    inner: S,
    timeout: Timeout,
    waiting: Waiting,
}

/// What has become of the wait for readiness.
#[derive(Debug)]
enum Waiting {
    /// There was none.
    No,
    /// It goes on, or led to readiness: the call's time began with it.
    Since { until: Timestamp, sleep: Option<Sleep> },
    /// It was too long: the call will be refused.
    Over,
}

impl<S: Clone> Clone for ReadinessService<S> {
    fn clone(&self) -> Self {
        // A wait is not inherited: the clone begins its own.
        Self { inner: self.inner.clone(), timeout: self.timeout.clone(), waiting: Waiting::No }
    }
}

impl<S> ReadinessService<S> {
    /// Whether the wait is over. Begins it with the first "not yet".
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timeout.is_dry_run() {
            return Poll::Pending;
        }
        if let Waiting::No | Waiting::Over = self.waiting {
            let outer = ambient::time();
            let rule = self.timeout.rule(self.timeout.span());
            let within = rule.limit.min(outer.within);
            let until = outer.deadline.min(within.after(rule.now()));
            // One that never ends needs no timer.
            let sleep = (until != Timestamp::NEVER).then(|| rule.sleep_until(until));
            self.waiting = Waiting::Since { until, sleep };
        }
        match &mut self.waiting {
            Waiting::Since { sleep: Some(sleep), .. } => Pin::new(sleep).poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl<S, Req> Service<Req> for ReadinessService<S>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ReadinessFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Ready in the poll that finds time up => ready.
        match self.inner.poll_ready(cx) {
            Poll::Ready(ready) => {
                if ready.is_err() || matches!(self.waiting, Waiting::Over) {
                    self.waiting = Waiting::No;
                }
                Poll::Ready(ready)
            }
            Poll::Pending => self.poll_wait(cx).map(|()| {
                self.waiting = Waiting::Over;
                Ok(())
            }),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match std::mem::replace(&mut self.waiting, Waiting::No) {
            Waiting::No => ReadinessFuture { call: Call::Made { inner: self.inner.call(request) } },
            Waiting::Since { until, .. } => {
                // The timeout inside takes its limit from the earliest of what it finds here and its own.
                let outer = ambient::time();
                let _entered = ambient::enter_time(outer.min(TimeLeft { deadline: until, within: Span::UNLIMITED }));
                ReadinessFuture { call: Call::Made { inner: self.inner.call(request) } }
            }
            Waiting::Over => ReadinessFuture { call: Call::Refused { rejected: Some(self.timeout.refuse()) } },
        }
    }
}

pin_project! {
    /// The answer of a [`ReadinessService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ReadinessFuture<F> {
        #[pin]
        call: Call<F>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F> {
        Made { #[pin] inner: F },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F, T, E> Future for ReadinessFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Made { inner } => inner.poll(cx),
            CallProjection::Refused { rejected } => {
                Poll::Ready(Err(rejected.take().expect("a future is not polled after it is done").into()))
            }
        }
    }
}

impl<F> fmt::Debug for ReadinessFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = matches!(self.call, Call::Refused { .. });
        f.debug_struct("ReadinessFuture").field("refused", &refused).finish()
    }
}
