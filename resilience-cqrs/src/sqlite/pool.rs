//! The readers: a few threads, each with a connection of its own.
//!
//! Own threads rather than a runtime's blocking pool: the connection and its prepared statements stay with the thread,
//! handing over a read is one queue and one wake-up, the number of reads at work is bounded, and no particular runtime
//! is needed.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::decode::Names;
use crate::log::{ReadError, Unavailable, Written};

/// Reads that may wait for a thread; further callers wait in front.
const QUEUE: usize = 1024;

/// A connection that reads, and what it remembers.
pub(super) struct Reader {
    pub(super) conn: Connection,
    pub(super) names: Names,
}

type Work = Box<dyn FnOnce(&mut Reader) + Send>;

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    closed: bool,
}

pub(super) struct Pool {
    queue: Mutex<Queue>,
    filled: Condvar,
    places: Semaphore,
}

impl Pool {
    /// Starts a thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let pool = Arc::new(Self { queue: Mutex::default(), filled: Condvar::new(), places: Semaphore::new(QUEUE) });
        let mut threads = Vec::with_capacity(connections.len());
        for conn in connections {
            let pool = pool.clone();
            let reader = Reader { conn, names: Names::new() };
            threads.push(thread::Builder::new().name("cqrs-reader".into()).spawn(move || pool.serve(reader))?);
        }
        Ok((pool, threads))
    }

    /// Runs `read` on one of the threads.
    ///
    /// Dropping the future before a thread has taken it up means that nothing runs.
    pub(super) async fn run<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Reader) -> T + Send + 'static,
    {
        let _place = self.places.acquire().await.map_err(|_| ReadError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |reader| {
            if !answer.is_closed() {
                let _ = answer.send(read(reader));
            }
        });
        {
            let mut queue = self.lock();
            if queue.closed {
                return Err(ReadError::Closed);
            }
            queue.work.push_back(work);
        }
        self.filled.notify_one();
        answered.await.map_err(|_| {
            // Only a panic in the read drops the sender unsent.
            let reason = "the read panicked".into();
            ReadError::Unavailable(Unavailable { reason, written: Written::No, retryable: false, source: None })
        })
    }

    /// Lets the threads finish what is queued and end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.places.close();
    }

    fn serve(&self, mut reader: Reader) {
        loop {
            let work = {
                let mut queue = self.lock();
                loop {
                    if let Some(work) = queue.work.pop_front() {
                        break work;
                    }
                    if queue.closed {
                        return;
                    }
                    queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            // A panic in a caller's query is that caller's; the next one still finds a reader.
            let _ = catch_unwind(AssertUnwindSafe(|| work(&mut reader)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing runs under the lock that could leave the queue inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
