//! A store that fails when a test says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::gate::{Gate, Held};
use crate::forgetting::Forgetting;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Unavailable,
    Version, Written,
};
use crate::store::{EventStore, Page};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written. The error says so, and that a later attempt may succeed.
    Refused,
    /// It was written, but the answer was lost. The error says that nobody knows.
    AnswerLost,
    /// Nothing was written, and nothing will be: the store was closed.
    Closed,
    /// Nothing was written, and there is no answer, ever: whoever waits without a limit waits for good.
    Hung,
    /// It was written, and there is no answer, ever.
    HungAfterwards,
}

type Plan = Arc<dyn Fn(u64) -> Option<Fault> + Send + Sync>;

/// Another store, with faults planned by the number of the call. Clones are one store and count together.
///
/// Plans say what goes wrong; [`hold_appends`](Self::hold_appends) says when, for races that are to be run on purpose.
/// [`random`](super::random) makes plans of a seed, [`at_every_append`](super::at_every_append) tries all there are.
///
/// ```
/// use resilience_cqrs::testing::{Fault, FaultyStore};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// // The first append is written, but its answer is lost.
/// let store = FaultyStore::new(MemoryStore::new()).on_append(|nth| (nth == 1).then_some(Fault::AnswerLost));
/// let command = Append::new().events("s", Expected::NoStream, [NewEvent::new("E", "")]).command_id("c");
/// assert!(store.append(command.clone()).await.unwrap_err().may_have_committed());
/// assert!(store.append(command).await.unwrap().already_committed);
/// # }
/// ```
#[derive(Clone)]
pub struct FaultyStore<S> {
    inner: S,
    appends: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    gate: Gate,
    on_append: Plan,
    on_read: Plan,
}

impl<S: EventStore> FaultyStore<S> {
    /// A store without faults so far.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            appends: Arc::default(),
            reads: Arc::default(),
            gate: Gate::default(),
            on_append: Arc::new(|_| None),
            on_read: Arc::new(|_| None),
        }
    }

    /// Asks `plan` before each append, with its number from 1.
    #[must_use]
    pub fn on_append(mut self, plan: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static) -> Self {
        self.on_append = Arc::new(plan);
        self
    }

    /// Asks `plan` before each read of any kind, with its number from 1.
    #[must_use]
    pub fn on_read(mut self, plan: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static) -> Self {
        self.on_read = Arc::new(plan);
        self
    }

    /// Holds appends back from now on, until what this returns is dropped.
    ///
    /// ```
    /// use resilience_cqrs::testing::FaultyStore;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let store = FaultyStore::new(MemoryStore::new());
    /// let first = |payload: &'static str| Append::new().events("s", Expected::NoStream, [NewEvent::new("E", payload)]);
    /// let held = store.hold_appends();
    /// let overtaken = tokio::spawn({
    ///     let (store, append) = (store.clone(), first("late"));
    ///     async move { store.append(append).await }
    /// });
    /// held.arrived(1).await; // it has decided, and is about to append
    /// store.inner().append(first("early")).await.unwrap();
    /// drop(held);
    /// assert!(overtaken.await.unwrap().unwrap_err().as_conflict().is_some());
    /// # }
    /// ```
    pub fn hold_appends(&self) -> Held {
        self.gate.hold()
    }

    /// The store behind the faults.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many appends were asked for.
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::Relaxed)
    }

    /// How many reads of any kind were asked for.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    async fn check_read(&self) -> Result<(), ReadError> {
        // Relaxed, as below: the number must be distinct, not ordered with anything.
        match (self.on_read)(self.reads.fetch_add(1, Ordering::Relaxed) + 1) {
            None => Ok(()),
            Some(Fault::Closed) => Err(ReadError::Closed),
            Some(Fault::Hung | Fault::HungAfterwards) => std::future::pending().await,
            Some(Fault::Refused | Fault::AnswerLost) => Err(ReadError::Unavailable(unavailable(Written::No))),
        }
    }
}

fn unavailable(written: Written) -> Unavailable {
    Unavailable { reason: "a fault was asked for".into(), written, retryable: true, source: None }
}

impl<S: EventStore> EventStore for FaultyStore<S> {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let number = self.appends.fetch_add(1, Ordering::Relaxed) + 1;
        self.gate.pass().await;
        match (self.on_append)(number) {
            None => self.inner.append(append).await,
            Some(Fault::Refused) => Err(AppendError::Unavailable(unavailable(Written::No))),
            Some(Fault::AnswerLost) => {
                self.inner.append(append).await?;
                Err(AppendError::Unavailable(unavailable(Written::Unknown)))
            }
            Some(Fault::Closed) => Err(AppendError::Closed),
            Some(Fault::Hung) => std::future::pending().await,
            Some(Fault::HungAfterwards) => {
                self.inner.append(append).await?;
                std::future::pending().await
            }
        }
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.check_read().await?;
        self.inner.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.check_read().await?;
        self.inner.read(after, query, limit).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.check_read().await?;
        self.inner.read_stream(stream, after, limit).await
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        self.check_read().await?;
        self.inner.read_streams(streams, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.check_read().await?;
        self.inner.row(space, key).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.check_read().await?;
        self.inner.rows(space, after, limit).await
    }

    fn forgetting(&self) -> Forgetting {
        self.inner.forgetting()
    }

    fn head(&self) -> Position {
        self.inner.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.inner.wait_past(position).await
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("inner", &self.inner)
            .field("appends", &self.appends)
            .finish_non_exhaustive()
    }
}
