//! One time object: it tells the time and wakes you up, so the two can never disagree.
//!
//! Libraries that take `now` from one clock and `sleep` from another cannot be driven by a test, and drift apart when
//! one of the two is paused; hyper had to add `now` to its timer for this reason (hyperium/hyper#3950). Here a
//! [`Timer`] answers both, decisions see only [`Timestamp`]s, and two files of the workspace name a real clock:
//! `time/tokio.rs`, and `time/coarse.rs` the kernel's coarse one.
//!
//! | timer | driven by | for |
//! |---|---|---|
//! | `TokioTimer` (default) | tokio's clock | production, and tests under `tokio::time::pause` |
//! | `CoarseTimer` (feature `coarse-clock`) | the kernel's clock, read at a fifth of the price | windows and quotas of seconds |
//! | [`ManualTimer`] | [`ManualTimer::advance`] | tests without a runtime, simulations |
//! | your own [`Timer`] | you | other runtimes |
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::time::{ManualTimer, Timer};
//!
//! let timer = ManualTimer::new();
//! let start = timer.now();
//! timer.advance(Duration::from_secs(5));
//! assert_eq!(timer.now().since(start), Duration::from_secs(5));
//! ```

#[cfg(feature = "coarse-clock")]
mod coarse;
mod manual;
mod timestamp;
#[cfg(feature = "tokio")]
mod tokio;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(feature = "coarse-clock")]
pub use self::coarse::CoarseTimer;
pub use self::manual::ManualTimer;
pub(crate) use self::timestamp::saturating_nanos;
pub use self::timestamp::{Timestamp, WallTime};
#[cfg(feature = "tokio")]
pub use self::tokio::TokioTimer;
#[cfg(feature = "tokio")]
#[allow(unused_imports)] // Which patterns have tasks of their own depends on the features.
pub(crate) use self::tokio::{spawn, spawn_or_drop};

/// Tells the time and wakes up sleepers, on one and the same clock.
///
/// Implementations must be monotonic: `now` never goes back. A sleep must complete once `now() >= at`, never before,
/// and at once if that already holds.
///
/// ```
/// use std::sync::Arc;
/// use resilience_core::time::{ManualTimer, SharedTimer, Sleep, Timer, Timestamp, WallTime};
/// use resilience_core::timeout::Timeout;
///
/// struct Runtime(ManualTimer); // stands for the timer of your runtime
///
/// impl Timer for Runtime {
///     fn now(&self) -> Timestamp { self.0.now() }
///     fn sleep_until(&self, at: Timestamp) -> Sleep { Sleep::boxed(self.0.sleep_until(at)) }
///     fn wall(&self) -> WallTime { self.0.wall() }
/// }
///
/// let timer: Arc<dyn Timer> = Arc::new(Runtime(ManualTimer::new()));
/// let timeout = Timeout::builder().limit(std::time::Duration::from_secs(1)).timer(timer).build()?;
/// # let _ = timeout;
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
pub trait Timer: Send + Sync + 'static {
    /// The time on this timer's clock.
    fn now(&self) -> Timestamp;

    /// Completes when this timer's clock reaches `at`. Dropping the future forgets the wake-up.
    fn sleep_until(&self, at: Timestamp) -> Sleep;

    /// The calendar time, for records that people read. Never for decisions: it may jump.
    fn wall(&self) -> WallTime;
}

/// The timer a policy holds: tokio's without indirection, any other behind an `Arc`.
///
/// Builders take `impl Into<SharedTimer>`, so a [`ManualTimer`] or any [`Timer`] in an `Arc` can be handed in directly.
///
/// ```
/// use std::time::Duration;
/// use futures::FutureExt;
/// use resilience_core::time::{ManualTimer, SharedTimer};
///
/// let clock = ManualTimer::new();
/// let timer = SharedTimer::from(clock.clone());
/// let mut second = std::pin::pin!(timer.sleep(Duration::from_secs(1)));
/// let mut for_ever = std::pin::pin!(timer.sleep(Duration::MAX));
/// clock.advance(Duration::from_secs(1));
/// assert!(second.as_mut().now_or_never().is_some());
/// assert!(for_ever.as_mut().now_or_never().is_none());
/// ```
#[derive(Clone)]
pub struct SharedTimer(Repr);

#[derive(Clone)]
enum Repr {
    #[cfg(feature = "tokio")]
    Tokio(TokioTimer),
    #[cfg(feature = "coarse-clock")]
    Coarse(CoarseTimer),
    Shared(Arc<dyn Timer>),
}

impl SharedTimer {
    /// The time on this timer's clock.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Repr::Tokio(timer) => timer.now(),
            #[cfg(feature = "coarse-clock")]
            Repr::Coarse(timer) => timer.now(),
            Repr::Shared(timer) => timer.now(),
        }
    }

    /// Completes when the clock reaches `at`; see [`Timer::sleep_until`].
    pub fn sleep_until(&self, at: Timestamp) -> Sleep {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Repr::Tokio(timer) => timer.sleep_until(at),
            #[cfg(feature = "coarse-clock")]
            Repr::Coarse(timer) => timer.sleep_until(at),
            Repr::Shared(timer) => timer.sleep_until(at),
        }
    }

    /// Completes `duration` from now; [`Timestamp`] arithmetic saturates, so `Duration::MAX` means never.
    pub fn sleep(&self, duration: std::time::Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// The calendar time, for records only; see [`Timer::wall`].
    pub fn wall(&self) -> WallTime {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Repr::Tokio(timer) => timer.wall(),
            #[cfg(feature = "coarse-clock")]
            Repr::Coarse(timer) => timer.wall(),
            Repr::Shared(timer) => timer.wall(),
        }
    }

    /// The timer for which [`is_preset`](Self::is_preset) holds.
    pub(crate) fn own() -> Self {
        #[cfg(feature = "tokio")]
        return Self(Repr::Tokio(TokioTimer));
        #[cfg(not(feature = "tokio"))]
        unreachable!("without tokio, every timer is somebody else's");
    }

    /// Whether it is one of this crate's own, which nobody waits to see dropped.
    pub(crate) fn is_own(&self) -> bool {
        !matches!(self.0, Repr::Shared(_))
    }

    /// Whether it is the one that builders start with.
    pub(crate) fn is_preset(&self) -> bool {
        #[cfg(feature = "tokio")]
        return matches!(self.0, Repr::Tokio(_));
        #[cfg(not(feature = "tokio"))]
        return false;
    }

    /// The timer builders start with: tokio's when the feature `tokio` is on, none otherwise.
    pub(crate) fn preset() -> Option<Self> {
        #[cfg(feature = "tokio")]
        return Some(Self(Repr::Tokio(TokioTimer)));
        #[cfg(not(feature = "tokio"))]
        return None;
    }
}

#[cfg(feature = "tokio")]
impl Default for SharedTimer {
    fn default() -> Self {
        Self(Repr::Tokio(TokioTimer))
    }
}

#[cfg(feature = "tokio")]
impl From<TokioTimer> for SharedTimer {
    fn from(timer: TokioTimer) -> Self {
        Self(Repr::Tokio(timer))
    }
}

#[cfg(feature = "coarse-clock")]
impl From<CoarseTimer> for SharedTimer {
    fn from(timer: CoarseTimer) -> Self {
        Self(Repr::Coarse(timer))
    }
}

impl From<ManualTimer> for SharedTimer {
    fn from(timer: ManualTimer) -> Self {
        Self(Repr::Shared(Arc::new(timer)))
    }
}

impl From<Arc<dyn Timer>> for SharedTimer {
    fn from(timer: Arc<dyn Timer>) -> Self {
        Self(Repr::Shared(timer))
    }
}

impl fmt::Debug for SharedTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Repr::Tokio(_) => f.write_str("TokioTimer"),
            #[cfg(feature = "coarse-clock")]
            Repr::Coarse(_) => f.write_str("CoarseTimer"),
            Repr::Shared(_) => f.write_str("SharedTimer"),
        }
    }
}

/// A wake-up in the making; made by [`Timer::sleep_until`].
///
/// Two words long, so that futures which may have to wait stay small: they are moved on every call, and wait on few.
pub struct Sleep(SleepRepr);

enum SleepRepr {
    #[cfg(feature = "tokio")]
    Tokio(self::tokio::Alarm),
    Boxed(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
}

impl Sleep {
    /// A sleep made of any future, for timers other than tokio's.
    ///
    /// `Sync`, though nothing polls it from two threads: a service that holds one can then live in state that threads share.
    pub fn boxed(sleep: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self(SleepRepr::Boxed(Box::pin(sleep)))
    }

    /// Polls without asking, or taking from, the budget of the tokio task; see [`has_budget`].
    pub(crate) fn poll_exempt(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        #[cfg(feature = "tokio")]
        return std::pin::pin!(::tokio::task::coop::unconstrained(self)).poll(cx);
        #[cfg(not(feature = "tokio"))]
        return Pin::new(self).poll(cx);
    }
}

/// Whether the task may go on before it yields, by tokio's cooperative budget. A timer polled without budget says
/// "pending" even when its time has come. Always true outside of tokio.
pub(crate) fn has_budget() -> bool {
    #[cfg(feature = "tokio")]
    return ::tokio::task::coop::has_budget_remaining();
    #[cfg(not(feature = "tokio"))]
    return true;
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            #[cfg(feature = "tokio")]
            SleepRepr::Tokio(alarm) => alarm.poll(cx),
            SleepRepr::Boxed(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
