//! Leases in a file, for the processes of one machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use resilience_core::context::FencingToken;
use resilience_core::lease::{Acquired, Lease, Leases};
use resilience_core::time::SharedTimer;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{LeaseError, TIDY, millis};

/// Questions that may wait for the thread; further callers wait in front.
const QUEUE: usize = 64;

/// The layout below; a file of another is refused.
const LAYOUT: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS lease_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (
    resource TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    until INTEGER NOT NULL -- milliseconds since 1970
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lease_until ON lease (until);
INSERT OR IGNORE INTO lease_meta VALUES ('layout', 1), ('last token', 0);
";

/// The time, as the database has it: the same throughout a statement.
const NOW: &str = "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)";

/// Leases in a file of SQLite; see the [module](super). Clones share a connection and its thread.
///
/// The thread ends when the last clone is dropped. Any runtime will do, or none.
#[derive(Clone)]
pub struct SqliteLeases {
    work: mpsc::Sender<Work>,
    timer: SharedTimer,
    path: PathBuf,
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

impl SqliteLeases {
    /// Opens the file with the defaults, making it if it is not there.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::lease::{Leases, Ownership};
    /// use resilience_cqrs::lease::SqliteLeases;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("leases.db");
    /// let leases = SqliteLeases::open(path).await?;
    /// let ttl = Duration::from_secs(10);
    /// let lease = leases.acquire("relay", "node-1", ttl).await?.granted().ok_or("somebody has it")?;
    /// // One that asks again under its name has it anew, with another token: it may be a restart of the same.
    /// let anew = leases.acquire("relay", "node-1", ttl).await?.granted().ok_or("somebody has it")?;
    /// assert!(anew.token() > lease.token());
    /// assert!(leases.renew(&lease, ttl).await?.is_none(), "what the former self held is over");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`LeaseError`] if it cannot be opened, or is something else.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, LeaseError> {
        Self::builder().open(path).await
    }

    /// Sets up leases in a file.
    pub fn builder() -> SqliteLeasesBuilder {
        SqliteLeasesBuilder { busy_timeout: Duration::from_secs(5), timer: SharedTimer::default() }
    }

    /// Runs `ask` in a transaction of its own, which is durable when this answers.
    async fn ask<T, F>(&self, ask: F) -> Result<T, LeaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |conn| {
            // Whoever asked may have gone; what they asked for is done all the same.
            let _ = answer.send(transact(conn, ask));
        });
        let gone = || LeaseError::new(false, "the thread of the leases is gone");
        self.work.send(work).await.map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
    }
}

/// Sets up a [`SqliteLeases`].
#[derive(Clone, Debug)]
pub struct SqliteLeasesBuilder {
    busy_timeout: Duration,
    timer: SharedTimer,
}

impl SqliteLeasesBuilder {
    /// How long to wait for other processes' transactions. Default: 5 s.
    ///
    /// After that a question fails as [retryable](LeaseError::is_retryable). Waiting is the thread's: no runtime is
    /// blocked.
    #[must_use]
    pub fn busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// The owners' clock: when a [`Lease`] says that it is over. Default: tokio's.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Opens the file, making it if it is not there.
    ///
    /// # Errors
    /// [`LeaseError`] if it cannot be opened, or is something else.
    pub async fn open(self, path: impl Into<PathBuf>) -> Result<SqliteLeases, LeaseError> {
        let path = path.into();
        let (work, jobs) = mpsc::channel(QUEUE);
        let (opened, outcome) = oneshot::channel();
        let spawned = thread::Builder::new().name("cqrs-leases".into()).spawn({
            let path = path.clone();
            move || match connect(&path, self.busy_timeout) {
                Ok(conn) => {
                    let _ = opened.send(Ok(()));
                    serve(conn, jobs);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        spawned.map_err(|error| LeaseError::new(true, error))?;
        match outcome.await {
            Ok(opened) => opened.map(|()| SqliteLeases { work, timer: self.timer, path }),
            Err(_) => Err(LeaseError::new(false, "the thread of the leases panicked")),
        }
    }
}

impl Leases for SqliteLeases {
    type Error = LeaseError;

    async fn acquire(&self, resource: &str, owner: &str, ttl: Duration) -> Result<Acquired, LeaseError> {
        let asked = self.timer.now();
        let names = (resource.to_owned(), owner.to_owned());
        let answer = self.ask(move |tx| acquire(tx, &names.0, &names.1, millis(ttl))).await?;
        Ok(match answer {
            Ok(token) => Acquired::Granted(Lease::new(resource, owner, token, asked + ttl)),
            Err((holder, wait)) => Acquired::Held { owner: Some(holder.into()), retry_after: Some(wait) },
        })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, LeaseError> {
        let asked = self.timer.now();
        let (resource, token) = (lease.resource().to_owned(), column(lease.token()));
        let renewed = self.ask(move |tx| {
            let sql =
                format!("UPDATE lease SET until = {NOW} + ?3 WHERE resource = ?1 AND token = ?2 AND until > {NOW}");
            tx.prepare_cached(&sql)?.execute(params![resource, token, millis(ttl)])
        });
        let renewed = renewed.await? > 0;
        Ok(renewed.then(|| Lease::new(lease.resource(), lease.owner(), lease.token(), asked + ttl)))
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let (resource, token) = (lease.resource().to_owned(), column(lease.token()));
        let released = self.ask(move |tx| {
            let sql = format!("DELETE FROM lease WHERE resource = ?1 AND token = ?2 AND until > {NOW}");
            tx.prepare_cached(&sql)?.execute(params![resource, token])
        });
        Ok(released.await? > 0)
    }
}

impl fmt::Debug for SqliteLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLeases").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A token as it is stored. One that does not fit was never given by this engine, and finds nothing.
fn column(token: FencingToken) -> i64 {
    i64::try_from(token.get()).unwrap_or(-1)
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, LeaseError> {
    let mut conn = Connection::open(path)?;
    conn.busy_timeout(busy_timeout)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    // A token that is forgotten with the power would be given a second time.
    conn.pragma_update(None, "synchronous", "full")?;
    let layout = transact(&mut conn, |tx| {
        tx.execute_batch(TABLES)?;
        tx.query_row("SELECT value FROM lease_meta WHERE name = 'layout'", [], |row| row.get::<_, i64>(0))
    })?;
    if layout == LAYOUT {
        return Ok(conn);
    }
    Err(LeaseError::new(false, format!("the leases have layout {layout}, this program knows {LAYOUT}")))
}

fn serve(mut conn: Connection, mut jobs: mpsc::Receiver<Work>) {
    while let Some(work) = jobs.blocking_recv() {
        work(&mut conn);
    }
}

fn transact<T>(
    conn: &mut Connection,
    ask: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // The write lock from the start: of two that ask at once the second sees what the first has done, and the later time.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answer = ask(&tx)?;
    tx.commit()?;
    Ok(answer)
}

type Holder = (String, Duration);

fn acquire(
    tx: &Transaction<'_>,
    resource: &str,
    owner: &str,
    ttl: i64,
) -> rusqlite::Result<Result<FencingToken, Holder>> {
    let now: i64 = tx.prepare_cached(&format!("SELECT {NOW}"))?.query_row([], |row| row.get(0))?;
    // Held => held: its time is not over, and the one who asks is another.
    let held = tx
        .prepare_cached("SELECT owner, until FROM lease WHERE resource = ?1 AND until > ?2 AND owner <> ?3")?
        .query_row(params![resource, now, owner], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    if let Some((holder, until)) = held {
        return Ok(Err((holder, Duration::from_millis(until.saturating_sub(now).unsigned_abs()))));
    }
    // Free, over, or the owner's own from an earlier life => granted, under a new token.
    let token: i64 = tx
        .prepare_cached("UPDATE lease_meta SET value = value + 1 WHERE name = 'last token' RETURNING value")?
        .query_row([], |row| row.get(0))?;
    tx.prepare_cached("INSERT OR REPLACE INTO lease (resource, owner, token, until) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![resource, owner, token, now.saturating_add(ttl)])?;
    tx.prepare_cached(
        "DELETE FROM lease WHERE resource IN (SELECT resource FROM lease WHERE until <= ?1 ORDER BY until LIMIT ?2)",
    )?
    .execute(params![now, TIDY])?;
    Ok(Ok(FencingToken::new(token.unsigned_abs())))
}
