//! Our layers that are not layers: a store that is written through, or behind, and batches.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use resilience_core::batch;
use resilience_core::cache::Cache;
use resilience_core::cache::write::{Store, WriteBehind, WriteThrough};
use tower::{Layer, Service, ServiceExt};

use super::{Parts, Stack};
use crate::scenario;
use crate::sim::{Answer, Call, Failure};

impl Parts {
    pub(super) fn write_through(&mut self, inner: Stack) -> Result<Stack, String> {
        let writes = WriteThrough::new(self.kept()?, Table(Mutex::new(inner)));
        Ok(Stack::new(Through(writes)))
    }

    pub(super) fn write_behind(&mut self, config: scenario::WriteBehind, inner: Stack) -> Result<Stack, String> {
        let mut builder = WriteBehind::builder(self.kept()?, Table(Mutex::new(inner)));
        if let Some(limit) = config.limit {
            builder = builder.limit(limit);
        }
        let writes = builder.build().map_err(|error| error.to_string())?;
        for _ in 0..config.writers {
            let writes = writes.clone();
            drop(tokio::task::spawn_local(async move { writes.run().await }));
        }
        Ok(Stack::new(Behind(writes)))
    }

    fn kept(&mut self) -> Result<Cache<u64, Option<Call>, Failure>, String> {
        let builder = Cache::builder().timer(self.clock.timer()).seed(self.rng.next_u64());
        builder.build().map_err(|error| error.to_string())
    }

    pub(super) fn batch(&self, config: scenario::Batch, inner: Stack) -> Result<Stack, String> {
        let mut builder = batch::Batch::builder().timer(self.clock.timer());
        if let Some(size) = config.size {
            builder = builder.size(size);
        }
        if let Some(delay) = config.delay {
            builder = builder.delay(delay.0);
        }
        let batch = builder.build().map_err(|error| error.to_string())?;
        Ok(Stack::new(batch.layer().layer(Many(inner))))
    }
}

/// The station as a store: what is written is the call itself.
struct Table(Mutex<Stack>);

impl Table {
    fn stack(&self) -> Stack {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store<u64, Call> for Table {
    type Error = Failure;

    async fn get(&self, _: &u64) -> Result<Option<Call>, Failure> {
        Ok(None) // nobody reads here
    }

    async fn put(&self, _: &u64, call: &Call) -> Result<(), Failure> {
        self.stack().oneshot(call.clone()).await.map(|Answer| ())
    }

    async fn remove(&self, _: &u64) -> Result<(), Failure> {
        Ok(())
    }
}

type Boxed = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

#[derive(Clone)]
struct Through(WriteThrough<u64, Call, Table>);

impl Service<Call> for Through {
    type Response = Answer;
    type Error = Failure;
    type Future = Boxed;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Boxed {
        let writes = self.0.clone();
        Box::pin(async move { writes.put(call.key, call).await.map(|()| Answer) })
    }
}

#[derive(Clone)]
struct Behind(WriteBehind<u64, Call, Table>);

impl Service<Call> for Behind {
    type Response = Answer;
    type Error = Failure;
    type Future = std::future::Ready<Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        std::future::ready(self.0.put(call.key, call).map(|()| Answer).map_err(Failure::from))
    }
}

/// Takes the calls of a batch as one with many items.
#[derive(Clone)]
pub(super) struct Many(pub(super) Stack);

impl Many {
    /// All of them as one call; none of none.
    pub(super) fn together(mut calls: Vec<Call>) -> Option<Call> {
        let items = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let first = calls.drain(..).next()?;
        Some(Call { items, ..first })
    }
}

impl Service<Vec<Call>> for Many {
    type Response = Vec<Result<Answer, Failure>>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, calls: Vec<Call>) -> Self::Future {
        let count = calls.len();
        let answer = Self::together(calls).map(|call| self.0.call(call));
        Box::pin(async move {
            if let Some(answer) = answer {
                answer.await?;
            }
            Ok(vec![Ok(Answer); count])
        })
    }
}
