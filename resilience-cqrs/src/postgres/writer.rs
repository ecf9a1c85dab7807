//! The writer: one task, one connection, one round trip for everybody who is waiting.
//!
//! With little to do, a batch is committed durably and answered, which is one wait for the disk. When appends come faster
//! than that, the batch is committed without the wait and handed to the [flush](super::flush), which makes it durable
//! and answers while the next batch is judged: the log's lock is never held while the disk works.

use std::sync::Arc;
use std::time::Duration;

use resilience_core::time::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::alone::Memory;
use super::answer::{Answers, Committed};
use super::batch::{self, Done, Failed};
use super::durable;
use super::error::Fault;
use super::flush::{Epoch, Flush};
use super::lineage::Lineage;
use crate::log::{Append, AppendError, Appended, RowChange, Written};

/// Appends that may wait; beyond that, callers wait to be let in.
pub(super) const QUEUE: usize = 4096;

/// The most appends in one transaction. More are not faster, and all wait for the slowest.
const BATCH: usize = 512;

/// The most payload in one transaction, so that no message grows beyond what the server takes. One append may have more.
const BATCH_BYTES: usize = 32 << 20;

/// How often a transaction that fell victim to another is tried again.
const ATTEMPTS: u32 = 4;

/// A connection that was idle for so long is asked whether it is there before anything depends on it: then what is sent
/// over a connection that has gone is not "perhaps written".
const IDLE: Duration = Duration::from_millis(1);

pub(super) enum Job {
    Append(AppendJob),
    Close,
}

pub(super) struct AppendJob {
    pub(super) append: Append,
    pub(super) answer: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(super) struct Writer {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) options: PgConnectOptions,
    /// None after it was lost, until the next append.
    pub(super) conn: Option<PgConnection>,
    pub(super) flush: Flush,
    pub(super) answers: Answers,
    pub(super) lineage: Arc<Lineage>,
    /// When the connection was last heard of.
    pub(super) heard: Timestamp,
    pub(super) memory: Memory,
    /// Dropped when the writer has ended.
    pub(super) given_up: watch::Sender<()>,
}

/// A batch that was committed: lazily, if there is a connection that can make it durable.
struct Attempt {
    done: Done,
    epoch: Option<Epoch>,
}

impl Writer {
    pub(super) async fn run(mut self) {
        let mut queue = Vec::with_capacity(BATCH);
        while self.jobs.recv_many(&mut queue, BATCH).await > 0 {
            let (mut batch, mut bytes) = (Vec::with_capacity(queue.len()), 0);
            for job in queue.drain(..) {
                match job {
                    Job::Append(job) if job.answer.is_closed() => {} // Given up while it waited: not written.
                    Job::Append(job) => {
                        let size = size(&job.append);
                        if bytes + size > BATCH_BYTES && !batch.is_empty() {
                            self.commit(std::mem::take(&mut batch)).await;
                            bytes = 0;
                        }
                        bytes += size;
                        batch.push(job);
                    }
                    Job::Close => self.jobs.close(), // Nobody queues behind; what is queued is still received.
                }
            }
            self.commit(batch).await;
        }
        if let Some(conn) = self.conn.take() {
            // Everything is committed; the server notices an unfriendly end as well.
            let _ = conn.close().await;
        }
        self.flush.end().await;
        drop(self.given_up); // Tells whoever waits for the end.
    }

    /// Commits appends together; if the server refuses a value of one of them, each alone.
    async fn commit(&mut self, batch: Vec<AppendJob>) {
        if batch.is_empty() {
            return;
        }
        let began = self.answers.now_if_heard();
        let appends: Vec<&Append> = batch.iter().map(|job| &job.append).collect();
        match self.attempt(&appends).await {
            Ok(attempt) => self.hand_over(batch, attempt, began).await,
            Err(Failed { fault, .. }) if fault.is_about_data() && batch.len() > 1 => {
                for job in batch {
                    match self.attempt(&[&job.append]).await {
                        Ok(attempt) => self.hand_over(vec![job], attempt, began).await,
                        Err(Failed { fault, written }) => self.answers.refuse(vec![job], fault, written),
                    }
                }
            }
            Err(Failed { fault, written }) => self.answers.refuse(batch, fault, written),
        }
    }

    /// Answers, if what there is to say is durable; otherwise leaves that to the flush.
    async fn hand_over(&mut self, batch: Vec<AppendJob>, attempt: Attempt, began: Option<Timestamp>) {
        let Attempt { done, epoch } = attempt;
        let is_durable = if done.wrote { epoch.is_none() } else { self.answers.durable.covers(done.turn) };
        let committed = Committed { batch, done, began };
        if is_durable {
            self.answers.acknowledge(committed);
        } else if let Some(epoch) = epoch {
            self.flush.add(epoch, committed).await;
        } else if let Some(conn) = &mut self.conn {
            // It only looked, and saw what somebody else has written. Had the server crashed since, so would this.
            match durable::barrier(conn).await {
                Ok(()) => self.answers.acknowledge(committed),
                Err(fault) => {
                    self.lose(&fault);
                    let written = committed.done.unless_durable();
                    self.answers.refuse(committed.batch, fault, written);
                }
            }
        }
    }

    /// One transaction, again if it was another's victim.
    async fn attempt(&mut self, appends: &[&Append]) -> Result<Attempt, Failed> {
        let mut attempt = 1;
        loop {
            let failed = match self.transact(appends).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            if failed.fault.loses_connection() {
                self.lose(&failed.fault);
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

    async fn transact(&mut self, appends: &[&Append]) -> Result<Attempt, Failed> {
        let before = |error: sqlx::Error| Failed { fault: error.into(), written: Written::No };
        let intact = self.answers.durable.intact();
        intact.map_err(|lost| Failed { fault: lost.into(), written: Written::No })?;
        // Ahead of the disk when there is more to do, here or in another store; and with a connection to make it durable
        // that was open before, or a crash in between would go unnoticed.
        let epoch = if self.is_busy() { self.flush.epoch() } else { None };
        let conn = match &mut self.conn {
            Some(conn) => {
                if self.answers.timer.now().since(self.heard) >= IDLE {
                    conn.ping().await.map_err(before)?;
                }
                conn
            }
            None => {
                let mut conn = self.options.connect().await.map_err(before)?;
                let checked = self.lineage.check(&mut conn, true).await;
                checked.map_err(|fault| Failed { fault, written: Written::No })?;
                self.conn.insert(conn)
            }
        };
        let me = self.answers.durable.me;
        let (how, now) = ((me, epoch.is_some()), self.answers.timer.wall());
        let done = batch::commit(conn, appends, &mut self.memory, how, now).await?;
        self.heard = self.answers.timer.now();
        self.memory.seen(&done);
        Ok(Attempt { done, epoch })
    }

    fn is_busy(&self) -> bool {
        self.flush.is_working() || !self.jobs.is_empty() || self.memory.has_company()
    }

    fn lose(&mut self, fault: &Fault) {
        self.conn = None;
        self.memory.forget();
        self.answers.disconnected(fault);
    }
}

/// The payload of an append.
fn size(append: &Append) -> usize {
    let events = append.streams().iter().flat_map(|part| &part.events).map(|event| event.payload.len());
    let rows = append.row_changes().iter().map(|change| match change {
        RowChange::Put { value, .. } => value.len(),
        RowChange::Delete { .. } => 0,
    });
    events.sum::<usize>() + rows.sum::<usize>()
}
