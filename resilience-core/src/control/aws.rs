//! The client's own rate limit of the AWS SDKs' adaptive mode: CUBIC over what the server throttles.
//!
//! Sources: botocore `retries/throttling.py`, `adaptive.py`, `bucket.py`; smithy-rs `client_rate_limiter.rs`; the curve is
//! that of CUBIC TCP (RFC 9438). Times are seconds since an origin of the caller's, as in the sources.

/// The curve by which a rate recovers from a throttled answer: fast back to where it was, slowly past it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cubic {
    beta: f64,
    scale: f64,
    w_max: f64,
    k: f64,
    last_throttle: f64,
}

impl Cubic {
    /// What remains of a rate after a throttled answer.
    pub const BETA: f64 = 0.7;
    /// How steep the curve is.
    pub const SCALE: f64 = 0.4;

    /// A curve around the rate `w_max`, with the last throttled answer at `last_throttle`.
    pub fn new(w_max: f64, last_throttle: f64) -> Self {
        Self::with(Self::BETA, Self::SCALE, w_max, last_throttle)
    }

    /// The same with constants of the caller's.
    pub fn with(beta: f64, scale: f64, w_max: f64, last_throttle: f64) -> Self {
        let k = (w_max * (1.0 - beta) / scale).cbrt();
        Self { beta, scale, w_max, k, last_throttle }
    }

    /// An answer was throttled at this rate: the rate to go on with.
    pub fn throttled(&mut self, rate: f64, at: f64) -> f64 {
        *self = Self::with(self.beta, self.scale, rate, at);
        rate * self.beta
    }

    /// The rate the curve allows at a time without throttling.
    pub fn rate(&self, at: f64) -> f64 {
        self.scale * (at - self.last_throttle - self.k).powi(3) + self.w_max
    }

    /// Seconds after a throttled answer until the curve is back at the rate of before.
    pub fn k(&self) -> f64 {
        self.k
    }

    /// The rate at the last throttled answer.
    pub fn w_max(&self) -> f64 {
        self.w_max
    }
}

/// Measures a rate in half seconds, smoothed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocker {
    smoothing: f64,
    bucket: f64,
    count: f64,
    last_bucket: f64,
    measured: f64,
}

impl Clocker {
    /// A clocker that starts at `start`, with the SDKs' constants.
    pub fn new(start: f64) -> Self {
        Self::with(0.8, 0.5, start)
    }

    /// The same with constants of the caller's: the weight of the newest bucket, and its length.
    pub fn with(smoothing: f64, bucket: f64, start: f64) -> Self {
        Self { smoothing, bucket, count: 0.0, last_bucket: (start / bucket).floor() * bucket, measured: 0.0 }
    }

    /// Something was sent: the rate.
    pub fn record(&mut self, at: f64) -> f64 {
        self.count += 1.0;
        let bucket = (at / self.bucket).floor() * self.bucket;
        if bucket > self.last_bucket {
            let rate = self.count / (bucket - self.last_bucket);
            self.measured = rate * self.smoothing + self.measured * (1.0 - self.smoothing);
            (self.count, self.last_bucket) = (0.0, bucket);
        }
        self.measured
    }

    /// The rate as last measured.
    pub fn measured(&self) -> f64 {
        self.measured
    }
}

/// A token bucket whose rate changes; it begins empty and never owes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateBucket {
    min_rate: f64,
    fill: f64,
    capacity: f64,
    available: f64,
    refilled: Option<f64>,
}

impl RateBucket {
    /// A bucket filled at `rate` from `start` on, whose rate never goes below `min_rate`.
    pub fn new(rate: f64, min_rate: f64, start: f64) -> Self {
        let mut bucket = Self { min_rate, fill: 0.0, capacity: 1.0, available: 0.0, refilled: Some(start) };
        bucket.set_rate(rate, start);
        bucket
    }

    /// Takes `tokens`, or says in how many seconds there would be as many; then nothing is taken.
    ///
    /// # Errors
    ///
    /// The seconds to wait before asking again.
    pub fn acquire(&mut self, tokens: f64, at: f64) -> Result<(), f64> {
        self.refill(at);
        if tokens > self.available {
            return Err((tokens - self.available) / self.fill);
        }
        self.available -= tokens;
        Ok(())
    }

    /// Changes the rate; what is there stays, as far as the new capacity goes.
    pub fn set_rate(&mut self, rate: f64, at: f64) {
        self.refill(at);
        self.fill = rate.max(self.min_rate);
        self.capacity = rate.max(1.0);
        self.available = self.available.min(self.capacity);
    }

    /// Tokens a second.
    pub fn fill(&self) -> f64 {
        self.fill
    }

    /// Tokens it holds at most.
    pub fn capacity(&self) -> f64 {
        self.capacity
    }

    /// Tokens it held when it was last asked.
    pub fn available(&self) -> f64 {
        self.available
    }

    fn refill(&mut self, at: f64) {
        if let Some(since) = self.refilled {
            // A clock that stands still or goes back fills nothing.
            self.available = (self.available + (at - since).max(0.0) * self.fill).min(self.capacity);
        }
        self.refilled = Some(at);
    }
}

/// The limiter of a client: off until the first throttled answer, then a rate that follows the curve.
///
/// ```
/// use resilience_core::control::ClientRate;
///
/// let mut limiter = ClientRate::new(0.0);
/// assert!(limiter.acquire(1.0, 0.0).is_ok()); // nothing is limited yet
/// limiter.answered(true, 0.0);
/// assert!(limiter.acquire(1.0, 0.1).is_err()); // half a token a second, the least there is
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientRate {
    clocker: Clocker,
    cubic: Cubic,
    bucket: RateBucket,
    enabled: bool,
}

impl ClientRate {
    /// The least rate, in tokens a second.
    pub const MIN_FILL: f64 = 0.5;

    /// A limiter that begins at `start`.
    pub fn new(start: f64) -> Self {
        let bucket = RateBucket { min_rate: Self::MIN_FILL, fill: 0.0, capacity: 1.0, available: 0.0, refilled: None };
        Self { clocker: Clocker::new(start), cubic: Cubic::new(0.0, start), bucket, enabled: false }
    }

    /// An answer came, throttled by the server or not.
    pub fn answered(&mut self, throttled: bool, at: f64) {
        let measured = self.clocker.record(at);
        let rate = if throttled {
            let rate = if self.enabled { measured.min(self.bucket.fill) } else { measured };
            self.enabled = true;
            self.cubic.throttled(rate, at)
        } else {
            self.cubic.rate(at)
        };
        self.bucket.set_rate(rate.min(2.0 * measured), at);
    }

    /// Takes `tokens`: 1 for an attempt, in the older mode 5 for a retry and 10 for one after a timeout.
    ///
    /// # Errors
    ///
    /// The seconds to wait before asking again; nothing is taken then.
    pub fn acquire(&mut self, tokens: f64, at: f64) -> Result<(), f64> {
        if self.enabled { self.bucket.acquire(tokens, at) } else { Ok(()) }
    }

    /// The requests a second as measured.
    pub fn measured(&self) -> f64 {
        self.clocker.measured()
    }

    /// The rate it allows, and what it holds.
    pub fn bucket(&self) -> &RateBucket {
        &self.bucket
    }
}
