//! The one clock of an experiment: tokio's, which stands still unless nobody has anything to do.

use std::sync::Arc;
use std::time::Duration;

use resilience_core::time::{SharedTimer, Sleep, Timer, Timestamp, WallTime};
use tokio::time::Instant;

/// Time since the experiment began.
///
/// Tokio's timers tick in milliseconds, so nothing is observed between two of them. What the simulation itself computes
/// (arrivals, the ends of services) it computes to the nanosecond, and only hears of it at the next tick: rates and
/// capacities are exact, and a latency is up to a millisecond long.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

#[allow(clippy::disallowed_methods)] // The simulated world itself, outside of every policy: this is its clock.
impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// What it shows.
    pub fn now(self) -> Duration {
        self.epoch.elapsed()
    }

    /// A time of this clock, as policies write it.
    pub fn stamp(at: Duration) -> Timestamp {
        Timestamp::ORIGIN + BEFORE + at
    }

    /// Waits until it shows `at`.
    pub async fn sleep_until(self, at: Duration) {
        tokio::time::sleep_until(self.epoch + at).await;
    }

    /// The answer, unless the clock shows `at` before it is there.
    pub async fn until<F: Future>(self, at: Duration, answer: F) -> Option<F::Output> {
        tokio::time::timeout_at(self.epoch + at, answer).await.ok()
    }

    /// The same clock for policies.
    ///
    /// Not tokio's own timer of core: that one counts from the start of the process, and windows are aligned to what it
    /// shows, so a second run in one process would see other windows than the first.
    pub fn timer(self) -> SharedTimer {
        let timer: Arc<dyn Timer> = Arc::new(self);
        SharedTimer::from(timer)
    }
}

/// Policies may look back behind the start.
const BEFORE: Duration = Duration::from_secs(3_600);

#[allow(clippy::disallowed_methods)] // As above.
impl Timer for Clock {
    fn now(&self) -> Timestamp {
        Self::stamp(Self::now(*self))
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        /// Where tokio's timers end; nothing here lasts that long.
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let at = at.since(Self::stamp(Duration::ZERO)).min(FAR);
        Sleep::boxed(tokio::time::sleep_until(self.epoch + at))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_millis(u64::try_from(Self::now(*self).as_millis()).unwrap_or(u64::MAX))
    }
}
