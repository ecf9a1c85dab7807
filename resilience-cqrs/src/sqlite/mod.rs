//! The log in one SQLite file: durable, and in one transaction with your own tables.
//!
//! An application that keeps its events in one database and its read models in another has to explain what happens
//! between the two commits. Here there is one commit: events, checkpoints, keyed rows and whatever SQL
//! [`append_with`](SqliteStore::append_with) runs become durable together.
//!
//! - **Group commit.** One thread writes. It takes everything that waits, writes it in one transaction, and answers after
//!   one `fsync`; a refused append costs its neighbours nothing.
//! - **Durable.** `synchronous=FULL`: an acknowledged append survives a power cut, as far as the medium keeps what it
//!   acknowledges. Nothing is published or answered, not even a conflict that shows a neighbour's event, before that.
//! - **One store a file.** A lock file (`shop.db-lock`) refuses a second store, in this process or another; it is the
//!   operating system's and ends with the process. Other tools may read at any time, and write to tables of their own.
//! - **A medium that fails** ends writing until the store is opened again, because what it holds is no longer known. A full
//!   disk does not: appends are refused until there is room.
//! - **A [backup](SqliteStore::backup)** is made while appends go on, and verified before it gets its name.
//! - **The file must be local**: a write-ahead log needs shared memory, which network file systems do not give.
//!
//! ```
//! use resilience_cqrs::{Append, EventStore, Expected, NewEvent, SqliteStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("bank.db");
//! let store = SqliteStore::open(path).await?;
//! let opened = Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", r#"{"owner":"Ann"}"#)]);
//! let done = store
//!     .append_with(opened, |tx| {
//!         tx.execute_batch("CREATE TABLE IF NOT EXISTS balance (account TEXT PRIMARY KEY, cents INTEGER)")?;
//!         tx.execute("INSERT INTO balance VALUES ('account-1', 0)", [])?;
//!         Ok(())
//!     })
//!     .await?;
//! assert_eq!(store.head(), done.last);
//! let cents: i64 = store.read_sql(|db| db.query_row("SELECT cents FROM balance", [], |row| row.get(0))).await?;
//! assert_eq!(cents, 0);
//! store.close().await;
//! # Ok(()) }
//! ```
//!
//! # Layout
//!
//! `log_event` is the log, in order of position; `log_stream`, `log_kind` and `log_tag` give names to numbers; `log_tagged`
//! finds events by tag; `log_row` holds the keyed rows; `log_command` the results by command id; `log_meta` the version of
//! this layout. Any SQLite tool reads them. Names that begin with `log_` are the store's.

mod backup;
mod batch;
mod config;
mod decode;
mod error;
mod event;
mod guard;
mod inside;
mod open;
mod query;
mod read;
mod schema;
mod tags;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use resilience_core::Name;
use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::backup::{Backup, BackupError};
pub use self::config::SqliteStoreBuilder;
pub use self::error::{OpenError, SqlError};
pub use self::event::Event;

use self::decode::Reader;
use self::inside::Inside;
pub(crate) use self::inside::Within;
use self::writer::{AppendJob, Job};
use crate::log::{
    Append, AppendError, Appended, BoxError, CommandId, Committed, Position, Query, ReadError, Recorded, RowChange,
    StreamId, Unavailable, Version, Written,
};
use crate::pool::Pool;
use crate::store::{EventStore, Page};

/// The log in one SQLite file; clones are one store.
///
/// When the last clone is dropped the writer finishes what is queued and gives up the file, in its own time;
/// [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct SqliteStore {
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

impl SqliteStore {
    /// Opens the store with the defaults, making the file if it is not there.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, NewEvent, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("bank.db");
    /// let store = SqliteStore::open(&path).await?;
    /// let done = store.append(Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", "")])).await?;
    /// store.close().await;
    /// // Acknowledged is durable: the next process finds it.
    /// assert_eq!(SqliteStore::open(&path).await?.head(), done.last);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`OpenError`]; the file is left as it was.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::builder().open(path).await
    }

    /// Sets up a store.
    pub fn builder() -> SqliteStoreBuilder {
        SqliteStoreBuilder::new()
    }

    /// Appends, and runs `inside` in the same transaction: both happen, or neither.
    ///
    /// `inside` runs on the writer's thread, once the append's conditions hold and before its events are written, and
    /// everybody else's appends wait for it, so keep it to statements on your own tables. An error or a panic in it
    /// refuses this append alone. It cannot end the transaction or write to the log's own tables. It is not run for a
    /// command that was committed before.
    ///
    /// ```
    /// use resilience_cqrs::{Append, AppendError, EventStore, Expected, NewEvent, Position, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("bank.db");
    /// let store = SqliteStore::open(&path).await?;
    /// let open = Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", "")]);
    /// let refused = store.append_with(open, |_| Err("the owner is not known".into())).await;
    /// assert!(matches!(refused, Err(AppendError::Refused(_))));
    /// assert_eq!(store.head(), Position::ORIGIN);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`append`](EventStore::append), and [`Refused`](AppendError::Refused) with the error of `inside`.
    pub async fn append_with<F>(&self, append: Append, inside: F) -> Result<Appended, AppendError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), BoxError> + Send + 'static,
    {
        self.enqueue(append, Some(Inside::Before(Box::new(|tx| inside(tx).map(|()| Vec::new()))))).await
    }

    /// The same, for parts of this crate that find out inside which rows to change.
    pub(crate) async fn append_with_rows<F>(&self, append: Append, inside: F) -> Result<Appended, AppendError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<Vec<RowChange>, BoxError> + Send + 'static,
    {
        self.enqueue(append, Some(Inside::Before(Box::new(inside)))).await
    }

    /// Appends, and runs `then` in the same transaction once the events are written; if it fails, nothing was.
    pub(crate) async fn append_then<F>(&self, append: Append, then: F) -> Result<Appended, AppendError>
    where
        F: FnOnce(&mut Within<'_>) -> Result<Vec<RowChange>, BoxError> + Send + 'static,
    {
        self.enqueue(append, Some(Inside::Then(Box::new(then)))).await
    }

    /// Runs a query of your own on a reader's connection, in one snapshot, off the runtime's threads.
    ///
    /// The connection cannot write. A snapshot keeps the write-ahead log from being brought over, so read long results
    /// in parts.
    ///
    /// ```
    /// use resilience_cqrs::SqliteStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("bank.db");
    /// let store = SqliteStore::open(&path).await?;
    /// let count: i64 = store.read_sql(|db| db.query_row("SELECT count(*) FROM log_event", [], |row| row.get(0))).await?;
    /// assert_eq!(count, 0);
    /// assert!(store.read_sql(|db| db.execute("DELETE FROM log_event", [])).await.is_err(), "it reads");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The query's own error, or the store's.
    pub async fn read_sql<T, F>(&self, query: F) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let run = move |conn: &Connection| {
            let snapshot = conn.unchecked_transaction()?;
            query(&snapshot)
        };
        self.shared.pool.run_alone(move |reader| run(&reader.conn)).await?.map_err(SqlError::Sql)
    }

    /// Reads the whole file and checks that it fits together: SQLite's own check, positions and versions without gap,
    /// names and tags for what is there. Takes about as long as copying the file.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, NewEvent, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("bank.db");
    /// let store = SqliteStore::open(&path).await?;
    /// store.append(Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", "")])).await?;
    /// // For a copy before it is trusted as a backup; appends go on meanwhile.
    /// store.verify().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Corrupt`](ReadError::Corrupt) with the first thing found.
    pub async fn verify(&self) -> Result<(), ReadError> {
        Ok(self.shared.pool.run_alone(|reader| open::verify(&reader.conn)).await??)
    }

    /// Finishes what is queued, brings the write-ahead log into the file, and gives the file up.
    ///
    /// Appends and reads after this, on any clone, are refused as closed. A second call waits for the same end.
    ///
    /// Dropped before it completes, the store may be closed all the same, in its own time. A program that ends without
    /// it loses nothing that was acknowledged; the next start only reads the write-ahead log.
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

    async fn enqueue(&self, append: Append, inside: Option<Inside>) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Append(AppendJob { append, inside, answer });
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
}

impl EventStore for SqliteStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.enqueue(append, None).await
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        let command = command.clone();
        Ok(self.shared.pool.run(move |reader| decode::command(&reader.conn, command.as_str())).await??)
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let query = query.clone();
        let head = self.head();
        let read = move |reader: &mut Reader| read::page(&reader.conn, &mut reader.names, after, &query, limit, head);
        Ok(self.shared.pool.run(read).await??)
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let stream = stream.clone();
        let read = move |reader: &mut Reader| read::named(&reader.conn, &mut reader.names, &stream, after, limit);
        Ok(self.shared.pool.run(read).await??)
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        let streams = streams.to_vec();
        // No statement reads several lists, each with a limit of its own; one hand-over to a reader is what there is to save.
        let read = move |reader: &mut Reader| {
            let Reader { conn, names } = reader;
            let each = streams.iter().map(|(stream, after)| read::named(conn, names, stream, *after, limit));
            each.collect::<Result<Vec<_>, error::Fault>>()
        };
        Ok(self.shared.pool.run(read).await??)
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        let row = self.shared.pool.run(move |reader| read::row(&reader.conn, &space, &key)).await?;
        Ok(row.map_err(error::Fault::from)?)
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let (space, after) = (space.to_owned(), after.map(<[u8]>::to_owned));
        let rows =
            self.shared.pool.run(move |reader| read::rows(&reader.conn, &space, after.as_deref(), limit)).await?;
        Ok(rows.map_err(error::Fault::from)?)
    }

    fn head(&self) -> Position {
        *self.shared.head.borrow()
    }

    async fn wait_past(&self, position: Position) -> Position {
        crate::store::wait_past(&self.shared.head, position).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}
