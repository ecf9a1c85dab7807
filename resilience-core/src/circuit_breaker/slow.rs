//! Calls that run, by when they began: which of them are slow already.
//!
//! A dependency that hangs answers nothing, and a rule that looks at answers sees nothing. So calls count as slow from the
//! moment they have taken too long, not from when they end; and once they end, they count by their answer instead, so that
//! none counts twice.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Timestamp, saturating_nanos};

/// Parts a threshold is divided into: a call is found slow at most an eighth of the threshold late.
const PARTS: u64 = 8;

/// The running calls of one closed period.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    threshold: u64,
    part: u64,
    generation: u32,
    /// The number of the first part in `running`.
    first: u64,
    /// How many calls run that began in each part; what began before has run for too long.
    running: VecDeque<u32>,
    overdue: u32,
    /// As many of `overdue` as callers have been told of.
    told: u32,
}

impl InFlight {
    pub(crate) fn new(threshold: Duration) -> Self {
        let threshold = saturating_nanos(threshold);
        let part = (threshold / PARTS).max(1);
        // A threshold is at most nine parts and a rest long, and the present one is begun.
        let running = VecDeque::with_capacity(2 * PARTS as usize);
        Self { threshold, part, generation: 0, first: 0, running, overdue: 0, told: 0 }
    }

    /// A call of `generation` begins. Says when it began for [`end`](Self::end), and whether calls that still run were
    /// found to be slow of which no call was told before.
    pub(crate) fn begin(&mut self, generation: u32, now: Timestamp) -> (Timestamp, bool) {
        if generation != self.generation {
            if generation.wrapping_sub(self.generation) > u32::MAX / 2 {
                return (now, false);
            }
            (self.generation, self.overdue, self.told) = (generation, 0, 0);
            self.running.clear();
        }
        self.look(now);
        let found = self.overdue > self.told;
        self.told = self.overdue;
        let epoch = now.as_nanos() / self.part;
        if self.running.is_empty() {
            self.first = epoch;
        }
        // A thread that read the clock earlier may come later: its call is counted from the first part there is.
        let index = epoch.saturating_sub(self.first) as usize;
        while self.running.len() <= index {
            self.running.push_back(0);
        }
        self.running[index] += 1;
        (now.max(Timestamp::from_nanos(self.first.saturating_mul(self.part))), found)
    }

    /// A call of `generation` that began at `started` has ended.
    pub(crate) fn end(&mut self, generation: u32, started: Timestamp) {
        if generation != self.generation {
            return;
        }
        let epoch = started.as_nanos() / self.part;
        match epoch.checked_sub(self.first) {
            Some(index) if (index as usize) < self.running.len() => {
                let running = &mut self.running[index as usize];
                *running = running.saturating_sub(1);
            }
            _ => {
                self.overdue = self.overdue.saturating_sub(1);
                self.told = self.told.min(self.overdue);
            }
        }
    }

    /// Finds the calls that have become slow by `now`.
    fn look(&mut self, now: Timestamp) {
        while let Some(&running) = self.running.front() {
            // All that began in a part are overdue when the last moment of it lies a threshold back.
            let ends = (self.first + 1).saturating_mul(self.part);
            if ends.saturating_add(self.threshold) > now.as_nanos() {
                break;
            }
            self.overdue += running;
            self.running.pop_front();
            self.first += 1;
        }
    }

    /// Calls of `generation` that run and are slow at `now`.
    pub(crate) fn overdue(&mut self, generation: u32, now: Timestamp) -> u32 {
        if generation != self.generation {
            return 0;
        }
        self.look(now);
        self.overdue
    }
}
