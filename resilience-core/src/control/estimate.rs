//! Limits found from an estimate of the queue, by others than Netflix.

use std::time::Duration;

use super::figures::MovingAverage;
use super::limit::{Limit, Sample, log10_root, nanos, whole};

/// failsafe-go's adaptive limiter: the queue against a slow average of recent round trips, held near what is in use.
#[derive(Clone, Debug)]
pub struct QueueEstimate {
    limit: u32,
    baseline: MovingAverage,
    busiest: u32,
    /// The least limit. Default: 1.
    pub min: u32,
    /// The highest limit. Default: 200.
    pub max: u32,
    /// How many times what is in flight the limit may be. Default: 5.
    pub max_factor: f64,
    /// How that factor goes down with each power of ten in flight. Default: 0.
    pub decay: f64,
    /// Whether "in flight" means the most of the last while, not the newest: the owner calls
    /// [`forget_busiest`](Self::forget_busiest) once a while. Default: false.
    pub stabilized: bool,
}

impl QueueEstimate {
    /// Begins with a limit; the baseline averages over `age` samples, the first of which are `warmup`.
    pub fn new(initial: u32, age: u32, warmup: impl IntoIterator<Item = Duration>) -> Self {
        let mut baseline = MovingAverage::new(age, age);
        for rtt in warmup {
            baseline.add(nanos(rtt));
        }
        let busiest = 0;
        Self { limit: initial, baseline, busiest, min: 1, max: 200, max_factor: 5.0, decay: 0.0, stabilized: false }
    }

    /// Begins a new while; see [`stabilized`](Self::stabilized).
    pub fn forget_busiest(&mut self) {
        self.busiest = 0;
    }

    /// The highest limit with so many calls in flight: `factor` times as many, less `decay` for each power of ten, and
    /// no less than `least` times as many.
    ///
    /// ```
    /// use resilience_core::control::QueueEstimate;
    ///
    /// let cap = |in_flight| QueueEstimate::cap(in_flight, 5.0, 1.0, 1.2).round();
    /// assert_eq!([cap(10), cap(100), cap(1_000)], [40.0, 300.0, 2_000.0]);
    /// ```
    pub fn cap(in_flight: u32, factor: f64, decay: f64, least: f64) -> f64 {
        let in_flight = f64::from(in_flight);
        let factor = factor - decay * in_flight.max(1.0).log10();
        in_flight * factor.max(least)
    }
}

impl Limit for QueueEstimate {
    fn sample(&mut self, sample: Sample) -> u32 {
        let recent = nanos(sample.rtt).max(1.0);
        let queue = (f64::from(self.limit) * (1.0 - self.baseline.value() / recent)).ceil();
        self.baseline.add(recent);
        self.busiest = self.busiest.max(sample.in_flight);
        let in_flight = if self.stabilized { self.busiest } else { sample.in_flight };
        let step = log10_root(self.limit);
        let cap = Self::cap(in_flight, self.max_factor, self.decay, LEAST_FACTOR);
        self.limit = if sample.dropped || queue > f64::from(6 * step) || f64::from(self.limit) > cap {
            self.limit.saturating_sub(step)
        } else if queue < f64::from(3 * step) {
            self.limit.saturating_add(step)
        } else {
            self.limit
        };
        self.limit = self.limit.max(self.min).min(self.max);
        self.limit
    }

    fn limit(&self) -> u32 {
        self.limit
    }

    fn baseline(&self) -> Option<Duration> {
        (self.baseline.value() > 0.0).then(|| Duration::from_nanos(self.baseline.value() as u64))
    }
}

/// The least factor by which the limit may exceed what is in flight, whatever the decay.
const LEAST_FACTOR: f64 = 1.2;

/// Envoy's gradient controller: one update from the least round trip and the median of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvoyGradient {
    /// The least limit, which is also the limit while the least round trip is measured. Default: 3.
    pub min: u32,
    /// The highest limit. Default: 1,000.
    pub max: u32,
}

impl Default for EnvoyGradient {
    fn default() -> Self {
        Self { min: 3, max: 1_000 }
    }
}

impl EnvoyGradient {
    /// How much the limit may change: `min_rtt`, longer by the share `buffer`, over the newest, between 1/2 and 2.
    pub fn gradient(min_rtt: Duration, buffer: f64, newest: Duration) -> f64 {
        (nanos(min_rtt) * (1.0 + buffer) / nanos(newest).max(1.0)).clamp(0.5, 2.0)
    }

    /// The next limit, with a headroom of its square root.
    pub fn update(&self, limit: u32, gradient: f64) -> u32 {
        let next = f64::from(limit) * gradient;
        whole(next + next.sqrt()).max(self.min).min(self.max)
    }
}
