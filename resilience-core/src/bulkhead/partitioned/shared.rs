//! The rule of shares under a lock, and what is told of it.

use super::config::Config;
use crate::bulkhead::Event;
use crate::control::Shares;
use crate::held::keep;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::Timestamp;
use crate::{Reason, Rejected};

/// What the clones of one partitioned bulkhead share, but for its keys: partitions are numbers here, the first is that of
/// all keys without a share.
pub(super) struct Shared {
    is_watched: bool,
    /// See [`Keep`](crate::held::Keep).
    is_own: bool,
    dry_run: AtomicBool,
    /// Whether nobody gets in, as of the last time the lock was free.
    is_full: AtomicBool,
    shares: Mutex<Shares<usize>>,
    /// Refusals by partition.
    full: Box<[AtomicU64]>,
    would_reject: AtomicU64,
    config: Config,
}

keep!(Shared);

/// The partition of keys without a share.
pub(super) const OTHERS: usize = 0;

impl Shared {
    pub(super) fn new(limit: u32, ratios: &[f64], dry_run: bool, config: Config) -> Self {
        Self {
            is_watched: !config.listeners.is_empty(),
            is_own: config.listeners.is_empty() && config.timer.is_own(),
            dry_run: AtomicBool::new(dry_run),
            is_full: AtomicBool::new(false),
            shares: Mutex::new(shares(limit, ratios)),
            full: ratios.iter().map(|_| AtomicU64::new(0)).collect(),
            would_reject: AtomicU64::new(0),
            config,
        }
    }

    /// Takes a slot for a partition; when, if somebody listens.
    pub(super) fn acquire(&self, partition: usize) -> Result<Timestamp, Rejected> {
        let (taken, would, limit) = {
            let mut shares = lock(&self.shares);
            let taken = shares.acquire(&partition);
            let would = !taken && self.is_dry_run() && shares.overfill(&partition);
            self.note_full(&shares);
            (taken, would, shares.limit())
        };
        if would {
            self.would_reject.fetch_add(1, Ordering::Relaxed);
            self.emit(|| Event::WouldReject { reason: full(limit) });
        } else if !taken {
            return Err(self.refuse(partition, limit));
        }
        Ok(if self.is_watched { self.tell_admitted() } else { Timestamp::ORIGIN })
    }

    pub(super) fn release(&self, partition: usize, since: Timestamp) {
        {
            let mut shares = lock(&self.shares);
            shares.release(&partition);
            self.note_full(&shares);
        }
        if self.is_watched {
            let now = self.config.timer.now();
            self.config.listeners.emit(&self.config.name, || now, || Event::Released { held: now.since(since) });
        }
    }

    /// Whether a call of whomever would be refused.
    #[cfg(any(feature = "tower", test))]
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        // Relaxed: a look. Who is admitted by it has yet to take a slot.
        self.is_full.load(Ordering::Relaxed) && !self.is_dry_run()
    }

    #[cold]
    pub(super) fn refuse(&self, partition: usize, limit: u32) -> Rejected {
        if let Some(count) = self.full.get(partition) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let reason = full(limit);
        self.emit(|| Event::Rejected { reason });
        Rejected::new(self.config.name.clone(), reason)
    }

    pub(super) fn resize(&self, limit: u32) {
        {
            let mut shares = lock(&self.shares);
            shares.set_limit(limit);
            self.note_full(&shares);
        }
        self.emit(|| Event::Resized { limit });
    }

    /// Takes over a limit and as many ratios as there are partitions. What calls hold they keep.
    pub(super) fn set(&self, limit: u32, ratios: &[f64], dry_run: bool) {
        let resized = {
            let mut shares = lock(&self.shares);
            // Relaxed: a switch that guards nothing. Under the lock, so that of two changes at once one is what all read in
            // the end.
            self.dry_run.store(dry_run, Ordering::Relaxed);
            let resized = shares.limit() != limit;
            let mut next = self::shares(limit, ratios);
            for partition in 0..ratios.len() {
                for _ in 0..shares.part_in_flight(&partition) {
                    next.overfill(&partition);
                }
            }
            *shares = next;
            self.note_full(&shares);
            resized
        };
        if resized {
            self.emit(|| Event::Resized { limit });
        }
    }

    /// What the rule says now.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Shares<usize>) -> T) -> T {
        look(&lock(&self.shares))
    }

    /// Refusals of a partition, or of all.
    pub(super) fn refused(&self, partition: Option<usize>) -> u64 {
        let one = |at: usize| self.full.get(at).map_or(0, |count| count.load(Ordering::Relaxed));
        partition.map_or_else(|| (0..self.full.len()).map(one).sum(), one)
    }

    pub(super) fn would_reject(&self) -> u64 {
        self.would_reject.load(Ordering::Relaxed)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn is_dry_run(&self) -> bool {
        // Relaxed as in `set`.
        self.dry_run.load(Ordering::Relaxed)
    }

    /// Keeps `is_full` up to date, under the lock, and written only when it changes.
    fn note_full(&self, shares: &Shares<usize>) {
        // Relaxed as in `is_full`.
        if self.is_full.load(Ordering::Relaxed) != shares.is_full() {
            self.is_full.store(shares.is_full(), Ordering::Relaxed);
        }
    }

    #[cold]
    fn tell_admitted(&self) -> Timestamp {
        let (now, waited) = (self.config.timer.now(), std::time::Duration::ZERO);
        self.config.listeners.emit(&self.config.name, || now, || Event::Admitted { waited });
        now
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.config.listeners.emit(&self.config.name, || self.config.timer.now(), event);
    }
}

fn shares(limit: u32, ratios: &[f64]) -> Shares<usize> {
    let shares = Shares::new(limit, ratios.iter().copied().enumerate());
    // A ratio of zero would be rounded up to a slot.
    if ratios.first().is_some_and(|ratio| *ratio > 0.0) { shares } else { shares.with_guest(OTHERS) }
}

const fn full(limit: u32) -> Reason {
    Reason::Full { limit, queued: 0 }
}
