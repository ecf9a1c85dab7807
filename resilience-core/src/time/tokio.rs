//! The only file that names a real clock, but for the kernel's coarse one in `coarse.rs`.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
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

/// The time on the clock that `tokio::time::pause` does not stop.
#[cfg(feature = "coarse-clock")]
#[allow(clippy::disallowed_methods)] // As above.
pub(super) fn real_now() -> Timestamp {
    Timestamp::ORIGIN + Instant::now().saturating_duration_since(origin())
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
        Sleep(SleepRepr::Tokio(Alarm::set(tokio::time::sleep_until(deadline.into()))))
    }

    fn wall(&self) -> WallTime {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        WallTime::from_unix_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A wake-up at tokio's timer, in memory that the thread uses again for the next one.
///
/// Tokio's own sleep is 120 bytes long, must not move once it is polled, and would lie in every future that may have to
/// wait. The memory it needs when one does wait is kept, at most [`SPARE`] pieces a thread, so that a wait allocates
/// nothing once there have been as many at once. The sleep itself is gone as soon as this is dropped, and its entry in
/// the timer's wheel with it.
pub(super) struct Alarm(
    /// Always there until the drop.
    Option<Place>,
);

type Place = Pin<Box<Option<tokio::time::Sleep>>>;

/// 8 KiB a thread at most.
const SPARE: usize = 64;

thread_local! {
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

impl Alarm {
    fn set(sleep: tokio::time::Sleep) -> Self {
        let spare = PLACES.try_with(|places| places.borrow_mut().pop()).ok().flatten();
        let mut place = spare.unwrap_or_else(|| Box::pin(None));
        place.set(Some(sleep));
        Self(Some(place))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.as_mut().and_then(|place| place.as_mut().as_pin_mut());
        sleep.map_or(Poll::Ready(()), |sleep| sleep.poll(cx))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // Before the place is shared: dropping a sleep drops a waker, which may run anything.
        place.set(None);
        let _torn_down = PLACES.try_with(|places| {
            let mut places = places.borrow_mut();
            if places.len() < SPARE {
                places.push(place);
            }
        });
    }
}

/// Starts a task that nobody waits for.
#[allow(dead_code)] // Which patterns have tasks of their own depends on the features.
pub(crate) fn spawn(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
    drop(tokio::spawn(task));
}

/// As [`spawn`]; outside of a runtime the task is dropped, as in one that shuts down.
#[allow(dead_code)] // As above.
pub(crate) fn spawn_or_drop(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(task)),
        Err(_) => drop(task),
    }
}
