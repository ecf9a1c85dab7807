//! The writer: one task, one connection, one durable commit for everybody who is waiting.

use std::sync::Arc;

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::time::{SharedTimer, Timestamp};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::batch;
use super::error::Fault;
use super::event::Event;
use super::listen::advance;
use crate::log::{Append, AppendError, Appended, Position, Written};

/// Appends that may wait; beyond that, callers wait to be let in.
pub(super) const QUEUE: usize = 4096;

/// The most appends in one transaction. More are not faster, and all wait for the slowest.
const BATCH: usize = 512;

/// How often a transaction that fell victim to another is tried again.
const ATTEMPTS: u32 = 4;

pub(super) enum Job {
    Append(AppendJob),
    Close,
}

type Answer = oneshot::Sender<Result<Appended, AppendError>>;
type Results = (Vec<Result<Appended, AppendError>>, Position);

pub(super) struct AppendJob {
    pub(super) append: Append,
    pub(super) answer: Answer,
}

pub(super) struct Writer {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) options: PgConnectOptions,
    /// None after it was lost, until the next append.
    pub(super) conn: Option<PgConnection>,
    pub(super) head: Arc<watch::Sender<Position>>,
    pub(super) committed: Arc<Notify>,
    pub(super) timer: SharedTimer,
    pub(super) name: Name,
    pub(super) listeners: Listeners,
    /// Dropped when the writer has ended.
    pub(super) given_up: watch::Sender<()>,
}

/// A transaction that failed.
struct Failed {
    fault: Fault,
    /// Whether it may have been committed all the same.
    written: Written,
}

impl Writer {
    pub(super) async fn run(mut self) {
        let mut queue = Vec::with_capacity(BATCH);
        while self.jobs.recv_many(&mut queue, BATCH).await > 0 {
            let mut batch = Vec::with_capacity(queue.len());
            for job in queue.drain(..) {
                match job {
                    Job::Append(job) if job.answer.is_closed() => {} // Given up while it waited: not written.
                    Job::Append(job) => batch.push(job),
                    Job::Close => self.jobs.close(), // Nobody queues behind; what is queued is still received.
                }
            }
            self.commit(batch).await;
        }
        if let Some(conn) = self.conn.take() {
            // Everything is committed; the server notices an unfriendly end as well.
            let _ = conn.close().await;
        }
        drop(self.given_up); // Tells whoever waits for the end.
    }

    /// Commits appends together; if the server refuses a value of one of them, each alone.
    async fn commit(&mut self, batch: Vec<AppendJob>) {
        if batch.is_empty() {
            return;
        }
        let began = (!self.listeners.is_empty()).then(|| self.timer.now());
        let appends: Vec<&Append> = batch.iter().map(|job| &job.append).collect();
        match self.attempt(&appends).await {
            Ok(results) => self.acknowledge(batch, results, began),
            Err(Failed { fault, .. }) if fault.is_about_data() && batch.len() > 1 => {
                for job in batch {
                    match self.attempt(&[&job.append]).await {
                        Ok(results) => self.acknowledge(vec![job], results, began),
                        Err(failed) => self.refuse(vec![job], failed),
                    }
                }
            }
            Err(failed) => self.refuse(batch, failed),
        }
    }

    /// One transaction, again if it was another's victim.
    async fn attempt(&mut self, appends: &[&Append]) -> Result<Results, Failed> {
        let mut attempt = 1;
        loop {
            let failed = match self.transact(appends).await {
                Ok(results) => return Ok(results),
                Err(failed) => failed,
            };
            if failed.fault.loses_connection() {
                self.conn = None;
                self.emit(|| Event::Disconnected { reason: format!("{:?}", failed.fault) });
                // Nothing was sent yet over a connection that had gone stale since the last append => a new one.
                let is_known = matches!(failed.written, Written::No);
                if !is_known || attempt > 1 {
                    return Err(failed);
                }
            } else if !failed.fault.is_transient() || attempt == ATTEMPTS {
                return Err(failed);
            }
            attempt += 1;
        }
    }

    async fn transact(&mut self, appends: &[&Append]) -> Result<Results, Failed> {
        let before = |fault: Fault| Failed { fault, written: Written::No };
        let conn = match &mut self.conn {
            Some(conn) => conn,
            None => {
                let conn = self.options.connect().await.map_err(|error| before(error.into()))?;
                self.conn.insert(conn)
            }
        };
        let mut tx = conn.begin().await.map_err(|error| before(error.into()))?;
        let results = batch::run(&mut tx, appends, self.timer.wall()).await.map_err(before)?;
        // From here on a lost connection leaves open whether the server got to it.
        tx.commit().await.map_err(|error| Failed { fault: error.into(), written: Written::Unknown })?;
        Ok(results)
    }

    fn acknowledge(&self, batch: Vec<AppendJob>, (results, head): Results, began: Option<Timestamp>) {
        let before = *self.head.borrow();
        // Before the answers: whoever has one can already read what it is about.
        advance(&self.head, head);
        let total = batch.len();
        let mut appends = 0;
        for (job, result) in batch.into_iter().zip(results) {
            appends += usize::from(result.is_ok());
            let _ = job.answer.send(result);
        }
        if head > before {
            self.committed.notify_one();
        }
        self.emit(|| {
            let took = began.map(|began| self.timer.now().since(began)).unwrap_or_default();
            Event::Committed { appends, refused: total - appends, events: head.since(before), took }
        });
    }

    fn refuse(&self, batch: Vec<AppendJob>, Failed { fault, written }: Failed) {
        let error = fault.into_append_error(written);
        self.emit(|| Event::Undone { appends: batch.len(), reason: error.to_string() });
        let mut rest = batch.into_iter();
        if let Some(first) = rest.next() {
            for job in rest {
                let _ = job.answer.send(Err(again(&error)));
            }
            let _ = first.answer.send(Err(error));
        }
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

/// The same error for another append of the batch.
fn again(error: &AppendError) -> AppendError {
    match error {
        AppendError::Unavailable(unavailable) => AppendError::Unavailable(unavailable.clone()),
        AppendError::Corrupt(corrupt) => AppendError::Corrupt(corrupt.clone()),
        AppendError::Full => AppendError::Full,
        other => AppendError::Refused(other.to_string().into()),
    }
}
