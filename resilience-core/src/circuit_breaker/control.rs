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
    shared: Arc<Mutex<Inner>>,
}

struct Inner {
    isolated: bool,
    /// How often it has been moved.
    version: u64,
    breakers: Vec<Follower>,
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
            inner.breakers.retain(|breaker| breaker().is_some());
            let (version, isolated, breakers) = (inner.version, inner.isolated, inner.breakers.clone());
            // Breakers tell their listeners, who may turn the control: not under its lock.
            drop(inner);
            for breaker in breakers.iter().filter_map(|breaker| breaker()) {
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
        inner.breakers.retain(|breaker| breaker().is_some());
        inner.breakers.push(breaker.follower());
        let mut seen = None;
        while seen != Some(inner.version) {
            let isolated = inner.isolated;
            // Not closed if it never was isolated: it would be an event about nothing.
            let closes = seen.is_some() && !isolated;
            seen = Some(inner.version);
            drop(inner);
            if isolated {
                breaker.isolate();
            } else if closes {
                breaker.close();
            }
            inner = lock(&self.shared);
        }
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
