//! A quota for each key, in bounded memory.

mod change;
mod part;
#[cfg(feature = "tower")]
mod service;

#[cfg(feature = "tower")]
pub use self::service::{KeyedRateLimiterLayer, KeyedRateLimiterService};

use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use self::part::{Denied, Part};
use super::Event;
use super::config::Config;
use super::machine;
use crate::spread::Parts;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;
use crate::{Name, Reason, Rejected};

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
    /// How many there may be.
    pub max_keys: usize,
    /// Refusals because a key had no permits.
    pub rate_limited: u64,
    /// Refusals because no more keys could be remembered.
    pub crowded: u64,
    /// Calls that would have been refused, in a [dry run](super::RateLimiterBuilder::dry_run).
    pub would_reject: u64,
}

struct Shared<K> {
    parts: Parts<Part<K>>,
    /// How many keys there may be. Held for every change of the bound or the quota: of two at once one wins as a whole.
    max_keys: Mutex<usize>,
    epoch: Timestamp,
    /// Name, clock and listeners; the rest is what it was built with.
    config: Config,
    /// Whether the quota is only tried out. Read where it would refuse.
    dry_run: AtomicBool,
    /// When the next part is looked after that nobody may be calling any more, and which.
    sweep_at: AtomicU64,
    sweep_next: AtomicUsize,
    rate_limited: AtomicU64,
    crowded: AtomicU64,
    would_reject: AtomicU64,
}

impl<K> KeyedRateLimiter<K> {
    pub(super) fn new(config: Config) -> Self {
        let hasher = RandomState::new();
        let shared = Shared {
            parts: Parts::new(config.max_keys, |max_keys| Part::new(max_keys, config.rule, &hasher)),
            max_keys: Mutex::new(config.max_keys),
            epoch: config.timer.now(),
            dry_run: AtomicBool::new(config.dry_run),
            config,
            sweep_at: AtomicU64::new(0),
            sweep_next: AtomicUsize::new(0),
            rate_limited: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            would_reject: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How it looks now. Locks each part for a moment, one after the other.
    pub fn snapshot(&self) -> KeyedSnapshot {
        KeyedSnapshot {
            keys: self.shared.parts.iter().map(|part| lock(part).len()).sum(),
            max_keys: *lock(&self.shared.max_keys),
            rate_limited: self.shared.rate_limited.load(Ordering::Relaxed),
            crowded: self.shared.crowded.load(Ordering::Relaxed),
            would_reject: self.shared.would_reject.load(Ordering::Relaxed),
        }
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
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

    fn now(&self) -> u64 {
        machine::ticks(self.shared.epoch, self.shared.config.timer.now())
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        let config = &self.shared.config;
        config.listeners.emit(&config.name, || config.timer.now(), event);
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
        let mut forgotten = Vec::new();
        let (taken, gone) = {
            let mut part = self.shared.parts.lock(key);
            let gone = part.turn(now);
            (part.take(key, now, permits, &mut forgotten), gone)
        };
        // Keys may run anything when they are dropped, and there may be many: not under the lock.
        drop((forgotten, gone));
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
        let part = self.shared.parts.lock(key);
        u32::try_from(part.rule().available(part.full_at(key), now)).unwrap_or(0)
    }

    /// Looks after one part now and then, so that those nobody calls any more forget their keys too.
    fn sweep(&self, now: u64) {
        let shared = &*self.shared;
        // Relaxed, all of it: to sweep twice or late does no harm.
        let due = shared.sweep_at.load(Ordering::Relaxed);
        if now < due {
            return;
        }
        let count = shared.parts.iter().len();
        let index = shared.sweep_next.fetch_add(1, Ordering::Relaxed) % count;
        let Some(part) = shared.parts.iter().nth(index) else { return };
        let mut part = lock(part);
        let gone = part.turn(now);
        let next = now + part.rule().tolerance / count as u64;
        drop(part);
        drop(gone);
        shared.sweep_at.fetch_max(next, Ordering::Relaxed);
    }

    /// Refuses a call, or in a dry run says that it would.
    #[cold]
    fn deny(&self, denied: Denied, permits: u32) -> Result<(), Rejected> {
        // Relaxed: a switch that guards nothing.
        if !self.shared.dry_run.load(Ordering::Relaxed) {
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
