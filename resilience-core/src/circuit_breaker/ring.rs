//! The last N calls, exactly.

use super::window::{Counts, Record};

/// Whether each of the last so many calls failed, a bit each.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    generation: u32,
    bits: Box<[u64]>,
    size: u32,
    next: u32,
    held: u32,
    failures: u32,
    /// Calls given up since the last answer.
    gave_up: u32,
}

impl Ring {
    pub(crate) fn new(size: u32) -> Self {
        let words = size.div_ceil(u64::BITS) as usize;
        Self { generation: 0, bits: vec![0; words].into_boxed_slice(), size, next: 0, held: 0, failures: 0, gave_up: 0 }
    }

    /// Takes the answer of a call of the closed circuit's `generation`. One of an earlier generation counts for nothing.
    pub(crate) fn record(&mut self, generation: u32, record: Record) {
        if generation != self.generation {
            // Generations wrap, and differ by less than half their range.
            if generation.wrapping_sub(self.generation) > u32::MAX / 2 {
                return;
            }
            (self.generation, self.next, self.held, self.failures, self.gave_up) = (generation, 0, 0, 0, 0);
        }
        let failed = match record {
            Record::Success => false,
            Record::Failure => true,
            Record::GaveUp => {
                self.gave_up = self.gave_up.saturating_add(1);
                return;
            }
        };
        self.gave_up = 0;
        let (word, bit) = ((self.next / u64::BITS) as usize, 1u64 << (self.next % u64::BITS));
        if self.held == self.size {
            // The oldest lies where the newest goes.
            self.failures -= u32::from(self.bits[word] & bit != 0);
        } else {
            self.held += 1;
        }
        if failed {
            self.bits[word] |= bit;
            self.failures += 1;
        } else {
            self.bits[word] &= !bit;
        }
        self.next = if self.next + 1 == self.size { 0 } else { self.next + 1 };
    }

    pub(crate) fn counts(&self, generation: u32) -> Counts {
        if generation != self.generation {
            return Counts::default();
        }
        Counts { calls: self.held.into(), failures: self.failures.into(), gave_up: self.gave_up.into() }
    }
}
