//! Leave to make a call, and what its end tells the limit.

use std::fmt;

use super::policy::Shared;
use crate::Class;
use crate::bulkhead;
use crate::held::Held;
use crate::time::Timestamp;

/// A slot for one call, which has begun; made by [`AdaptiveLimit::try_acquire`](super::AdaptiveLimit::try_acquire).
///
/// Settle it with what the answer meant. Dropped unsettled, the slot is given back all the same, and the call counts as
/// [`abandoned`](super::AdaptiveLimitBuilder::abandoned) says; if the thread is panicking, as nothing.
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    shared: Held<Shared>,
    started: Timestamp,
    in_flight: u32,
    epoch: u32,
    settled: bool,
    /// Declared last, and so given back last: by then, the limit may have been lowered.
    _slot: bulkhead::Permit,
}

impl Permit {
    #[inline]
    pub(super) fn new(
        slot: bulkhead::Permit,
        epoch: u32,
        in_flight: u32,
        started: Timestamp,
        shared: Held<Shared>,
    ) -> Self {
        Self { shared, started, in_flight, epoch, settled: false, _slot: slot }
    }

    /// Reports what the answer meant, and gives the slot back.
    ///
    /// A success is a round trip to learn from; a slow answer or a failure is a loss; what is to be ignored is nothing.
    pub fn settle(mut self, class: Class) {
        self.note(class);
    }

    /// The same, and keeps the slot until the permit is dropped.
    #[inline]
    pub(super) fn note(&mut self, class: Class) {
        self.settled = true;
        match class {
            Class::Success => self.record(false),
            Class::Slow | Class::Failure => self.record(true),
            Class::Ignore => {}
        }
    }

    /// The call panicked: that is no congestion, whoever drops the permit, and when.
    pub(super) fn panicked(&mut self) {
        self.settled = true;
    }

    fn record(&self, lost: bool) {
        self.shared.record(self.epoch, self.in_flight, self.started, lost);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.settled && self.shared.counts_abandoned() && !std::thread::panicking() {
            self.record(true);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("limit", self.shared.name())
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}
