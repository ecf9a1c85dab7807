//! Who runs and who waits. Two pure parts: the word that all callers share, and the queue behind it.
//!
//! The word holds the limit, the calls in flight and the waiters, so that one compare-exchange sees and changes all
//! three: a caller can neither slip past a limit that was just lowered nor overtake a waiter that has just arrived.
//! One invariant holds for every value it takes: **somebody waits only while the limit is reached.** So nobody waits
//! for a slot that is free, and a newcomer who finds a free slot overtakes nobody.
//!
//! The word says how many wait; who of them is next is the queue's to say, by its discipline. Whoever frees a slot for
//! which somebody waits has it in hand until the queue has named its next owner: those whom the discipline turns away
//! meanwhile never had it, and nobody else could take it.

mod heap;
mod queue;
mod rule;

pub(super) use self::queue::{LANES, Left, Place, Queue, Taken, Ticket, Turn};
pub(super) use self::rule::Needs;

/// Limit, calls in flight and waiters in 64 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const LIMIT_BITS: u32 = 22;
const WAITING_BITS: u32 = 20;
const FLIGHT_ONE: u64 = 1;
const LIMIT_ONE: u64 = 1 << LIMIT_BITS;
const WAITING_ONE: u64 = 1 << (2 * LIMIT_BITS);

/// The highest limit: 4,194,303 calls at once.
pub(super) const MAX_LIMIT: u32 = (1 << LIMIT_BITS) - 1;
/// The longest queue: 1,048,575 waiters.
pub(super) const MAX_QUEUE: u32 = (1 << WAITING_BITS) - 1;

/// What becomes of a permit that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Its slot is free again, or gone if the limit was lowered.
    Freed(Word),
    /// It passes to the head of the queue.
    HandedOver(Word),
}

impl Word {
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Nobody runs, nobody waits. `limit` is at most [`MAX_LIMIT`].
    pub(super) const fn new(limit: u32) -> Self {
        Self((limit & MAX_LIMIT) as u64 * LIMIT_ONE)
    }

    pub(super) const fn in_flight(self) -> u32 {
        self.0 as u32 & MAX_LIMIT
    }

    pub(super) const fn limit(self) -> u32 {
        (self.0 >> LIMIT_BITS) as u32 & MAX_LIMIT
    }

    pub(super) const fn waiting(self) -> u32 {
        (self.0 >> (2 * LIMIT_BITS)) as u32
    }

    /// A newcomer takes a slot, if one is free. By the invariant, nobody waits then.
    #[inline]
    pub(super) const fn admit(self) -> Option<Self> {
        if self.in_flight() < self.limit() { Some(Self(self.0 + FLIGHT_ONE)) } else { None }
    }

    /// A newcomer takes a slot that is not there, for a limit that is only tried out. `None` if no more can be counted.
    pub(super) const fn overfill(self) -> Option<Self> {
        if self.in_flight() < MAX_LIMIT { Some(Self(self.0 + FLIGHT_ONE)) } else { None }
    }

    /// How many more than the limit run.
    pub(super) const fn excess(self) -> u32 {
        self.in_flight().saturating_sub(self.limit())
    }

    /// A caller for whom there is no slot takes a place, if fewer than `queue` wait.
    pub(super) const fn enqueue(self, queue: u32) -> Option<Self> {
        if self.waiting() < queue { Some(Self(self.0 + WAITING_ONE)) } else { None }
    }

    /// A permit comes back.
    #[inline]
    pub(super) const fn release(self) -> Release {
        if self.waiting() > 0 && self.in_flight() <= self.limit() {
            // At the limit with a queue => still at the limit: the slot changes hands and is never free in between.
            Release::HandedOver(Self(self.0 - WAITING_ONE))
        } else {
            Release::Freed(Self(self.0 - FLIGHT_ONE))
        }
    }

    /// A waiter leaves.
    pub(super) const fn leave(self) -> Self {
        Self(self.0 - WAITING_ONE)
    }

    /// The limit changes, and waiters start until so many calls run, the limit or more; the second value is how many do.
    /// Both are at most [`MAX_LIMIT`].
    pub(super) const fn resize(self, limit: u32, upto: u32) -> (Self, u32) {
        let free = upto.saturating_sub(self.in_flight());
        let granted = if free < self.waiting() { free } else { self.waiting() };
        let rest = self.0 - self.limit() as u64 * LIMIT_ONE + (limit & MAX_LIMIT) as u64 * LIMIT_ONE;
        (Self(rest + granted as u64 * FLIGHT_ONE - granted as u64 * WAITING_ONE), granted)
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Word")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
