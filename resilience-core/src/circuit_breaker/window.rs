//! Calls of the last while, in buckets: how many, how many failed, how many were given up.
//!
//! A record is one compare-exchange on a cell that threads on other cores rarely touch; a verdict sums a few dozen to a few
//! hundred cells, and only a failure asks for one. Cost and memory do not depend on how many calls
//! the window holds.
//!
//! Exactness: a cell holds 2^20 - 1 calls. Above that it halves all its counts, which keeps the ratio and makes the
//! totals lower bounds. The window covers the current bucket and the 15 before it: between 15/16 of its length and all
//! of it.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Timestamp;

/// Buckets in a window: enough that a bucket leaving the window does not jolt the rate.
pub(crate) const BUCKETS: usize = if cfg!(loom) { 2 } else { 16 };

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) gave_up: u64,
}

impl Counts {
    /// The share of failures, 0 when there was no call.
    pub(crate) fn failure_rate(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.failures as f64 / self.calls as f64 }
    }
}

/// What is recorded of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Success,
    Failure,
    GaveUp,
}

/// One bucket of one shard: `[tag:10 | gave up:14 | failures:20 | calls:20]`.
///
/// The tag tells this bucket from the one that lay in the same cell a window ago; [`Shard::advance`] voids whatever is
/// older, so ten bits are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell(u64);

const CALLS: u64 = (1 << 20) - 1;
const FAILURES: u32 = 20;
const GAVE_UP: u32 = 40;
const GAVE_UP_MOST: u64 = (1 << 14) - 1;
const TAG: u32 = 54;
const TAGS: u64 = (1 << 10) - 1;

impl Cell {
    const fn empty(tag: u64) -> Self {
        Self((tag & TAGS) << TAG)
    }

    const fn tag(self) -> u64 {
        self.0 >> TAG
    }

    pub(crate) const fn counts(self) -> Counts {
        Counts {
            calls: self.0 & CALLS,
            failures: self.0 >> FAILURES & CALLS,
            gave_up: self.0 >> GAVE_UP & GAVE_UP_MOST,
        }
    }

    /// The cell after one more record in the bucket `tag`.
    #[inline]
    pub(crate) const fn after(self, tag: u64, record: Record) -> Self {
        // Nearly always: the right bucket, with room. Calls are never fewer than failures, so theirs is the room to ask for.
        if self.tag() == tag & TAGS && self.0 & CALLS != CALLS {
            match record {
                Record::Success => return Self(self.0 + 1),
                Record::Failure => return Self(self.0 + (1 << FAILURES | 1)),
                Record::GaveUp => {}
            }
        }
        self.after_all_else(tag, record)
    }

    #[cold]
    const fn after_all_else(self, tag: u64, record: Record) -> Self {
        let mut cell = if self.tag() == tag & TAGS { self } else { Self::empty(tag) };
        let Counts { mut calls, mut failures, mut gave_up } = cell.counts();
        if calls == CALLS {
            calls /= 2;
            failures /= 2;
        }
        match record {
            Record::Success => calls += 1,
            Record::Failure => {
                calls += 1;
                failures += 1;
            }
            Record::GaveUp if gave_up < GAVE_UP_MOST => gave_up += 1,
            Record::GaveUp => {}
        }
        cell.0 = (tag & TAGS) << TAG | gave_up << GAVE_UP | failures << FAILURES | calls;
        cell
    }
}

/// The window, shared by all callers.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    bucket_nanos: u64,
    /// 2^64 over `bucket_nanos`, rounded down: to multiply by it takes a tenth of what a division takes.
    bucket_inverse: u64,
    /// A power of two.
    shards: Box<[Shard]>,
}

/// One shard per core or so, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    /// The latest bucket this shard was written in, as `epoch` of [`Stamp`]; older cells are void.
    latest: AtomicU64,
    cells: [AtomicU64; BUCKETS],
}

/// Which bucket a moment belongs to: its number since the origin, and the closed circuit's generation, because what an
/// earlier closed period recorded is void in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    epoch: u64,
    generation: u64,
}

const GENERATION_BITS: u32 = 12;
const GENERATIONS: u64 = (1 << GENERATION_BITS) - 1;

impl Stamp {
    /// A shard that was never written.
    const NEVER: u64 = u64::MAX;

    const fn new(epoch: u64, generation: u32) -> Self {
        Self { epoch, generation: generation as u64 & GENERATIONS }
    }

    const fn from_word(word: u64) -> Self {
        Self { epoch: word >> GENERATION_BITS, generation: word & GENERATIONS }
    }

    /// Both in one word. Buckets are no shorter than 62.5 us, so epochs stay below 2^52.
    const fn word(self) -> u64 {
        self.epoch << GENERATION_BITS | self.generation
    }

    const fn back(self, buckets: u64) -> Option<Self> {
        match self.epoch.checked_sub(buckets) {
            Some(epoch) => Some(Self { epoch, ..self }),
            None => None,
        }
    }

    const fn index(self) -> usize {
        self.epoch as usize % BUCKETS
    }

    const fn tag(self) -> u64 {
        (self.epoch / BUCKETS as u64) & TAGS
    }

    /// Whether this generation began before `other`; generations wrap, and differ by less than half their range.
    const fn is_before_generation(self, other: Self) -> bool {
        let ahead = other.generation.wrapping_sub(self.generation) & GENERATIONS;
        ahead != 0 && ahead <= GENERATIONS / 2
    }
}

impl TimeWindow {
    /// A window over `length`, in as many shards as threads are expected to record at once.
    pub(crate) fn new(length: Duration, shards: usize) -> Self {
        let bucket_nanos = (u64::try_from(length.as_nanos()).unwrap_or(u64::MAX) / BUCKETS as u64).max(1);
        let shard =
            |_| Shard { latest: AtomicU64::new(Stamp::NEVER), cells: std::array::from_fn(|_| AtomicU64::new(0)) };
        let bucket_inverse = u64::try_from((1u128 << 64) / u128::from(bucket_nanos)).unwrap_or(u64::MAX);
        let shards = (0..shards.max(1).next_power_of_two()).map(shard).collect();
        Self { bucket_nanos, bucket_inverse, shards }
    }

    /// Records a call of the closed circuit's `generation`, finished at `now`, in the shard for this thread.
    pub(crate) fn record(&self, shard: usize, generation: u32, now: Timestamp, record: Record) {
        let stamp = self.stamp(generation, now);
        let shard = &self.shards[shard & (self.shards.len() - 1)];
        if !shard.advance(stamp) {
            return;
        }
        let cell = &shard.cells[stamp.index()];
        let mut seen = cell.load(Ordering::Relaxed);
        loop {
            let next = Cell(seen).after(stamp.tag(), record).0;
            // Release pairs with the Acquire in `advance`: who sees this record sees that the shard has moved on.
            // Readers take it Relaxed: a cell's word is complete in itself, the verdict over many is a statistic, and
            // a thread sees its own records in program order, which makes a lone caller's verdicts exact.
            match cell.compare_exchange_weak(seen, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// What the window holds for `generation` at `now`.
    pub(crate) fn counts(&self, generation: u32, now: Timestamp) -> Counts {
        let stamp = self.stamp(generation, now);
        let mut sum = Counts::default();
        for shard in &self.shards {
            shard.add_to(stamp, &mut sum);
        }
        sum
    }

    fn stamp(&self, generation: u32, now: Timestamp) -> Stamp {
        Stamp::new(self.epoch(now.as_nanos()), generation)
    }

    /// `nanos / bucket_nanos`.
    #[inline]
    pub(super) fn epoch(&self, nanos: u64) -> u64 {
        // The inverse is less than one too small, so the product is at most one.
        let epoch = ((u128::from(nanos) * u128::from(self.bucket_inverse)) >> 64) as u64;
        let rest = nanos - epoch * self.bucket_nanos;
        epoch + u64::from(rest >= self.bucket_nanos)
    }
}

impl Shard {
    /// Moves the shard on to `stamp`'s bucket and voids what the window has left behind. False if the record comes too
    /// late: its generation is over, or its bucket has left the window.
    #[inline]
    fn advance(&self, stamp: Stamp) -> bool {
        let word = self.latest.load(Ordering::Acquire);
        word == stamp.word() || self.advance_from(word, stamp)
    }

    #[cold]
    fn advance_from(&self, word: u64, stamp: Stamp) -> bool {
        let stale = if word == Stamp::NEVER {
            BUCKETS as u64
        } else {
            let latest = Stamp::from_word(word);
            if stamp.is_before_generation(latest) {
                return false;
            }
            if stamp.generation != latest.generation {
                BUCKETS as u64
            } else if stamp.epoch < latest.epoch {
                return latest.epoch - stamp.epoch < BUCKETS as u64;
            } else {
                (stamp.epoch - latest.epoch).min(BUCKETS as u64)
            }
        };
        for buckets in 0..stale {
            let Some(bucket) = stamp.back(buckets) else { break };
            let cell = &self.cells[bucket.index()];
            // Acquire pairs with the Release in `record`: a record of the new bucket is only made after `latest` was
            // moved, so if `latest` has not moved by now, what the cell holds is old, whatever its tag.
            let seen = cell.load(Ordering::Acquire);
            if self.latest.load(Ordering::Relaxed) != word {
                // Another thread moved the shard; it voids, or has voided, the same cells.
                break;
            }
            // If this fails, the cell has just been voided or written by the thread that moved the shard.
            let _ = cell.compare_exchange(seen, Cell::empty(bucket.tag()).0, Ordering::Relaxed, Ordering::Relaxed);
        }
        // Release: whoever sees the shard moved sees its old cells voided. If another thread was faster, its move stands.
        let _ = self.latest.compare_exchange(word, stamp.word(), Ordering::AcqRel, Ordering::Relaxed);
        true
    }

    fn add_to(&self, stamp: Stamp, sum: &mut Counts) {
        let word = self.latest.load(Ordering::Acquire);
        if word == Stamp::NEVER {
            return;
        }
        let latest = Stamp::from_word(word);
        if latest.generation != stamp.generation || latest.epoch + BUCKETS as u64 <= stamp.epoch {
            return;
        }
        for buckets in 0..BUCKETS as u64 {
            let Some(bucket) = stamp.back(buckets) else { break };
            let cell = Cell(self.cells[bucket.index()].load(Ordering::Relaxed));
            if cell.tag() == bucket.tag() {
                let counts = cell.counts();
                sum.calls += counts.calls;
                sum.failures += counts.failures;
                sum.gave_up += counts.gave_up;
            }
        }
    }
}
