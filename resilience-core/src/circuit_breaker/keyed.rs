//! A breaker for each key, in bounded memory.

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
use crate::spread::Spread;
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
    shards: Box<[Shard<K>]>,
    spread: Spread,
    config: Config,
    controls: Vec<ManualControl>,
    unwatched: AtomicU64,
}

/// On a cache line of its own, so that threads with different keys seldom meet.
#[repr(align(128))]
struct Shard<K>(Mutex<Kept<K>>);

struct Kept<K> {
    breakers: HashMap<K, Entry, RandomState>,
    max_keys: usize,
    /// How many calls for new keys are let through before it is looked again for one that can go.
    look_again_in: usize,
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
    /// Of them, those whose circuit is not closed.
    pub not_closed: usize,
    /// Calls that passed without a breaker, because no more could be kept.
    pub unwatched: u64,
}

/// Keys a shard has at least, if there are that many.
const SHARD_KEYS: usize = 64;

/// So many that threads seldom meet in one.
const MAX_SHARDS: usize = 64;

impl<K> KeyedCircuitBreaker<K> {
    pub(super) fn new(config: Config, controls: Vec<ManualControl>, max_keys: usize) -> Self {
        let count = (max_keys / SHARD_KEYS).clamp(1, MAX_SHARDS);
        let hasher = RandomState::new();
        let shard = |index| {
            Shard(Mutex::new(Kept {
                breakers: HashMap::with_hasher(hasher.clone()),
                // The remainder goes to the first ones, so that together they are exact.
                max_keys: max_keys / count + usize::from(index < max_keys % count),
                look_again_in: 0,
            }))
        };
        let shards = (0..count).map(shard).collect();
        // A key's calls seldom come on all cores at once, and there are many keys. Whether one of them can go is seen by
        // its share count, which a thread's kept share would blur.
        let config = Config { shards: 1, is_kept: false, ..config };
        Self {
            shared: Arc::new(Keyed { shards, spread: Spread::new(), config, controls, unwatched: AtomicU64::new(0) }),
        }
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// How it looks now. Locks each shard for a moment, one after the other.
    pub fn snapshot(&self) -> KeyedSnapshot {
        let (mut keys, mut not_closed) = (0, 0);
        for shard in &self.shared.shards {
            let kept = lock(&shard.0);
            keys += kept.breakers.len();
            not_closed += kept.breakers.values().filter(|entry| entry.breaker.state().refuses()).count();
        }
        KeyedSnapshot { keys, not_closed, unwatched: self.shared.unwatched.load(Ordering::Relaxed) }
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
        let shard = self.shard(key);
        let found = lock(&shard.0).breakers.get_mut(key).map(|entry| {
            entry.used = true;
            entry.breaker.clone()
        });
        found.unwrap_or_else(|| self.make(shard, key)).into_permit()
    }

    /// The breaker of `key`, if there is one.
    pub fn get<Q>(&self, key: &Q) -> Option<CircuitBreaker>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        lock(&self.shard(key).0).breakers.get(key).map(|entry| entry.breaker.clone())
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &Shard<K> {
        let shards = &self.shared.shards;
        &shards[self.shared.spread.index(key, shards.len())]
    }

    #[cold]
    fn make<Q>(&self, shard: &Shard<K>, key: &Q) -> CircuitBreaker
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let fresh = CircuitBreaker::new(&self.shared.config);
        // Before anybody can find it, and even if nobody ever will: what a control isolates lets no call pass. And not
        // under the lock: a control may wake listeners.
        for control in &self.shared.controls {
            control.attach(&fresh);
        }
        let mut kept = lock(&shard.0);
        if let Some(found) = kept.breakers.get(key) {
            return found.breaker.clone();
        }
        let gone = kept.make_room();
        if kept.breakers.len() >= kept.max_keys {
            drop(kept);
            // Relaxed: a count.
            self.shared.unwatched.fetch_add(1, Ordering::Relaxed);
            return fresh;
        }
        kept.breakers.insert(key.to_owned(), Entry { breaker: fresh.clone(), used: true });
        drop(kept);
        // Keys may run anything when they are dropped: not under the lock.
        drop(gone);
        fresh
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
            let few = self.max_keys.div_ceil(8);
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
