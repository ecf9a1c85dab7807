//! Permits that are set apart and not used yet.

use std::fmt;
use std::time::Duration;

use super::RateLimiter;
use super::machine;
use super::shared::Granted;
use crate::time::Timestamp;

/// Permits set apart for one caller; made by [`RateLimiter::reserve`]. Dropped before it is spent, it gives them back.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::rate_limit::RateLimiter;
/// use resilience_core::time::ManualTimer;
///
/// let timer = ManualTimer::new();
/// let jobs = RateLimiter::builder()
///     .quota(1, Duration::from_secs(1))
///     .max_wait(Duration::from_secs(5))
///     .timer(timer.clone())
///     .build()?;
/// jobs.try_acquire().unwrap();
/// let reserved = jobs.reserve(1).unwrap();
/// assert_eq!(reserved.wait(), Duration::from_secs(1));
/// drop(reserved);
/// assert_eq!(jobs.reserve(1).unwrap().wait(), Duration::from_secs(1), "as if it had never been");
/// # Ok::<_, resilience_core::ConfigError>(())
/// ```
#[must_use = "a reservation that is dropped at once reserves nothing"]
pub struct Reservation {
    limiter: RateLimiter,
    granted: Granted,
    permits: u32,
    /// When it was made.
    made: u64,
    spent: bool,
}

impl Reservation {
    pub(super) fn new(limiter: RateLimiter, granted: Granted, permits: u32, made: u64) -> Self {
        Self { limiter, granted, permits, made, spent: false }
    }

    /// Of permits that were not there, in a dry run: nothing was taken, and nothing is given back.
    pub(super) fn free(limiter: RateLimiter, permits: u32, now: u64) -> Self {
        let place = machine::Place { start: now, due: now, end: now };
        Self { limiter, granted: Granted { place, generation: 0 }, permits, made: now, spent: true }
    }

    /// When the permits are due, on the limiter's timer. Not before that may they be used.
    pub fn due_at(&self) -> Timestamp {
        self.limiter.shared.timestamp(self.granted.place.due)
    }

    /// How long that was from when they were reserved; zero if they were due at once.
    pub fn wait(&self) -> Duration {
        machine::duration(self.granted.place.due.saturating_sub(self.made))
    }

    /// How many.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// The limiter they are of.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    /// Uses the permits: they are not given back any more.
    pub fn spend(mut self) {
        // Permits that were not there were told of when they were asked for.
        let was_there = !std::mem::replace(&mut self.spent, true);
        if was_there {
            self.limiter.shared.note_admitted(self.permits, self.wait());
        }
    }

    /// Whether it has been kept for longer after it was due than a permit takes to come back.
    ///
    /// Used then, it might come together with those of others who kept theirs, and be more than the quota at once.
    #[cfg(feature = "tower")]
    pub(super) fn is_stale(&self, now: u64) -> bool {
        let due = self.granted.place.due.max(self.made);
        now.saturating_sub(due) > self.limiter.shared.look().1.interval
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.spent {
            let refunded = self.limiter.shared.give_back(self.granted);
            self.limiter.shared.note_cancelled(self.permits, refunded);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("limiter", self.limiter.name())
            .field("permits", &self.permits)
            .field("due_at", &self.due_at())
            .finish_non_exhaustive()
    }
}
