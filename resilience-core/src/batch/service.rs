//! The batch as a tower layer and service.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::call::{Batched, Call};
use super::dispatch::{Alike, Answers, Dispatch, Each, GroupBy, Split, Together, Weigh};
use super::{Batch, Unanswered};
use crate::Rejected;
use crate::oneshot::Oneshot;
use crate::sync::{Mutex, lock};

/// Makes one call of many; made by [`Batch::layer`]. Each service it makes has batches of its own, shared by its clones.
pub struct BatchLayer<Req, X = Each, G = Together, W = Alike> {
    batch: Batch,
    split: X,
    group_by: G,
    weigh: W,
    request: PhantomData<fn(Req)>,
}

impl Batch {
    /// The batch as a layer over services that answer a list of requests. A [`Vec`] of results is taken apart as it is;
    /// say with [`split`](BatchLayer::split) how anything else is.
    ///
    /// The services need to be [`Clone`]: who waits for a batch does not know whether it will be the one to send it, and
    /// reserves no place for it; a clone is made ready when the batch is sent.
    pub fn layer<Req>(&self) -> BatchLayer<Req> {
        BatchLayer { batch: self.clone(), split: Each, group_by: Together, weigh: Alike, request: PhantomData }
    }
}

impl<Req, X, G, W> BatchLayer<Req, X, G, W> {
    /// Takes the service's answer apart.
    #[must_use]
    pub fn split<Y>(self, split: Y) -> BatchLayer<Req, Y, G, W> {
        let Self { batch, group_by, weigh, request, .. } = self;
        BatchLayer { batch, split, group_by, weigh, request }
    }

    /// Only calls of one key share a batch.
    #[must_use]
    pub fn group_by<H>(self, group_by: H) -> BatchLayer<Req, X, H, W> {
        let Self { batch, split, weigh, request, .. } = self;
        BatchLayer { batch, split, group_by, weigh, request }
    }

    /// What requests weigh, for [`weight`](super::BatchBuilder::weight).
    #[must_use]
    pub fn weigh<U>(self, weigh: U) -> BatchLayer<Req, X, G, U> {
        let Self { batch, split, group_by, request, .. } = self;
        BatchLayer { batch, split, group_by, weigh, request }
    }
}

impl<S, Req, X, G, W> Layer<S> for BatchLayer<Req, X, G, W>
where
    S: Service<Vec<Req>> + Clone,
    S::Error: Clone,
    X: Split<S::Response, S::Error> + Clone,
    G: GroupBy<Req> + Clone,
    W: Weigh<Req> + Clone,
{
    type Service = BatchService<S, Req, X, G, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let dispatch = ToService { service: Mutex::new(inner), split: self.split.clone() };
        let (group_by, weigh) = (self.group_by.clone(), self.weigh.clone());
        BatchService { batched: self.batch.over_groups(dispatch, group_by, weigh) }
    }
}

impl<Req, X: Clone, G: Clone, W: Clone> Clone for BatchLayer<Req, X, G, W> {
    fn clone(&self) -> Self {
        let (split, group_by, weigh) = (self.split.clone(), self.group_by.clone(), self.weigh.clone());
        Self { batch: self.batch.clone(), split, group_by, weigh, request: PhantomData }
    }
}

impl<Req, X, G, W> fmt::Debug for BatchLayer<Req, X, G, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer").field("batch", &self.batch).finish_non_exhaustive()
    }
}

/// A service that answers lists of requests, behind a [`Batch`].
///
/// It is always ready: its calls wait for their batch, and the batch for the service.
pub struct BatchService<S, Req, X = Each, G = Together, W = Alike>
where
    S: Service<Vec<Req>> + Clone,
    S::Error: Clone,
    X: Split<S::Response, S::Error> + Clone,
    G: GroupBy<Req>,
{
    batched: Batched<Req, ToService<S, X>, G, W>,
}

impl<S, Req, X, G, W> Service<Req> for BatchService<S, Req, X, G, W>
where
    S: Service<Vec<Req>> + Clone,
    S::Error: Clone + From<Rejected> + From<Unanswered>,
    X: Split<S::Response, S::Error> + Clone,
    G: GroupBy<Req>,
    W: Weigh<Req>,
{
    type Response = X::Answer;
    type Error = S::Error;
    type Future = Call<Req, ToService<S, X>, G, W>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.batched.call(request)
    }
}

impl<S, Req, X, G, W> Clone for BatchService<S, Req, X, G, W>
where
    S: Service<Vec<Req>> + Clone,
    S::Error: Clone,
    X: Split<S::Response, S::Error> + Clone,
    G: GroupBy<Req>,
{
    fn clone(&self) -> Self {
        Self { batched: self.batched.clone() }
    }
}

impl<S, Req, X, G, W> fmt::Debug for BatchService<S, Req, X, G, W>
where
    S: Service<Vec<Req>> + Clone,
    S::Error: Clone,
    X: Split<S::Response, S::Error> + Clone,
    G: GroupBy<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchService").field("batched", &self.batched).finish()
    }
}

/// Sends batches to a service.
pub struct ToService<S, X> {
    /// Locked while it is cloned. Behind a lock so that it need not be `Sync`.
    service: Mutex<S>,
    split: X,
}

impl<S, Req, X> Dispatch<Req> for ToService<S, X>
where
    S: Service<Vec<Req>> + Clone,
    S::Error: Clone,
    X: Split<S::Response, S::Error> + Clone,
{
    type Answer = X::Answer;
    type Error = S::Error;
    type Future = Splitting<S, Req, X>;

    fn dispatch(&self, requests: Vec<Req>) -> Self::Future {
        let service = lock(&self.service).clone();
        Splitting { call: Oneshot::new(service, requests), split: self.split.clone() }
    }
}

impl<S, X> fmt::Debug for ToService<S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToService").finish_non_exhaustive()
    }
}

pin_project! {
    /// A batch on its way to a service.
    #[must_use = "futures do nothing unless polled"]
    pub struct Splitting<S, Req, X>
    where
        S: Service<Vec<Req>>,
    {
        #[pin]
        call: Oneshot<S, Vec<Req>>,
        split: X,
    }
}

impl<S, Req, X> Future for Splitting<S, Req, X>
where
    S: Service<Vec<Req>>,
    X: Split<S::Response, S::Error>,
{
    type Output = Answers<X::Answer, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.call.poll(cx).map(|answer| answer.map(|response| this.split.split(response)))
    }
}

impl<S: Service<Vec<Req>>, Req, X> fmt::Debug for Splitting<S, Req, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splitting").field("call", &self.call).finish_non_exhaustive()
    }
}
