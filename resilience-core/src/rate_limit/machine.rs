//! Who may go when: the generic cell rate algorithm (GCRA) as a pure rule over one word.
//!
//! The word holds the moment at which the limiter would be full again if nobody came (the algorithm's "theoretical
//! arrival time", ITU-T I.371). A caller's permits push it further away by as many intervals; the caller may go once it
//! is no further away than the whole burst takes to come back. So the queue of a limiter needs no list: whoever pushes
//! the word has thereby got a moment of its own, later than that of everybody before.
//!
//! One invariant follows for whatever calls are made: **in no stretch of time are more permits due than the burst and
//! what the quota yields in that stretch.** Intervals are rounded up, never down, so that it holds exactly.

use std::time::Duration;

use crate::ConfigError;
use crate::time::{Timestamp, saturating_nanos};

/// Moments and spans are counted in eighths of a nanosecond since the limiter was made: fine enough that the rounding of
/// an interval costs a quota of a million a second less than a part in eight thousand, and coarse enough for 18 years.
pub(super) const TICKS_PER_NANO: u64 = 8;

const GENERATION_BITS: u32 = 2;

/// How many rules are kept: those in use, and those that callers may still hold who read the word before a change.
pub(super) const GENERATIONS: usize = 1 << GENERATION_BITS;

/// The last moment a word can hold.
const LAST: u64 = u64::MAX >> GENERATION_BITS;

/// When the limiter is full again, and by which generation of the rule that was reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// `full_at` is at most [`LAST`].
    pub(super) const fn new(full_at: u64, generation: usize) -> Self {
        Self((full_at << GENERATION_BITS) | (generation % GENERATIONS) as u64)
    }

    pub(super) const fn full_at(self) -> u64 {
        self.0 >> GENERATION_BITS
    }

    pub(super) const fn generation(self) -> usize {
        self.0 as usize % GENERATIONS
    }

    /// The same generation, full at another moment.
    pub(super) const fn with_full_at(self, full_at: u64) -> Self {
        Self::new(full_at, self.generation())
    }
}

/// The moment `now` on the clock of a limiter that was made at `epoch`.
#[inline]
pub(super) const fn ticks(epoch: Timestamp, now: Timestamp) -> u64 {
    let nanos = now.as_nanos().saturating_sub(epoch.as_nanos());
    if nanos > LAST / TICKS_PER_NANO { LAST } else { nanos * TICKS_PER_NANO }
}

/// A span in ticks; everything beyond the end is the end.
pub(super) const fn span(duration: Duration) -> u64 {
    let nanos = saturating_nanos(duration);
    if nanos > LAST / TICKS_PER_NANO { LAST } else { nanos * TICKS_PER_NANO }
}

/// A span as a duration, rounded up: who waits for it never comes too early.
pub(super) const fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.div_ceil(TICKS_PER_NANO))
}

/// A quota, as the word counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// What one permit takes to come back.
    pub(super) interval: u64,
    /// What the whole burst takes to come back.
    pub(super) tolerance: u64,
}

/// Where a caller's permits lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// When the limiter would have been full without them.
    pub(super) start: u64,
    /// When it is full with them.
    pub(super) end: u64,
    /// When they are due.
    pub(super) due: u64,
}

impl Rule {
    /// `permits` in each `per`, `burst` of them at once.
    pub(super) fn new(permits: u32, per: Duration, burst: u32) -> Result<Self, ConfigError> {
        if permits == 0 {
            return Err(ConfigError::new("quota", "must be above zero"));
        }
        if per.is_zero() {
            return Err(ConfigError::new("quota", "must be per a time above zero"));
        }
        if burst == 0 {
            return Err(ConfigError::new("burst", "must be above zero"));
        }
        if span(per) < u64::from(permits) {
            return Err(ConfigError::new("quota", "must be at most 8 permits a nanosecond"));
        }
        let interval = span(per).div_ceil(u64::from(permits));
        match interval.checked_mul(u64::from(burst)) {
            Some(tolerance) if tolerance <= LAST / 4 && span(per) <= LAST / 4 => Ok(Self { interval, tolerance }),
            _ => Err(ConfigError::new("burst", "must come back within four years at this quota")),
        }
    }

    /// Permits that may be had at once.
    pub(super) const fn burst(self) -> u32 {
        (self.tolerance / self.interval) as u32
    }

    /// The place of a caller who comes at `now`. `None` if there is none: the burst is smaller than what it wants.
    #[inline]
    pub(super) const fn place(self, full_at: u64, now: u64, permits: u32) -> Option<Place> {
        // A span of at most LAST / 4, or above the tolerance and refused here: no sum below overflows.
        let cost = self.interval.saturating_mul(permits as u64);
        if cost > self.tolerance {
            return None;
        }
        // Full before now => it stayed full: what nobody took is not saved up.
        let start = if full_at > now { full_at } else { now };
        let end = start + cost;
        if end > LAST { None } else { Some(Place { start, end, due: end.saturating_sub(self.tolerance) }) }
    }

    /// Whether one permit can be had at `now`. True at any later time if it is at this one.
    #[allow(dead_code)] // Only a layer looks before it takes, and a build may have none.
    #[inline]
    pub(super) const fn admits_one(self, full_at: u64, now: u64) -> bool {
        full_at + self.interval <= now + self.tolerance
    }

    /// Permits that can be had at `now`; below zero, those that callers wait for.
    pub(super) const fn available(self, full_at: u64, now: u64) -> i64 {
        let owed = full_at.saturating_sub(now).div_ceil(self.interval);
        self.burst() as i64 - owed as i64
    }

    /// When the limiter is full under `next`, if as many permits are to be out as are under this rule.
    pub(super) const fn rescaled(self, next: Self, full_at: u64, now: u64) -> u64 {
        let owed = full_at.saturating_sub(now) as u128;
        let owed = (owed * next.interval as u128).div_ceil(self.interval as u128);
        let full_at = now as u128 + owed;
        if full_at > LAST as u128 { LAST } else { full_at as u64 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
