//! A participant's SQLite file behind one writer thread: what arrives while a commit is under way shares the next one.
//!
//! A commit at `synchronous=FULL` costs a flush of the disk whether it carries one call or a hundred. So the thread
//! takes whatever has queued up, runs each call in a savepoint of one transaction, commits once, and only then answers.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::problem::Problem;

/// Calls that may wait for the writer; beyond it, callers wait for a place.
const QUEUE: usize = 1_024;
/// Most calls in one commit.
const BATCH: usize = 128;

/// A store; clones share the writer.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Box<dyn Job>>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Why a call left nothing behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the store could not commit: {0}")]
    Commit(String),
    #[error("the store is closed")]
    Closed,
}

impl Store {
    /// Opens `path`, creates what `schema` says, and runs `first` in one transaction.
    pub(crate) fn open(
        path: &Path,
        schema: &str,
        first: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<Self, Problem> {
        let connection = connect(path, schema, first).map_err(|why| Problem::file("open the store", path, why))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || write(connection, queue))
            .map_err(|why| Problem::file("start the writer of", path, why))?;
        Ok(Self { jobs, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Runs `work` in a savepoint of its own; returns once what it wrote is durable.
    ///
    /// If `work` fails, its savepoint is rolled back and the others in the same commit do not notice. If the caller
    /// stops waiting, the work is done all the same.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Work { work: Some(work), result: None, answer });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Waits until everything handed in is durable, then closes the file. Other clones must be gone by then.
    pub(crate) fn close(self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.jobs);
        if let Some(writer) = writer {
            // A panicked writer has answered nobody it had not committed for; there is nothing left to save.
            let _ = writer.join();
        }
    }
}

/// An amount as SQLite keeps it.
pub(super) fn signed(amount: u64) -> rusqlite::Result<i64> {
    i64::try_from(amount).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn connect(
    path: &Path,
    schema: &str,
    first: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(64);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(schema)?;
    first(&transaction)?;
    transaction.commit()?;
    Ok(connection)
}

fn write(mut connection: Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(job) = queue.blocking_recv() {
        batch.push(job);
        while batch.len() < BATCH {
            match queue.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        let committed = commit(&mut connection, &mut batch).map_err(|error| error.to_string());
        for job in batch.drain(..) {
            job.answer(committed.clone());
        }
    }
    // Leaves one file behind instead of three; if it fails, the log is read at the next start.
    let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

fn commit(connection: &mut Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        transaction.prepare_cached("SAVEPOINT job")?.execute([])?;
        if !job.run(&transaction) {
            transaction.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        transaction.prepare_cached("RELEASE job")?.execute([])?;
    }
    transaction.commit()
}

/// One call's work, its result of any type kept until the commit.
trait Job: Send {
    /// Whether it succeeded.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;
    fn answer(self: Box<Self>, committed: Result<(), String>);
}

struct Work<F, T> {
    work: Option<F>,
    result: Option<rusqlite::Result<T>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Work<F, T>
where
    F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        let result = work(transaction);
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), String>) {
        let result = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(StoreError::Sqlite(error)),
            (_, Err(why)) => Err(StoreError::Commit(why)),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // Whoever asked may have stopped waiting.
        let _ = self.answer.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_call_takes_nothing_with_it_and_an_answered_one_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let schema = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)";
        let store = Store::open(&path, schema, |_| Ok(())).unwrap();
        let inserts = (0..200_i64).map(|n| {
            let store = store.clone();
            async move {
                store
                    .run(move |tx| {
                        tx.execute("INSERT INTO t VALUES (?1)", [n])?;
                        // Every third fails after it has written.
                        if n % 3 == 0 { Err(rusqlite::Error::InvalidQuery) } else { Ok(n) }
                    })
                    .await
            }
        });
        let results = futures::future::join_all(inserts).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 133);
        store.close();
        let store = Store::open(&path, schema, |_| Ok(())).unwrap();
        let kept: i64 = store
            .run(|tx| tx.query_row("SELECT count(*) FROM t WHERE n % 3 != 0", [], |row| row.get(0)))
            .await
            .unwrap();
        let all: i64 = store.run(|tx| tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))).await.unwrap();
        assert_eq!((kept, all), (133, 133));
        store.close();
    }
}
