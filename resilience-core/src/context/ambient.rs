//! The part of a context every layer touches: small, `Copy`, in one thread-local cell.

use std::cell::Cell;
use std::time::Duration;

use super::Criticality;
use crate::time::Timestamp;

/// What layers read and narrow on the path of a call.
///
/// Invariant: `within` counts from a moment at which no time has passed yet, that is, from a call whose first poll has
/// not returned. Whoever lets time pass (returns `Pending`) resolves it first, so nobody has to note when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambient {
    /// The earliest deadline set so far.
    pub(crate) deadline: Timestamp,
    /// The shortest timeout not yet turned into a deadline.
    pub(crate) within: Duration,
    pub(crate) attempt: u32,
    pub(crate) criticality: Criticality,
}

impl Ambient {
    pub(crate) const EMPTY: Self =
        Self { deadline: Timestamp::NEVER, within: Duration::MAX, attempt: 1, criticality: Criticality::Critical };

    /// Turns a pending timeout into a deadline; whether there was one.
    pub(crate) fn resolve(&mut self, now: impl FnOnce() -> Timestamp) -> bool {
        if self.within == Duration::MAX {
            return false;
        }
        self.deadline = self.deadline.min(now() + self.within);
        self.within = Duration::MAX;
        true
    }
}

impl Default for Ambient {
    fn default() -> Self {
        Self::EMPTY
    }
}

thread_local! {
    static AMBIENT: Cell<Ambient> = const { Cell::new(Ambient::EMPTY) };
}

#[inline]
pub(crate) fn get() -> Ambient {
    AMBIENT.get()
}

#[inline]
pub(crate) fn set(ambient: Ambient) {
    AMBIENT.set(ambient);
}

/// Makes `ambient` the current one until the guard is dropped.
#[inline]
pub(crate) fn enter(ambient: Ambient) -> Entered {
    Entered { previous: AMBIENT.replace(ambient) }
}

#[must_use]
pub(crate) struct Entered {
    previous: Ambient,
}

impl Entered {
    /// Leaves, and returns what the inner layers made of the context.
    #[allow(dead_code)] // For layers, which the purest build leaves out.
    #[inline]
    pub(crate) fn leave(self) -> Ambient {
        AMBIENT.get()
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        AMBIENT.set(self.previous);
    }
}
