//! Who waited too long, and how much to turn away.

use std::time::Duration;

/// Controlled delay for requests: overloaded when even the shortest wait of an interval was too long.
///
/// folly's `Codel`, after Nichols and Jacobson, "Controlling Queue Delay" (ACM Queue 2012): a full queue that drains is
/// fine, a queue that stands is not. Times are durations since an origin of the caller's.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::control::CoDel;
///
/// let ms = Duration::from_millis;
/// let mut codel = CoDel::default();
/// assert!(!codel.is_overloaded(ms(50), ms(110)));
/// assert!(!codel.is_overloaded(ms(50), ms(220))); // the first of an interval is never turned away
/// assert!(codel.is_overloaded(ms(50), ms(221)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoDel {
    interval: Duration,
    target: Duration,
    slough: u32,
    ends: Duration,
    least: Duration,
    begins: bool,
    overloaded: bool,
}

impl Default for CoDel {
    /// Intervals of 100 ms, a target of 5 ms, and twice that for the single request.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_millis(5), 2)
    }
}

impl CoDel {
    /// Intervals so long; the shortest wait in one should be at most `target`; in overload, a request may have waited
    /// `slough` times that.
    pub fn new(interval: Duration, target: Duration, slough: u32) -> Self {
        Self { interval, target, slough, ends: Duration::ZERO, least: Duration::ZERO, begins: true, overloaded: false }
    }

    /// A request that waited for `delay` is taken up: whether it should be turned away instead.
    pub fn is_overloaded(&mut self, delay: Duration, now: Duration) -> bool {
        if now > self.ends && !self.begins {
            self.ends = now + self.interval;
            self.overloaded = self.least > self.target;
            self.begins = true;
        }
        if std::mem::take(&mut self.begins) {
            // One request alone in an interval says nothing about a queue.
            self.least = delay;
            return false;
        }
        self.least = self.least.min(delay);
        self.overloaded && delay > self.longest()
    }

    /// How full, in percent: 100 when the shortest wait of the interval is as long as a request may wait in overload.
    pub fn load(&self) -> u32 {
        self.load_of(self.least)
    }

    /// The same for a shortest wait of `least`.
    pub fn load_of(&self, least: Duration) -> u32 {
        let longest = self.longest().as_nanos().max(1);
        u32::try_from((least.as_nanos() * 100 / longest).min(100)).unwrap_or(100)
    }

    fn longest(&self) -> Duration {
        self.target.saturating_mul(self.slough)
    }
}

/// How long a request may wait in a queue: `patient` if the queue was empty within that time, else `hasty`.
///
/// "Fail at Scale" (ACM Queue 2015), with 100 ms and 5 ms: a queue that has not been empty for a while is not a burst.
pub fn queue_timeout(since_empty: Duration, patient: Duration, hasty: Duration) -> Duration {
    if since_empty <= patient { patient } else { hasty }
}

/// The calls in flight that the best throughput and the best latency of the last while allow: bandwidth times delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bbr {
    /// Buckets a second in which calls are counted.
    pub buckets_per_second: f64,
}

impl Bbr {
    /// The most in flight, with `max_pass` calls in the best bucket and `min_rt` the least mean latency. kratos aegis.
    pub fn max_in_flight(&self, max_pass: f64, min_rt: Duration) -> u64 {
        (max_pass * as_millis(min_rt) * self.buckets_per_second / 1_000.0 + 0.5).floor() as u64
    }

    /// Whether another call may pass, with so many in flight. Sentinel; one may always.
    pub fn admits(in_flight: u64, max_per_second: f64, min_rt: Duration) -> bool {
        in_flight <= 1 || in_flight as f64 <= max_per_second * as_millis(min_rt) / 1_000.0
    }
}

fn as_millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// How far intake is from what goes out and what is free, as a share of what goes out (of `limit` if nothing does).
///
/// The error that Uber's Cinnamon feeds to its controller twice a second; above zero, more comes in than is served.
pub fn pid_error(taken_in: f64, went_out: f64, free: f64, limit: f64) -> f64 {
    let whole = if went_out > 0.0 { went_out } else { limit.max(1.0) };
    (taken_in - (went_out + free)) / whole
}
