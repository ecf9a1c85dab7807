//! Limits of calls at once, found from how long calls take.
//!
//! Netflix's concurrency-limits and what others made of them. All are fed a [`Sample`] a call (or a window of calls) and
//! say what the limit is then. They share one precaution: a limit that is not used to the full says nothing about more,
//! so it does not grow.

use std::time::Duration;

use super::figures::MovingAverage;

/// What a call, or a window of calls, has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The round trip.
    pub rtt: Duration,
    /// The calls in flight when it began, itself included.
    pub in_flight: u32,
    /// Whether it was lost to overload: timed out, refused by the server.
    pub dropped: bool,
}

/// A rule that finds a limit.
pub trait Limit {
    /// Takes a sample into account; the limit from now on.
    fn sample(&mut self, sample: Sample) -> u32;

    /// The limit.
    fn limit(&self) -> u32;
}

/// The whole decimal logarithm, at least 1: how far limits move at a time.
pub fn log10_root(limit: u32) -> u32 {
    limit.checked_ilog10().unwrap_or(0).max(1)
}

/// The whole square root, at least `least`: how long a queue may be.
pub fn sqrt_root(limit: u32, least: u32) -> u32 {
    limit.isqrt().max(least)
}

fn whole(limit: f64) -> u32 {
    // Saturates; a limit is never negative.
    limit as u32
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// Additive increase, multiplicative decrease: by one when it is used to half, by a tenth when a call is lost or slow.
#[derive(Clone, Debug)]
pub struct Aimd {
    limit: u32,
    /// The least limit. Default: 20.
    pub min: u32,
    /// The highest limit. Default: 200.
    pub max: u32,
    /// What remains of the limit after a loss. Default: 0.9.
    pub backoff: f64,
    /// A call that takes longer counts as lost. Default: 5 s.
    pub timeout: Duration,
}

impl Aimd {
    /// Begins with a limit, which may lie outside of the bounds until the first sample.
    pub fn new(initial: u32) -> Self {
        Self { limit: initial, min: 20, max: 200, backoff: 0.9, timeout: Duration::from_secs(5) }
    }
}

impl Limit for Aimd {
    fn sample(&mut self, sample: Sample) -> u32 {
        if sample.dropped || sample.rtt > self.timeout {
            self.limit = whole(f64::from(self.limit) * self.backoff);
        } else if u64::from(sample.in_flight) * 2 >= u64::from(self.limit) {
            self.limit = self.limit.saturating_add(1);
        }
        self.limit = self.limit.max(self.min).min(self.max);
        self.limit
    }

    fn limit(&self) -> u32 {
        self.limit
    }
}

/// Estimates the queue from the round trip against the least one seen, as TCP Vegas does.
#[derive(Clone, Debug)]
pub struct Vegas {
    limit: f64,
    noload: Option<f64>,
    samples: u64,
    probe_at: Option<u64>,
    /// The highest limit. Default: 1,000.
    pub max: u32,
    /// The weight of the newest limit. Default: 1.
    pub smoothing: f64,
    /// Queues shorter than this let it grow; `None`: three times [`log10_root`].
    pub alpha: Option<u32>,
    /// Queues longer than this shrink it; `None`: six times [`log10_root`].
    pub beta: Option<u32>,
    /// Whether it halves when it shrinks, instead of going down by [`log10_root`].
    pub halves: bool,
}

impl Vegas {
    /// Begins with a limit; Netflix's default is 20.
    pub fn new(initial: u32) -> Self {
        Self {
            limit: initial.into(),
            noload: None,
            samples: 0,
            probe_at: None,
            max: 1_000,
            smoothing: 1.0,
            alpha: None,
            beta: None,
            halves: false,
        }
    }

    /// Takes the least round trip anew after so many samples from now, because a permanent change of the path would
    /// otherwise be taken for a queue for ever. Netflix draws 15 to 30 times the limit.
    pub fn probe_after(&mut self, samples: u64) {
        self.probe_at = Some(self.samples.saturating_add(samples));
    }

    /// Sets the least round trip, where it is known.
    pub fn set_noload(&mut self, rtt: Duration) {
        self.noload = Some(nanos(rtt));
    }
}

impl Limit for Vegas {
    fn sample(&mut self, sample: Sample) -> u32 {
        let rtt = nanos(sample.rtt).max(1.0);
        self.samples += 1;
        if self.probe_at.is_some_and(|at| self.samples >= at) {
            self.probe_at = None;
            self.noload = None;
        }
        let noload = match self.noload {
            Some(noload) if rtt >= noload => noload,
            _ => {
                self.noload = Some(rtt);
                return self.limit();
            }
        };
        let step = log10_root(self.limit());
        let shrunk = if self.halves { self.limit / 2.0 } else { self.limit - f64::from(step) };
        let queue = (self.limit * (1.0 - noload / rtt)).ceil();
        let (alpha, beta) = (self.alpha.unwrap_or(3 * step), self.beta.unwrap_or(6 * step));
        let next = if sample.dropped {
            shrunk
        } else if f64::from(sample.in_flight) * 2.0 < self.limit {
            return self.limit();
        } else if queue <= f64::from(step) {
            self.limit + f64::from(beta)
        } else if queue < f64::from(alpha) {
            self.limit + f64::from(step)
        } else if queue > f64::from(beta) {
            shrunk
        } else {
            return self.limit();
        };
        let next = next.min(self.max.into()).max(1.0);
        self.limit = (1.0 - self.smoothing) * self.limit + self.smoothing * next;
        self.limit()
    }

    fn limit(&self) -> u32 {
        whole(self.limit)
    }
}

/// Compares the round trip with the least one seen; Netflix's first gradient, kept for those who have it.
#[derive(Clone, Debug)]
pub struct Gradient {
    limit: f64,
    noload: Option<f64>,
    samples: u64,
    /// The least limit. Default: 1.
    pub min: u32,
    /// The highest limit. Default: 1,000.
    pub max: u32,
    /// The weight of a newest limit that is lower. Default: 0.2.
    pub smoothing: f64,
    /// How much longer than the least a round trip may be. Default: 2.
    pub tolerance: f64,
    /// What remains of the limit after a loss. Default: 0.9.
    pub backoff: f64,
    /// The shortest queue allowed; it is the square root of the limit otherwise. Default: 4.
    pub queue: u32,
    /// The least round trip is taken anew after so many samples. Default: 1,000.
    pub probe: Option<u64>,
}

impl Gradient {
    /// Begins with a limit; Netflix's default is 50.
    pub fn new(initial: u32) -> Self {
        Self {
            limit: initial.into(),
            noload: None,
            samples: 0,
            min: 1,
            max: 1_000,
            smoothing: 0.2,
            tolerance: 2.0,
            backoff: 0.9,
            queue: 4,
            probe: Some(1_000),
        }
    }
}

impl Limit for Gradient {
    fn sample(&mut self, sample: Sample) -> u32 {
        let queue = f64::from(sqrt_root(self.limit(), self.queue));
        self.samples += 1;
        if self.probe.is_some_and(|probe| self.samples > probe) {
            self.samples = 0;
            self.noload = None;
            self.limit = queue.max(self.min.into());
            return self.limit();
        }
        let rtt = nanos(sample.rtt).max(1.0);
        let noload = self.noload.map_or(rtt, |noload| noload.min(rtt));
        self.noload = Some(noload);
        let gradient = (self.tolerance * noload / rtt).clamp(0.5, 1.0);
        let mut next = if sample.dropped {
            self.limit * self.backoff
        } else if f64::from(sample.in_flight) < self.limit / 2.0 {
            return self.limit();
        } else {
            self.limit * gradient + queue
        };
        if next < self.limit {
            next = (self.limit * (1.0 - self.smoothing) + self.smoothing * next).max(self.min.into());
        }
        self.limit = next.min(self.max.into()).max(queue);
        self.limit()
    }

    fn limit(&self) -> u32 {
        whole(self.limit)
    }
}

/// Compares the round trip with a long average of itself: needs no least one, and forgets.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    limit: f64,
    long: MovingAverage,
    /// The least limit. Default: 20.
    pub min: u32,
    /// The highest limit. Default: 200.
    pub max: u32,
    /// The weight of the newest limit. Default: 0.2.
    pub smoothing: f64,
    /// How much longer than the average a round trip may be. Default: 1.5.
    pub tolerance: f64,
    /// The queue allowed on top. Default: 4.
    pub queue: u32,
}

impl Gradient2 {
    /// Begins with a limit, and averages over `window` samples of which the first `warmup` count alike; Netflix's
    /// defaults are 20, 600 and 10.
    pub fn new(initial: u32, window: u32, warmup: u32) -> Self {
        let long = MovingAverage::new(window, warmup);
        Self { limit: initial.into(), long, min: 20, max: 200, smoothing: 0.2, tolerance: 1.5, queue: 4 }
    }
}

impl Limit for Gradient2 {
    fn sample(&mut self, sample: Sample) -> u32 {
        let short = nanos(sample.rtt).max(1.0);
        let long = self.long.add(short);
        // After an outage the average comes down faster than it would by itself.
        if long / short > 2.0 {
            self.long.shrink(0.95);
        }
        if f64::from(sample.in_flight) < self.limit / 2.0 {
            return self.limit();
        }
        let gradient = (self.tolerance * self.long.value() / short).clamp(0.5, 1.0);
        let next = self.limit * gradient + f64::from(self.queue);
        let next = self.limit * (1.0 - self.smoothing) + next * self.smoothing;
        self.limit = next.min(self.max.into()).max(self.min.into());
        self.limit()
    }

    fn limit(&self) -> u32 {
        whole(self.limit)
    }
}

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
