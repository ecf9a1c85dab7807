//! The part that needs the lock: who waits, who is next, who leaves.

use std::task::Waker;
use std::time::Duration;

use super::{Entry, NO_LIMIT, Shared};
use crate::bulkhead::Discipline;
use crate::bulkhead::config::Checked;
use crate::bulkhead::machine::{LANES, Left, MAX_LIMIT, Needs, Place, Queue, Release, Ticket, Turn};
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, lock};
use crate::time::Timestamp;
use crate::{Reason, context};

/// Those who may be given up while the lock is held once.
const BATCH: u32 = if cfg!(loom) { 1 } else { 64 };

/// Whom to call once the lock is free. Mostly one; more only when the limit is raised or the discipline gives some up.
#[derive(Default)]
#[must_use = "who is not called sleeps beside its slot"]
pub(crate) struct Calls {
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
    pub(crate) fn make(self) {
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
}

impl Shared {
    /// Whether the caller may be more critical than somebody who waits, or nobody waits any more.
    #[cold]
    pub(super) fn may_displace(&self) -> bool {
        // Relaxed: it may have changed since the queue was seen to be full. Who sees an older figure takes the lock in
        // vain; who sees a newer one is refused by the queue as it is now, or finds that it has run empty.
        let least = self.least.load(Ordering::Relaxed);
        usize::from(least) >= LANES || context::criticality() as u8 > least
    }

    #[cold]
    pub(in crate::bulkhead) fn enqueue(&self, waker: Waker) -> Entry {
        let (mut queue, ticket) = self.locked(|needs| self.ticket(needs));
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

    /// The queue, and what its discipline asked for. That is asked before the lock is taken, since a timer may be anybody's;
    /// if the discipline has changed meanwhile, it is asked anew.
    fn locked<T>(&self, ask: impl Fn(Needs) -> T) -> (MutexGuard<'_, Queue<Waker>>, T) {
        loop {
            let needs = self.needs();
            let asked = ask(needs);
            let queue = lock(&self.queue);
            if self.needs() == needs {
                return (queue, asked);
            }
        }
    }

    /// What the discipline asks of a newcomer.
    fn ticket(&self, needs: Needs) -> Ticket {
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
    pub(super) fn needs(&self) -> Needs {
        // Relaxed: it is looked at again under the lock, where it changes.
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

    #[cold]
    pub(super) fn hand_over(&self) {
        let mut calls = Calls::default();
        self.give_back(&mut calls);
        calls.make();
    }

    /// Gives back a slot that is in hand: to whoever is next, or to nobody. A queue in which many are given up is looked
    /// through with pauses for others who want the lock; the slot stays in hand meanwhile, and nobody can take it.
    fn give_back(&self, calls: &mut Calls) {
        loop {
            let (mut queue, now) = self.locked(|needs| self.now_for(needs));
            let is_given = self.pass_on(&mut queue, now, calls);
            self.note_least(&queue);
            if is_given {
                return;
            }
        }
    }

    /// Gives a slot back under the lock, if that takes no more than [`BATCH`] looks; else it is still in hand.
    fn pass_on(&self, queue: &mut Queue<Waker>, now: Timestamp, calls: &mut Calls) -> bool {
        let mut word = self.word();
        let mut given_up = 0;
        while given_up < BATCH {
            // The waiter seen outside of the lock may have left => the slot is freed after all.
            let (next, handed_over) = match word.release() {
                Release::Freed(next) => (next, false),
                Release::HandedOver(next) => (next, true),
            };
            // Release as in `release`; the waiter that is served synchronises by the lock.
            match self.exchange(word, next, Ordering::Release) {
                Ok(()) if !handed_over || self.serve(queue, now, calls) => return true,
                // Given up => the slot is for the next one.
                Ok(()) => {
                    given_up += 1;
                    word = self.word();
                }
                Err(seen) => word = seen,
            }
        }
        false
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
    pub(in crate::bulkhead) fn called(&self, place: &Place, waker: &Waker) -> bool {
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
    pub(in crate::bulkhead) fn leave(&self, place: Place) -> Left<Waker> {
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

    pub(in crate::bulkhead) fn resize(&self, limit: u32) {
        let (queue, now) = self.locked(|needs| self.now_for(needs));
        self.change(queue, now, limit).make();
    }

    /// Takes over all that may change, as one change; whom to call then, and whether the limit is another.
    pub(in crate::bulkhead) fn set(&self, to: Checked, dry_run: bool) -> (Calls, bool) {
        let Checked { limit, queue: places, max_wait, discipline } = to;
        let needs = Needs::of(discipline);
        // Before the lock as in `locked`, and for what will be needed under it.
        let now = self.now_for(needs);
        let mut queue = lock(&self.queue);
        self.set_queue(places, max_wait);
        // Relaxed as in `is_dry_run`.
        self.dry_run.store(dry_run, Ordering::Relaxed);
        if queue.discipline() != discipline {
            queue.set_discipline(discipline, now);
            // Relaxed as in `needs`.
            self.needs.store(needs.bits(), Ordering::Relaxed);
        }
        // It changes only under the lock.
        let is_resized = self.word().limit() != limit;
        (self.change(queue, now, limit), is_resized)
    }

    /// Changes the limit and lets in whoever may run now; whom to call.
    fn change(&self, mut queue: MutexGuard<'_, Queue<Waker>>, now: Timestamp, limit: u32) -> Calls {
        let mut calls = Calls::default();
        // In a dry run nobody waits. In the same exchange: with the limit raised for a moment instead, whoever came or
        // looked in that moment would find that one.
        let upto = if self.is_dry_run() { MAX_LIMIT } else { limit };
        let mut word = self.word();
        let granted = loop {
            let (next, granted) = word.resize(limit, upto);
            // Acquire for the slots granted here, which others have freed; Release as in `release`.
            match self.exchange(word, next, Ordering::AcqRel) {
                Ok(()) => break granted,
                Err(seen) => word = seen,
            }
        };
        let in_hand = (0..granted).filter(|_| !self.serve(&mut queue, now, &mut calls)).count();
        self.note_least(&queue);
        drop(queue);
        // Slots whose new owners were given up: for those behind them.
        (0..in_hand).for_each(|_| self.give_back(&mut calls));
        calls
    }

    pub(in crate::bulkhead) fn discipline(&self) -> Discipline {
        lock(&self.queue).discipline()
    }

    /// When a wait that begins now is over, and what is said then, with the `patience` of the discipline. Reads the clock
    /// only if there is a longest wait or a timeout still to be resolved.
    pub(in crate::bulkhead) fn longest_wait(&self, patience: Option<Duration>) -> Option<(Timestamp, Reason)> {
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
}
