//! The states and what moves between them.

use std::time::Duration;

use super::options::{Ends, Evaluate, Ignored, Late, Options, Slots, Target, Verdict, Window};
use super::window::{Outcome, Stats, Sums};
use crate::time::Timestamp;

/// Where the circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Calls pass and are judged.
    Closed,
    /// Calls are refused until a time.
    Open,
    /// Some calls pass and decide.
    HalfOpen,
    /// Calls are refused until somebody changes that.
    ForcedOpen,
    /// Calls pass and are not looked at.
    Disabled,
    /// Calls pass and are counted, and nothing follows.
    MetricsOnly,
}

/// Leave to make one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a permit is finished or released"]
pub struct Permit {
    generation: u32,
    started: Duration,
}

impl Permit {
    pub(in crate::circuit_breaker) const fn generation(self) -> u32 {
        self.generation
    }
}

/// The call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the state ends by itself, from now, if it does.
    pub retry_after: Option<Duration>,
}

/// What a breaker has counted, for people and tests.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// The calls it goes by.
    pub sums: Sums,
    /// Whether they are enough to judge, and then whether they are too bad.
    pub reached: Option<bool>,
    /// Failures in a row.
    pub failures_in_a_row: u64,
    /// Successes in a row.
    pub successes_in_a_row: u64,
    /// Calls refused in this state.
    pub refused: u64,
    /// How often it became half-open since it was last closed.
    pub attempts: u32,
}

/// A breaker that does what its [`Options`] say; the [module](super) explains it.
#[derive(Clone, Debug)]
pub struct ExactBreaker {
    options: Options,
    state: State,
    generation: u32,
    /// When the state ends by itself.
    until: Option<Duration>,
    stats: Stats,
    failures_in_a_row: u64,
    successes_in_a_row: u64,
    refused: u64,
    /// Slots of the half-open state that are taken.
    taken: u32,
    openings: u32,
    attempts: u32,
}

impl ExactBreaker {
    /// A closed circuit at `now`.
    pub fn new(options: Options, now: Duration) -> Self {
        Self {
            options,
            state: State::Closed,
            generation: 0,
            until: whole(options.window).map(|length| now.saturating_add(length)),
            stats: Stats::new(lasting(options.window), now),
            failures_in_a_row: 0,
            successes_in_a_row: 0,
            refused: 0,
            taken: 0,
            openings: 0,
            attempts: 0,
        }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    ///
    /// When the circuit is open, or half-open with its slots taken.
    pub fn acquire(&mut self, now: Duration) -> Result<Permit, Refused> {
        let state = self.state(now);
        let admitted = match state {
            State::Closed | State::Disabled | State::MetricsOnly => true,
            State::Open | State::ForcedOpen => false,
            State::HalfOpen => {
                let free = self.has_free_slot();
                self.taken += u32::from(free);
                free
            }
        };
        if !admitted {
            self.refused += 1;
            let retry_after = self.until.map(|until| until.saturating_sub(now));
            return Err(Refused { retry_after });
        }
        if self.options.counts_at_start && state != State::Disabled {
            self.stats.admitted(now);
        }
        Ok(Permit { generation: self.generation, started: now })
    }

    /// A permitted call ended.
    pub fn finish(&mut self, permit: Permit, outcome: Outcome, now: Duration) {
        self.state(now);
        if permit.generation != self.generation && self.options.late == Late::Dropped {
            return;
        }
        self.take(outcome, permit.started, now, permit.generation == self.generation);
    }

    /// A result of a call that was made without asking.
    pub fn record(&mut self, outcome: Outcome, now: Duration) {
        self.state(now);
        self.take(outcome, now, now, false);
    }

    /// A permit is given back, its call not made.
    pub fn release(&mut self, permit: Permit) {
        if permit.generation == self.generation {
            self.taken = self.taken.saturating_sub(1);
        }
    }

    /// Where it stands at `now`.
    pub fn state(&mut self, now: Duration) -> State {
        match (self.state, self.until) {
            // Open => half-open: the wait is over.
            (State::Open, Some(until)) if self.is_over(until, now) => {
                self.attempts = self.attempts.saturating_add(1);
                self.enter(State::HalfOpen, now);
            }
            // Half-open => what was asked for: it took too long.
            (State::HalfOpen, Some(until)) if self.options.half_open.longest.is_some() && now >= until => {
                match self.options.half_open.then {
                    Target::Open => self.open(now, None),
                    Target::Closed => self.enter(State::Closed, now),
                }
            }
            // Closed => closed anew: a window that is thrown away as a whole is a new generation.
            (State::Closed, _) if self.is_thrown_away(now) => self.enter(State::Closed, now),
            _ => {}
        }
        self.state
    }

    /// Moves it by hand; open for `longest` instead of the usual time.
    pub fn force(&mut self, state: State, now: Duration, longest: Option<Duration>) {
        match state {
            State::Open => self.open(now, longest),
            State::HalfOpen => {
                self.attempts = self.attempts.saturating_add(1);
                self.enter(State::HalfOpen, now);
            }
            state => self.enter(state, now),
        }
    }

    /// What it has counted.
    pub fn counts(&mut self, now: Duration) -> Counts {
        self.state(now);
        let sums = self.stats.sums(now);
        Counts {
            sums,
            reached: self.options.trip.is_reached(&sums, self.failures_in_a_row),
            failures_in_a_row: self.failures_in_a_row,
            successes_in_a_row: self.successes_in_a_row,
            refused: self.refused,
            attempts: self.attempts,
        }
    }

    /// Where it stands, since which generation, and until when: as of the last time anything was asked of it.
    pub(in crate::circuit_breaker) const fn place(&self) -> (State, u32, Option<Duration>) {
        (self.state, self.generation, self.until)
    }

    pub(in crate::circuit_breaker) fn sums(&mut self, now: Timestamp) -> Sums {
        self.stats.sums(Duration::from_nanos(now.as_nanos()))
    }

    pub(in crate::circuit_breaker) const fn failures_in_a_row(&self) -> u64 {
        self.failures_in_a_row
    }

    /// The permit that was given out for a call of `generation`.
    pub(in crate::circuit_breaker) fn permit(&self, generation: u32, started: Timestamp) -> Permit {
        Permit { generation, started: Duration::from_nanos(started.as_nanos()) }
    }

    /// The refusal a call would get at `now`. Takes no slot, and is not counted.
    #[allow(dead_code)] // Only services look before they ask, and a build may have none.
    pub(in crate::circuit_breaker) fn would_refuse(&mut self, now: Duration) -> Option<Refused> {
        let refuses = match self.state(now) {
            State::Closed | State::Disabled | State::MetricsOnly => false,
            State::Open | State::ForcedOpen => true,
            State::HalfOpen => !self.has_free_slot(),
        };
        refuses.then(|| Refused { retry_after: self.until.map(|until| until.saturating_sub(now)) })
    }

    fn has_free_slot(&self) -> bool {
        let (Slots::Once(slots) | Slots::AtATime(slots)) = self.options.half_open.slots;
        self.taken < slots
    }

    /// The options it goes by.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn is_over(&self, until: Duration, now: Duration) -> bool {
        match self.options.ends {
            Ends::At => now >= until,
            Ends::After => now > until,
        }
    }

    fn is_thrown_away(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now > until)
    }

    fn take(&mut self, outcome: Outcome, started: Duration, now: Duration, holds_slot: bool) {
        let mut outcome = outcome;
        if let Some(limit) = self.options.slow_above {
            outcome.slow |= outcome.duration > limit;
        }
        if outcome.failed.is_none() && self.options.ignored == Ignored::Success {
            outcome.failed = Some(false);
        }
        match self.state {
            State::Closed | State::MetricsOnly => self.take_closed(outcome, started, now),
            State::HalfOpen => self.take_half_open(outcome, started, now, holds_slot),
            // Kept by those who count late results, without consequence.
            State::Open => self.count(outcome, started, now),
            State::ForcedOpen | State::Disabled => {}
        }
    }

    fn count(&mut self, outcome: Outcome, started: Duration, now: Duration) {
        let started = if self.options.counts_at_start { started } else { now };
        self.stats.record(outcome, started, now);
        match outcome.failed {
            Some(true) => (self.failures_in_a_row, self.successes_in_a_row) = (self.failures_in_a_row + 1, 0),
            Some(false) => (self.failures_in_a_row, self.successes_in_a_row) = (0, self.successes_in_a_row + 1),
            None => {}
        }
    }

    fn take_closed(&mut self, outcome: Outcome, started: Duration, now: Duration) {
        self.count(outcome, started, now);
        let judged = match self.options.evaluate {
            Evaluate::Failures => outcome.failed == Some(true),
            Evaluate::Everything => outcome.failed.is_some(),
        };
        if judged && self.state == State::Closed {
            let sums = self.stats.sums(now);
            if self.options.trip.is_reached(&sums, self.failures_in_a_row) == Some(true) {
                self.open(now, None);
            }
        }
    }

    fn take_half_open(&mut self, outcome: Outcome, started: Duration, now: Duration, holds_slot: bool) {
        let refills = outcome.failed.is_none() || matches!(self.options.half_open.slots, Slots::AtATime(_));
        if holds_slot && refills {
            self.taken = self.taken.saturating_sub(1);
        }
        self.count(outcome, started, now);
        let Some(failed) = outcome.failed else { return };
        let sums = self.stats.sums(now);
        let closes = match self.options.half_open.verdict {
            Verdict::First => Some(!(failed || (self.options.slow_fails && outcome.slow))),
            Verdict::Rates { after } if sums.total() < after => None,
            Verdict::Rates { .. } => Some(!self.judged(&sums)),
            Verdict::Successes { count, .. } if sums.success >= count => Some(true),
            Verdict::Successes { count, of } => (sums.failed > of.saturating_sub(count)).then_some(false),
            Verdict::Failures { count, of } if sums.success > of.saturating_sub(count) => {
                let _ = count;
                Some(true)
            }
            Verdict::Failures { count, .. } => (sums.failed >= count).then_some(false),
            Verdict::InARow(_) if failed => Some(false),
            Verdict::InARow(count) => (self.successes_in_a_row >= count).then_some(true),
        };
        match closes {
            // Half-open => closed: it is well again.
            Some(true) => self.enter(State::Closed, now),
            // Half-open => open: it is not.
            Some(false) => self.open(now, None),
            None => {}
        }
    }

    /// Whether a half-open circuit's results are too bad, however few they were to be.
    fn judged(&self, sums: &Sums) -> bool {
        let mut trip = self.options.trip;
        if let super::options::Trip::Rates { minimum, .. } | super::options::Trip::Failures { minimum, .. } = &mut trip
        {
            *minimum = 0;
        }
        trip.is_reached(sums, self.failures_in_a_row) == Some(true)
    }

    fn open(&mut self, now: Duration, longest: Option<Duration>) {
        let factor = self.options.open_factor.powi(i32::try_from(self.openings).unwrap_or(i32::MAX));
        let usual = Duration::try_from_secs_f64(self.options.open_for.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open, now);
        self.until = Some(now.saturating_add(longest.unwrap_or(usual)));
    }

    fn enter(&mut self, state: State, now: Duration) {
        self.generation = self.generation.wrapping_add(1);
        self.state = state;
        (self.refused, self.taken) = (0, 0);
        let lasts = match state {
            State::Closed => whole(self.options.window),
            State::HalfOpen => self.options.half_open.longest,
            _ => None,
        };
        self.until = lasts.map(|lasts| now.saturating_add(lasts));
        if state == State::Closed {
            (self.openings, self.attempts) = (0, 0);
        }
        // What an open circuit shows is why it opened, unless results are dropped with the state they belong to.
        if state == State::Open && self.options.late == Late::Count {
            return;
        }
        (self.failures_in_a_row, self.successes_in_a_row) = (0, 0);
        let window = match (state, self.options.half_open.verdict) {
            (State::HalfOpen, Verdict::Rates { after }) => Window::Count(u32::try_from(after).unwrap_or(u32::MAX)),
            (State::HalfOpen, Verdict::Successes { of, .. } | Verdict::Failures { of, .. }) => {
                Window::Count(u32::try_from(of).unwrap_or(u32::MAX))
            }
            (State::HalfOpen, _) => Window::Unbounded,
            _ => lasting(self.options.window),
        };
        self.stats = Stats::new(window, now);
    }
}

/// How long a closed state lasts before it begins anew, with a window that is thrown away as a whole.
fn whole(window: Window) -> Option<Duration> {
    match window {
        Window::Rolling { part, parts: 1 } => Some(part),
        _ => None,
    }
}

/// The window within one closed state: one that is thrown away as a whole ends with the state, not before.
fn lasting(window: Window) -> Window {
    if whole(window).is_some() { Window::Unbounded } else { window }
}
