//! The rule of `machine` applied, by compare-exchange; what is undone or changed goes through a lock.

use std::time::Duration;

use super::config::Config;
use super::machine::{self, GENERATIONS, Place, Rule, Word};
use super::{Event, Totals};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::{Timestamp, saturating_nanos};
use crate::{Reason, Rejected, context};

/// What the clones of one limiter share.
///
/// In this order, so that what each call touches lies beside the reference count it touches anyway.
#[repr(C)]
pub(super) struct Shared {
    /// A [`Word`]. Its generation says which of `rules` it was reckoned by.
    word: AtomicU64,
    /// Whether anybody listens: a copy of what `config` says.
    is_watched: bool,
    /// The rule of each generation. A rule is written before the word names its generation; a caller whose word is of an
    /// older one loses the exchange. (Should the quota change four times while it is between reading and exchanging,
    /// and the word come to be the same, it is admitted by the quota of a moment ago: once, and nothing is broken.)
    rules: [Slot; GENERATIONS],
    epoch: Timestamp,
    /// In nanoseconds; `u64::MAX` and beyond are for ever.
    max_wait: AtomicU64,
    /// Whether the quota is only tried out. Read where it would refuse, or let wait.
    dry_run: AtomicBool,
    config: Config,
    /// Places that were left while others were behind them. Held for every change that is not an admission.
    pub(super) left: Mutex<Vec<Left>>,
    counters: Counters,
}

#[derive(Default)]
struct Slot {
    interval: AtomicU64,
    tolerance: AtomicU64,
}

/// A place in the middle of the line that nobody is going to use.
pub(super) struct Left {
    place: Place,
    generation: usize,
}

#[derive(Default)]
struct Counters {
    queued: AtomicU64,
    rate_limited: AtomicU64,
    deadline: AtomicU64,
    cancelled: AtomicU64,
    would_queue: AtomicU64,
    would_reject: AtomicU64,
}

/// Permits that were set apart, and by which generation of the rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    pub(super) place: Place,
    pub(super) generation: usize,
}

/// Why there are none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    /// More than the burst was asked for.
    TooMany,
    /// They are due in this many ticks, which is too late.
    Wait(u64),
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let rules = <[Slot; GENERATIONS]>::default();
        // Relaxed: nobody else has it yet.
        rules[0].store(config.rule);
        Self {
            word: AtomicU64::new(Word::new(0, 0).bits()),
            is_watched: !config.listeners.is_empty(),
            rules,
            epoch: config.timer.now(),
            max_wait: AtomicU64::new(saturating_nanos(config.max_wait)),
            dry_run: AtomicBool::new(config.dry_run),
            config,
            left: Mutex::new(Vec::new()),
            counters: Counters::default(),
        }
    }

    /// Sets `permits` apart for a caller that comes at `now` and has `patience`; both in ticks.
    #[inline]
    pub(super) fn take(&self, now: u64, permits: u32, patience: u64) -> Result<Granted, Denied> {
        // Acquire pairs with the Release in `replace_rule`: whoever sees a generation sees its rule. Admissions continue its
        // release sequence, so theirs need no ordering of their own; a permit guards no memory.
        let mut word = Word::from_bits(self.word.load(Ordering::Acquire));
        loop {
            let generation = word.generation();
            let rule = self.rules[generation].load();
            let Some(place) = rule.place(word.full_at(), now, permits) else { return Err(Denied::TooMany) };
            if place.due > now && place.due - now > patience {
                return Err(Denied::Wait(place.due - now));
            }
            let next = word.with_full_at(place.end);
            match self.word.compare_exchange_weak(word.bits(), next.bits(), Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return Ok(Granted { place, generation }),
                Err(seen) => word = Word::from_bits(seen),
            }
        }
    }

    /// How long a caller would have to wait for one permit at `now`; zero if it would not. Takes nothing.
    #[cfg(feature = "tower")]
    pub(super) fn wait_for_one(&self, now: u64) -> u64 {
        let (word, rule) = self.look();
        rule.place(word.full_at(), now, 1).map_or(0, |place| place.due.saturating_sub(now))
    }

    /// Whether one permit can be had at `now` or any later time, if nobody else comes.
    #[cfg(feature = "tower")]
    #[inline]
    pub(super) fn admits_one(&self, now: u64) -> bool {
        let (word, rule) = self.look();
        rule.admits_one(word.full_at(), now)
    }

    /// A word and its rule.
    #[inline]
    pub(super) fn look(&self) -> (Word, Rule) {
        // Acquire as in `take`.
        let word = Word::from_bits(self.word.load(Ordering::Acquire));
        (word, self.rules[word.generation()].load())
    }

    /// Gives back permits that were not used; whether that was possible.
    ///
    /// It is exact where nobody has a place behind them: the limiter is as if they had never been taken. A place in the
    /// middle of the line cannot be given to anybody, since those behind it keep theirs, and those still to come would
    /// overtake. It is remembered, and goes with the end of the line once everybody behind it has left too.
    pub(super) fn give_back(&self, granted: Granted) -> bool {
        let now = self.now();
        let mut left = lock(&self.left);
        let mut word = Word::from_bits(self.word.load(Ordering::Acquire));
        // Full by then => the line has moved past it, and there is nothing left to give back.
        left.retain(|left| left.place.end > now);
        left.push(Left { place: granted.place, generation: granted.generation });
        let mut undone = false;
        // The end of the line is a place that was left => it becomes that place's start.
        while let Some(at) = left.iter().position(|left| left.is_last(word)) {
            let next = word.with_full_at(left[at].place.start);
            // Relaxed as in `take`; the generation cannot change under the lock.
            match self.word.compare_exchange(word.bits(), next.bits(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    undone |= left.swap_remove(at).place == granted.place;
                    word = next;
                }
                Err(seen) => word = Word::from_bits(seen),
            }
        }
        undone
    }

    /// Changes the rule; as many permits are out as before.
    pub(super) fn set_rule(&self, rule: Rule) {
        // Before the lock: a clock may be the user's, and do what it likes. What comes back meanwhile is a moment's worth.
        let now = self.now();
        self.replace_rule(&mut lock(&self.left), rule, now);
    }

    /// Takes over all three, and of two callers at once those of one; whether the rule is another one than before.
    pub(super) fn reconfigure(&self, rule: Rule, max_wait: Duration, dry_run: bool) -> bool {
        let now = self.now();
        let mut left = lock(&self.left);
        // Relaxed, both: figures and switches that guard nothing; see `max_wait` and `is_dry_run`.
        self.max_wait.store(saturating_nanos(max_wait), Ordering::Relaxed);
        self.dry_run.store(dry_run, Ordering::Relaxed);
        let is_other = self.look().1 != rule;
        if is_other {
            self.replace_rule(&mut left, rule, now);
        }
        is_other
    }

    /// `left` is the list behind the lock: only who holds it changes rules.
    fn replace_rule(&self, left: &mut Vec<Left>, rule: Rule, now: u64) {
        left.clear();
        let mut word = Word::from_bits(self.word.load(Ordering::Acquire));
        let old = self.rules[word.generation()].load();
        let generation = (word.generation() + 1) % GENERATIONS;
        self.rules[generation].store(rule);
        loop {
            let next = Word::new(old.rescaled(rule, word.full_at(), now), generation);
            // Release pairs with the Acquire in `take` and `look`.
            match self.word.compare_exchange(word.bits(), next.bits(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = Word::from_bits(seen),
            }
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.ticks(self.config.timer.now())
    }

    #[inline]
    pub(super) fn ticks(&self, at: Timestamp) -> u64 {
        machine::ticks(self.epoch, at)
    }

    /// When something is due, on the timer's clock.
    pub(super) fn timestamp(&self, ticks: u64) -> Timestamp {
        self.epoch + machine::duration(ticks)
    }

    /// How long a caller may wait that comes at `now`, in ticks, and what is said to one that would have to wait longer.
    pub(super) fn patience(&self, now: u64) -> (u64, Reason) {
        let max_wait = machine::span(self.max_wait());
        if max_wait == 0 {
            return (0, Reason::RateLimited);
        }
        match context::deadline(&self.config.timer) {
            Some(deadline) => {
                // Due at the deadline is too late: no time would be left for the call.
                let left = self.ticks(deadline.timestamp()).saturating_sub(now).saturating_sub(1);
                if left < max_wait { (left, Reason::Deadline) } else { (max_wait, Reason::RateLimited) }
            }
            None => (max_wait, Reason::RateLimited),
        }
    }

    /// How long a caller may wait at most.
    pub(super) fn max_wait(&self) -> Duration {
        // Relaxed: a figure that guards nothing.
        match self.max_wait.load(Ordering::Relaxed) {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        }
    }

    pub(super) fn is_dry_run(&self) -> bool {
        // Relaxed: a switch that guards nothing.
        self.dry_run.load(Ordering::Relaxed)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn totals(&self) -> Totals {
        // Relaxed: figures to look at.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            queued: read(&self.counters.queued),
            rate_limited: read(&self.counters.rate_limited),
            deadline: read(&self.counters.deadline),
            cancelled: read(&self.counters.cancelled),
            would_queue: read(&self.counters.would_queue),
            would_reject: read(&self.counters.would_reject),
        }
    }

    /// Refuses a call, or in a dry run says that it would.
    #[cold]
    pub(super) fn deny(&self, denied: Denied, permits: u32, reason: Reason) -> Result<(), Rejected> {
        if !self.is_dry_run() {
            return Err(self.refuse(denied, reason));
        }
        self.counters.would_reject.fetch_add(1, Ordering::Relaxed);
        let rejected = self.refusal(denied, reason);
        let (reason, retry_after) = (rejected.reason(), rejected.retry_after());
        self.emit(|| Event::WouldReject { reason, retry_after });
        self.note_admitted(permits, Duration::ZERO);
        Ok(())
    }

    /// Permits that are due later, or in a dry run at once.
    pub(super) fn at_once_if_dry(&self, mut granted: Granted, permits: u32, now: u64) -> Granted {
        if granted.place.due > now && self.is_dry_run() {
            let wait = machine::duration(granted.place.due - now);
            self.counters.would_queue.fetch_add(1, Ordering::Relaxed);
            self.emit(|| Event::WouldQueue { permits, wait });
            granted.place.due = now;
        }
        granted
    }

    #[cold]
    pub(super) fn refuse(&self, denied: Denied, reason: Reason) -> Rejected {
        self.reject(self.refusal(denied, reason))
    }

    /// A refusal that nobody has been told of yet.
    pub(super) fn refusal(&self, denied: Denied, reason: Reason) -> Rejected {
        let name = self.config.name.clone();
        match denied {
            Denied::TooMany => Rejected::new(name, Reason::RateLimited),
            Denied::Wait(ticks) => Rejected::new(name, reason).with_retry_after(machine::duration(ticks)),
        }
    }

    /// Counts and tells a refusal.
    #[cold]
    pub(super) fn reject(&self, rejected: Rejected) -> Rejected {
        let (reason, retry_after) = (rejected.reason(), rejected.retry_after());
        let counter = match reason {
            Reason::Deadline => &self.counters.deadline,
            _ => &self.counters.rate_limited,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.emit(|| Event::Rejected { reason, retry_after });
        rejected
    }

    #[cold]
    pub(super) fn note_queued(&self, permits: u32, wait: Duration) {
        self.counters.queued.fetch_add(1, Ordering::Relaxed);
        self.emit(|| Event::Queued { permits, wait });
    }

    #[cold]
    pub(super) fn note_cancelled(&self, permits: u32, refunded: bool) {
        self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        self.emit(|| Event::Cancelled { permits, refunded });
    }

    #[inline]
    pub(super) fn note_admitted(&self, permits: u32, waited: Duration) {
        if self.is_watched {
            self.emit(|| Event::Admitted { permits, waited });
        }
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        self.config.listeners.emit(&self.config.name, || self.config.timer.now(), event);
    }
}

impl Slot {
    /// Relaxed: the word that names the generation orders it; see `Shared::take`.
    #[inline]
    fn load(&self) -> Rule {
        Rule { interval: self.interval.load(Ordering::Relaxed), tolerance: self.tolerance.load(Ordering::Relaxed) }
    }

    fn store(&self, rule: Rule) {
        self.interval.store(rule.interval, Ordering::Relaxed);
        self.tolerance.store(rule.tolerance, Ordering::Relaxed);
    }
}

impl Left {
    /// Whether the line ends with it.
    fn is_last(&self, word: Word) -> bool {
        self.generation == word.generation() && self.place.end == word.full_at()
    }
}
