//! The writer: one thread, one connection, one durable commit for everybody who is waiting.

use std::fs::File;
use std::sync::Arc;
use std::thread::JoinHandle;

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::time::SharedTimer;
use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::batch::{Batcher, Refusal};
use super::decode::Reader;
use super::error::{Fault, Meaning};
use super::event::Event;
use super::guard::Guard;
use super::inside::Inside;
use crate::log::{Append, AppendError, Appended, Corrupt, Position};
use crate::pool::Pool;

/// Appends that wait for the writer; further callers wait in front.
pub(super) const QUEUE: usize = 4096;

/// Appends in one transaction. More gain nothing, as the commit's cost is spread thin by then, and delay the first.
const BATCH: usize = 1024;

/// Pages in the write-ahead log at which they are brought into the database file when nobody is waiting, and at which
/// somebody waits. 1,000 is SQLite's own default; it would do it inside the commit, before the answer.
const CHECKPOINT_IDLE: u64 = 1000;
const CHECKPOINT_BUSY: u64 = 8000;

pub(super) enum Job {
    Append(AppendJob),
    /// Stop, once what was queued before is done.
    Close,
}

type Answer = oneshot::Sender<Result<Appended, AppendError>>;

pub(super) struct AppendJob {
    pub(super) append: Append,
    pub(super) inside: Option<Inside>,
    pub(super) answer: Answer,
}

/// What the writer works with, besides its connection.
pub(super) struct Writer {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) head: Arc<watch::Sender<Position>>,
    pub(super) pool: Arc<Pool<Reader>>,
    pub(super) readers: Vec<JoinHandle<()>>,
    pub(super) timer: SharedTimer,
    pub(super) name: Name,
    pub(super) listeners: Listeners,
    pub(super) erase: bool,
    /// Held until the file is given up.
    pub(super) given_up: watch::Sender<()>,
    #[cfg(test)]
    pub(super) faults: Arc<super::tests::Faults>,
}

impl Writer {
    /// Serves appends until the store is closed or nobody holds it any more.
    pub(super) fn run(mut self, conn: Connection, guard: Guard, lock: File) {
        let failure = self.serve(&conn, guard);
        self.pool.close();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        // A medium that failed must not be written again, not even to tidy up: the next open recovers from the log.
        let tidy = failure.is_none();
        let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !tidy);
        drop(conn);
        drop(lock);
        self.emit(|| Event::Closed);
        drop(self.given_up); // Tells whoever waits for the end.
    }

    fn serve(&mut self, conn: &Connection, guard: Guard) -> Option<Meaning> {
        let mut failure = None;
        let mut batcher = match Batcher::new(conn, guard) {
            Ok(batcher) => Some(batcher),
            Err(fault) => {
                self.fail(&mut failure, fault.meaning());
                None
            }
        };
        let mut queue = Vec::with_capacity(BATCH);
        let mut next_checkpoint = CHECKPOINT_IDLE;
        while self.jobs.blocking_recv_many(&mut queue, BATCH) > 0 {
            let mut batch = Vec::with_capacity(queue.len());
            for job in queue.drain(..) {
                match job {
                    Job::Append(job) if job.answer.is_closed() => {} // Given up while it waited: not written.
                    Job::Append(job) => batch.push(job),
                    Job::Close => self.jobs.close(), // Nobody queues behind; what is queued is still received.
                }
            }
            match (&mut batcher, &failure) {
                (Some(batcher), None) => {
                    if let Some(meaning) = self.commit(batcher, conn, batch) {
                        self.fail(&mut failure, meaning);
                    }
                }
                (_, Some(meaning)) => refuse(batch, &meaning.clone().afterwards()),
                (None, None) => refuse(batch, &Meaning::Corrupt(Corrupt::new("the log could not be read"))),
            }
            // A checkpoint that finds no room leaves the log as it is; appends will say so themselves.
            if failure.is_none()
                && let Err(fault) = self.checkpoint(conn, &mut next_checkpoint)
                && let meaning = fault.meaning()
                && meaning.ends_writing()
            {
                self.fail(&mut failure, meaning);
            }
        }
        failure
    }

    /// One transaction for the batch. What it means if no further one may follow.
    fn commit(&mut self, batcher: &mut Batcher<'_>, conn: &Connection, batch: Vec<AppendJob>) -> Option<Meaning> {
        if batch.is_empty() {
            return None;
        }
        let began = (!self.listeners.is_empty()).then(|| self.timer.now());
        let before = batcher.head();
        let (answers, requests): (Vec<Answer>, Vec<_>) =
            batch.into_iter().map(|job| (job.answer, (job.append, job.inside))).unzip();
        let results = match self.transact(batcher, conn, requests) {
            Ok(results) => results,
            Err(meaning) => {
                let appends = answers.len();
                for answer in answers {
                    let _ = answer.send(Err(meaning.clone().into_append_error()));
                }
                self.emit(|| Event::Undone { appends, reason: format!("{meaning:?}") });
                let lost = if meaning.ends_writing() { Some(meaning) } else { None };
                return lost.or_else(|| batcher.reload().err().map(Fault::meaning));
            }
        };
        let head = batcher.head();
        // Before the answers: whoever has one can already read what it is about.
        self.head.send_if_modified(|published| std::mem::replace(published, head) != head);
        let total = answers.len();
        let mut appends = 0;
        for (answer, result) in answers.into_iter().zip(results) {
            appends += usize::from(result.is_ok());
            let _ = answer.send(result);
        }
        self.emit(|| {
            let took = began.map(|began| self.timer.now().since(began)).unwrap_or_default();
            Event::Committed { appends, refused: total - appends, events: head.since(before), took }
        });
        None
    }

    /// Each append's own result, all of them durable; or what befell them all, with nothing in the log.
    fn transact(
        &self,
        batcher: &mut Batcher<'_>,
        conn: &Connection,
        requests: Vec<(Append, Option<Inside>)>,
    ) -> Result<Vec<Result<Appended, AppendError>>, Meaning> {
        let now = self.timer.wall();
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
            .map_err(|error| Fault::from(error).meaning())?;
        batcher.take_in().map_err(Fault::meaning)?;
        let mut results = Vec::with_capacity(requests.len());
        for (append, inside) in requests {
            results.push(match batcher.append(&append, inside, &tx, now) {
                Ok(appended) => Ok(appended),
                Err(Refusal::Alone(error)) => Err(error),
                Err(Refusal::All(fault)) => return Err(fault.meaning()), // Dropping the transaction undoes it.
            });
        }
        self.injected().and_then(|()| tx.commit()).map_err(|error| Fault::from(error).meaning().at_commit())?;
        Ok(results)
    }

    /// Brings the write-ahead log over when it is long, between commits and never inside one.
    fn checkpoint(&self, conn: &Connection, next: &mut u64) -> Result<(), Fault> {
        if self.erase {
            let (done, left) = pages_done(conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE))
                .map(|(pages, done)| (done, pages.saturating_sub(done)))?;
            self.emit(|| Event::Checkpointed { pages: done, left });
            return Ok(());
        }
        let (pages, _) = pages(conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::NOOP)?);
        // The log begins again at its start once it was brought over completely.
        if pages < *next {
            *next = (*next).min(pages.max(CHECKPOINT_IDLE));
        }
        if pages < *next || (!self.jobs.is_empty() && pages < CHECKPOINT_BUSY.max(*next)) {
            return Ok(());
        }
        let (pages, done) = pages_done(conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE))?;
        let left = pages.saturating_sub(done);
        // A reader that holds pages back is not asked again until there is as much to do as the first time.
        *next = if left == 0 { CHECKPOINT_IDLE } else { pages + CHECKPOINT_IDLE };
        self.emit(|| Event::Checkpointed { pages: done, left });
        Ok(())
    }

    fn fail(&self, failure: &mut Option<Meaning>, meaning: Meaning) {
        self.emit(|| Event::Failed { reason: format!("{meaning:?}") });
        tracing::error!(store = %self.name, ?meaning, "the store takes no more appends until it is opened again");
        *failure = Some(meaning);
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }

    #[cfg(test)]
    fn injected(&self) -> rusqlite::Result<()> {
        self.faults.at_commit()
    }

    #[cfg(not(test))]
    fn injected(&self) -> rusqlite::Result<()> {
        Ok(())
    }
}

fn refuse(batch: Vec<AppendJob>, meaning: &Meaning) {
    for job in batch {
        let _ = job.answer.send(Err(meaning.clone().into_append_error()));
    }
}

fn pages((total, done): (i32, i32)) -> (u64, u64) {
    // -1 means that there is no write-ahead log to speak of.
    (u64::try_from(total).unwrap_or(0), u64::try_from(done).unwrap_or(0))
}

/// A checkpoint that found the log busy did what it could; that is not an error.
fn pages_done(result: rusqlite::Result<(i32, i32)>) -> rusqlite::Result<(u64, u64)> {
    match result {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok((0, 0)),
        other => other.map(pages),
    }
}
