//! The engine for one process.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::time::Duration;

use super::machine::Book;
use super::{Acquired, Lease, Leases};
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;

/// Leases within one process: for tests, and for programs that run one task of many at a time. Clones share them.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::lease::{Leases, MemoryLeases};
/// use resilience_core::time::ManualTimer;
///
/// # futures::executor::block_on(async {
/// let timer = ManualTimer::new();
/// let leases = MemoryLeases::new(timer.clone());
/// let ttl = Duration::from_secs(10);
/// let first = leases.acquire("relay", "node-1", ttl).await?.granted().unwrap();
/// timer.advance(ttl);
/// let second = leases.acquire("relay", "node-2", ttl).await?.granted().unwrap();
/// assert!(second.token() > first.token());
/// assert_eq!(leases.renew(&first, ttl).await?, None); // lost
/// # Ok::<(), std::convert::Infallible>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryLeases {
    book: Arc<Mutex<Book>>,
    timer: SharedTimer,
}

impl MemoryLeases {
    /// No leases yet; their time runs on this timer.
    pub fn new(timer: impl Into<SharedTimer>) -> Self {
        Self { book: Arc::new(Mutex::new(Book::default())), timer: timer.into() }
    }
}

impl Leases for MemoryLeases {
    type Error = Infallible;

    fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Acquired, Infallible>> + Send {
        // The clock is read under the lock, so that of two who ask the later one also sees the later time.
        let mut book = lock(&self.book);
        ready(Ok(book.acquire(resource, owner, ttl, self.timer.now())))
    }

    fn renew(&self, lease: &Lease, ttl: Duration) -> impl Future<Output = Result<Option<Lease>, Infallible>> + Send {
        let mut book = lock(&self.book);
        ready(Ok(book.renew(lease, ttl, self.timer.now())))
    }

    fn release(&self, lease: &Lease) -> impl Future<Output = Result<bool, Infallible>> + Send {
        let mut book = lock(&self.book);
        ready(Ok(book.release(lease, self.timer.now())))
    }
}

#[cfg(feature = "tokio")]
impl Default for MemoryLeases {
    fn default() -> Self {
        Self::new(SharedTimer::default())
    }
}

impl fmt::Debug for MemoryLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeases").field("book", &*lock(&self.book)).finish_non_exhaustive()
    }
}
