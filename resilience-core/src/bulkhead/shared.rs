//! The rules of `machine` applied: by compare-exchange, and under a lock where somebody waits.

use std::task::Waker;
use std::time::Duration;

use super::config::Config;
use super::machine::{LANES, Left, MAX_LIMIT, Needs, Place, Queue, Release, Taken, Ticket, Turn, Word};
use super::{Discipline, Event};
use crate::held::keep;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::{Timestamp, saturating_nanos};
use crate::{Reason, context};

mod report;

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
    full: AtomicU64,
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

/// Whom to call once the lock is free. Mostly one; more only when the limit is raised or the discipline gives some up.
#[derive(Default)]
struct Calls {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Calls {
    fn add(&mut self, waker: Waker) {
        match &self.first {
            None => self.first = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }

    /// A waker may run anything, even poll this bulkhead: not under the lock.
    fn make(self) {
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
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

    /// Whether the caller is more critical than somebody who waits.
    #[cold]
    fn may_displace(&self) -> bool {
        // Relaxed: who sees an older figure is refused as if it had come a moment sooner, or takes the lock in vain.
        context::criticality() as u8 > self.least.load(Ordering::Relaxed)
    }

    #[cold]
    pub(super) fn enqueue(&self, waker: Waker) -> Entry {
        // Before the lock: a timer may be anybody's.
        let ticket = self.ticket();
        let mut queue = lock(&self.queue);
        let mut word = self.word();
        loop {
            // A slot was freed on the way here => take it. It is one exchange on one word, so a release either comes
            // before it and is seen, or after it and sees the waiter.
            let (next, admitted) = match (word.admit(), word.enqueue(self.queue())) {
                (Some(next), _) => (next, true),
                (None, Some(next)) => (next, false),
                (None, None) => match queue.displace(ticket.criticality) {
                    // One comes and one goes => the word is as it was, and cannot have changed: while somebody waits, a
                    // slot that is freed passes through the lock.
                    Some(displaced) => {
                        let taken = queue.push(waker, ticket);
                        self.note_least(&queue);
                        return Entry::Queued(taken, Some(displaced));
                    }
                    None => return Entry::Full(word),
                },
            };
            // Acquire as in `try_take`.
            match self.exchange(word, next, Ordering::Acquire) {
                Ok(()) if admitted => return Entry::Admitted,
                Ok(()) => {
                    let taken = queue.push(waker, ticket);
                    self.note_least(&queue);
                    return Entry::Queued(taken, None);
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// What the discipline asks of a newcomer.
    fn ticket(&self) -> Ticket {
        let needs = self.needs();
        let mut ticket = Ticket::blank(self.now_for(needs));
        if needs.deadline()
            && let Some(deadline) = context::deadline(&self.config.timer)
        {
            ticket.deadline = deadline.timestamp();
        }
        if needs.criticality() {
            ticket.criticality = context::criticality();
        }
        ticket
    }

    #[inline]
    fn needs(&self) -> Needs {
        // Relaxed: who asks for too little while the discipline changes is treated like those who were there before.
        Needs::from_bits(self.needs.load(Ordering::Relaxed))
    }

    /// The time, for a discipline that goes by it.
    fn now_for(&self, needs: Needs) -> Timestamp {
        if needs.clock() { self.config.timer.now() } else { Timestamp::ORIGIN }
    }

    /// Keeps `least` up to date; before the lock is freed.
    fn note_least(&self, queue: &Queue<Waker>) {
        if self.needs().criticality() {
            // Relaxed as in `may_displace`.
            self.least.store(queue.least(), Ordering::Relaxed);
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
        let now = self.now_for(self.needs());
        let mut calls = Calls::default();
        let mut queue = lock(&self.queue);
        self.pass_on(&mut queue, now, &mut calls);
        self.note_least(&queue);
        drop(queue);
        calls.make();
    }

    /// Gives a slot back under the lock: to whoever is next, or to nobody.
    fn pass_on(&self, queue: &mut Queue<Waker>, now: Timestamp, calls: &mut Calls) {
        let mut word = self.word();
        loop {
            // The waiter seen outside of the lock may have left => the slot is freed after all.
            let (next, handed_over) = match word.release() {
                Release::Freed(next) => (next, false),
                Release::HandedOver(next) => (next, true),
            };
            // Release as in `release`; the waiter that is served synchronises by the lock.
            match self.exchange(word, next, Ordering::Release) {
                Ok(()) if !handed_over || self.serve(queue, now, calls) => return,
                // Given up => the slot is still in hand, and for the next one.
                Ok(()) => word = self.word(),
                Err(seen) => word = seen,
            }
        }
    }

    /// Calls the next waiter, whom the word has already let go. False if it was given up, and the slot was not taken.
    fn serve(&self, queue: &mut Queue<Waker>, now: Timestamp, calls: &mut Calls) -> bool {
        // In a dry run nobody is refused.
        let (waker, served) = match queue.next(now, self.is_dry_run()) {
            Some(Turn::Served(waker)) => (waker, true),
            Some(Turn::GivenUp(waker)) => (waker, false),
            None => return false,
        };
        calls.add(waker);
        served
    }

    /// Whether the wait at `place` is over; if not, `waker` will be called when it is.
    pub(super) fn called(&self, place: &Place, waker: &Waker) -> bool {
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

    /// Gives up `place`. If it had been served, the caller has a slot.
    pub(super) fn leave(&self, place: Place) -> Left<Waker> {
        let mut queue = lock(&self.queue);
        let left = queue.remove(place);
        if matches!(left, Left::Waiting(_)) {
            let mut word = self.word();
            // Relaxed: no slot changes hands.
            while let Err(seen) = self.exchange(word, word.leave(), Ordering::Relaxed) {
                word = seen;
            }
            self.note_least(&queue);
        }
        left
    }

    pub(super) fn resize(&self, limit: u32) {
        let now = self.now_for(self.needs());
        let mut calls = Calls::default();
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
        for _ in 0..granted {
            if !self.serve(&mut queue, now, &mut calls) {
                self.pass_on(&mut queue, now, &mut calls);
            }
        }
        self.note_least(&queue);
        drop(queue);
        calls.make();
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

    /// Who is next from now on.
    pub(super) fn set_discipline(&self, discipline: Discipline) {
        let needs = Needs::of(discipline);
        let now = self.now_for(needs);
        let mut queue = lock(&self.queue);
        if queue.discipline() != discipline {
            queue.set_discipline(discipline, now);
            // Relaxed as in `needs`.
            self.needs.store(needs.bits(), Ordering::Relaxed);
            self.note_least(&queue);
        }
    }

    pub(super) fn discipline(&self) -> Discipline {
        lock(&self.queue).discipline()
    }

    fn is_dry_run(&self) -> bool {
        // Relaxed: a switch that guards nothing.
        self.dry_run.load(Ordering::Relaxed)
    }

    /// Begins or ends a dry run. Who waits when it begins is let in.
    pub(super) fn set_dry_run(&self, dry_run: bool) {
        // Relaxed as in `is_dry_run`.
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

    /// When a wait that begins now is over, and what is said then, with the `patience` of the discipline. Reads the clock
    /// only if there is a longest wait or a timeout still to be resolved.
    pub(super) fn longest_wait(&self, patience: Option<Duration>) -> Option<(Timestamp, Reason)> {
        let timer = &self.config.timer;
        let deadline = context::deadline(timer).map(|deadline| (deadline.timestamp(), Reason::Deadline));
        let max_wait = match self.max_wait.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            nanos => Some(Duration::from_nanos(nanos)),
        };
        let longest = max_wait.into_iter().chain(patience).min();
        let longest = longest.map(|longest| (timer.now() + longest, Reason::QueueTimeout));
        deadline.into_iter().chain(longest).min_by_key(|(at, _)| *at).filter(|(at, _)| *at != Timestamp::NEVER)
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
