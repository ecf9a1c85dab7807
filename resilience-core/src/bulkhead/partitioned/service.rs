//! A partitioned bulkhead as a tower layer, service and future.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{PartitionedBulkhead, Permit};
use crate::Rejected;

/// Limits the calls that run at once, with a share for each key; made by [`PartitionedBulkhead::layer`].
pub struct PartitionedBulkheadLayer<K, F> {
    bulkhead: PartitionedBulkhead<K>,
    key: F,
}

impl<K, F> PartitionedBulkheadLayer<K, F> {
    pub(super) fn new(bulkhead: PartitionedBulkhead<K>, key: F) -> Self {
        Self { bulkhead, key }
    }
}

impl<K, F: Clone> Clone for PartitionedBulkheadLayer<K, F> {
    fn clone(&self) -> Self {
        Self { bulkhead: self.bulkhead.clone(), key: self.key.clone() }
    }
}

impl<K, F> fmt::Debug for PartitionedBulkheadLayer<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionedBulkheadLayer").field("bulkhead", &self.bulkhead).finish_non_exhaustive()
    }
}

impl<S, K, F: Clone> Layer<S> for PartitionedBulkheadLayer<K, F> {
    type Service = PartitionedBulkheadService<S, K, F>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { bulkhead, key } = self.clone();
        PartitionedBulkheadService { inner, bulkhead, key, is_full: false }
    }
}

/// A service behind a [`PartitionedBulkhead`].
///
/// The slot is taken when it is called, since only the request says whose it is. While nobody at all could have one, it is
/// ready without the inner service, and the `call` that follows is refused.
pub struct PartitionedBulkheadService<S, K, F> {
    inner: S,
    bulkhead: PartitionedBulkhead<K>,
    key: F,
    /// Ready only to refuse: the inner service is not.
    is_full: bool,
}

impl<S: Clone, K, F: Clone> Clone for PartitionedBulkheadService<S, K, F> {
    fn clone(&self) -> Self {
        let (inner, bulkhead, key) = (self.inner.clone(), self.bulkhead.clone(), self.key.clone());
        // Readiness is not inherited.
        Self { inner, bulkhead, key, is_full: false }
    }
}

impl<S: fmt::Debug, K, F> fmt::Debug for PartitionedBulkheadService<S, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionedBulkheadService")
            .field("inner", &self.inner)
            .field("bulkhead", &self.bulkhead)
            .finish_non_exhaustive()
    }
}

impl<S, Req, K, F> Service<Req> for PartitionedBulkheadService<S, K, F>
where
    S: Service<Req>,
    S::Error: From<Rejected>,
    K: Hash + Eq,
    F: Fn(&Req) -> K,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.is_full = self.bulkhead.shared.is_full();
        if self.is_full { Poll::Ready(Ok(())) } else { self.inner.poll_ready(cx) }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let key = (self.key)(&request);
        if std::mem::take(&mut self.is_full) {
            return ResponseFuture::refused(self.bulkhead.refuse(&key));
        }
        match self.bulkhead.try_acquire(&key) {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}

pin_project! {
    /// The answer of a call behind a [`PartitionedBulkhead`].
    ///
    /// When the answer is there, or this is dropped, the call is dropped first and its permit is given back then.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        // The call is declared, and so dropped, before the permit: what it holds is free when the next one starts.
        Running { #[pin] inner: F, permit: Permit },
        Refused { rejected: Option<Rejected> },
        Done,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, permit: Permit) -> Self {
        Self { stage: Stage::Running { inner, permit } }
    }

    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { stage: Stage::Refused { rejected: Some(rejected) } }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejected>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        match stage.as_mut().project() {
            StageProjection::Running { inner, .. } => {
                let answer = inner.poll(cx);
                if answer.is_ready() {
                    stage.set(Stage::Done);
                }
                answer
            }
            StageProjection::Refused { rejected } => {
                let rejected = rejected.take().expect("a future is not polled after it is done");
                Poll::Ready(Err(rejected.into()))
            }
            StageProjection::Done => panic!("a future is not polled after it is done"),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Running { .. } => "running",
            Stage::Refused { .. } => "refused",
            Stage::Done => "done",
        };
        f.debug_struct("ResponseFuture").field("stage", &stage).finish_non_exhaustive()
    }
}
