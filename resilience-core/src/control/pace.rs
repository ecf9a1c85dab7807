//! When a permit is due: limiters as Resilience4j and failsafe-go have them, for those who come from there.
//!
//! [`rate_limit`](crate::rate_limit) keeps the steadier pace; these are exact about cycles and periods instead. Times are
//! durations since an origin of the caller's.

use std::time::Duration;

/// So many permits a cycle, and reservations on those of later cycles. Resilience4j's `AtomicRateLimiter`.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::control::Cycle;
///
/// let second = Duration::from_secs(1);
/// let mut limiter = Cycle::new(second, 1);
/// assert_eq!(limiter.reserve(Duration::ZERO, 1, second), Some(Duration::ZERO));
/// assert_eq!(limiter.reserve(Duration::ZERO, 1, second), Some(second)); // of the next cycle
/// assert_eq!(limiter.reserve(Duration::ZERO, 1, second), None); // would be two
/// ```
#[derive(Clone, Debug)]
pub struct Cycle {
    period: u128,
    limit: i128,
    cycle: u128,
    available: i128,
}

impl Cycle {
    /// `limit` permits in each `period`, which is at least a nanosecond.
    pub fn new(period: Duration, limit: u32) -> Self {
        Self { period: period.as_nanos().max(1), limit: limit.into(), cycle: 0, available: limit.into() }
    }

    /// Takes `permits`, and says how long to wait for them; `None`, and nothing taken, if that is longer than `longest`.
    pub fn reserve(&mut self, now: Duration, permits: u32, longest: Duration) -> Option<Duration> {
        self.advance(now);
        let wait = self.wait_for(now, permits);
        if wait > longest {
            return None;
        }
        self.available -= i128::from(permits);
        Some(wait)
    }

    /// The permits of this cycle; below zero if those of later cycles are taken.
    pub fn available(&mut self, now: Duration) -> i64 {
        self.advance(now);
        i64::try_from(self.available).unwrap_or(i64::MIN)
    }

    /// How long one more permit would take.
    pub fn next(&mut self, now: Duration) -> Duration {
        self.advance(now);
        self.wait_for(now, 1)
    }

    /// Changes the limit from now on; what is taken stays taken.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.into();
    }

    fn advance(&mut self, now: Duration) {
        let cycle = now.as_nanos() / self.period;
        if cycle > self.cycle {
            let fresh = i128::try_from(cycle - self.cycle).unwrap_or(i128::MAX).saturating_mul(self.limit);
            self.available = self.available.saturating_add(fresh).min(self.limit);
            self.cycle = cycle;
        }
    }

    fn wait_for(&self, now: Duration, permits: u32) -> Duration {
        let permits = i128::from(permits);
        if self.available >= permits {
            return Duration::ZERO;
        }
        // The limit is above zero where it matters: without one, there is no wait that would do.
        if self.limit <= 0 {
            return Duration::MAX;
        }
        let to_next = (self.cycle + 1).saturating_mul(self.period).saturating_sub(now.as_nanos());
        let beyond = (permits - self.available - self.limit).max(0);
        let cycles = u128::try_from((beyond + self.limit - 1) / self.limit).unwrap_or(0);
        nanos(cycles.saturating_mul(self.period).saturating_add(to_next))
    }
}

/// A permit an interval, none saved up. failsafe-go's smooth limiter.
#[derive(Clone, Debug)]
pub struct Smooth {
    interval: u128,
    next: u128,
}

impl Smooth {
    /// One permit in each `interval`, which is at least a nanosecond.
    pub fn new(interval: Duration) -> Self {
        Self { interval: interval.as_nanos().max(1), next: 0 }
    }

    /// Takes `permits`, and says how long to wait for the last of them.
    pub fn acquire(&mut self, now: Duration, permits: u32) -> Duration {
        let now = now.as_nanos();
        let start = if now >= self.next { now / self.interval * self.interval } else { self.next };
        self.next = start.saturating_add(u128::from(permits).saturating_mul(self.interval));
        nanos(self.next.saturating_sub(now).saturating_sub(self.interval))
    }

    /// From when on another permit needs no wait.
    pub fn next_free(&self) -> Duration {
        nanos(self.next)
    }
}

/// So many permits a period, taken as they are wanted. failsafe-go's bursty limiter.
#[derive(Clone, Debug)]
pub struct Bursty {
    permits: i128,
    length: u128,
    period: u128,
    available: i128,
}

impl Bursty {
    /// `permits` in each period of `length`; both at least one.
    pub fn new(permits: u32, length: Duration) -> Self {
        let permits = i128::from(permits.max(1));
        Self { permits, length: length.as_nanos().max(1), period: 0, available: permits }
    }

    /// Takes `permits`, and says how long to wait for them.
    pub fn acquire(&mut self, now: Duration, permits: u32) -> Duration {
        self.advance(now);
        let wanted = i128::from(permits);
        let wait = if wanted > self.available {
            let to_next = ((self.period + 1) * self.length).saturating_sub(now.as_nanos());
            let short = wanted - self.available;
            let periods = u128::try_from((short + self.permits - 1) / self.permits - 1).unwrap_or(0);
            nanos(to_next.saturating_add(periods.saturating_mul(self.length)))
        } else {
            Duration::ZERO
        };
        self.available -= wanted;
        wait
    }

    /// The permits of this period; below zero if those of later ones are taken.
    pub fn available(&self) -> i64 {
        i64::try_from(self.available).unwrap_or(i64::MIN)
    }

    /// The number of the period a permit was last taken in.
    pub fn period(&self) -> u64 {
        u64::try_from(self.period).unwrap_or(u64::MAX)
    }

    fn advance(&mut self, now: Duration) {
        let period = now.as_nanos() / self.length;
        if period > self.period {
            let passed = i128::try_from(period - self.period).unwrap_or(i128::MAX);
            // What is owed is paid off first; what was not used is gone.
            let paid = self.available.min(0).saturating_add(passed.saturating_mul(self.permits));
            self.available = if self.available < 0 { paid.min(self.permits) } else { self.permits };
            self.period = period;
        }
    }
}

fn nanos(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}
