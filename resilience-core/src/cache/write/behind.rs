//! First the cache, and the store after it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::Store;
use super::queue::{Ended, Full, Queue};
use crate::cache::policy::Verdict;
use crate::cache::{Cache, Event};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::{ConfigError, Reason, Rejected};

/// A store with a cache in front, written after it; the [module](super) explains it. Clones share both.
///
/// Somebody has to write: spawn [`run`](Self::run), once, or as often as the store can take writes at once. Two runs never
/// write the same key at the same time.
pub struct WriteBehind<K, V, S: Store<K, V>> {
    shared: Arc<Shared<K, V, S>>,
}

struct Shared<K, V, S: Store<K, V>> {
    cache: Cache<K, Option<V>, S::Error>,
    store: S,
    retry: Retry<S::Error>,
    queue: Mutex<Queue<K, V>>,
    /// Writes given up and not fetched yet; the oldest go when there are more than keys may wait.
    failures: Mutex<VecDeque<Failure<K, S::Error>>>,
    limit: usize,
    written: AtomicU64,
    superseded: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
}

type Retry<E> = Arc<dyn Fn(u32, &E) -> Option<Duration> + Send + Sync>;

/// Sets up a [`WriteBehind`]; made by [`WriteBehind::builder`].
#[must_use]
pub struct WriteBehindBuilder<K, V, S: Store<K, V>> {
    cache: Cache<K, Option<V>, S::Error>,
    store: S,
    limit: usize,
    retry: Retry<S::Error>,
}

/// A write that was given up: the store does not have what a caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<K, E> {
    /// What was to be written.
    pub key: K,
    /// Why it was not, the last time.
    pub error: E,
    /// How often it was tried.
    pub attempts: u32,
}

/// What is written and what is not, at about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteSnapshot {
    /// Keys that are not written yet.
    pub unsaved: usize,
    /// Keys that may wait.
    pub limit: usize,
    /// Writes made.
    pub written: u64,
    /// Writes that need not be made, since a newer one of the same key took their place.
    pub superseded: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Writes given up.
    pub failed: u64,
    /// Writes refused.
    pub rejected: u64,
}

impl<K, V, S: Store<K, V>> WriteBehindBuilder<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    /// How many keys may wait to be written. Default: 1,000: what a process may lose, and what a shutdown has to write.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How long to wait before a write is tried again after so many attempts, the last with this error; `None` gives it
    /// up. Default: five attempts, with 100 ms to 800 ms between them.
    pub fn retry(mut self, wait: impl Fn(u32, &S::Error) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.retry = Arc::new(wait);
        self
    }

    /// The store with its cache.
    ///
    /// # Errors
    ///
    /// If `limit` is zero.
    pub fn build(self) -> Result<WriteBehind<K, V, S>, ConfigError> {
        let Self { cache, store, limit, retry } = self;
        if limit == 0 {
            return Err(ConfigError::new("limit", "must be at least 1"));
        }
        let shared = Shared {
            cache,
            store,
            retry,
            queue: Mutex::new(Queue::new(limit)),
            failures: Mutex::new(VecDeque::new()),
            limit,
            written: AtomicU64::new(0),
            superseded: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        };
        Ok(WriteBehind { shared: Arc::new(shared) })
    }
}

impl<K, V, S: Store<K, V>> WriteBehind<K, V, S> {
    /// Starts to set up a store with this cache in front.
    pub fn builder(cache: Cache<K, Option<V>, S::Error>, store: S) -> WriteBehindBuilder<K, V, S> {
        let retry = |attempts, _: &S::Error| (attempts < 5).then(|| Duration::from_millis(50_u64 << attempts));
        WriteBehindBuilder { cache, store, limit: 1_000, retry: Arc::new(retry) }
    }
}

impl<K, V, S> WriteBehind<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: Store<K, V>,
    S::Error: Clone,
{
    /// What the cache has, or what waits to be written, or else the store; asked once for all who ask.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn get(&self, key: &K) -> Result<Option<V>, S::Error> {
        let shared = &*self.shared;
        let load = async || {
            // The cache may have had to drop it before it was written: the store has the older value.
            let unsaved = lock(&shared.queue).unsaved(key);
            match unsaved {
                Some(value) => Ok(value),
                None => shared.store.get(key).await,
            }
        };
        shared.cache.get_or_load(key.clone(), load).await
    }

    /// Writes to the cache now, and to the store later.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`] if too many keys wait, or, with a limit of 0, after [`shutdown`](Self::shutdown). Nothing is
    /// written then.
    pub fn put(&self, key: K, value: V) -> Result<(), Rejected> {
        self.write(key, Some(value))
    }

    /// Removes from the cache now, and from the store later.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn remove(&self, key: K) -> Result<(), Rejected> {
        self.write(key, None)
    }

    fn write(&self, key: K, value: Option<V>) -> Result<(), Rejected> {
        let shared = &*self.shared;
        let ttl = shared.cache.ttl_of(&value);
        let mut queued = None;
        let mut wakers = Vec::new();
        // Under the cache's lock: two writers of one key have one order for the cache and for the store.
        shared.cache.replace(&key, value.clone(), ttl, || {
            let mut queue = lock(&shared.queue);
            let pushed = queue.push(&key, value);
            let verdict = if pushed.is_ok() { Verdict::Keep } else { Verdict::Leave };
            wakers = std::mem::take(&mut queue.waiting);
            queued = Some(pushed);
            verdict
        });
        wakers.into_iter().for_each(Waker::wake);
        match queued {
            Some(Err((Full { limit, unsaved }, _refused))) => {
                // Relaxed here and below: statistics.
                shared.rejected.fetch_add(1, Ordering::Relaxed);
                shared.cache.emit(Event::WriteRejected);
                let (limit, queued) = (saturated(limit), saturated(unsaved));
                Err(Rejected::new(shared.cache.name().clone(), Reason::Full { limit, queued }))
            }
            Some(Ok((true, _older))) => {
                shared.superseded.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes what waits, one write after another, until [`shutdown`](Self::shutdown) and all is written. Dropped, what it
    /// had in hand waits again, ahead of the rest.
    pub async fn run(&self) {
        self.write_until(|queue| queue.is_closed && queue.len() == 0).await;
    }

    /// Writes what waits now, by itself if nobody else does, and comes back when all of it is written or given up: with
    /// what was given up since the last time.
    pub async fn flush(&self) -> Vec<Failure<K, S::Error>> {
        let mark = lock(&self.shared.queue).mark();
        self.write_until(|queue| queue.is_reached(mark)).await;
        self.take_failures()
    }

    /// Refuses writes from now on and flushes. Reads go on.
    pub async fn shutdown(&self) -> Vec<Failure<K, S::Error>> {
        let wakers = {
            let mut queue = lock(&self.shared.queue);
            queue.is_closed = true;
            std::mem::take(&mut queue.waiting)
        };
        wakers.into_iter().for_each(Waker::wake);
        self.flush().await
    }

    /// What was given up and not fetched yet: no more than keys may wait, the newest.
    pub fn take_failures(&self) -> Vec<Failure<K, S::Error>> {
        std::mem::take(&mut *lock(&self.shared.failures)).into()
    }

    /// The figures.
    pub fn snapshot(&self) -> WriteSnapshot {
        let shared = &*self.shared;
        WriteSnapshot {
            unsaved: lock(&shared.queue).len(),
            limit: shared.limit,
            written: shared.written.load(Ordering::Relaxed),
            superseded: shared.superseded.load(Ordering::Relaxed),
            retried: shared.retried.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
            rejected: shared.rejected.load(Ordering::Relaxed),
        }
    }

    /// The cache in front: to inspect. What is invalidated in it is read from what waits, or from the store.
    pub fn cache(&self) -> &Cache<K, Option<V>, S::Error> {
        &self.shared.cache
    }

    /// The store behind.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    async fn write_until(&self, is_done: impl Fn(&Queue<K, V>) -> bool) {
        let shared = &*self.shared;
        loop {
            let taken = poll_fn(|cx| {
                let waker = cx.waker().clone();
                let mut queue = lock(&shared.queue);
                if is_done(&queue) {
                    return Poll::Ready(None);
                }
                match queue.take() {
                    Some(taken) => Poll::Ready(Some(taken)),
                    None => {
                        if !queue.waiting.iter().any(|waits| waits.will_wake(&waker)) {
                            queue.waiting.push(waker);
                        }
                        Poll::Pending
                    }
                }
            });
            let Some((key, value)) = taken.await else { return };
            InHand { shared, key, is_over: false, gone: None, wakers: Vec::new() }.write(value).await;
        }
    }
}

/// A write under way.
struct InHand<'a, K: Hash + Eq + Clone, V: Clone, S: Store<K, V>> {
    shared: &'a Shared<K, V, S>,
    key: K,
    is_over: bool,
    /// What is gone of it, and who waits for that: dropped and woken outside of the locks.
    gone: Option<(K, Option<V>)>,
    wakers: Vec<Waker>,
}

impl<K: Hash + Eq + Clone, V: Clone, S: Store<K, V>> InHand<'_, K, V, S>
where
    S::Error: Clone,
{
    async fn write(mut self, mut value: Option<V>) {
        let shared = self.shared;
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let ended = match &value {
                Some(value) => shared.store.put(&self.key, value).await,
                None => shared.store.remove(&self.key).await,
            };
            let Err(error) = ended else {
                shared.written.fetch_add(1, Ordering::Relaxed);
                self.end(Ended::Done);
                return;
            };
            let Some(wait) = (shared.retry)(attempts, &error) else {
                self.give_up(error, attempts);
                return;
            };
            shared.retried.fetch_add(1, Ordering::Relaxed);
            shared.cache.emit(Event::WriteRetried { attempts });
            shared.cache.shared.timer.sleep(wait).await;
            // A newer value may have come meanwhile: the older one need not be written at all.
            let newest = lock(&shared.queue).take_again(&self.key);
            if let Some(newest) = newest {
                value = newest;
            }
        }
    }

    fn give_up(&mut self, error: S::Error, attempts: u32) {
        let shared = self.shared;
        shared.failed.fetch_add(1, Ordering::Relaxed);
        // What the cache has the store will never have, unless a newer write came. Under the cache's lock, so that nobody
        // reads from what waits before it is out and keeps it after.
        let key = self.key.clone();
        shared.cache.forget_if(&key, || self.end(Ended::Done));
        let forgotten = {
            let mut failures = lock(&shared.failures);
            failures.push_back(Failure { key, error, attempts });
            if failures.len() > shared.limit { failures.pop_front() } else { None }
        };
        drop(forgotten);
        shared.cache.emit(Event::WriteFailed { attempts });
    }

    /// Puts the key out of hand; whether it does not wait any more.
    fn end(&mut self, ended: Ended) -> bool {
        self.is_over = true;
        let mut queue = lock(&self.shared.queue);
        self.gone = queue.end(&self.key, ended);
        self.wakers = std::mem::take(&mut queue.waiting);
        self.gone.is_some()
    }
}

impl<K: Hash + Eq + Clone, V: Clone, S: Store<K, V>> Drop for InHand<'_, K, V, S> {
    fn drop(&mut self) {
        if !self.is_over {
            self.is_over = true;
            let mut queue = lock(&self.shared.queue);
            self.gone = queue.end(&self.key, Ended::Left);
            self.wakers = std::mem::take(&mut queue.waiting);
        }
        std::mem::take(&mut self.wakers).into_iter().for_each(Waker::wake);
    }
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl<K, V, S: Store<K, V>> Clone for WriteBehind<K, V, S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, V, S: Store<K, V>> fmt::Debug for WriteBehind<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind").field("cache", &self.shared.cache).finish_non_exhaustive()
    }
}

impl<K, V, S: Store<K, V>> fmt::Debug for WriteBehindBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WriteBehindBuilder");
        shown.field("cache", &self.cache).field("limit", &self.limit).finish_non_exhaustive()
    }
}
