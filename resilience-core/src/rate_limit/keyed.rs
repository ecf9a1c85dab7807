//! A quota for each key, in bounded memory.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use super::Event;
use super::config::Config;
use super::machine::{self, Rule};
use crate::spread::Spread;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;
use crate::{ConfigError, Name, Reason, Rejected};

/// A limit on the calls in a time for each key: a user, an address, a tenant. Clones share it.
///
/// A key costs memory from its first call until its burst is back, and little longer: a key at full is the same as one
/// never seen, and is forgotten in passing, by calls for whichever key. Two kinds of key are told apart without a look
/// at each: those touched since the last turn and those touched before; once a whole burst's time has passed since the
/// last turn, all of the latter are back at full, and go at once.
///
/// No more than [`max_keys`](super::RateLimiterBuilder::max_keys) are remembered. Beyond, keys that are back at full
/// make room; if none is, calls for new keys are refused, since to admit them unseen would be to have no limit.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::rate_limit::RateLimiter;
///
/// let logins = RateLimiter::builder().quota(5, Duration::from_secs(60)).build_keyed::<String>()?;
/// for _ in 0..5 {
///     logins.try_acquire("ada").unwrap();
/// }
/// assert!(logins.try_acquire("ada").is_err());
/// assert!(logins.try_acquire("grace").is_ok());
/// # Ok::<_, resilience_core::ConfigError>(())
/// ```
pub struct KeyedRateLimiter<K> {
    shared: Arc<Shared<K>>,
}

/// What a keyed limiter looks like at about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedSnapshot {
    /// Keys it remembers.
    pub keys: usize,
    /// Refusals because a key had no permits.
    pub rate_limited: u64,
    /// Refusals because no more keys could be remembered.
    pub crowded: u64,
    /// Calls that would have been refused, in a [dry run](super::RateLimiterBuilder::dry_run).
    pub would_reject: u64,
}

struct Shared<K> {
    shards: Box<[Mutex<Shard<K>>]>,
    spread: Spread,
    epoch: Timestamp,
    config: Config,
    /// When the next shard is looked after that nobody may be calling any more, and which.
    sweep_at: AtomicU64,
    sweep_next: AtomicUsize,
    rate_limited: AtomicU64,
    crowded: AtomicU64,
    would_reject: AtomicU64,
}

/// Keys a shard has at least, if there are that many.
const SHARD_KEYS: usize = 64;

/// So many that threads seldom meet in one.
const MAX_SHARDS: usize = 64;

struct Shard<K> {
    /// When each key touched since the last turn is full.
    recent: HashMap<K, u64, RandomState>,
    /// Those touched before.
    past: HashMap<K, u64, RandomState>,
    turned_at: u64,
    /// After a change of the rule, when all keys of that time are full.
    settled_at: u64,
    /// No key is full before; to look sooner is in vain.
    crowded_until: u64,
    max_keys: usize,
    rule: Rule,
}

/// Why a key got no permits.
enum Denied {
    TooMany,
    Wait(u64),
    Crowded(u64),
}

impl<K> KeyedRateLimiter<K> {
    pub(super) fn new(config: Config) -> Self {
        let count = (config.max_keys / SHARD_KEYS).clamp(1, MAX_SHARDS);
        let hasher = RandomState::new();
        let shard = |index| Shard {
            recent: HashMap::with_hasher(hasher.clone()),
            past: HashMap::with_hasher(hasher.clone()),
            turned_at: 0,
            settled_at: 0,
            crowded_until: 0,
            // The remainder goes to the first ones, so that together they are exact.
            max_keys: config.max_keys / count + usize::from(index < config.max_keys % count),
            rule: config.rule,
        };
        let shared = Shared {
            shards: (0..count).map(|index| Mutex::new(shard(index))).collect(),
            epoch: config.timer.now(),
            spread: Spread::new(),
            config,
            sweep_at: AtomicU64::new(0),
            sweep_next: AtomicUsize::new(0),
            rate_limited: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            would_reject: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How it looks now. Locks each shard for a moment, one after the other.
    pub fn snapshot(&self) -> KeyedSnapshot {
        KeyedSnapshot {
            keys: self.shared.shards.iter().map(|shard| lock(shard).len()).sum(),
            rate_limited: self.shared.rate_limited.load(Ordering::Relaxed),
            crowded: self.shared.crowded.load(Ordering::Relaxed),
            would_reject: self.shared.would_reject.load(Ordering::Relaxed),
        }
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }
}

impl<K: Hash + Eq> KeyedRateLimiter<K> {
    /// Takes a permit of `key`'s, if it has one. Never waits.
    ///
    /// # Errors
    ///
    /// [`Reason::RateLimited`] if there is none, with the time after which there is; or if `key` is not known and no
    /// more keys can be remembered, with the time after which one is forgotten.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<(), Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_n(key, 1)
    }

    /// Takes `permits` of `key`'s at once, or none.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire); without `retry_after` if `permits` is more than the burst.
    pub fn try_acquire_n<Q>(&self, key: &Q, permits: u32) -> Result<(), Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        let (taken, gone) = {
            let mut shard = lock(self.shard(key));
            let gone = shard.turn(now);
            (shard.take(key, now, permits), gone)
        };
        // Keys may run anything when they are dropped, and there may be many: not under the lock.
        drop(gone);
        self.sweep(now);
        match taken {
            Ok(()) => {
                self.emit(|| Event::Admitted { permits, waited: Duration::ZERO });
                Ok(())
            }
            Err(denied) => self.deny(denied, permits),
        }
    }

    /// Permits `key` could have at once now.
    pub fn available<Q>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.now();
        let shard = lock(self.shard(key));
        let full_at = shard.recent.get(key).or_else(|| shard.past.get(key)).copied().unwrap_or(0);
        u32::try_from(shard.rule.available(full_at, now)).unwrap_or(0)
    }

    /// Changes the quota and burst of every key. What each has taken stays taken.
    ///
    /// Takes time proportional to the keys that are remembered.
    ///
    /// # Errors
    ///
    /// As in the builder.
    pub fn set_quota(&self, permits: u32, per: Duration, burst: u32) -> Result<(), ConfigError> {
        let rule = Rule::new(permits, per, burst)?;
        for shard in &self.shared.shards {
            lock(shard).set_rule(rule, self.now());
        }
        self.emit(|| Event::QuotaChanged { permits, per, burst });
        Ok(())
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &Mutex<Shard<K>> {
        let shards = &self.shared.shards;
        &shards[self.shared.spread.index(key, shards.len())]
    }

    /// Looks after one shard now and then, so that those nobody calls any more forget their keys too.
    fn sweep(&self, now: u64) {
        let shared = &*self.shared;
        // Relaxed, all of it: to sweep twice or late does no harm.
        let due = shared.sweep_at.load(Ordering::Relaxed);
        if now < due {
            return;
        }
        let index = shared.sweep_next.fetch_add(1, Ordering::Relaxed) % shared.shards.len();
        let mut shard = lock(&shared.shards[index]);
        let gone = shard.turn(now);
        let next = now + shard.rule.tolerance / shared.shards.len() as u64;
        drop(shard);
        drop(gone);
        shared.sweep_at.fetch_max(next, Ordering::Relaxed);
    }

    /// Refuses a call, or in a dry run says that it would.
    #[cold]
    fn deny(&self, denied: Denied, permits: u32) -> Result<(), Rejected> {
        if !self.shared.config.dry_run {
            return Err(self.refuse(denied));
        }
        self.shared.would_reject.fetch_add(1, Ordering::Relaxed);
        let retry_after = match denied {
            Denied::TooMany => None,
            Denied::Wait(ticks) | Denied::Crowded(ticks) => Some(machine::duration(ticks)),
        };
        self.emit(|| Event::WouldReject { reason: Reason::RateLimited, retry_after });
        self.emit(|| Event::Admitted { permits, waited: Duration::ZERO });
        Ok(())
    }

    #[cold]
    fn refuse(&self, denied: Denied) -> Rejected {
        let (counter, wait) = match denied {
            Denied::TooMany => (&self.shared.rate_limited, None),
            Denied::Wait(ticks) => (&self.shared.rate_limited, Some(ticks)),
            Denied::Crowded(ticks) => (&self.shared.crowded, Some(ticks)),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let (reason, retry_after) = (Reason::RateLimited, wait.map(machine::duration));
        self.emit(|| Event::Rejected { reason, retry_after });
        let rejected = Rejected::new(self.name().clone(), reason);
        match retry_after {
            Some(wait) => rejected.with_retry_after(wait),
            None => rejected,
        }
    }

    fn now(&self) -> u64 {
        machine::ticks(self.shared.epoch, self.shared.config.timer.now())
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        let config = &self.shared.config;
        config.listeners.emit(&config.name, || config.timer.now(), event);
    }
}

impl<K> Shard<K> {
    fn len(&self) -> usize {
        self.recent.len() + self.past.len()
    }

    /// Forgets the keys touched before the last turn, once all of them are full; for the caller to drop.
    fn turn(&mut self, now: u64) -> Option<HashMap<K, u64, RandomState>> {
        // Touched before `turned_at` => full a whole burst's time later at the latest.
        if now < self.turned_at.saturating_add(self.rule.tolerance).max(self.settled_at) {
            return None;
        }
        self.turned_at = now;
        let empty = HashMap::with_hasher(self.recent.hasher().clone());
        let recent = std::mem::replace(&mut self.recent, empty);
        Some(std::mem::replace(&mut self.past, recent))
    }
}

impl<K: Hash + Eq> Shard<K> {
    fn take<Q>(&mut self, key: &Q, now: u64, permits: u32) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let rule = self.rule;
        let end_after = |full_at: u64| match rule.place(full_at, now, permits) {
            None => Err(Denied::TooMany),
            Some(place) if place.due > now => Err(Denied::Wait(place.due - now)),
            Some(place) => Ok(place.end),
        };
        if let Some(full_at) = self.recent.get_mut(key) {
            *full_at = end_after(*full_at)?;
            return Ok(());
        }
        let end = match self.past.get(key) {
            Some(full_at) => end_after(*full_at)?,
            None => {
                let end = end_after(now)?;
                self.make_room(now)?;
                end
            }
        };
        let key = match self.past.remove_entry(key) {
            Some((key, _)) => key,
            None => key.to_owned(),
        };
        self.crowded_until = self.crowded_until.min(end);
        match self.recent.entry(key) {
            Entry::Occupied(mut entry) => *entry.get_mut() = end,
            Entry::Vacant(entry) => {
                entry.insert(end);
            }
        }
        Ok(())
    }

    /// Makes room for one more key by forgetting those that are full. Looks at all, but only once one may be.
    fn make_room(&mut self, now: u64) -> Result<(), Denied> {
        if self.len() < self.max_keys {
            return Ok(());
        }
        if now >= self.crowded_until {
            let mut earliest = u64::MAX;
            let mut is_out = |_: &K, full_at: &mut u64| {
                let is_out = *full_at > now;
                if is_out {
                    earliest = earliest.min(*full_at);
                }
                is_out
            };
            self.past.retain(&mut is_out);
            self.recent.retain(&mut is_out);
            self.crowded_until = earliest;
        }
        if self.len() < self.max_keys { Ok(()) } else { Err(Denied::Crowded(self.crowded_until - now)) }
    }

    fn set_rule(&mut self, rule: Rule, now: u64) {
        let mut latest = 0;
        for full_at in self.recent.values_mut().chain(self.past.values_mut()) {
            *full_at = self.rule.rescaled(rule, *full_at, now);
            latest = latest.max(*full_at);
        }
        self.settled_at = latest;
        // Some may be full sooner than before.
        self.crowded_until = 0;
        self.rule = rule;
    }
}

impl<K> Clone for KeyedRateLimiter<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> fmt::Debug for KeyedRateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
