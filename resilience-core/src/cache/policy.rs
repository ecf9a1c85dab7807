//! The cache users hold.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use quick_cache::{DefaultHashBuilder, OptionsBuilder};

use super::config::{CacheBuilder, Config, Settings};
use super::counts::{Count, Counts, Snapshot};
use super::entry::{ByWeight, Entry, Found, Handed, Kept};
use super::event::Event;
use super::load::GetOrLoad;
use super::refresh::InCall;
use super::ttl::Ttl;
use crate::flight::Flights;
use crate::rng::SharedRng;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Keeps answers and fetches each once for all who ask; the [module](super) explains it. Clones share what is kept.
///
/// `K` names what is asked for, `V` is an answer, `E` an error of the service. A value is cloned for each who is served,
/// under a lock of the map: put what is large into an [`Arc`]. An error is cloned for each who waited for the same call;
/// an `Arc` makes any error one that can be.
pub struct Cache<K, V, E> {
    pub(super) shared: Arc<Shared<K, V, E>>,
}

pub(super) struct Shared<K, V, E> {
    pub(super) config: Config<K, V, E>,
    pub(super) timer: SharedTimer,
    pub(super) rng: SharedRng,
    settings: Mutex<Settings>,
    /// That of the settings, for hits.
    dry_run: AtomicBool,
    pub(super) kept: Kept<K, V, E>,
    pub(super) flights: Flights<K, Outcome<V, E>>,
    pub(super) counts: Counts,
}

/// How a call for an answer ended, for all who waited for it.
pub(super) struct Outcome<V, E> {
    pub(super) answer: Arc<Result<V, E>>,
    /// Whether it is an older answer, served because the call failed.
    pub(super) is_stale: bool,
}

impl<V, E> Clone for Outcome<V, E> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), is_stale: self.is_stale }
    }
}

/// What becomes of an answer that somebody puts.
pub(super) enum Verdict {
    Keep,
    /// Neither it nor what is kept is to be trusted.
    Forget,
    /// It is not put after all.
    Leave,
}

impl<K, V, E> Shared<K, V, E> {
    pub(super) fn settings(&self) -> Settings {
        *lock(&self.settings)
    }

    #[inline]
    pub(super) fn is_dry_run(&self) -> bool {
        // Relaxed, as the store: whether a call sees the change a moment later does not matter.
        self.dry_run.load(Ordering::Relaxed)
    }
}

impl<K, V, E> Cache<K, V, E> {
    /// Starts to set up a cache.
    pub fn builder() -> CacheBuilder<K, V, E> {
        CacheBuilder::new()
    }

    /// The name in events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }
}

impl<K, V, E> Cache<K, V, E>
where
    K: Hash + Eq + Clone,
    V: Clone,
    E: Clone,
{
    pub(super) fn new(
        config: Config<K, V, E>,
        capacity: u64,
        expected: u64,
        rng: SharedRng,
        timer: SharedTimer,
    ) -> Self {
        let mut options = OptionsBuilder::new();
        options.weight_capacity(capacity).estimated_items_capacity(usize::try_from(expected).unwrap_or(usize::MAX));
        let options = options.build().expect("both that it needs are set");
        let kept = Kept::with_options(options, ByWeight, DefaultHashBuilder::default(), Handed);
        let (flights, counts) = (Flights::new(), Counts::new());
        let (settings, dry_run) = (Mutex::new(config.settings), AtomicBool::new(config.settings.dry_run));
        Self { shared: Arc::new(Shared { config, timer, rng, settings, dry_run, kept, flights, counts }) }
    }

    /// What is kept and fresh: an answer, or an error that counts as one. Neither counted nor told.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Result<V, E>>
    where
        K: Borrow<Q>,
    {
        let entry = self.shared.kept.get(key)?;
        (entry.find(&self.shared.timer) == Found::Fresh).then(|| entry.into_answer())
    }

    /// What is kept, or what `load` fetches: once for all who ask meanwhile.
    ///
    /// A fresh answer is found here and now, and needs no polling. Otherwise the future joins the call under way for this
    /// key, or makes it. Dropped, it gives its place up: if it made the call, one of those who wait makes it anew.
    ///
    /// # Errors
    ///
    /// That of `load`, for all who waited for it, unless a stale answer may be served instead.
    ///
    /// ```
    /// use resilience_core::cache::Cache;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let prices = Cache::<&str, u32, std::io::ErrorKind>::builder().name("prices").build()?;
    /// let price = prices.get_or_load("socks", async || Ok(499)).await;
    /// assert_eq!(price, Ok(499));
    /// let price = prices.get_or_load("socks", async || unreachable!("it is kept")).await;
    /// assert_eq!((price, prices.snapshot().hits), (Ok(499), 1));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get_or_load<F, L>(&self, key: K, load: F) -> GetOrLoad<K, V, E, F, InCall>
    where
        F: FnOnce() -> L,
        L: Future<Output = Result<V, E>>,
    {
        match self.hit(&key) {
            Some(answer) => GetOrLoad::found(answer),
            None => GetOrLoad::ask(self.clone(), key, load, InCall),
        }
    }

    /// Puts an answer in place of whatever is kept, and of whatever is being fetched: that is older.
    pub fn insert(&self, key: K, value: V) {
        let ttl = self.ttl_of(&value);
        self.insert_for(key, value, ttl);
    }

    /// Puts an answer in place of whatever is kept, for a time of its own.
    pub fn insert_for(&self, key: K, value: V, ttl: impl Into<Ttl>) {
        self.replace(&key, value, ttl.into(), || Verdict::Keep);
    }

    /// Does with an answer what `decide` says, under the lock under which answers are kept: two who do so have one order
    /// for the cache and for what they decide by.
    pub(super) fn replace(&self, key: &K, value: V, ttl: Ttl, decide: impl FnOnce() -> Verdict) {
        let shared = &*self.shared;
        let now = shared.timer.now();
        let entry = self.entry(key, Ok(value), now, ttl);
        let is_kept = !entry.lifetime.is_stillborn(now);
        let (mut evicted, mut removed, mut entry) = (Vec::new(), None, Some(entry));
        shared.flights.overtake(key, || match decide() {
            Verdict::Keep if is_kept => {
                if let Some(entry) = entry.take() {
                    shared.kept.insert_with_lifecycle(key.clone(), entry, &mut evicted);
                }
            }
            Verdict::Keep | Verdict::Forget => removed = shared.kept.remove(key),
            Verdict::Leave => {}
        });
        // Outside of the lock, whichever of them there is: the end of an answer may use the cache.
        drop((removed, entry));
        self.tell_evicted(key, evicted);
    }

    /// Forgets what is kept under a key. An answer that is being fetched reaches those who wait for it and is not kept.
    ///
    /// Returns whether something was kept.
    pub fn invalidate(&self, key: &K) -> bool {
        self.forget_if(key, || true)
    }

    /// Forgets a key if `is_wrong` says so, under the lock under which answers are kept.
    pub(super) fn forget_if(&self, key: &K, is_wrong: impl FnOnce() -> bool) -> bool {
        let shared = &*self.shared;
        let removed = shared.flights.overtake(key, || if is_wrong() { shared.kept.remove(key) } else { None });
        let entries = usize::from(removed.is_some());
        drop(removed);
        self.tell_invalidated(entries);
        entries > 0
    }

    /// Forgets every key for which `is_wrong` holds, and keeps no answer for it that is being fetched. The number of
    /// answers forgotten. Looks at every key there is.
    pub fn invalidate_if(&self, mut is_wrong: impl FnMut(&K) -> bool) -> usize {
        let shared = &*self.shared;
        shared.flights.overtake_where(&mut is_wrong);
        // The map hands out clones: the caller's code runs under none of its locks.
        let wrong = shared.kept.iter().map(|(key, _)| key).filter(|key| is_wrong(key));
        let removed = wrong.filter(|key| shared.kept.remove(key).is_some()).count();
        self.tell_invalidated(removed);
        removed
    }

    /// Forgets everything, and keeps no answer that is being fetched now.
    pub fn invalidate_all(&self) -> usize {
        self.invalidate_if(|_| true)
    }

    /// Drops what may no longer be served. Nothing needs this: answers make room when there is none. How many went.
    pub fn purge(&self) -> usize {
        let shared = &*self.shared;
        let now = shared.timer.now();
        let gone = |entry: &Entry<V, E>| !entry.lifetime.is_usable_on_error(now);
        let keys = shared.kept.iter().filter(|(_, entry)| gone(entry)).map(|(key, _)| key);
        keys.filter(|key| shared.kept.remove_if(key, gone).is_some()).count()
    }

    /// Keeps no more than this from now on.
    ///
    /// # Errors
    ///
    /// If it is zero or above 2^32.
    pub fn resize(&self, capacity: u64) -> Result<(), ConfigError> {
        if !(1..=1 << 32).contains(&capacity) {
            return Err(ConfigError::new("capacity", "must be between 1 and 2^32"));
        }
        self.shared.kept.set_capacity(capacity);
        Ok(())
    }

    /// Takes over a builder's times to live, jitter, pause, capacity and dry run. Its name, functions, seed, timer and
    /// listeners are not looked at. Answers that are kept keep the times they came with.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::cache::Cache;
    ///
    /// let prices = Cache::<u64, u32, ()>::builder().capacity(1_000).build()?;
    /// prices.reconfigure(Cache::builder().capacity(5_000).ttl(Duration::from_secs(5)))?;
    /// assert!(prices.snapshot().capacity >= 5_000); // what its parts can hold together
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: CacheBuilder<K, V, E>) -> Result<(), ConfigError> {
        let (capacity, settings) = builder.check()?;
        {
            let mut held = lock(&self.shared.settings);
            *held = settings;
            // Under the lock: of two who do so at once, one has the last word for both.
            self.shared.dry_run.store(settings.dry_run, Ordering::Relaxed);
        }
        if capacity == self.shared.kept.capacity() { Ok(()) } else { self.resize(capacity) }
    }

    /// A way to this cache that does not keep it alive.
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + use<K, V, E> {
        let weak = Arc::downgrade(&self.shared);
        move || weak.upgrade().map(|shared| Self { shared })
    }

    /// The figures.
    pub fn snapshot(&self) -> Snapshot {
        let Shared { kept, flights, counts, .. } = &*self.shared;
        Snapshot {
            entries: kept.len(),
            weight: kept.weight(),
            capacity: kept.capacity(),
            loading: flights.len(),
            hits: counts.sum(Count::Hit),
            would_hit: counts.sum(Count::WouldHit),
            misses: counts.sum(Count::Missed),
            coalesced: counts.sum(Count::Coalesced),
            stale: counts.sum(Count::ServedStale),
            stale_on_error: counts.sum(Count::ServedOnError),
            loads: counts.sum(Count::Loaded),
            failures: counts.sum(Count::LoadFailed),
            evictions: counts.sum(Count::Evicted),
            invalidations: counts.sum(Count::Invalidated),
        }
    }

    /// Serves what is kept and fresh, or stale and not to be fetched just now.
    #[inline]
    pub(super) fn hit(&self, key: &K) -> Option<Result<V, E>> {
        let shared = &*self.shared;
        let entry = shared.kept.get(key)?;
        let count = match entry.find(&shared.timer) {
            _ if shared.is_dry_run() => return None,
            Found::Fresh => Count::Hit,
            Found::Calm => Count::ServedStale,
            Found::Revalidate | Found::Nothing => return None,
        };
        self.note(count);
        Some(entry.into_answer())
    }

    pub(super) fn ttl_of(&self, value: &V) -> Ttl {
        let ttl_of = &self.shared.config.ttl_of;
        ttl_of.as_ref().map_or_else(|| self.shared.settings().ttl, |ttl_of| ttl_of(value))
    }

    /// Counts one of the ways in which a call can be served, and tells it.
    #[inline]
    pub(super) fn note(&self, count: Count) {
        self.tell(count, 1, || match count {
            Count::Hit => Event::Hit,
            Count::WouldHit => Event::WouldHit,
            Count::Coalesced => Event::Coalesced,
            Count::ServedStale => Event::ServedStale,
            Count::ServedOnError => Event::ServedOnError,
            _ => Event::Missed,
        });
    }

    /// Drops what had to go for an answer under `key`, outside of all locks, and tells it. What that answer took the place
    /// of is not evicted, though the map hands it out too.
    pub(super) fn tell_evicted(&self, key: &K, evicted: Vec<(K, Entry<V, E>)>) {
        let entries = evicted.iter().filter(|(gone, _)| gone != key).count();
        drop(evicted);
        if entries > 0 {
            self.tell(Count::Evicted, entries as u64, || Event::Evicted { entries });
        }
    }

    fn tell_invalidated(&self, entries: usize) {
        if entries > 0 {
            self.tell(Count::Invalidated, entries as u64, || Event::Invalidated { entries });
        }
    }

    /// Tells what happened behind the cache.
    pub(super) fn emit(&self, event: Event) {
        let Config { name, listeners, .. } = &self.shared.config;
        listeners.emit(name, || self.shared.timer.now(), || event);
    }

    #[inline]
    pub(super) fn tell(&self, count: Count, by: u64, event: impl FnOnce() -> Event) {
        self.shared.counts.add(count, by);
        let Config { name, listeners, .. } = &self.shared.config;
        listeners.emit(name, || self.shared.timer.now(), event);
    }
}

impl<K, V, E> Clone for Cache<K, V, E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("name", self.name()).finish_non_exhaustive()
    }
}
