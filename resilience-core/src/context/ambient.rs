//! The part of a context every layer touches: small, `Copy`, in thread-local cells.

use std::cell::Cell;
use std::time::Duration;

use super::Criticality;
use crate::time::{Timestamp, saturating_nanos};

/// Set in an attempt's number when it is that of the request being served; see [`super::Context::received`].
pub(crate) const RECEIVED: u32 = 1 << 31;

/// What layers read and narrow on the path of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambient {
    pub(crate) time: TimeLeft,
    /// Which attempt this is; with [`RECEIVED`], which attempt of the client's this serves.
    pub(crate) attempt: u32,
    pub(crate) criticality: Criticality,
}

impl Ambient {
    pub(crate) const EMPTY: Self = Self { time: TimeLeft::UNLIMITED, attempt: 1, criticality: Criticality::Critical };
}

impl Default for Ambient {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// How much time a call has.
///
/// Invariant: `within` counts from a moment at which no time has passed yet, that is, from a call whose first poll has
/// not returned. Whoever lets time pass (returns `Pending`) resolves it first, so nobody has to note when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeLeft {
    /// The earliest deadline set so far.
    pub(crate) deadline: Timestamp,
    /// The shortest timeout not yet turned into a deadline.
    pub(crate) within: Span,
}

impl TimeLeft {
    pub(crate) const UNLIMITED: Self = Self { deadline: Timestamp::NEVER, within: Span::UNLIMITED };

    /// Whether no timeout is left to be turned into a deadline.
    #[inline]
    pub(crate) fn is_resolved(&self) -> bool {
        self.within == Span::UNLIMITED
    }

    /// Turns a pending timeout into a deadline; whether there was one.
    #[inline]
    pub(crate) fn resolve(&mut self, now: impl FnOnce() -> Timestamp) -> bool {
        if self.is_resolved() {
            return false;
        }
        self.deadline = self.deadline.min(self.within.after(now()));
        self.within = Span::UNLIMITED;
        true
    }

    /// The smaller of both limits.
    #[inline]
    pub(crate) fn min(self, other: Self) -> Self {
        Self { deadline: self.deadline.min(other.deadline), within: self.within.min(other.within) }
    }
}

/// A duration in one word, in nanoseconds: layers copy and compare these at every poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) const UNLIMITED: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn after(self, start: Timestamp) -> Timestamp {
        Timestamp::from_nanos(start.as_nanos().saturating_add(self.0))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(saturating_nanos(duration))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        if span == Span::UNLIMITED { Self::MAX } else { Self::from_nanos(span.0) }
    }
}

thread_local! {
    static CELLS: Cells = const {
        Cells {
            deadline: Cell::new(Ambient::EMPTY.time.deadline),
            within: Cell::new(Ambient::EMPTY.time.within),
            attempt: Cell::new(Ambient::EMPTY.attempt),
            criticality: Cell::new(Ambient::EMPTY.criticality),
        }
    };
}

/// A cell for each field, so that each is read at the width at which it was written: in one cell for all, narrow
/// stores are followed by wide loads, and a processor cannot forward the one to the other (half the cost of a timeout).
struct Cells {
    deadline: Cell<Timestamp>,
    within: Cell<Span>,
    attempt: Cell<u32>,
    criticality: Cell<Criticality>,
}

#[inline]
pub(crate) fn get() -> Ambient {
    CELLS.with(|cells| Ambient {
        time: TimeLeft { deadline: cells.deadline.get(), within: cells.within.get() },
        attempt: cells.attempt.get(),
        criticality: cells.criticality.get(),
    })
}

#[inline]
pub(crate) fn set(ambient: Ambient) {
    CELLS.with(|cells| {
        cells.attempt.set(ambient.attempt);
        cells.criticality.set(ambient.criticality);
    });
    set_time(ambient.time);
}

/// Makes `ambient` the current one until the guard is dropped.
#[inline]
pub(crate) fn enter(ambient: Ambient) -> Entered {
    let previous = get();
    set(ambient);
    Entered { previous }
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
        get()
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        set(self.previous);
    }
}

/// The time left to the call in progress.
#[inline]
pub(crate) fn time() -> TimeLeft {
    CELLS.with(|cells| TimeLeft { deadline: cells.deadline.get(), within: cells.within.get() })
}

#[inline]
pub(crate) fn set_time(time: TimeLeft) {
    CELLS.with(|cells| {
        cells.deadline.set(time.deadline);
        cells.within.set(time.within);
    });
}

/// Changes the time left until the guard is dropped, and nothing else: what a timeout does at each poll.
#[inline]
pub(crate) fn enter_time(time: TimeLeft) -> EnteredTime {
    let previous = self::time();
    set_time(time);
    EnteredTime { previous }
}

#[must_use]
pub(crate) struct EnteredTime {
    previous: TimeLeft,
}

impl EnteredTime {
    /// Leaves, and returns what the inner layers made of the time left.
    #[inline]
    pub(crate) fn leave(self) -> TimeLeft {
        time()
    }
}

impl Drop for EnteredTime {
    #[inline]
    fn drop(&mut self) {
        set_time(self.previous);
    }
}

/// Runs `work` with the number of its attempt in the ambient context.
///
/// A guard, so that `work` is called in one place: in two it would be a function of its own, which hands its result over in
/// memory. What else `work` makes of the context stays: a timeout resolved inside is resolved outside.
#[allow(dead_code)] // For what repeats calls, which loom builds without layers may leave out.
#[inline(always)]
pub(crate) fn attempting<T>(attempt: u32, work: impl FnOnce() -> T) -> T {
    let _numbered = Numbered::enter(attempt);
    work()
}

/// The number outside, if it was another; put back when this is dropped, by a panic too.
struct Numbered(Option<u32>);

impl Numbered {
    #[inline(always)]
    fn enter(attempt: u32) -> Self {
        CELLS.with(|cells| {
            let outer = cells.attempt.get();
            // The first attempt of a call outside of any other retry has nothing to enter.
            if outer == attempt {
                return Self(None);
            }
            cells.attempt.set(attempt);
            Self(Some(outer))
        })
    }
}

impl Drop for Numbered {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(outer) = self.0 {
            CELLS.with(|cells| cells.attempt.set(outer));
        }
    }
}
