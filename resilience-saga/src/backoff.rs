//! Waits between attempts.

use std::time::Duration;

use resilience_core::rng::Rng;

/// Exponential waits with full jitter and a cap.
///
/// Full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015) draws each wait from the whole range up to
/// the exponential bound: sagas that failed together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use resilience_saga::{Backoff, Jitter};
///
/// let exact = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30)).jitter(Jitter::None);
/// let mut rng = resilience_core::rng::Rng::seeded(1);
/// assert_eq!(exact.wait(3, &mut rng), Duration::from_secs(4));
/// assert_eq!(exact.wait(99, &mut rng), Duration::from_secs(30));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    jitter: Jitter,
}

/// How waits are spread, so that what failed together does not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Jitter {
    /// Exactly the bound.
    None,
    /// Anything from zero to the bound.
    #[default]
    Full,
}

impl Backoff {
    /// Waits of up to `base`, twice that, four times that, and so on, never above `cap`.
    pub const fn exponential(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: Jitter::Full }
    }

    /// The same bound every time.
    pub const fn constant(wait: Duration) -> Self {
        Self { base: wait, cap: wait, jitter: Jitter::Full }
    }

    /// How waits are spread below their bound; [`Jitter::Full`] unless set.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The wait after the `failures`-th failure, counted from 1.
    pub fn wait(&self, failures: u32, rng: &mut Rng) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.base.saturating_mul(factor).min(self.cap);
        if self.jitter == Jitter::None {
            return bound;
        }
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.below(nanos.saturating_add(1)))
    }
}

impl Default for Backoff {
    /// 100 ms doubling up to 30 s: the first retry outlives a restart of one connection, the cap keeps a long outage
    /// from being probed more than about four times a minute by each saga.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100), Duration::from_secs(30))
    }
}
