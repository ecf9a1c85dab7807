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

/// Reads that a thread takes at once, at most.
const TOGETHER: usize = 16;

/// What a thread reads with.
pub(crate) trait Source: Send + 'static {
    /// Several short reads follow. They may all see one state of the log, if it is not older than this call.
    fn begin(&mut self) {}

    /// They are through.
    fn end(&mut self) {}
}

type Read<R> = Box<dyn FnOnce(&mut R) + Send>;

struct Work<R> {
    read: Read<R>,
    /// Whether it is not to share the thread with others: it may take long, and does as it likes with the connection.
    alone: bool,
}

struct Queue<R> {
    work: VecDeque<Work<R>>,
    /// Threads that wait: where there are none, nobody needs to be woken, which is a system call.
    idle: usize,
    closed: bool,
}

impl<R> Queue<R> {
    /// A thread's share of what waits, in order.
    fn take(&mut self, threads: usize, taken: &mut Vec<Read<R>>) {
        let share = self.work.len().div_ceil(threads).min(TOGETHER);
        while taken.len() < share
            && let Some(next) = self.work.pop_front_if(|next| taken.is_empty() || !next.alone)
        {
            taken.push(next.read);
            if next.alone {
                return;
            }
        }
    }
}

/// Threads that read with an `R` each.
pub(crate) struct Pool<R> {
    queue: Mutex<Queue<R>>,
    filled: Condvar,
    places: Semaphore,
    threads: usize,
}

impl<R: Source> Pool<R> {
    /// Starts a thread for each reader.
    pub(crate) fn start(readers: Vec<R>) -> std::io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let queue = Mutex::new(Queue { work: VecDeque::new(), idle: 0, closed: false });
        let pool = Self { queue, filled: Condvar::new(), places: Semaphore::new(QUEUE), threads: readers.len() };
        let pool = Arc::new(pool);
        let mut threads = Vec::with_capacity(readers.len());
        for reader in readers {
            let pool = pool.clone();
            threads.push(thread::Builder::new().name("cqrs-reader".into()).spawn(move || pool.serve(reader))?);
        }
        Ok((pool, threads))
    }

    /// Runs `read`, which is short, on one of the threads.
    ///
    /// Dropping the future before a thread has taken it up means that nothing runs.
    pub(crate) async fn run<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut R) -> T + Send + 'static,
    {
        self.hand_over(false, read).await
    }

    /// The same for what may take long, or is not ours.
    #[cfg(feature = "sqlite")]
    pub(crate) async fn run_alone<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut R) -> T + Send + 'static,
    {
        self.hand_over(true, read).await
    }

    async fn hand_over<T, F>(&self, alone: bool, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut R) -> T + Send + 'static,
    {
        let _place = self.places.acquire().await.map_err(|_| ReadError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let read: Read<R> = Box::new(move |reader| {
            if !answer.is_closed() {
                let _ = answer.send(read(reader));
            }
        });
        let waited_for = {
            let mut queue = self.lock();
            if queue.closed {
                return Err(ReadError::Closed);
            }
            queue.work.push_back(Work { read, alone });
            queue.idle > 0
        };
        if waited_for {
            self.filled.notify_one();
        }
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
        let mut taken = Vec::with_capacity(TOGETHER);
        loop {
            {
                let mut queue = self.lock();
                while queue.work.is_empty() {
                    if queue.closed {
                        return;
                    }
                    queue.idle += 1;
                    queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.idle -= 1;
                }
                queue.take(self.threads, &mut taken);
            }
            // After they were taken, so that each sees what was there when it was asked for.
            let together = taken.len() > 1;
            if together {
                reader.begin();
            }
            for read in taken.drain(..) {
                // A panic in a caller's query is that caller's; the next one still finds a reader.
                let _ = catch_unwind(AssertUnwindSafe(|| read(&mut reader)));
            }
            if together {
                reader.end();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        // Nothing runs under the lock that could leave the queue inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Counts what happens to it.
    #[derive(Default)]
    struct Counting {
        began: u32,
        ended: u32,
    }

    impl Source for Counting {
        fn begin(&mut self) {
            self.began += 1;
        }

        fn end(&mut self) {
            self.ended += 1;
        }
    }

    fn queue(works: &[bool]) -> Queue<Counting> {
        let work = works.iter().map(|&alone| Work { read: Box::new(|_: &mut Counting| ()), alone });
        Queue { work: work.collect(), idle: 0, closed: false }
    }

    #[test]
    fn a_thread_takes_its_share_and_nothing_long_along_with_others() {
        let shares = |works: &[bool], threads| {
            let mut queue = queue(works);
            let mut shares = Vec::new();
            while !queue.work.is_empty() {
                let mut taken = Vec::new();
                queue.take(threads, &mut taken);
                shares.push(taken.len());
            }
            shares
        };
        assert_eq!(shares(&[false; 8], 2), [4, 2, 1, 1]);
        assert_eq!(shares(&[false; 40], 1), [TOGETHER, TOGETHER, 8]);
        assert_eq!(shares(&[false, false, true, false, false], 1), [2, 1, 2]);
        assert_eq!(shares(&[true, true], 1), [1, 1]);
    }

    #[tokio::test]
    async fn reads_that_wait_together_share_a_state_that_is_no_older_than_they_are() {
        let (pool, threads) = Pool::start(vec![Counting::default()]).unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (entered, inside) = oneshot::channel();
        let held = pool.run_alone(move |_| {
            let _ = entered.send(());
            let _ = gone.recv();
        });
        let first = async {
            inside.await.unwrap();
            // Polled once each, so that all wait by the time the thread is let go.
            let mut reads: Vec<_> =
                (0..3).map(|_| Box::pin(pool.run(|counting| (counting.began, counting.ended)))).collect();
            for read in &mut reads {
                assert!(futures::poll!(read).is_pending());
            }
            go.send(()).unwrap();
            futures::future::join_all(reads).await
        };
        let (held, seen) = futures::join!(held, first);
        held.unwrap();
        assert!(seen.into_iter().all(|seen| seen.is_ok_and(|seen| seen == (1, 0))));
        assert_eq!(pool.run(|counting| (counting.began, counting.ended)).await.unwrap(), (1, 1));
        pool.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(matches!(pool.run(|_| ()).await, Err(ReadError::Closed)));
    }
}
