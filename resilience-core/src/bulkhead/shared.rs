//! The rules of `machine` applied: by compare-exchange, and under a lock where somebody waits.

use std::task::Waker;
use std::time::Duration;

use super::config::Config;
use super::machine::{MAX_LIMIT, Place, Queue, Release, Word};
use super::{Event, Totals};
use crate::held::keep;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::{Timestamp, saturating_nanos};
use crate::{Reason, Rejected, context};

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
    /// Its waiting nodes are as many as the word says whenever the lock is free.
    queue: Mutex<Queue<Waker>>,
    /// Calls that may wait, and for how many nanoseconds. They may change, and are read only by who finds no slot.
    queue_limit: AtomicU32,
    max_wait: AtomicU64,
    /// Whether the limit is only tried out; read as they are.
    dry_run: AtomicBool,
    config: Config,
    counters: Counters,
}

keep!(Shared);

/// The longest wait where there is none.
const NO_LIMIT: u64 = u64::MAX;

#[derive(Default)]
struct Counters {
    queued: AtomicU64,
    full: AtomicU64,
    queue_timeout: AtomicU64,
    deadline: AtomicU64,
    would_queue: AtomicU64,
    would_reject: AtomicU64,
}

/// How a caller gets in.
pub(super) enum Entry {
    /// It has a slot, for which a permit must be made.
    Admitted,
    /// It waits.
    Queued(Place),
    /// There is neither slot nor place.
    Full(Word),
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        Self {
            word: AtomicU64::new(Word::new(config.limit).bits()),
            is_watched: !config.listeners.is_empty(),
            is_own: config.listeners.is_empty() && config.timer.is_own(),
            queue: Mutex::new(Queue::new()),
            queue_limit: AtomicU32::new(config.queue),
            max_wait: AtomicU64::new(config.max_wait.map_or(NO_LIMIT, saturating_nanos)),
            dry_run: AtomicBool::new(config.dry_run),
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
    #[inline]
    pub(super) fn try_take(&self) -> Result<(), Word> {
        let mut word = self.word();
        loop {
            let Some(next) = word.admit() else { return Err(word) };
            // Acquire pairs with the Release in `release`, `hand_over` and `resize`.
            match self.exchange(word, next, Ordering::Acquire) {
                Ok(()) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    /// In a dry run, takes a slot that is not there, and notes what would have become of the caller; else nothing.
    #[cold]
    pub(super) fn overfill(&self) -> bool {
        // Relaxed: a switch that guards nothing.
        if !self.dry_run.load(Ordering::Relaxed) {
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
    #[inline]
    pub(super) fn enter(&self, waker: &Waker) -> Entry {
        match self.try_take() {
            Ok(()) => Entry::Admitted,
            Err(_) if self.overfill() => Entry::Admitted,
            Err(word) if word.enqueue(self.queue()).is_none() => Entry::Full(word),
            Err(_) => self.enqueue(waker.clone()),
        }
    }

    #[cold]
    fn enqueue(&self, waker: Waker) -> Entry {
        let mut queue = lock(&self.queue);
        let mut word = self.word();
        loop {
            // A slot was freed on the way here => take it. It is one exchange on one word, so a release either comes
            // before it and is seen, or after it and sees the waiter.
            let (next, admitted) = match (word.admit(), word.enqueue(self.queue())) {
                (Some(next), _) => (next, true),
                (None, Some(next)) => (next, false),
                (None, None) => return Entry::Full(word),
            };
            // Acquire as in `try_take`.
            match self.exchange(word, next, Ordering::Acquire) {
                Ok(()) if admitted => return Entry::Admitted,
                Ok(()) => return Entry::Queued(queue.push(waker)),
                Err(seen) => word = seen,
            }
        }
    }

    /// Gives a slot back, to the next in the queue if there is one.
    #[inline]
    pub(super) fn release(&self) {
        let mut word = self.word();
        while let Release::Freed(next) = word.release() {
            // Release pairs with the Acquire in `try_take`, `enqueue` and `resize`.
            match self.exchange(word, next, Ordering::Release) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
        self.hand_over();
    }

    #[cold]
    fn hand_over(&self) {
        let waker = {
            let mut queue = lock(&self.queue);
            let mut word = self.word();
            loop {
                // The waiter seen outside of the lock may have left => the slot is freed after all.
                let (next, handed_over) = match word.release() {
                    Release::Freed(next) => (next, false),
                    Release::HandedOver(next) => (next, true),
                };
                // Release as in `release`; the waiter that is served synchronises by the lock.
                match self.exchange(word, next, Ordering::Release) {
                    Ok(()) if handed_over => break queue.serve(),
                    Ok(()) => break None,
                    Err(seen) => word = seen,
                }
            }
        };
        // A waker may run anything, even poll this bulkhead: not under the lock.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the waiter at `place` has been served; if not, `waker` will be called when it is.
    pub(super) fn served(&self, place: &Place, waker: &Waker) -> bool {
        let mut spare: Option<Waker> = None;
        loop {
            let mut queue = lock(&self.queue);
            let Some(waiting) = queue.waiter(place) else { return true };
            if waiting.will_wake(waker) {
                return false;
            }
            if let Some(new) = spare.take() {
                // Cloning and dropping a waker may run anything: both happen outside of the lock.
                let old = std::mem::replace(waiting, new);
                drop(queue);
                drop(old);
                return false;
            }
            drop(queue);
            spare = Some(waker.clone());
        }
    }

    /// Gives up `place`. True if it had been served: the caller then has a slot.
    pub(super) fn leave(&self, place: Place) -> bool {
        let mut queue = lock(&self.queue);
        let waker = queue.remove(place);
        if waker.is_some() {
            let mut word = self.word();
            // Relaxed: no slot changes hands.
            while let Err(seen) = self.exchange(word, word.leave(), Ordering::Relaxed) {
                word = seen;
            }
        }
        drop(queue);
        waker.is_none()
    }

    pub(super) fn resize(&self, limit: u32) {
        let wakers: Vec<Waker> = {
            let mut queue = lock(&self.queue);
            let mut word = self.word();
            let granted = loop {
                let (next, granted) = word.resize(limit);
                // Acquire for the slots granted here, which others have freed; Release as in `release`.
                match self.exchange(word, next, Ordering::AcqRel) {
                    Ok(()) => break granted,
                    Err(seen) => word = seen,
                }
            };
            (0..granted).filter_map(|_| queue.serve()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Calls that may wait.
    pub(super) fn queue(&self) -> u32 {
        // Relaxed: a figure that guards nothing.
        self.queue_limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_queue(&self, queue: u32, max_wait: Option<Duration>) {
        // Relaxed as in `queue`. A caller may see one of the two changed and not yet the other, and waits by that.
        self.max_wait.store(max_wait.map_or(NO_LIMIT, saturating_nanos), Ordering::Relaxed);
        self.queue_limit.store(queue, Ordering::Relaxed);
    }

    /// Begins or ends a dry run. Who waits when it begins is let in.
    pub(super) fn set_dry_run(&self, dry_run: bool) {
        // Relaxed as in `overfill`.
        let was_dry = self.dry_run.swap(dry_run, Ordering::Relaxed);
        if dry_run && !was_dry {
            let limit = self.word().limit();
            self.resize(MAX_LIMIT);
            self.resize(limit);
        }
    }

    #[inline]
    fn exchange(&self, word: Word, next: Word, success: Ordering) -> Result<(), Word> {
        match self.word.compare_exchange_weak(word.bits(), next.bits(), success, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(seen) => Err(Word::from_bits(seen)),
        }
    }

    /// When a wait that begins now is over, and what is said then. Reads the clock only if there is a longest wait or
    /// a timeout still to be resolved.
    pub(super) fn longest_wait(&self) -> Option<(Timestamp, Reason)> {
        let timer = &self.config.timer;
        let deadline = context::deadline(timer).map(|deadline| (deadline.timestamp(), Reason::Deadline));
        let patience = match self.max_wait.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            nanos => Some((timer.now() + Duration::from_nanos(nanos), Reason::QueueTimeout)),
        };
        deadline.into_iter().chain(patience).min_by_key(|(at, _)| *at).filter(|(at, _)| *at != Timestamp::NEVER)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether anybody listens.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }

    pub(super) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            queued: read(&self.counters.queued),
            full: read(&self.counters.full),
            queue_timeout: read(&self.counters.queue_timeout),
            deadline: read(&self.counters.deadline),
            would_queue: read(&self.counters.would_queue),
            would_reject: read(&self.counters.would_reject),
        }
    }

    #[cold]
    pub(super) fn refuse_full(&self, word: Word) -> Rejected {
        self.count_full(word);
        self.rejection_full(word)
    }

    pub(super) fn refuse(&self, reason: Reason) -> Rejected {
        self.note_refused(reason);
        self.rejection(reason)
    }

    /// Counts and reports a refusal for want of slot and place.
    #[inline]
    pub(super) fn count_full(&self, word: Word) {
        self.counters.full.fetch_add(1, Ordering::Relaxed);
        if self.is_watched {
            self.emit(|| Event::Rejected { reason: full(word) });
        }
    }

    #[inline]
    pub(super) fn rejection_full(&self, word: Word) -> Rejected {
        self.rejection(full(word))
    }

    fn note_refused(&self, reason: Reason) {
        let counter = match reason {
            Reason::QueueTimeout => &self.counters.queue_timeout,
            Reason::Deadline => &self.counters.deadline,
            _ => &self.counters.full,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.emit(|| Event::Rejected { reason });
    }

    #[inline]
    pub(super) fn rejection(&self, reason: Reason) -> Rejected {
        Rejected::new(self.config.name.clone(), reason)
    }

    /// A caller took a place; when, if somebody listens.
    pub(super) fn note_queued(&self) -> Option<Timestamp> {
        self.counters.queued.fetch_add(1, Ordering::Relaxed);
        if !self.is_watched {
            return None;
        }
        let now = self.config.timer.now();
        let queued = self.word().waiting();
        self.config.listeners.emit(&self.config.name, || now, || Event::Queued { queued });
        Some(now)
    }

    #[cold]
    pub(super) fn tell_admitted(&self, queued_at: Option<Timestamp>) -> Timestamp {
        let now = self.config.timer.now();
        let waited = queued_at.map_or(Duration::ZERO, |at| now.since(at));
        self.config.listeners.emit(&self.config.name, || now, || Event::Admitted { waited });
        now
    }

    #[cold]
    pub(super) fn tell_released(&self, since: Timestamp) {
        let now = self.config.timer.now();
        self.config.listeners.emit(&self.config.name, || now, || Event::Released { held: now.since(since) });
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        self.config.listeners.emit(&self.config.name, || self.config.timer.now(), event);
    }
}

const fn full(word: Word) -> Reason {
    Reason::Full { limit: word.limit(), queued: word.waiting() }
}
