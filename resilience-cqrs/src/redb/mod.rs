//! The log in one redb file: durable, without SQL and without C.
//!
//! [redb](https://docs.rs/redb) is a store of ordered tables in Rust. This engine keeps the same contract on it as the one
//! on SQLite does, for programs that cannot or will not link a C library. What it does not have is SQL: read models are
//! rows ([`Projection`](crate::projection::Projection)), and no other tool or process reads the file meanwhile.
//!
//! - **Group commit.** One thread writes. It takes everything that waits, writes it in one transaction, and answers after
//!   one durable commit; a refused append costs its neighbours nothing.
//! - **Durable.** Commits are `Durability::Immediate`: an acknowledged append survives a power cut, as far as the medium
//!   keeps what it acknowledges. Nothing is published or answered before that.
//! - **One store a file**, by redb's own lock, which is the operating system's and ends with the process.
//! - **A medium that fails**, and a disk that is full, end writing until the store is opened again: redb does not go on
//!   after an error.
//!
//! ```
//! use resilience_cqrs::{Append, EventStore, Expected, NewEvent, RedbStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("bank.redb");
//! let store = RedbStore::open(&path).await?;
//! let opened = Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", r#"{"owner":"Ann"}"#)]);
//! let done = store.append(opened).await?;
//! store.close().await;
//! assert_eq!(RedbStore::open(&path).await?.head(), done.last);
//! # Ok(()) }
//! ```
//!
//! # Which of the two
//!
//! SQLite, unless its library is the reason not to: it takes SQL read models into the append's transaction, is read by any
//! tool while it runs, copies itself while it runs, and recovers from a kill at once where redb reads the whole file
//! ([`quick_repair`](RedbStoreBuilder::quick_repair)). `examples/append_rate.rs` measures both.
//!
//! # Layout
//!
//! Tables whose names begin with `log_`: the events by position, each with all that is known of it; their positions by
//! stream and version, by type, and by tag; rows; results by command id; the version of this layout.

mod batch;
mod config;
mod error;
mod event;
mod open;
mod query;
mod read;
mod record;
mod tables;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use resilience_core::Name;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::config::RedbStoreBuilder;
pub use self::error::OpenError;
pub use self::event::Event;

use self::error::Fault;
use self::read::Reader;
use self::tables::ReadTables;
use self::writer::{AppendJob, Job};
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Unavailable,
    Version, Written,
};
use crate::pool::Pool;
use crate::store::{EventStore, Page};

/// The log in one redb file; clones are one store.
///
/// When the last clone is dropped the writer finishes what is queued and gives up the file, in its own time;
/// [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct RedbStore {
    shared: Arc<Shared>,
}

struct Shared {
    jobs: mpsc::Sender<Job>,
    head: Arc<watch::Sender<Position>>,
    pool: Arc<Pool<Reader>>,
    given_up: watch::Receiver<()>,
    name: Name,
    path: PathBuf,
}

impl RedbStore {
    /// Opens the store with the defaults, making the file if it is not there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::builder().open(path).await
    }

    /// Sets up a store.
    pub fn builder() -> RedbStoreBuilder {
        RedbStoreBuilder::new()
    }

    /// Reads the whole log and checks that it fits together: positions and versions without gap, each event found by its
    /// stream, type and tags, and nothing found that is not there. Appends go on meanwhile; it looks at the state it began
    /// with.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, NewEvent, RedbStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("bank.redb");
    /// let store = RedbStore::open(path).await?;
    /// store.append(Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", "")])).await?;
    /// store.verify().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Corrupt`](ReadError::Corrupt) with the first thing found.
    pub async fn verify(&self) -> Result<(), ReadError> {
        self.reading(|tables, _| verify::verify(tables)).await
    }

    /// Finishes what is queued and gives the file up.
    ///
    /// Appends and reads after this, on any clone, are refused as closed. A second call waits for the same end.
    ///
    /// ```
    /// use resilience_cqrs::{Append, AppendError, EventStore, Expected, NewEvent, RedbStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("bank.redb");
    /// let store = RedbStore::open(path).await?;
    /// let clone = store.clone();
    /// store.close().await;
    /// let late = clone.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await;
    /// assert!(matches!(late, Err(AppendError::Closed)));
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) {
        // An error means that it is closing already. Either way, the writer drops its end when it is done.
        let _ = self.shared.jobs.send(Job::Close).await;
        let _ = self.shared.given_up.clone().changed().await;
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The name it goes by in events and logs.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Runs a read on one of the reading threads, in a snapshot of its own.
    async fn reading<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&ReadTables, &mut record::Names) -> Result<T, Fault> + Send + 'static,
    {
        Ok(self.shared.pool.run(move |reader| reader.read(read)).await??)
    }
}

impl EventStore for RedbStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Append(AppendJob { append, answer });
        self.shared.jobs.send(job).await.map_err(|_| AppendError::Closed)?;
        match answered.await {
            Ok(result) => result,
            Err(_) => Err(AppendError::Unavailable(Unavailable {
                reason: "the writer's thread panicked".into(),
                written: Written::Unknown,
                retryable: false,
                source: None,
            })),
        }
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        let command = command.clone();
        self.reading(move |tables, _| read::command(tables, command.as_str())).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let query = query.clone();
        let head = self.head();
        self.reading(move |tables, names| read::page(tables, names, after, &query, limit, head)).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let stream = stream.clone();
        self.reading(move |tables, names| read::stream(tables, names, stream.as_str(), after, limit)).await
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        let streams = streams.to_vec();
        let read = move |tables: &ReadTables, names: &mut record::Names| {
            let each = streams.iter().map(|(name, after)| read::stream(tables, names, name.as_str(), *after, limit));
            each.collect()
        };
        self.reading(read).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        self.reading(move |tables, _| read::row(tables, &space, &key)).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let (space, after) = (space.to_owned(), after.map(<[u8]>::to_owned));
        self.reading(move |tables, _| read::rows(tables, &space, after.as_deref(), limit)).await
    }

    fn head(&self) -> Position {
        *self.shared.head.borrow()
    }

    async fn wait_past(&self, position: Position) -> Position {
        crate::store::wait_past(&self.shared.head, position).await
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.shared.path).field("head", &self.head()).finish_non_exhaustive()
    }
}
