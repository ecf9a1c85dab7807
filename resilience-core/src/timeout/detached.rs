//! Calls that go on after nobody waits for them any more.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{TimeoutLayer, TimeoutService};
use crate::context;
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;

/// Runs a future to its end, on a task of its own. Shared state of nobody's: a plain `Arc`, as any timer is held by.
type Spawn = std::sync::Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

impl<L> TimeoutLayer<L> {
    /// Runs each call on a task of its own, which goes on when the limit is reached or the caller is gone.
    ///
    /// For calls that must not be cut off half-way: what was begun is finished, only nobody waits for it. That is also
    /// the price: a limit that frees the caller frees nothing else, so put a [`Bulkhead`](crate::bulkhead::Bulkhead)
    /// inside.
    ///
    /// A panic of the call stays a panic: it comes out of the caller's answer as if there were no task in between, and
    /// is not mistaken for a call that took too long. A task that is thrown away unfinished, with its runtime, answers
    /// nothing, and its caller's limit ends the wait. The task sees the call's [context](crate::context), deadline
    /// included.
    ///
    /// Costs a task, a box and a shared cell for each call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::timeout::TimeoutLayer;
    /// use resilience_core::{Error, time::SharedTimer};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    /// let write = service_fn(move |entry: &'static str| {
    ///     let done = done.clone();
    ///     async move {
    ///         SharedTimer::default().sleep(Duration::from_secs(5)).await;
    ///         let _ = done.send(entry);
    ///         Ok::<_, Error<std::io::Error>>(())
    ///     }
    /// });
    /// let write = TimeoutLayer::new(Duration::from_secs(1)).detached().layer(write);
    /// assert!(write.oneshot("half of it is not enough").await.unwrap_err().is_elapsed());
    /// assert_eq!(finished.recv().await, Some("half of it is not enough"));
    /// # });
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn detached(self) -> DetachedLayer<L> {
        self.detached_on(crate::time::spawn)
    }

    /// As [`detached`](Self::detached), on tasks that `spawn` starts.
    #[must_use]
    pub fn detached_on(
        self,
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> DetachedLayer<L> {
        DetachedLayer { layer: self, spawn: std::sync::Arc::new(spawn) }
    }
}

/// A timeout whose calls go on when nobody waits for them; made by [`TimeoutLayer::detached`].
#[derive(Clone)]
pub struct DetachedLayer<L> {
    layer: TimeoutLayer<L>,
    spawn: Spawn,
}

impl<S, L: Clone> Layer<S> for DetachedLayer<L> {
    type Service = TimeoutService<DetachedService<S>, L>;

    fn layer(&self, inner: S) -> Self::Service {
        let timer = self.layer.timeout().timer();
        self.layer.layer(DetachedService { inner, spawn: self.spawn.clone(), timer })
    }
}

impl<L> fmt::Debug for DetachedLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedLayer").field("timeout", self.layer.timeout()).finish_non_exhaustive()
    }
}

/// A service whose calls run on tasks of their own; made by [`DetachedLayer`].
#[derive(Clone)]
pub struct DetachedService<S> {
    inner: S,
    spawn: Spawn,
    timer: SharedTimer,
}

impl<S: fmt::Debug> fmt::Debug for DetachedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req> Service<Req> for DetachedService<S>
where
    S: Service<Req>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DetachedFuture<Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let call = context::Context::capture(&self.timer).scope(self.inner.call(request));
        let letter = Arc::new(Mutex::new(Letter::empty()));
        (self.spawn)(Box::pin(Task::new(call, letter.clone())));
        DetachedFuture::of(letter)
    }
}

/// Where a task leaves what came of the call.
pub(super) struct Letter<T> {
    output: Option<Result<T, Box<dyn Any + Send>>>,
    reader: Option<Waker>,
}

impl<T> Letter<T> {
    pub(super) const fn empty() -> Self {
        Self { output: None, reader: None }
    }
}

pin_project! {
    /// A call, its panics caught.
    pub(super) struct Task<F, T> {
        #[pin]
        call: F,
        letter: Arc<Mutex<Letter<T>>>,
    }
}

impl<F, T> Task<F, T> {
    pub(super) const fn new(call: F, letter: Arc<Mutex<Letter<T>>>) -> Self {
        Self { call, letter }
    }
}

impl<F: Future<Output = T>, T> Future for Task<F, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // Unwind safe: after a panic the call is not polled again, and its caller panics.
        let output = match catch_unwind(AssertUnwindSafe(|| this.call.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let mut letter = lock(this.letter);
        letter.output = Some(output);
        let reader = letter.reader.take();
        drop(letter);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(())
    }
}

/// The answer of a [`DetachedService`]. Dropping it leaves the call to itself.
#[must_use = "an answer nobody waits for is lost"]
pub struct DetachedFuture<T> {
    letter: Arc<Mutex<Letter<T>>>,
}

impl<T> DetachedFuture<T> {
    pub(super) const fn of(letter: Arc<Mutex<Letter<T>>>) -> Self {
        Self { letter }
    }
}

impl<T> Future for DetachedFuture<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut letter = lock(&self.letter);
        match letter.output.take() {
            Some(Ok(output)) => Poll::Ready(output),
            Some(Err(panic)) => {
                drop(letter);
                resume_unwind(panic)
            }
            None => {
                match &mut letter.reader {
                    Some(reader) => reader.clone_from(cx.waker()),
                    reader => *reader = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for DetachedFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedFuture").field("answered", &lock(&self.letter).output.is_some()).finish()
    }
}
