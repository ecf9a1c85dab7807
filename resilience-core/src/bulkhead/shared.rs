//! The rules of `machine` applied: by compare-exchange, and under a lock where somebody waits.

use std::task::Waker;
use std::time::Duration;

use super::Event;
use super::config::Config;
use super::machine::{LANES, Needs, Queue, Release, Taken, Word};
use crate::Reason;
use crate::held::keep;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::tally::Tally;
use crate::time::saturating_nanos;

mod line;
mod report;

pub(crate) use self::line::Calls;

/// What the clones of one bulkhead share.
///
/// In this order, so that what each call touches lies beside the reference count it touches anyway, and what refusals
/// count lies apart from it.
#[repr(C)]
pub(super) struct Shared {
    /// A [`Word`]. Freed slots are published with `Release` and taken with `Acquire`, so that what one call did while
    /// it held its slot is visible to the next. The number of waiters changes only under the lock of `queue`.
    word: AtomicU64,
    /// Whether anybody listens: a copy of what `config` says.
    is_watched: bool,
    /// See [`Keep`](crate::held::Keep).
    is_own: bool,
    /// Whether the limit is only tried out. This and the next four may change, and are read only by who finds no slot.
    dry_run: AtomicBool,
    /// What the discipline of `queue` [needs](Needs), for who has yet to take its lock.
    needs: AtomicU8,
    /// The lane in which the least critical one waits, or one beyond all: whether it is worth the lock to ask for a place
    /// in a full queue. As of the last time the lock was free; kept only where calls can be displaced.
    least: AtomicU8,
    /// Calls that may wait, and for how many nanoseconds.
    queue_limit: AtomicU32,
    max_wait: AtomicU64,
    /// Its waiting nodes are as many as the word says whenever the lock is free.
    queue: Mutex<Queue<Waker>>,
    config: Config,
    counters: Counters,
}

keep!(Shared);

/// The longest wait where there is none.
const NO_LIMIT: u64 = u64::MAX;

#[derive(Default)]
struct Counters {
    queued: AtomicU64,
    full: Tally,
    queue_timeout: AtomicU64,
    deadline: AtomicU64,
    queue_delay: AtomicU64,
    displaced: AtomicU64,
    would_queue: AtomicU64,
    would_reject: AtomicU64,
}

/// How a caller gets in.
pub(super) enum Entry {
    /// It has a slot, for which a permit must be made.
    Admitted,
    /// It waits. Whoever it displaced must be called, once the place cannot be lost any more.
    Queued(Taken, Option<Waker>),
    /// There is neither slot nor place.
    Full(Word),
}

/// What a caller can be told without the lock.
pub(super) enum Door {
    /// It has a slot, for which a permit must be made.
    Open,
    /// It may be able to wait.
    Queue,
    /// There is neither slot nor place.
    Full(Word),
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        Self {
            word: AtomicU64::new(Word::new(config.limit).bits()),
            is_watched: !config.listeners.is_empty(),
            is_own: config.listeners.is_empty() && config.timer.is_own(),
            dry_run: AtomicBool::new(config.dry_run),
            needs: AtomicU8::new(Needs::of(config.discipline).bits()),
            least: AtomicU8::new(LANES as u8),
            queue_limit: AtomicU32::new(config.queue),
            max_wait: AtomicU64::new(config.max_wait.map_or(NO_LIMIT, saturating_nanos)),
            queue: Mutex::new(Queue::new(config.discipline)),
            config,
            counters: Counters::default(),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        // Relaxed: a look. Whoever acts on it does so by compare-exchange.
        Word::from_bits(self.word.load(Ordering::Relaxed))
    }

    /// Takes a free slot without the lock.
    #[inline(always)]
    pub(super) fn try_take(&self) -> Result<(), Word> {
        let mut word = self.word();
        loop {
            let Some(next) = word.admit() else { return Err(word) };
            // Acquire pairs with the Release in `release`, `hand_over` and `change`.
            match self.exchange(word, next, Ordering::Acquire) {
                Ok(()) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    /// In a dry run, takes a slot that is not there, and notes what would have become of the caller; else nothing.
    #[cold]
    pub(super) fn overfill(&self) -> bool {
        if !self.is_dry_run() {
            return false;
        }
        let mut word = self.word();
        // A slot may have been freed meanwhile => it is taken like any other.
        while let Some(next) = word.admit().or_else(|| word.overfill()) {
            // Acquire as in `try_take`.
            match self.exchange(word, next, Ordering::Acquire) {
                Ok(()) => {
                    self.note_would(word);
                    return true;
                }
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// What the limit would have done with a caller that found `word`.
    fn note_would(&self, word: Word) {
        if word.admit().is_some() {
            return;
        }
        // Those beyond the limit would wait.
        let (queued, queue) = (word.excess(), self.queue());
        if queued < queue {
            self.counters.would_queue.fetch_add(1, Ordering::Relaxed);
            self.emit(|| Event::WouldQueue { queued: queued + 1 });
        } else {
            self.counters.would_reject.fetch_add(1, Ordering::Relaxed);
            self.emit(|| Event::WouldReject { reason: Reason::Full { limit: word.limit(), queued: queue } });
        }
    }

    /// Takes a free slot, or a place in the queue for `waker`. Refuses without the lock.
    pub(super) fn enter(&self, waker: &Waker) -> Entry {
        match self.look() {
            Door::Open => Entry::Admitted,
            Door::Full(word) => Entry::Full(word),
            Door::Queue => self.enqueue(waker.clone()),
        }
    }

    /// Whether a caller that found `word` is refused, whoever it is: no dry run lets it in, and no rank displaces another.
    #[cfg(feature = "tower")]
    #[inline(always)]
    pub(super) fn is_plainly_full(&self, word: Word) -> bool {
        word.enqueue(self.queue()).is_none() && !self.needs().criticality() && !self.is_dry_run()
    }

    /// Takes a free slot, or sees that it is of no use to wait.
    #[inline]
    pub(super) fn look(&self) -> Door {
        match self.try_take() {
            Ok(()) => Door::Open,
            Err(_) if self.overfill() => Door::Open,
            Err(word)
                if word.enqueue(self.queue()).is_none() && !(self.needs().criticality() && self.may_displace()) =>
            {
                Door::Full(word)
            }
            Err(_) => Door::Queue,
        }
    }

    /// Gives a slot back, to the next in the queue if there is one.
    #[inline(always)]
    pub(super) fn release(&self) {
        let mut word = self.word();
        while let Release::Freed(next) = word.release() {
            // Release pairs with the Acquire in `try_take`, `enqueue` and `change`.
            match self.exchange(word, next, Ordering::Release) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
        self.hand_over();
    }

    /// Calls that may wait.
    #[inline(always)]
    pub(super) fn queue(&self) -> u32 {
        // Relaxed: a figure that guards nothing.
        self.queue_limit.load(Ordering::Relaxed)
    }

    fn set_queue(&self, queue: u32, max_wait: Option<Duration>) {
        // Relaxed as in `queue`. A caller may see one of the two changed and not yet the other, and waits by that.
        self.max_wait.store(max_wait.map_or(NO_LIMIT, saturating_nanos), Ordering::Relaxed);
        self.queue_limit.store(queue, Ordering::Relaxed);
    }

    #[inline(always)]
    fn is_dry_run(&self) -> bool {
        // Relaxed: a switch that guards nothing.
        self.dry_run.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn exchange(&self, word: Word, next: Word, success: Ordering) -> Result<(), Word> {
        match self.word.compare_exchange_weak(word.bits(), next.bits(), success, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(seen) => Err(Word::from_bits(seen)),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether anybody listens.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }
}
