//! The writer: one thread, and one durable commit for everybody who is waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::{Database, Durability};
use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::time::SharedTimer;
use tokio::sync::{mpsc, oneshot, watch};

use super::batch::{Batcher, Refusal};
use super::error::{Fault, Meaning};
use super::event::Event;
use super::read::Reader;
use super::tables::WriteTables;
use crate::log::{Append, AppendError, Appended, Position};
use crate::pool::Pool;

/// Appends that wait for the writer; further callers wait in front.
pub(super) const QUEUE: usize = 4096;

/// Appends in one transaction. More gain nothing, as the commit's cost is spread thin by then, and delay the first.
const BATCH: usize = 1024;

pub(super) enum Job {
    Append(AppendJob),
    /// Stop, once what was queued before is done.
    Close,
}

type Answer = oneshot::Sender<Result<Appended, AppendError>>;

pub(super) struct AppendJob {
    pub(super) append: Append,
    pub(super) answer: Answer,
}

/// What the writer works with, besides the database.
pub(super) struct Writer {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) head: Arc<watch::Sender<Position>>,
    pub(super) pool: Arc<Pool<Reader>>,
    pub(super) readers: Vec<JoinHandle<()>>,
    pub(super) timer: SharedTimer,
    pub(super) name: Name,
    pub(super) listeners: Listeners,
    pub(super) quick_repair: bool,
    /// Held until the file is given up.
    pub(super) given_up: watch::Sender<()>,
    #[cfg(test)]
    pub(super) faults: Arc<super::tests::Faults>,
}

impl Writer {
    /// Serves appends until the store is closed or nobody holds it any more.
    pub(super) fn run(mut self, database: Arc<Database>) {
        self.serve(&database);
        self.pool.close();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        // The last of it: redb notes that the file was closed well, and lets go of its lock.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
        self.emit(|| Event::Closed);
        drop(self.given_up); // Tells whoever waits for the end.
    }

    fn serve(&mut self, database: &Database) {
        let mut failure: Option<Meaning> = None;
        let mut batcher = Batcher::new(*self.head.borrow());
        let mut queue = Vec::with_capacity(BATCH);
        while self.jobs.blocking_recv_many(&mut queue, BATCH) > 0 {
            let mut batch = Vec::with_capacity(queue.len());
            for job in queue.drain(..) {
                match job {
                    Job::Append(job) if job.answer.is_closed() => {} // Given up while it waited: not written.
                    Job::Append(job) => batch.push(job),
                    Job::Close => self.jobs.close(), // Nobody queues behind; what is queued is still received.
                }
            }
            match &failure {
                None => failure = self.commit(&mut batcher, database, batch),
                Some(meaning) => refuse(batch.into_iter().map(|job| job.answer), &meaning.clone().afterwards()),
            }
        }
    }

    /// One transaction for the batch. What it means if no further one may follow.
    fn commit(&mut self, batcher: &mut Batcher, database: &Database, batch: Vec<AppendJob>) -> Option<Meaning> {
        if batch.is_empty() {
            return None;
        }
        let began = (!self.listeners.is_empty()).then(|| self.timer.now());
        let before = batcher.head();
        let (answers, requests): (Vec<Answer>, Vec<Append>) =
            batch.into_iter().map(|job| (job.answer, job.append)).unzip();
        let transacted = catch_unwind(AssertUnwindSafe(|| self.transact(batcher, database, &requests)));
        let results = match transacted.unwrap_or_else(|_| Err(Fault::panicked().meaning())) {
            Ok(results) => results,
            Err(meaning) => {
                let appends = answers.len();
                refuse(answers.into_iter(), &meaning);
                self.emit(|| Event::Failed { appends, reason: format!("{meaning:?}") });
                tracing::error!(store = %self.name, ?meaning, "the store takes no more appends until it is opened again");
                return Some(meaning);
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
        batcher: &mut Batcher,
        database: &Database,
        requests: &[Append],
    ) -> Result<Vec<Result<Appended, AppendError>>, Meaning> {
        let now = self.timer.wall();
        let begun = |fault: Fault| fault.meaning();
        let mut tx = database.begin_write().map_err(|error| begun(error.into()))?;
        tx.set_durability(Durability::Immediate).map_err(|error| begun(error.into()))?;
        tx.set_quick_repair(self.quick_repair);
        let mut results = Vec::with_capacity(requests.len());
        {
            let mut tables = WriteTables::open(&tx).map_err(|error| begun(error.into()))?;
            for append in requests {
                results.push(match batcher.append(&mut tables, append, now) {
                    Ok(appended) => Ok(appended),
                    Err(Refusal::Alone(error)) => Err(error),
                    Err(Refusal::All(fault)) => return Err(fault.meaning()), // Dropping the transaction undoes it.
                });
            }
        }
        self.injected().and_then(|()| Ok(tx.commit()?)).map_err(|fault| fault.meaning().at_commit())?;
        Ok(results)
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }

    #[cfg(test)]
    fn injected(&self) -> Result<(), Fault> {
        self.faults.at_commit()
    }

    #[cfg(not(test))]
    fn injected(&self) -> Result<(), Fault> {
        Ok(())
    }
}

fn refuse(answers: impl Iterator<Item = Answer>, meaning: &Meaning) {
    for answer in answers {
        let _ = answer.send(Err(meaning.clone().into_append_error()));
    }
}
