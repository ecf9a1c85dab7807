//! The only file that names a real clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use super::{Sleep, SleepRepr, Timer, Timestamp, WallTime};

/// Tokio's clock: `tokio::time::pause` and `advance` drive every policy that uses it.
///
/// Timestamps count from an origin an hour before the first use in the process. The hour is for paused clocks: a
/// paused runtime's time stands still at its creation, which may lie before that first use, and must not be cut off.
///
/// Sleeping needs a tokio runtime with time enabled, as `tokio::time::sleep` does; reading the time does not.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::{Timer, TokioTimer};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let start = TokioTimer.now();
/// tokio::time::advance(Duration::from_secs(60)).await; // takes no time
/// assert_eq!(TokioTimer.now().since(start), Duration::from_secs(60));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTimer;

/// Latest deadline given to tokio: about 30 years after the origin, the figure tokio itself uses for "far future".
const FAR_FUTURE: Duration = Duration::from_secs(86_400 * 365 * 30);

#[allow(clippy::disallowed_methods)] // This is the one place that reads the clock everyone else asks for.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
    })
}

#[allow(clippy::disallowed_methods)] // As above.
impl Timer for TokioTimer {
    fn now(&self) -> Timestamp {
        let elapsed = tokio::time::Instant::now().into_std().saturating_duration_since(origin());
        Timestamp::ORIGIN + elapsed
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        // Counted from the origin, so that the clock is not read once more than the caller has read it already.
        let deadline = origin() + Duration::from_nanos(at.as_nanos()).min(FAR_FUTURE);
        Sleep { repr: SleepRepr::Tokio { sleep: tokio::time::sleep_until(deadline.into()) } }
    }

    fn wall(&self) -> WallTime {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        WallTime::from_unix_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
