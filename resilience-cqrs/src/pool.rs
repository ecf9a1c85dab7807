//! The readers of an engine that blocks: a few threads, each with a connection (or what the engine has for one) of its own.
//!
//! Own threads rather than a runtime's blocking pool: the connection and its prepared statements stay with the thread,
//! handing over a read is one queue and one wake-up, the number of reads at work is bounded, and no particular runtime
//! is needed.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, oneshot};

use crate::log::{ReadError, Unavailable, Written};

/// Reads that may wait for a thread; further callers wait in front.
const QUEUE: usize = 1024;

type Work<R> = Box<dyn FnOnce(&mut R) + Send>;

struct Queue<R> {
    work: VecDeque<Work<R>>,
    closed: bool,
}

/// Threads that read with an `R` each.
pub(crate) struct Pool<R> {
    queue: Mutex<Queue<R>>,
    filled: Condvar,
    places: Semaphore,
}

impl<R: Send + 'static> Pool<R> {
    /// Starts a thread for each reader.
    pub(crate) fn start(readers: Vec<R>) -> std::io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let queue = Mutex::new(Queue { work: VecDeque::new(), closed: false });
        let pool = Arc::new(Self { queue, filled: Condvar::new(), places: Semaphore::new(QUEUE) });
        let mut threads = Vec::with_capacity(readers.len());
        for reader in readers {
            let pool = pool.clone();
            threads.push(thread::Builder::new().name("cqrs-reader".into()).spawn(move || pool.serve(reader))?);
        }
        Ok((pool, threads))
    }

    /// Runs `read` on one of the threads.
    ///
    /// Dropping the future before a thread has taken it up means that nothing runs.
    pub(crate) async fn run<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut R) -> T + Send + 'static,
    {
        let _place = self.places.acquire().await.map_err(|_| ReadError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let work: Work<R> = Box::new(move |reader| {
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
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.places.close();
    }

    fn serve(&self, mut reader: R) {
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

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        // Nothing runs under the lock that could leave the queue inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
