//! The log in PostgreSQL: one order for many processes.
//!
//! A log that several programs append to has one hard part: a reader that goes by position must never pass a position
//! whose event is not visible yet. Numbers from a sequence are taken before the commit, so with them a reader loses
//! events, a few in a hundred under load. Here an append locks the row that holds the last position, and keeps it until
//! its commit: positions have no gaps, become visible in their order, and every reader is `position > last seen`.
//!
//! - **Group commit.** Each store has one writer. It takes everything that waits, judges it under the lock, and writes it
//!   with a statement a table; so many appends share one round trip of each kind, one lock and one flush, and the lock is
//!   held for the time of that, never while a caller thinks.
//! - **Many stores.** Any number of processes may open the same log. They take turns at the lock; conflicts are found
//!   whoever wrote.
//! - **Durable.** The commit is the server's: with its `synchronous_commit` as it comes, what is acknowledged survives a
//!   power cut of the server.
//! - **A server that goes away** costs the appends in flight: those that nobody can know the fate of say so
//!   ([`Written::Unknown`](crate::Written)), and their [command id](crate::Append::command_id) tells on the next attempt.
//!   The store connects again by itself.
//! - **In your transaction.** [`append_in`](PostgresStore::append_in) appends as part of a transaction of yours.
//!
//! ```no_run
//! use resilience_cqrs::{Append, EventStore, Expected, NewEvent, PostgresStore};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = PostgresStore::builder().schema("bank").open("postgres://bank@localhost/bank").await?;
//! let opened = Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", r#"{"owner":"Ann"}"#)]);
//! let done = store.append(opened).await?;
//! assert!(store.head() >= done.last);
//! # Ok(()) }
//! ```
//!
//! # Layout
//!
//! In the schema of the store: `log_event` is the log; `log_head` its last position; `log_tag` finds events by tag;
//! `log_row` holds the keyed rows; `log_command` the results by command id; `log_meta` the version of this layout. Names
//! that begin with `log_` are the store's.
//!
//! # Limits
//!
//! PostgreSQL 15 or newer. One log has one order, so its appends do not scale with the server's cores; logs in schemas
//! of their own do. A transaction of yours that has appended holds the lock until it ends: append last.

mod batch;
pub(crate) mod beside;
mod config;
mod error;
mod event;
mod listen;
mod open;
mod read;
pub(crate) mod schema;
mod write;
mod writer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use resilience_core::Name;
use resilience_core::time::SharedTimer;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::config::PostgresStoreBuilder;
pub use self::error::OpenError;
pub use self::event::Event;

use self::error::Fault;
use self::writer::{AppendJob, Job};
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Unavailable,
    Version, Written,
};
use crate::store::{EventStore, Page};

/// An event store in a PostgreSQL database; the [module](self) explains it. Clones are one store.
///
/// The store ends when its last clone is dropped; [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    jobs: mpsc::Sender<Job>,
    head: Arc<watch::Sender<Position>>,
    pool: PgPool,
    /// Where connections live; callers may come from any other executor.
    runtime: Handle,
    name: Name,
    timer: SharedTimer,
    given_up: watch::Receiver<()>,
    /// Ends the listening when dropped.
    _open: watch::Sender<()>,
}

impl PostgresStore {
    /// Opens the log in the database at `url` with the defaults of the [builder](PostgresStoreBuilder).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::builder().open(url).await
    }

    /// Starts to set up a store.
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::new()
    }

    /// Appends within a transaction of the caller's, on a connection whose `search_path` leads to the log's schema.
    ///
    /// The append becomes visible with the caller's commit, and with it the caller's own writes. It takes the log's lock
    /// and holds it until the transaction ends, so it should be the last statement: nobody else appends meanwhile. If
    /// the server refuses, the transaction is void as after any failed statement; a conflict leaves it usable.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_in(&self, tx: &mut Transaction<'_, Postgres>, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        let ran = batch::run(tx, &[&append], self.shared.timer.wall()).await;
        let (mut results, _) = ran.map_err(|fault| fault.into_append_error(Written::No))?;
        results.pop().unwrap_or(Err(AppendError::Closed))
    }

    /// A connection for queries of the caller's, in the log's schema. Read models written through it become visible when
    /// the caller commits.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let pool = self.shared.pool.clone();
        match self.shared.runtime.spawn(async move { pool.acquire().await }).await {
            Ok(connection) => connection,
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// Takes no more appends, finishes those that wait, and gives the connections up.
    pub async fn close(&self) {
        // An error means that it is closing already. Either way, the writer drops its end when it is done.
        let _ = self.shared.jobs.send(Job::Close).await;
        let _ = self.shared.given_up.clone().changed().await;
        let pool = self.shared.pool.clone();
        let _ = self.shared.runtime.spawn(async move { pool.close().await }).await;
    }

    /// The name it goes by in events and logs.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Runs a read on the store's runtime, whatever executor asks.
    async fn reading<T, F>(&self, read: impl FnOnce(PoolConnection<Postgres>) -> F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let connection = self.connection().await.map_err(|error| match error {
            sqlx::Error::PoolClosed => ReadError::Closed,
            error => Fault::from(error).into(),
        })?;
        match self.shared.runtime.spawn(read(connection)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ReadError::Closed),
        }
    }
}

impl EventStore for PostgresStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Append(AppendJob { append, answer });
        self.shared.jobs.send(job).await.map_err(|_| AppendError::Closed)?;
        match answered.await {
            Ok(result) => result,
            Err(_) => Err(AppendError::Unavailable(Unavailable {
                reason: "the store's runtime has ended".into(),
                written: Written::Unknown,
                retryable: false,
                source: None,
            })),
        }
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        let command = command.clone();
        self.reading(async move |mut conn| {
            let found = read::commands(&mut conn, &[command.as_str()]).await?;
            Ok(found.into_iter().next().map(|(_, committed)| committed))
        })
        .await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let query = query.clone();
        let head = self.shared.head.clone();
        self.reading(async move |mut conn| {
            // What other processes have committed is there before anybody has told us.
            let now = read::head(&mut conn).await?;
            listen::advance(&head, now);
            read::page(&mut conn, after, &query, limit, now).await
        })
        .await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let stream = stream.clone();
        self.reading(async move |mut conn| read::stream(&mut conn, stream.as_str(), after, limit).await).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        self.reading(async move |mut conn| read::row(&mut conn, &space, &key).await).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let (space, after) = (space.to_owned(), after.map(<[u8]>::to_owned));
        self.reading(async move |mut conn| read::rows(&mut conn, &space, after.as_deref(), limit).await).await
    }

    fn head(&self) -> Position {
        *self.shared.head.borrow()
    }

    async fn wait_past(&self, position: Position) -> Position {
        crate::store::wait_past(&self.shared.head, position).await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("name", self.name()).field("head", &self.head()).finish_non_exhaustive()
    }
}
