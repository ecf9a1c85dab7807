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

    /// The round trip others are compared with: the least one seen, or an average. `None` while there is none, or if the
    /// rule needs none.
    fn baseline(&self) -> Option<Duration> {
        None
    }
}

/// The whole decimal logarithm, at least 1: how far limits move at a time.
pub fn log10_root(limit: u32) -> u32 {
    limit.checked_ilog10().unwrap_or(0).max(1)
}

/// The whole square root, at least `least`: how long a queue may be.
pub fn sqrt_root(limit: u32, least: u32) -> u32 {
    limit.isqrt().max(least)
}

pub(super) fn whole(limit: f64) -> u32 {
    // Saturates; a limit is never negative.
    limit as u32
}

fn from_nanos(nanos: f64) -> Duration {
    // Saturates, as above.
    Duration::from_nanos(nanos as u64)
}

pub(super) fn nanos(duration: Duration) -> f64 {
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
    /// The least limit. Default: 1.
    pub min: u32,
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
            min: 1,
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
        let next = next.min(self.max.into()).max(self.min.max(1).into());
        self.limit = (1.0 - self.smoothing) * self.limit + self.smoothing * next;
        self.limit()
    }

    fn limit(&self) -> u32 {
        whole(self.limit)
    }

    fn baseline(&self) -> Option<Duration> {
        self.noload.map(from_nanos)
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

    fn baseline(&self) -> Option<Duration> {
        self.noload.map(from_nanos)
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

    fn baseline(&self) -> Option<Duration> {
        (self.long.value() > 0.0).then(|| from_nanos(self.long.value()))
    }
}
