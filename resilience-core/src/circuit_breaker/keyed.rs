//! A breaker for each key, in bounded memory.

mod change;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::Hash;

use super::config::Config;
use super::control::ManualControl;
use super::permit::Permit;
use super::policy::CircuitBreaker;
use super::shared::{Shared, Window};
use super::state::State;
use super::word::Word;
use crate::spread::Parts;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Arc, Mutex, lock};
use crate::{Name, Rejected};

/// A circuit breaker for each key: a host, a tenant, a route. Clones share them.
///
/// A key's breaker is made at its first call. When more than [`max_keys`](super::CircuitBreakerBuilder::max_keys) would
/// be kept, those make room that are closed, have no call in flight, and either hold no evidence, and so are as good as
/// new ones, or were not used since it was last looked for room; should all of them be in use, a few that are closed. One
/// that is open, half-open or moved by hand never goes. If nothing can go, the new key's calls pass unwatched: a breaker
/// is for refusing what is known to be down, and of this key nothing is known.
///
/// All have the keyed breaker's name in refusals and events: keys are data, and names are labels.
///
/// ```
/// use resilience_core::Class;
/// use resilience_core::circuit_breaker::{CircuitBreaker, State};
///
/// let hosts = CircuitBreaker::builder().name("crawler").consecutive_failures(2).build_keyed::<String>()?;
/// for _ in 0..2 {
///     hosts.try_acquire("down.example").unwrap().settle(Class::Failure);
/// }
/// assert!(hosts.try_acquire("down.example").is_err());
/// assert!(hosts.try_acquire("up.example").is_ok());
/// assert_eq!(hosts.get("down.example").map(|breaker| breaker.state()), Some(State::Open));
/// # Ok::<_, resilience_core::ConfigError>(())
/// ```
pub struct KeyedCircuitBreaker<K> {
    pub(super) shared: Arc<Keyed<K>>,
}

pub(super) struct Keyed<K> {
    parts: Parts<Kept<K>>,
    name: Name,
    newest: Mutex<Arc<Settings>>,
    controls: Vec<ManualControl>,
    unwatched: AtomicU64,
    retired: Retired,
}

/// What breakers are made from, until the next change.
struct Settings {
    /// How many changes came before.
    version: u64,
    config: Config,
    max_keys: usize,
}

struct Kept<K> {
    breakers: HashMap<K, Entry, RandomState>,
    /// What its breakers go by, or are about to.
    settings: Arc<Settings>,
    max_keys: usize,
    /// How many calls for new keys are let through before it is looked again for one that can go.
    look_again_in: usize,
}

/// Counts of breakers that are gone.
#[derive(Default)]
struct Retired {
    rejected: AtomicU64,
    would_reject: AtomicU64,
    opened: AtomicU64,
}

struct Entry {
    breaker: CircuitBreaker,
    /// Since it was last looked for room.
    used: bool,
}

/// What a keyed breaker looks like at about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedSnapshot {
    /// Keys with a breaker.
    pub keys: usize,
    /// How many there may be.
    pub max_keys: usize,
    /// Of them, those whose circuit is not closed.
    pub not_closed: usize,
    /// Calls that passed without a breaker, because no more could be kept.
    pub unwatched: u64,
    /// Calls refused since it was built, of keys that are forgotten too.
    pub rejected: u64,
    /// Calls that would have been refused, in a [dry run](super::CircuitBreakerBuilder::dry_run).
    pub would_reject: u64,
    /// How often a circuit has opened.
    pub opened: u64,
}

impl<K> KeyedCircuitBreaker<K> {
    pub(super) fn new(config: Config, controls: Vec<ManualControl>, max_keys: usize) -> Self {
        // A key's calls seldom come on all cores at once, and there are many keys. Whether one of them can go is seen by
        // its share count, which a thread's kept share would blur.
        let config = Config { shards: 1, is_kept: false, ..config };
        let settings = Arc::new(Settings { version: 0, config, max_keys });
        let hasher = RandomState::new();
        let parts = Parts::new(max_keys, |max_keys| Kept {
            breakers: HashMap::with_hasher(hasher.clone()),
            settings: settings.clone(),
            max_keys,
            look_again_in: 0,
        });
        let (name, newest) = (settings.config.name.clone(), Mutex::new(settings));
        let (unwatched, retired) = (AtomicU64::new(0), Retired::default());
        Self { shared: Arc::new(Keyed { parts, name, newest, controls, unwatched, retired }) }
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// How it looks now. Locks each part for a moment, one after the other.
    pub fn snapshot(&self) -> KeyedSnapshot {
        let shared = &*self.shared;
        // Relaxed, all of them: figures to look at.
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut seen = KeyedSnapshot {
            keys: 0,
            max_keys: lock(&shared.newest).max_keys,
            not_closed: 0,
            unwatched: read(&shared.unwatched),
            rejected: read(&shared.retired.rejected),
            would_reject: read(&shared.retired.would_reject),
            opened: read(&shared.retired.opened),
        };
        for part in shared.parts.iter() {
            let kept = lock(part);
            seen.keys += kept.breakers.len();
            for Entry { breaker, .. } in kept.breakers.values() {
                let of_key = &breaker.shared;
                seen.not_closed += usize::from(breaker.state().refuses());
                seen.rejected += read(&of_key.rejected);
                seen.would_reject += read(&of_key.would_reject);
                seen.opened += lock(&of_key.cold).opened;
            }
        }
        seen
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + Send + Sync + 'static
    where
        K: Send + Sync + 'static,
    {
        let weak = Arc::downgrade(&self.shared);
        move || weak.upgrade().map(|shared| Self { shared })
    }
}

impl<K: Hash + Eq> KeyedCircuitBreaker<K> {
    /// Asks to make one call for `key`; see [`CircuitBreaker::try_acquire`].
    ///
    /// # Errors
    ///
    /// [`Rejected`] when the key's circuit refuses.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Permit, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let found = {
            let mut kept = self.shared.parts.lock(key);
            match kept.breakers.get_mut(key) {
                Some(entry) => {
                    entry.used = true;
                    Ok(entry.breaker.clone())
                }
                None => Err(kept.settings.clone()),
            }
        };
        match found {
            Ok(breaker) => breaker.into_permit(),
            Err(settings) => self.make(settings, key),
        }
    }

    /// The breaker of `key`, if there is one.
    pub fn get<Q>(&self, key: &Q) -> Option<CircuitBreaker>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.parts.lock(key).breakers.get(key).map(|entry| entry.breaker.clone())
    }

    #[cold]
    fn make<Q>(&self, mut settings: Arc<Settings>, key: &Q) -> Result<Permit, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.shared;
        loop {
            let fresh = CircuitBreaker::new(&settings.config);
            // Before anybody can find it, and even if nobody ever will: what a control isolates lets no call pass. And not
            // under the lock: a control may wake listeners.
            for control in &shared.controls {
                control.attach(&fresh);
            }
            let mut kept = shared.parts.lock(key);
            if let Some(found) = kept.breakers.get(key).map(|entry| entry.breaker.clone()) {
                drop(kept);
                return found.into_permit();
            }
            if !Arc::ptr_eq(&kept.settings, &settings) {
                // Whoever changed them has been here, or is about to look at what is kept: this one would go by the old
                // ones for ever.
                let newer = kept.settings.clone();
                drop(kept);
                settings = newer;
                continue;
            }
            let gone = kept.make_room();
            let has_room = kept.breakers.len() < kept.max_keys;
            if has_room {
                kept.breakers.insert(key.to_owned(), Entry { breaker: fresh.clone(), used: true });
            }
            drop(kept);
            // Keys may run anything when they are dropped: not under the lock.
            shared.retire(gone);
            if has_room {
                return fresh.into_permit();
            }
            // Relaxed: a count.
            shared.unwatched.fetch_add(1, Ordering::Relaxed);
            let permit = fresh.clone().into_permit();
            shared.retired.add(&fresh);
            return permit;
        }
    }
}

impl<K> Keyed<K> {
    /// Drops breakers that nobody else has, and keeps what they have counted.
    fn retire(&self, gone: Vec<(K, Entry)>) {
        for (_, entry) in &gone {
            self.retired.add(&entry.breaker);
        }
    }
}

impl Retired {
    fn add(&self, breaker: &CircuitBreaker) {
        let of_key = &breaker.shared;
        // Relaxed: counts.
        self.rejected.fetch_add(of_key.rejected.load(Ordering::Relaxed), Ordering::Relaxed);
        self.would_reject.fetch_add(of_key.would_reject.load(Ordering::Relaxed), Ordering::Relaxed);
        self.opened.fetch_add(lock(&of_key.cold).opened, Ordering::Relaxed);
    }
}

impl<K: Hash + Eq> Kept<K> {
    /// If it is full, takes out breakers that can go; for the caller to drop.
    fn make_room(&mut self) -> Vec<(K, Entry)> {
        if self.breakers.len() < self.max_keys {
            return Vec::new();
        }
        if let Some(rest) = self.look_again_in.checked_sub(1) {
            self.look_again_in = rest;
            return Vec::new();
        }
        let unused = |_: &K, entry: &mut Entry| {
            let used = std::mem::replace(&mut entry.used, false);
            entry.breaker.is_free() && (!used || entry.breaker.shared.is_blank())
        };
        let mut gone: Vec<_> = self.breakers.extract_if(unused).collect();
        if gone.is_empty() {
            // After a change of the bound there may be more than it allows.
            let few = self.max_keys.div_ceil(8) + (self.breakers.len() - self.max_keys);
            gone = self.breakers.extract_if(|_, entry| entry.breaker.is_free()).take(few).collect();
        }
        // To look costs as many steps as there are keys. In vain, it is not repeated for each of as many calls.
        self.look_again_in = if gone.is_empty() { self.max_keys } else { 0 };
        gone
    }
}

impl CircuitBreaker {
    /// Whether it is closed and nobody else has it: no call, no handle. For whoever holds the lock under which handles
    /// are given out.
    fn is_free(&self) -> bool {
        if Arc::strong_count(&self.shared) != 1 {
            return false;
        }
        // The count is read Relaxed, which by itself orders nothing: the state below could be read as it was before the
        // last call settled. The fence pairs with the Release by which that call gave its share back, after it had
        // settled; so the state is the one it left. As in the drop of an `Arc`.
        fence(Ordering::Acquire);
        self.state() == State::Closed
    }
}

impl Shared {
    /// Whether it holds no evidence.
    fn is_blank(&self) -> bool {
        let now = self.timer.now();
        if let Some(breaker) = &self.exact {
            let mut breaker = lock(breaker);
            return breaker.sums(now).total() == 0 && breaker.failures_in_a_row() == 0;
        }
        let word = Word(self.word.load(Ordering::Acquire));
        let is_empty = |window: &Window| {
            let counts = window.counts(word.generation(), now);
            counts.calls == 0 && counts.gave_up == 0
        };
        word.failures() == 0
            && word.gave_up() == 0
            && self.window.as_ref().is_none_or(is_empty)
            && self.slow.as_ref().is_none_or(|slow| is_empty(&slow.window))
    }
}

impl<K> Clone for KeyedCircuitBreaker<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> fmt::Debug for KeyedCircuitBreaker<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
