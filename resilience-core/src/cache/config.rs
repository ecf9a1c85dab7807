//! What a cache can be told.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::{Cache, Ttl};
use crate::event::{Listeners, Sink};
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`Cache`]; made by [`Cache::builder`].
#[must_use]
pub struct CacheBuilder<K, V, E> {
    pub(super) config: Config<K, V, E>,
    capacity: u64,
    expected: Option<usize>,
    rng: Option<SharedRng>,
    timer: Option<SharedTimer>,
}

type TtlOf<V> = Arc<dyn Fn(&V) -> Ttl + Send + Sync>;
type NegativeTtl<E> = Arc<dyn Fn(&E) -> Option<Duration> + Send + Sync>;
type Weigh<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;
type IsOwn<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

/// A configuration; checked, once `build` was through with it.
pub(super) struct Config<K, V, E> {
    pub(super) name: Name,
    pub(super) settings: Settings,
    pub(super) ttl_of: Option<TtlOf<V>>,
    pub(super) negative_ttl: Option<NegativeTtl<E>>,
    pub(super) is_own: Option<IsOwn<E>>,
    pub(super) weigh: Option<Weigh<K, V>>,
    pub(super) listeners: Listeners,
}

/// What can change while the cache is in use.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) ttl: Ttl,
    pub(super) jitter: f64,
    /// How long no call is made after one has failed.
    pub(super) calm: Duration,
    pub(super) dry_run: bool,
}

impl<K, V, E> CacheBuilder<K, V, E> {
    pub(super) fn new() -> Self {
        Self {
            config: Config {
                name: Name::from_static("cache"),
                settings: Settings {
                    ttl: Ttl::fresh(Duration::from_secs(60)),
                    jitter: 0.0,
                    calm: Duration::from_secs(1),
                    dry_run: false,
                },
                ttl_of: None,
                negative_ttl: None,
                is_own: None,
                weigh: None,
                listeners: Listeners::default(),
            },
            capacity: 10_000,
            expected: None,
            rng: None,
            timer: SharedTimer::preset(),
        }
    }

    /// The name in events. Default: `cache`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.config.name = name.into();
        self
    }

    /// How much is kept: answers, or what [`weigh`](Self::weigh) says they weigh. Default: 10,000.
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// What an answer weighs. One that is heavier than a part of the cache is not kept, and a cache has up to four parts
    /// for each processor: keep the heaviest well below `capacity` over that. Default: 1 each.
    ///
    /// `expected` is about how many answers the capacity will hold.
    pub fn weigh(mut self, expected: usize, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.config.weigh = Some(Arc::new(weigh));
        self.expected = Some(expected);
        self
    }

    /// How long an answer may be used. Default: 60 s, and never stale.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.config.settings.ttl = ttl.into();
        self
    }

    /// How long each answer may be used, by what it says: a `Cache-Control`, a row's kind. Instead of [`ttl`](Self::ttl).
    pub fn ttl_of(mut self, ttl_of: impl Fn(&V) -> Ttl + Send + Sync + 'static) -> Self {
        self.config.ttl_of = Some(Arc::new(ttl_of));
        self
    }

    /// Which errors are answers, and for how long: that there is no such row is worth remembering, that the connection
    /// was reset is not. Such an error takes the place of an older answer. Default: none.
    pub fn negative_ttl(mut self, ttl: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.config.negative_ttl = Some(Arc::new(ttl));
        self
    }

    /// Which errors concern only the caller whose call it was: that *its* deadline passed, that *it* may not. They are not
    /// handed to those who waited for the call: one of them makes a call of its own. Default: none.
    pub fn own_errors(mut self, is_own: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.config.is_own = Some(Arc::new(is_own));
        self
    }

    /// Up to which share of its time as fresh an answer may lose, at random, so that answers that came together do not
    /// expire together. Default: 0.
    pub fn jitter(mut self, share: f64) -> Self {
        self.config.settings.jitter = share;
        self
    }

    /// How long a stale answer is served without a further try after a call for a new one has failed. Default: 1 s.
    pub fn pause_after_failure(mut self, pause: Duration) -> Self {
        self.config.settings.calm = pause;
        self
    }

    /// Keeps answers and tells what it would have served, and serves nothing. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.config.settings.dry_run = dry_run;
        self
    }

    /// Draws the same jitter in each run. Default: drawn itself.
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Some(SharedRng::seeded(seed));
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.config.listeners.add(sink);
        self
    }

    /// The cache.
    ///
    /// # Errors
    ///
    /// If `capacity` or what is expected to be kept is zero or above 2^32, `jitter` is not from 0 to 1, or there is no
    /// `timer`.
    ///
    /// ```
    /// use resilience_core::cache::Cache;
    ///
    /// let error = Cache::<u64, String, ()>::builder().capacity(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "capacity must be between 1 and 2^32");
    /// ```
    pub fn build(self) -> Result<Cache<K, V, E>, ConfigError>
    where
        K: Hash + Eq + Clone,
        V: Clone,
        E: Clone,
    {
        self.check()?;
        let expected = self.expected.map_or(self.capacity, |expected| expected as u64);
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let mut config = self.config;
        config.listeners = config.listeners.bound("cache", &config.name);
        let rng = self.rng.unwrap_or_else(SharedRng::from_entropy);
        Ok(Cache::new(config, self.capacity, expected, rng, timer))
    }

    #[cfg(feature = "serde")]
    pub(crate) fn preset_ttl(&self) -> Ttl {
        self.config.settings.ttl
    }

    /// Whether it could be built, given a timer.
    #[cfg(feature = "serde")]
    pub(crate) fn can_work(&self) -> Result<(), ConfigError> {
        self.check().map(drop)
    }

    /// What can change, if it can work: the capacity, and the rest.
    pub(super) fn check(&self) -> Result<(u64, Settings), ConfigError> {
        // The map's own arithmetic overflows above.
        const MOST: u64 = 1 << 32;
        if !(1..=MOST).contains(&self.capacity) {
            return Err(ConfigError::new("capacity", "must be between 1 and 2^32"));
        }
        if self.expected.is_some_and(|expected| !(1..=MOST).contains(&(expected as u64))) {
            return Err(ConfigError::new("weigh.expected", "must be between 1 and 2^32"));
        }
        let settings = self.config.settings;
        if !(0.0..=1.0).contains(&settings.jitter) {
            return Err(ConfigError::new("jitter", "must be between 0 and 1"));
        }
        Ok((self.capacity, settings))
    }
}

impl<K, V, E> fmt::Debug for CacheBuilder<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { name, settings: Settings { ttl, jitter, calm, dry_run }, negative_ttl, is_own, .. } = &self.config;
        let mut shown = f.debug_struct("CacheBuilder");
        shown.field("name", name).field("capacity", &self.capacity).field("ttl", ttl).field("jitter", jitter);
        shown.field("negative_ttl", &negative_ttl.is_some()).field("own_errors", &is_own.is_some());
        shown.field("pause_after_failure", calm).field("dry_run", dry_run).finish_non_exhaustive()
    }
}
