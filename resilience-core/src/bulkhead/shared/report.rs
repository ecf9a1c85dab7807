//! What is counted, refused and told.

use std::time::Duration;

use super::{Shared, Word};
use crate::bulkhead::{Discipline, Event, Totals};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Timestamp;
use crate::{Reason, Rejected};

impl Shared {
    pub(in crate::bulkhead) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            queued: read(&self.counters.queued),
            full: self.counters.full.sum(),
            queue_timeout: read(&self.counters.queue_timeout),
            deadline: read(&self.counters.deadline),
            queue_delay: read(&self.counters.queue_delay),
            displaced: read(&self.counters.displaced),
            would_queue: read(&self.counters.would_queue),
            would_reject: read(&self.counters.would_reject),
        }
    }

    #[cold]
    pub(in crate::bulkhead) fn refuse_full(&self, word: Word) -> Rejected {
        self.count_full(word);
        self.rejection_full(word)
    }

    pub(in crate::bulkhead) fn refuse(&self, reason: Reason) -> Rejected {
        self.note_refused(reason);
        self.rejection(reason)
    }

    /// Counts and reports a refusal for want of slot and place.
    #[inline(always)]
    pub(in crate::bulkhead) fn count_full(&self, word: Word) {
        self.counters.full.add_one();
        if self.is_watched {
            self.tell_full(word);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_full(&self, word: Word) {
        self.emit(|| Event::Rejected { reason: full(word) });
    }

    #[inline(always)]
    pub(in crate::bulkhead) fn rejection_full(&self, word: Word) -> Rejected {
        Rejected::by(&self.config.name, full(word))
    }

    fn note_refused(&self, reason: Reason) {
        let counter = match reason {
            Reason::QueueTimeout => Some(&self.counters.queue_timeout),
            Reason::Deadline => Some(&self.counters.deadline),
            Reason::QueueDelay => Some(&self.counters.queue_delay),
            Reason::Displaced => Some(&self.counters.displaced),
            _ => None,
        };
        match counter {
            Some(counter) => _ = counter.fetch_add(1, Ordering::Relaxed),
            None => self.counters.full.add_one(),
        }
        self.emit(|| Event::Rejected { reason });
    }

    #[inline]
    pub(in crate::bulkhead) fn rejection(&self, reason: Reason) -> Rejected {
        let rejected = Rejected::by(&self.config.name, reason);
        match reason {
            Reason::QueueDelay => self.with_next_interval(rejected),
            _ => rejected,
        }
    }

    /// Whether a queue stands is judged anew with each interval.
    #[cold]
    fn with_next_interval(&self, rejected: Rejected) -> Rejected {
        match self.discipline() {
            Discipline::CoDel { interval, .. } => rejected.with_retry_after(interval),
            _ => rejected,
        }
    }

    /// A caller took a place; when, if somebody listens.
    pub(in crate::bulkhead) fn note_queued(&self) -> Option<Timestamp> {
        self.counters.queued.fetch_add(1, Ordering::Relaxed);
        if !self.is_watched {
            return None;
        }
        let now = self.config.timer.now();
        let (queued, discipline) = (self.word().waiting(), self.discipline());
        self.config.listeners.emit(&self.config.name, || now, || Event::Queued { queued, discipline });
        Some(now)
    }

    #[cold]
    pub(in crate::bulkhead) fn tell_admitted(&self, queued_at: Option<Timestamp>) -> Timestamp {
        let now = self.config.timer.now();
        let waited = queued_at.map_or(Duration::ZERO, |at| now.since(at));
        self.config.listeners.emit(&self.config.name, || now, || Event::Admitted { waited });
        now
    }

    #[cold]
    pub(in crate::bulkhead) fn tell_released(&self, since: Timestamp) {
        let now = self.config.timer.now();
        self.config.listeners.emit(&self.config.name, || now, || Event::Released { held: now.since(since) });
    }

    pub(in crate::bulkhead) fn emit(&self, event: impl FnOnce() -> Event) {
        self.config.listeners.emit(&self.config.name, || self.config.timer.now(), event);
    }
}

#[inline(always)]
const fn full(word: Word) -> Reason {
    Reason::Full { limit: word.limit(), queued: word.waiting() }
}
