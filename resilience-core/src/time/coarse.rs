//! A clock that stands still for some milliseconds at a time, and costs a fifth.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_getres, clock_gettime};

use super::{Sleep, Timer, Timestamp, TokioTimer, WallTime};

/// The kernel's coarse monotonic clock, where it has one (Linux, Android): the time of its latest tick.
///
/// Reading the fine clock is most of what a policy with a time window costs a call: 28 ns against 6 ns on the machine of
/// `docs/adr/0002-cost-of-a-layer.md`. Where windows and quotas are of seconds, a tick more or less decides nothing.
///
/// - Its resolution is that of the kernel's tick, 1 to 10 ms ([`resolution`](Self::resolution)): what happens within one
///   tick happens at one time. Calls shorter than that take no time at all, so it is nothing for thresholds and limits
///   of a few milliseconds.
/// - Its timestamps are [`TokioTimer`]'s, up to one tick behind and never ahead: a deadline that one of them set may be
///   compared with the time of the other, and is kept at most a tick too long.
/// - Within one policy there is still one clock, the one it was built with.
/// - It sleeps as [`TokioTimer`] does, and a tick longer, so that whoever sleeps until a moment finds it reached.
/// - `tokio::time::pause` does not stop it: tests want [`TokioTimer`] or [`ManualTimer`](super::ManualTimer).
///
/// Elsewhere, it is the fine clock.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::time::{CoarseTimer, Timer, TokioTimer};
///
/// let breaker = CircuitBreaker::builder().window(Duration::from_secs(10)).timer(CoarseTimer).build()?;
/// # let _ = breaker;
/// let (coarse, fine) = (CoarseTimer.now(), TokioTimer.now());
/// assert!(coarse <= fine);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CoarseTimer;

impl CoarseTimer {
    /// How far this clock may lag: the time between two ticks.
    pub fn resolution() -> Duration {
        static RESOLUTION: OnceLock<Duration> = OnceLock::new();
        *RESOLUTION.get_or_init(|| nanos(clock_getres(CLOCK)).map_or(Duration::ZERO, Duration::from_nanos))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// One moment on the kernel's clock and on tokio's.
#[derive(Clone, Copy)]
struct Anchor {
    kernel: u64,
    timestamp: Timestamp,
}

fn anchor() -> Anchor {
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    *ANCHOR.get_or_init(|| {
        // In this order: what passes between the two readings puts this clock behind, and not ahead.
        let timestamp = super::tokio::real_now();
        let kernel = nanos(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        Anchor { kernel, timestamp }
    })
}

/// `None` for a time before the machine was started, of which no clock tells.
fn nanos(time: rustix::time::Timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?.checked_mul(1_000_000_000)?;
    seconds.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

impl Timer for CoarseTimer {
    #[inline]
    fn now(&self) -> Timestamp {
        let Anchor { kernel, timestamp } = anchor();
        let now = nanos(clock_gettime(CLOCK)).unwrap_or_default();
        // The tick that the first reading falls in began before it.
        let nanos = timestamp.as_nanos();
        Timestamp::from_nanos(if now >= kernel { nanos + (now - kernel) } else { nanos.saturating_sub(kernel - now) })
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        TokioTimer.sleep_until(at + Self::resolution())
    }

    fn wall(&self) -> WallTime {
        TokioTimer.wall()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::time::SharedTimer;

    /// Deadlines travel between policies with different timers: a coarse clock that ran ahead would refuse calls that
    /// are still in time.
    #[test]
    fn it_lags_a_tick_at_most_and_is_never_ahead() {
        let slack = Duration::from_millis(100); // a busy machine may stop us between two readings
        for _ in 0..100_000 {
            let coarse = CoarseTimer.now();
            let fine = super::super::tokio::real_now();
            assert!(coarse <= fine, "{coarse:?} is after {fine:?}");
            assert!(fine - coarse <= CoarseTimer::resolution() + slack, "{coarse:?} is long before {fine:?}");
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut last = CoarseTimer.now();
        for _ in 0..100_000 {
            let now = CoarseTimer.now();
            assert!(now >= last);
            last = now;
        }
    }

    /// A sleeper that woke before its own clock had reached the moment would set the timer again, and again.
    #[tokio::test]
    async fn whoever_slept_until_a_moment_finds_it_reached() {
        let timer = SharedTimer::from(CoarseTimer);
        for _ in 0..3 {
            let at = timer.now() + Duration::from_millis(1);
            timer.sleep_until(at).await;
            assert!(timer.now() >= at);
        }
    }
}
