//! The log in PostgreSQL: one order for many processes.
//!
//! A log that several programs append to has one hard part: a reader that goes by position must never pass a position
//! whose event is not visible yet. Numbers from a sequence are taken before the commit, so with them a reader loses
//! events, a few in a hundred under load. Here an append locks the row that holds the last position, and keeps it until
//! its commit: positions have no gaps, become visible in their order, and every reader is `position > last seen`.
//!
//! - **Group commit.** Each store has one writer. It takes everything that waits and makes one call of a function in the
//!   database, which locks the head, looks at all that the appends name, writes, and commits: one round trip for as many
//!   appends as there are, conditions on queries included. Only if one of them cannot be accepted is there more to ask.
//!   The lock is held for that long, never while a caller thinks and, under load, never while the disk works. While
//!   nobody else writes, a store does in one plain statement what the function does in several, and knows the versions.
//!   Streams that are read side by side, as commands load their aggregates, share statements too.
//! - **Many stores.** Any number of processes may open the same log. They take turns at the lock; conflicts are found
//!   whoever wrote.
//! - **Durable.** What is acknowledged survives a power cut of the server, as far as its `synchronous_commit` goes by
//!   itself; see [below](#ahead-of-the-disk).
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
//! # Ahead of the disk
//!
//! With the lock held until the commit is on disk, a log has as many transactions a second as the disk has flushes, one
//! after the other. But the log of the server reaches the disk in order: if a commit does not wait for it, the next
//! durable commit of anything covers it. So under load a batch is committed with `synchronous_commit = off`, which gives
//! the lock back at once; a second connection then commits an empty message durably, which is the *barrier*, and only
//! after that are the batch's appends answered, its conflicts included. All batches that were committed before a barrier
//! began share it. With little to do, the batch's own commit waits for the disk, and there is no second round trip.
//!
//! So the tables hold, for a moment, what a crash may take back. Nobody may act on that, and these are the alternatives:
//! readers could wait for a barrier each time (under load, always), or be kept at what their own process knows to be
//! durable (then they miss what another has acknowledged). Here the head's row says who wrote last, and since when alone:
//! if that is this very store, what is not known to be durable was told to nobody, and the reader gets the log up to
//! where it is durable, without waiting. If it is somebody else, the reader passes a barrier of its own, on its own
//! connection, unless the server says that it has flushed everything. The same goes for rows, by the turn in which they
//! were written. [`head`](EventStore::head) and [`wait_past`](EventStore::wait_past) only know of what is durable, and
//! so do the hints that stores give each other.
//!
//! A barrier proves something about a commit only if the server did not crash between them. Crashes end connections: a
//! barrier counts only for commits that were sent after its connection was open. If that is lost, the appends are
//! [`Unknown`](crate::Written). Hence no pool that changes servers behind a connection (pgbouncer in transaction mode)
//! may stand between, which `LISTEN` would not survive either.
//!
//! A query of your own over [`connection`](PostgresStore::connection) sees the tables as they are. What it writes in the
//! same database commits after what it has seen, in the same log: a read model and its checkpoint can never be durable
//! without the events they were made from. What leaves the database must come from the store's own reads.
//!
//! # Backups
//!
//! Everything is in the database, so its backups are the log's, and nothing has to stop for them: `pg_basebackup` copies a
//! running server, `pg_dump --schema` one log. Either is the log up to some append, with the rows, checkpoints and command
//! results of that moment, and a store opened on it goes on from there, at the same positions; after a dump, in any other
//! cluster too, for no position depends on transaction ids. To check a backup, restore it, open a store on it and read it
//! through: positions without a hole, and [`verify`](crate::audit) if the log is sealed. What was acknowledged after the
//! backup is lost with the server, unless its log is archived or a [standby](Replica) has it.
//!
//! # When the log goes back
//!
//! A standby that was promoted without having received everything, a server restored from a backup behind the same
//! address: positions that were acknowledged are gone, and will be given again. A store asks about that on each new
//! connection, before it appends or answers over it, by the head and by the timelines of the server's own log, of which
//! `log_meta` says where they began. If what it knows is gone, it says so once ([`Event::WentBack`]), wakes whoever waits
//! ([`head`](EventStore::head) moves by one), and answers everything, here and to subscriptions, with an error that is not
//! retryable. Nothing of what the program has in memory (states, checkpoints on their way, positions told to clients) can
//! be trusted then: start it anew. Checkpoints in the database are as old as the log. A copy of another cluster that has
//! grown past what the store knows, behind the same address while it runs, is not found out.
//!
//! # Layout
//!
//! In the schema of the store: `log_event` is the log; `log_head` its last position; `log_tag` finds events by tag;
//! `log_row` holds the keyed rows; `log_command` the results by command id; `log_meta` the version of this layout and where timelines began;
//! `log_append` is the function that appends. Names that begin with `log_` are the store's.
//!
//! # Limits
//!
//! PostgreSQL 15 or newer. One log has one order, so its appends do not scale with the server's cores; logs in schemas
//! of their own do. A transaction of yours that has appended holds the lock until it ends: append last.

mod alone;
mod answer;
mod batch;
pub(crate) mod beside;
mod call;
mod config;
mod draft;
mod durable;
mod error;
mod event;
mod flush;
mod judge;
mod lineage;
mod listen;
mod loads;
mod open;
mod read;
mod replica;
pub(crate) mod schema;
mod store;
mod writer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use resilience_core::Name;
use resilience_core::time::SharedTimer;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

pub use self::config::PostgresStoreBuilder;
pub use self::error::OpenError;
pub use self::event::Event;
pub use self::replica::{Replica, ReplicaBuilder, ReplicaCounts};

use self::call::How;
use self::durable::{Durable, Seen};
use self::error::Fault;
use self::loads::Loads;
use self::writer::Job;
use crate::log::{Append, AppendError, Appended, ReadError, Written};
use crate::store::EventStore;

/// An event store in a PostgreSQL database; the [module](self) explains it. Clones are one store.
///
/// The store ends when its last clone is dropped; [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    jobs: mpsc::Sender<Job>,
    durable: Arc<Durable>,
    loads: Loads,
    /// For the store's own reads.
    pool: PgPool,
    /// For what callers do; see [`connection`](PostgresStore::connection).
    lent: PgPool,
    /// Where connections live; callers may come from any other executor.
    runtime: Handle,
    name: Name,
    schema: Option<String>,
    timer: SharedTimer,
    /// How many connections for reads there may be.
    readers: u32,
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
    /// ```no_run
    /// use resilience_cqrs::{Append, Expected, NewEvent, PostgresStore};
    /// use sqlx::Connection;
    ///
    /// # async fn run(store: PostgresStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connection = store.connection().await?;
    /// let mut tx = connection.begin().await?;
    /// sqlx::query("UPDATE seat SET taken = true WHERE id = 17").execute(&mut *tx).await?;
    /// // Last, for from here to the commit everybody else's appends wait.
    /// let booked = Append::new().events("seat-17", Expected::Any, [NewEvent::new("Booked", "")]);
    /// store.append_in(&mut tx, booked).await?;
    /// tx.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_in(&self, tx: &mut Transaction<'_, Postgres>, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        self.shared.durable.intact().map_err(|lost| AppendError::Unavailable(lost.into()))?;
        let how = How { me: 0, guard: None, lazily: None };
        let done = batch::within(tx, &[&append], how, self.shared.timer.wall()).await;
        let mut done = done.map_err(|fault| fault.into_append_error(Written::No))?;
        if !done.wrote && !self.shared.durable.covers(done.turn) {
            self.settle_beside(tx).await.map_err(|fault| fault.into_append_error(Written::No))?;
        }
        done.results.pop().unwrap_or(Err(AppendError::Closed))
    }

    /// A connection for queries of the caller's, in the log's schema. Read models written through it become visible when
    /// the caller commits.
    ///
    /// It is [lent](PostgresStoreBuilder::lent): dropped, it comes back and is lent again, without what was set, locked,
    /// listened for or left open in its session. The store itself uses others.
    ///
    /// ```no_run
    /// use resilience_cqrs::PostgresStore;
    ///
    /// # async fn run(store: PostgresStore) -> Result<(), Box<dyn std::error::Error>> {
    /// // In the log's schema, so no name need be qualified.
    /// let mut connection = store.connection().await?;
    /// let rows = sqlx::query("SELECT account, cents FROM balance ORDER BY cents DESC LIMIT 10");
    /// let richest = rows.fetch_all(&mut *connection).await?;
    /// # drop(richest);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the server cannot be reached, or the log [went back](self#when-the-log-goes-back).
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let store = self.clone();
        match self.shared.runtime.spawn(async move { store.lend().await }).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(Fault::Database(error))) => Err(error),
            Ok(Err(Fault::WentBack(lost))) => Err(sqlx::Error::Configuration(lost.into())),
            Ok(Err(Fault::Corrupt(corrupt))) => Err(sqlx::Error::Decode(corrupt.into())),
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// On the store's own runtime: a connection for the caller's statements.
    async fn lend(&self) -> Result<PoolConnection<Postgres>, Fault> {
        let connection = self.shared.lent.acquire().await?;
        self.shared.durable.intact()?; // It may be new.
        Ok(connection)
    }

    /// A connection for the store's own reads.
    async fn reader(&self) -> Result<PoolConnection<Postgres>, Fault> {
        let pool = self.shared.pool.clone();
        let connection = self.shared.runtime.spawn(async move { pool.acquire().await }).await;
        let connection = connection.map_err(|_| sqlx::Error::PoolClosed)??;
        self.shared.durable.intact()?; // As above.
        Ok(connection)
    }

    /// Takes no more appends, finishes those that wait, and gives the connections up.
    pub async fn close(&self) {
        // An error means that it is closing already. Either way, the writer drops its end when it is done.
        let _ = self.shared.jobs.send(Job::Close).await;
        let _ = self.shared.given_up.clone().changed().await;
        let (pool, lent) = (self.shared.pool.clone(), self.shared.lent.clone());
        let _ = self.shared.runtime.spawn(async move { (pool.close().await, lent.close().await) }).await;
    }

    /// Starts to set up reads from a streaming standby of this server; see [`Replica`].
    pub fn replica(&self) -> ReplicaBuilder {
        ReplicaBuilder::new(self.clone())
    }

    /// The name it goes by in events and logs.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Makes durable what a transaction has seen of others, over another connection: this one is in the transaction.
    async fn settle_beside(&self, tx: &mut Transaction<'_, Postgres>) -> Result<(), Fault> {
        // Not one of the pool's: the caller may have them all.
        let options = self.shared.pool.connect_options();
        let durable = self.shared.durable.clone();
        let settling = self.shared.runtime.spawn(async move {
            let mut beside = PgConnection::connect_with(&options).await?;
            let seen = Seen::ask(&mut beside).await?;
            durable.settle(&mut beside, seen).await?;
            Ok::<(), Fault>(beside.close().await?)
        });
        settling.await.map_err(|_| sqlx::Error::PoolClosed)??;
        // Had the server crashed since the transaction saw it, the transaction would be gone.
        sqlx::query("SELECT").execute(&mut **tx).await?;
        Ok(())
    }

    /// Runs a read on the store's runtime, whatever executor asks; over another connection, if the first was gone.
    async fn reading<T, F>(&self, read: impl Fn(PoolConnection<Postgres>, Arc<Durable>) -> F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let mut attempt = 1;
        loop {
            self.shared.durable.intact().map_err(Fault::from)?;
            let connection = self.reader().await.map_err(|fault| match fault {
                Fault::Database(sqlx::Error::PoolClosed) => ReadError::Closed,
                fault => fault.into(),
            })?;
            let durable = self.shared.durable.clone();
            match self.shared.runtime.spawn(read(connection, durable)).await {
                Ok(Ok(result)) => return Ok(result),
                // Each of the pool's connections may have gone with a server that is back by now.
                Ok(Err(fault)) if fault.loses_connection() && attempt <= self.shared.readers => attempt += 1,
                Ok(Err(fault)) => return Err(fault.into()),
                Err(_) => return Err(ReadError::Closed),
            }
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("name", self.name()).field("head", &self.head()).finish_non_exhaustive()
    }
}
