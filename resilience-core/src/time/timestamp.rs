//! Points in time without a clock: code that holds a `Timestamp` cannot read one.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a [`Timer`](super::Timer)'s monotonic clock, in nanoseconds since an origin of that timer's choosing.
///
/// It has no `now`: a rule that needs the time takes it as an argument. Arithmetic saturates, so that `Duration::MAX`
/// means "never" instead of a panic. It is eight bytes, and fits an atomic.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::Timestamp;
///
/// let start = Timestamp::ORIGIN + Duration::from_secs(10);
/// let end = start + Duration::from_secs(5);
/// assert_eq!(end - start, Duration::from_secs(5));
/// assert_eq!(start - end, Duration::ZERO); // not a panic, and not 584 years
/// assert_eq!(start + Duration::MAX, Timestamp::NEVER);
/// assert_eq!(start.before(Duration::MAX), Timestamp::ORIGIN);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);

    /// The far end of time (584 years after the origin); reads as "never" wherever a deadline is expected.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `duration` before this one, not before the origin.
    pub const fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(duration)))
    }
}

/// A duration in nanoseconds, `u64::MAX` when it does not fit.
pub(crate) const fn saturating_nanos(duration: Duration) -> u64 {
    // In 64 bits: this is done at every reading of the clock, and 128 take three times as long.
    match duration.as_secs().checked_mul(1_000_000_000) {
        Some(nanos) => nanos.saturating_add(duration.subsec_nanos() as u64),
        None => u64::MAX,
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER { f.write_str("never") } else { write!(f, "{:?}", Duration::from_nanos(self.0)) }
    }
}

/// Calendar time in milliseconds since the Unix epoch, for records and messages to other machines.
///
/// Clocks of different machines disagree and jump, so no policy of this crate decides by it. What compares the times of
/// several machines all the same (a hybrid clock, a lease in a database) says how far it trusts them.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::{ManualTimer, Timer};
///
/// let timer = ManualTimer::new();
/// let written = timer.wall();
/// timer.advance(Duration::from_secs(3));
/// assert_eq!(timer.wall().as_unix_millis() - written.as_unix_millis(), 3000); // the calendar goes along in tests
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallTime(u64);

impl WallTime {
    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }
}
