//! One lever for many breakers.

use std::fmt;

use super::policy::CircuitBreaker;
use crate::sync::{Arc, Mutex, lock};

/// Isolates and closes many breakers together: all that guard one data centre, one dependency, one deployment.
///
/// Breakers take it when they are [built](super::CircuitBreakerBuilder::control); one that is built while the control
/// isolates begins isolated. The control keeps no breaker alive. Clones are one control.
///
/// ```
/// use resilience_core::circuit_breaker::{CircuitBreaker, ManualControl, State};
///
/// let east = ManualControl::new();
/// let orders = CircuitBreaker::builder().name("orders-east").control(&east).build()?;
/// let stock = CircuitBreaker::builder().name("stock-east").control(&east).build()?;
/// east.isolate();
/// assert_eq!((orders.state(), stock.state()), (State::Isolated, State::Isolated));
/// let late = CircuitBreaker::builder().name("late-east").control(&east).build()?;
/// assert_eq!(late.state(), State::Isolated);
/// east.close();
/// assert_eq!((orders.state(), late.state()), (State::Closed, State::Closed));
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ManualControl {
    pub(super) shared: Arc<Mutex<Inner>>,
}

pub(super) struct Inner {
    isolated: bool,
    /// How often it has been moved.
    version: u64,
    pub(super) breakers: Vec<Follower>,
}

pub(super) type Follower = std::sync::Arc<dyn Fn() -> Option<CircuitBreaker> + Send + Sync>;

impl ManualControl {
    /// A control that lets its breakers be.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// A control whose breakers begin isolated.
    pub fn isolated() -> Self {
        Self::with(true)
    }

    fn with(isolated: bool) -> Self {
        Self { shared: Arc::new(Mutex::new(Inner { isolated, version: 0, breakers: Vec::new() })) }
    }

    /// Isolates all breakers, and those to come; see [`CircuitBreaker::isolate`].
    pub fn isolate(&self) {
        self.turn(true);
    }

    /// Closes all breakers; see [`CircuitBreaker::close`].
    pub fn close(&self) {
        self.turn(false);
    }

    /// Whether it isolates.
    pub fn is_isolated(&self) -> bool {
        lock(&self.shared).isolated
    }

    fn turn(&self, isolated: bool) {
        let mut inner = lock(&self.shared);
        inner.isolated = isolated;
        inner.version += 1;
        loop {
            let (version, isolated, breakers) = (inner.version, inner.isolated, inner.sweep());
            // Breakers tell their listeners, who may turn the control: not under its lock.
            drop(inner);
            for breaker in breakers {
                if isolated { breaker.isolate() } else { breaker.close() }
            }
            // Somebody may have turned it the other way meanwhile, and have come to some of the breakers before us. The
            // last to be done with all of them finds the version it began with, so that is what they all are.
            inner = lock(&self.shared);
            if inner.version == version {
                return;
            }
        }
    }

    pub(super) fn attach(&self, breaker: &CircuitBreaker) {
        let mut inner = lock(&self.shared);
        let mut swept = inner.make_room();
        inner.breakers.push(breaker.follower());
        let mut seen = None;
        while seen != Some(inner.version) {
            let isolated = inner.isolated;
            // Not closed if it never was isolated: it would be an event about nothing.
            let closes = seen.is_some() && !isolated;
            seen = Some(inner.version);
            drop(inner);
            swept.clear();
            if isolated {
                breaker.isolate();
            } else if closes {
                breaker.close();
            }
            inner = lock(&self.shared);
        }
    }
}

impl Inner {
    /// Forgets breakers that are gone, and hands out a share in each of the others. It may be the last one by then, so
    /// the caller drops it outside the lock: a listener that goes with its breaker may ask the control.
    #[must_use]
    fn sweep(&mut self) -> Vec<CircuitBreaker> {
        let mut there = Vec::with_capacity(self.breakers.len());
        self.breakers.retain(|breaker| {
            let found = breaker();
            let is_there = found.is_some();
            there.extend(found);
            is_there
        });
        there
    }

    /// Sees to it that one more breaker fits: by a sweep, and if that leaves more than half of the places taken, by twice
    /// as many places. So the next sweep comes after as many breakers as this one looked at, and each pays for one look.
    #[must_use]
    fn make_room(&mut self) -> Vec<CircuitBreaker> {
        if self.breakers.len() < self.breakers.capacity() {
            return Vec::new();
        }
        let there = self.sweep();
        self.breakers.reserve(self.breakers.len().max(1));
        there
    }
}

impl Default for ManualControl {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.shared);
        f.debug_struct("ManualControl")
            .field("isolated", &inner.isolated)
            .field("breakers", &inner.breakers.len())
            .finish_non_exhaustive()
    }
}
