//! The time a saga's log speaks of.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in a saga's log: milliseconds since the Unix epoch, as the process that wrote it counted them.
///
/// Timers must outlive a process, so they cannot be monotonic timestamps. Within a process ticks never jump: the engine
/// reads the calendar once, at its start, and counts monotonically from there. Between processes a clock that was set
/// back can stretch a wait, but not beyond its length once more; see [`RetryAt`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(u64);

impl Tick {
    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    /// Saturates, and rounds up to a whole millisecond: a timer never fires early.
    fn add(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

/// When to try again, with the length of the wait.
///
/// The length bounds the damage of a clock set back between two processes: the one that takes the saga over waits no
/// longer than `after` from the moment it does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryAt {
    /// The moment.
    pub at: Tick,
    /// The wait when it was decided.
    #[serde(with = "millis")]
    pub after: Duration,
}

impl RetryAt {
    /// `after` from `now`, in whole milliseconds, as the log keeps it.
    pub fn new(now: Tick, after: Duration) -> Self {
        let at = now + after;
        Self { at, after: at.since(now) }
    }

    /// The same wait seen by a process that takes over at `now`.
    #[must_use]
    pub fn adopted(self, now: Tick) -> Self {
        Self { at: self.at.min(now + self.after), after: self.after }
    }
}

impl fmt::Display for RetryAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {:?}", self.after)
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
