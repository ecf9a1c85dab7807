//! A clock that stands still until told otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Sleep, Timer, Timestamp, WallTime};

/// A timer driven by hand, for tests and simulations. Clones are one clock.
///
/// Time starts one hour after the origin, so that tests may look back, and moves only by [`advance`](Self::advance),
/// which wakes the sleepers it passes in the order of their deadlines.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::{ManualTimer, Timer};
///
/// let timer = ManualTimer::new();
/// let at = timer.now() + Duration::from_secs(1);
/// assert_eq!(timer.next_wake_up(), None);
/// let sleep = timer.sleep_until(at); // registers when first polled
/// # drop(sleep);
/// timer.advance(Duration::from_secs(1));
/// assert_eq!(timer.now(), at);
/// ```
#[derive(Clone)]
pub struct ManualTimer {
    shared: Arc<Mutex<State>>,
}

struct State {
    now: Timestamp,
    wall: WallTime,
    next_id: u64,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
}

impl ManualTimer {
    /// A clock that stands at one hour after its origin.
    pub fn new() -> Self {
        let state = State {
            now: Timestamp::ORIGIN + Duration::from_secs(3600),
            wall: WallTime::from_unix_millis(1_700_000_000_000),
            next_id: 0,
            sleepers: BTreeMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Moves time forward and wakes whoever's time has come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures::FutureExt;
    /// use resilience_core::time::{ManualTimer, Timer};
    ///
    /// let timer = ManualTimer::new();
    /// let mut sleep = Box::pin(timer.sleep_until(timer.now() + Duration::from_secs(2)));
    /// assert!(sleep.as_mut().now_or_never().is_none());
    /// timer.advance(Duration::from_millis(1999));
    /// assert_eq!(timer.sleepers(), 1); // a millisecond early wakes nobody
    /// timer.advance(Duration::from_millis(1));
    /// assert!(sleep.now_or_never().is_some());
    /// ```
    pub fn advance(&self, duration: Duration) {
        let due = {
            let mut state = self.lock();
            state.now = state.now + duration;
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            state.wall = WallTime::from_unix_millis(state.wall.as_unix_millis().saturating_add(millis));
            let later = match state.now.as_nanos().checked_add(1) {
                Some(next) => state.sleepers.split_off(&(Timestamp::from_nanos(next), 0)),
                None => BTreeMap::new(),
            };
            std::mem::replace(&mut state.sleepers, later)
        };
        // Wakers may run anything; never under the lock.
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// When the next sleeper wants to be woken.
    pub fn next_wake_up(&self) -> Option<Timestamp> {
        self.lock().sleepers.keys().next().map(|(at, _)| *at)
    }

    /// How many sleeps are waiting: a stack that was dropped must leave none.
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock; a poisoned one would still be consistent.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for ManualTimer {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep::boxed(ManualSleep { timer: self.clone(), at, id: None })
    }

    fn wall(&self) -> WallTime {
        self.lock().wall
    }
}

impl fmt::Debug for ManualTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualTimer").field("now", &self.now()).field("sleepers", &self.sleepers()).finish()
    }
}

struct ManualSleep {
    timer: ManualTimer,
    at: Timestamp,
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.timer.lock();
        if state.now >= this.at {
            return Poll::Ready(());
        }
        let id = *this.id.get_or_insert_with(|| {
            state.next_id += 1;
            state.next_id
        });
        state.sleepers.insert((this.at, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.timer.lock().sleepers.remove(&(self.at, id));
        }
    }
}
