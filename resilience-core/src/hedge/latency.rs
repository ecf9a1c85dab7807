//! How long recent calls took, those included of which only "at least this long" is known. Pure.
//!
//! Two histograms of logarithmic buckets, thirty-two to each doubling (as in HdrHistogram): a latency is known to 3 % from
//! a microsecond to an hour. The older histogram is thrown away once the newer has seen a window's worth of calls.

use std::time::Duration;

use super::delay::Quantile;

/// Buckets for each doubling, as a power of two.
const PRECISION: u32 = 5;
/// For 32 bits of [`UNIT`]s.
const BUCKETS: usize = ((32 - PRECISION + 1) << PRECISION) as usize;
/// Nanoseconds in a unit, as a power of two: about a microsecond.
const UNIT: u32 = 10;
/// Calls between two estimates, so that the estimate's few hundred steps are shared by many calls.
const REFRESH: u32 = 32;

/// Whether a latency is known, or only that it is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The call was answered then.
    Whole,
    /// The call was given up then: censored.
    AtLeast,
}

/// The latencies of one to two windows of calls.
#[derive(Debug)]
pub(crate) struct Latencies {
    newer: Histogram,
    older: Histogram,
}

#[derive(Debug)]
struct Histogram {
    whole: Box<[u32]>,
    at_least: Box<[u32]>,
    count: u32,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self { newer: Histogram::new(), older: Histogram::new() }
    }

    /// Takes note of one call; whether it is time for a new [`estimate`](Self::estimate).
    pub(crate) fn record(&mut self, rule: &Quantile, latency: Duration, known: Known) -> bool {
        if self.newer.count >= rule.window {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.add(latency, known);
        // At least once in each window, however short.
        self.newer.count.is_multiple_of(REFRESH.min(rule.window)) || self.count() == u64::from(rule.samples)
    }

    /// The delay by the rule, `None` while too little is known.
    pub(crate) fn estimate(&self, rule: &Quantile) -> Option<Duration> {
        if self.count() < u64::from(rule.samples) {
            return None;
        }
        Some(self.quantile(rule.quantile)?.clamp(rule.least, rule.most))
    }

    /// Calls known of.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.newer.count) + u64::from(self.older.count)
    }

    /// The time that a call is longer than with a chance of `1 - quantile`, by the product-limit estimator.
    ///
    /// It is the end of a bucket, as in HdrHistogram: from any time before, an unknown part of the bucket's calls would be
    /// hedged beyond the share that was asked for.
    ///
    /// If even the longest known latency is more likely than that to be exceeded, then that latency: the estimate is on
    /// its way up, and gets there, for the calls that a longer delay lets go on tell more.
    fn quantile(&self, quantile: f64) -> Option<Duration> {
        let mut at_risk = self.count();
        let mut longer = 1.0;
        let mut longest = None;
        for bucket in 0..BUCKETS {
            let whole = u64::from(self.newer.whole[bucket]) + u64::from(self.older.whole[bucket]);
            let at_least = u64::from(self.newer.at_least[bucket]) + u64::from(self.older.at_least[bucket]);
            if whole + at_least == 0 {
                continue;
            }
            longest = Some(bucket);
            longer *= 1.0 - whole as f64 / at_risk as f64;
            // The tolerance is for the rounding of the product: 95 of 100 are the 95th percentile.
            if longer <= 1.0 - quantile + 1e-9 {
                break;
            }
            // What was given up in this bucket went on for longer than what was answered in it.
            at_risk -= whole + at_least;
        }
        longest.map(end)
    }
}

impl Histogram {
    fn new() -> Self {
        let empty = || vec![0; BUCKETS].into_boxed_slice();
        Self { whole: empty(), at_least: empty(), count: 0 }
    }

    fn add(&mut self, latency: Duration, known: Known) {
        let buckets = match known {
            Known::Whole => &mut self.whole,
            Known::AtLeast => &mut self.at_least,
        };
        buckets[bucket(latency)] += 1;
        self.count += 1;
    }

    fn clear(&mut self) {
        self.whole.fill(0);
        self.at_least.fill(0);
        self.count = 0;
    }
}

fn bucket(latency: Duration) -> usize {
    let units = u32::try_from(latency.as_nanos() >> UNIT).unwrap_or(u32::MAX);
    // What is below the first doubling has a bucket for each unit.
    let doublings = (32 - PRECISION).saturating_sub(units.leading_zeros());
    let within = units >> doublings.saturating_sub(1);
    // From the first doubling on, `within` carries the leading one, which counts as a doubling of its own.
    let base = doublings.saturating_sub(1) << PRECISION;
    (base + within) as usize
}

/// The end of a bucket: what is in it is shorter.
fn end(bucket: usize) -> Duration {
    Duration::from_nanos(floor(bucket + 1) << UNIT)
}

/// The least number of units that falls into a bucket.
fn floor(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let parts = 1 << PRECISION;
    match bucket >> PRECISION {
        0 => bucket,
        doubling => (parts + (bucket & (parts - 1))) << (doubling - 1),
    }
}
