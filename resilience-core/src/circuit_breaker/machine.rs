//! The rules, without locks, clocks or I/O.
//!
//! There are two places state lives in, because one of them is on every call's path:
//!
//! - [`Word`], the closed circuit's state: one `u64` that the policy object reads for each admission and changes by
//!   compare-exchange. It carries the generation, so a permit can tell whether its answer still matters.
//! - [`Machine`], everything that happens rarely: opening, waiting, probing, closing. The policy object keeps it behind
//!   a short lock and writes a new [`Word`] whenever it changes.

use std::time::Duration;

use crate::time::Timestamp;
use crate::{Class, Reason};

/// Where the circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass and their answers are watched.
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// A few calls pass as probes; their answers decide.
    HalfOpen,
    /// Calls are refused until somebody closes the circuit by hand.
    Isolated,
}

impl State {
    /// All states, as labels for a one-hot gauge.
    pub(crate) const LABELS: &'static [&'static str] = &["closed", "open", "half_open", "isolated"];

    /// The state as a label for metrics.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

/// What made the circuit change its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// So many failures in a row.
    Consecutive {
        /// The failures.
        failures: u32,
    },
    /// Too large a share of the calls in the window failed.
    Rate {
        /// Failed calls in the window.
        failures: u64,
        /// Calls in the window.
        calls: u64,
    },
    /// Nothing but calls given up by their callers: nobody got an answer in time.
    Abandoned {
        /// The calls given up.
        calls: u64,
    },
    /// The wait was over.
    Waited,
    /// The probes decided.
    Probes {
        /// Probes that succeeded.
        succeeded: u32,
        /// Probes that failed.
        failed: u32,
    },
    /// The probes had not decided when the half-open state's time was up.
    Undecided,
    /// Somebody asked for it.
    Manual,
}

impl Cause {
    /// The cause as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Consecutive { .. } => "consecutive",
            Self::Rate { .. } => "rate",
            Self::Abandoned { .. } => "abandoned",
            Self::Waited => "waited",
            Self::Probes { .. } => "probes",
            Self::Undecided => "undecided",
            Self::Manual => "manual",
        }
    }
}

/// A change of state, numbered by the generation it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// The generation the new state begins; it grows by one with each transition.
    pub generation: u32,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Timestamp,
    /// When the new state ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// What the machine is configured with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) open_for: Duration,
    pub(crate) probes: u32,
    /// Failed probes that open the circuit again.
    pub(crate) failed_probes: u32,
    pub(crate) half_open_for: Duration,
}

impl Rules {
    /// Successful probes that close the circuit: as many as make `failed_probes` failures impossible.
    const fn successful_probes(&self) -> u32 {
        self.probes - self.failed_probes + 1
    }
}

/// What becomes of a call that asks for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Pass,
    Probe,
    Refuse { reason: Reason, retry_after: Option<Duration> },
}

/// The circuit, outside the hot path.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    rules: Rules,
    state: State,
    generation: u32,
    /// When `Open` or `HalfOpen` ends by itself.
    until: Timestamp,
    in_flight: u32,
    succeeded: u32,
    failed: u32,
}

/// Transitions of one step; at most two, when a half-open state that ran out while nobody called is followed at once by
/// the next.
pub(crate) type Transitions = [Option<Transition>; 2];

const NONE: Transitions = [None, None];

impl Machine {
    pub(crate) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Closed,
            generation: 0,
            until: Timestamp::NEVER,
            in_flight: 0,
            succeeded: 0,
            failed: 0,
        }
    }

    /// Whether a call may pass at `now`, and as what.
    pub(crate) fn try_acquire(&mut self, now: Timestamp) -> (Admission, Transitions) {
        let mut transitions = NONE;
        // HalfOpen => Open: the probes did not decide in time. The circuit counts as open since then, not since now,
        // so that how long a hung probe blocks it does not depend on when somebody calls.
        if self.state == State::HalfOpen && now >= self.until {
            let until = self.until + self.rules.open_for;
            transitions[0] = Some(self.enter(State::Open, Cause::Undecided, self.until, until));
        }
        // Open => HalfOpen: the wait is over.
        if self.state == State::Open && now >= self.until {
            let until = now + self.rules.half_open_for;
            let transition = self.enter(State::HalfOpen, Cause::Waited, now, until);
            *transitions.iter_mut().find(|slot| slot.is_none()).expect("two steps at most") = Some(transition);
        }
        (self.admit(now), transitions)
    }

    fn admit(&mut self, now: Timestamp) -> Admission {
        match self.state {
            State::Closed => Admission::Pass,
            State::Open => Admission::Refuse { reason: Reason::Open, retry_after: Some(self.until - now) },
            State::HalfOpen if self.has_free_probe() => {
                self.in_flight += 1;
                Admission::Probe
            }
            State::HalfOpen => Admission::Refuse { reason: Reason::Probing, retry_after: None },
            State::Isolated => Admission::Refuse { reason: Reason::Isolated, retry_after: None },
        }
    }

    /// Takes the answer of a probe admitted in `generation`; `None` if it came too late to matter.
    pub(crate) fn settle_probe(&mut self, generation: u32, class: Class, now: Timestamp) -> Option<Transitions> {
        if self.state != State::HalfOpen || self.generation != generation {
            return None;
        }
        if now >= self.until {
            // The time was up before this answer came; nobody has called since to notice.
            let until = self.until + self.rules.open_for;
            return Some([Some(self.enter(State::Open, Cause::Undecided, self.until, until)), None]);
        }
        self.in_flight -= 1;
        match class {
            Class::Success => self.succeeded += 1,
            Class::Failure | Class::Slow => self.failed += 1,
            // Says nothing about the service: the slot is free again.
            Class::Ignore => return Some(NONE),
        }
        let cause = Cause::Probes { succeeded: self.succeeded, failed: self.failed };
        if self.failed >= self.rules.failed_probes {
            // HalfOpen => Open: too many probes failed.
            Some([Some(self.enter(State::Open, cause, now, now + self.rules.open_for)), None])
        } else if self.succeeded >= self.rules.successful_probes() {
            // HalfOpen => Closed: the rest of the probes could not change the verdict.
            Some([Some(self.enter(State::Closed, cause, now, Timestamp::NEVER)), None])
        } else {
            Some(NONE)
        }
    }

    /// Closed => Open, for evidence gathered in `generation`; nothing if that is over.
    pub(crate) fn trip(&mut self, generation: u32, cause: Cause, now: Timestamp) -> Option<Transition> {
        (self.state == State::Closed && self.generation == generation)
            .then(|| self.enter(State::Open, cause, now, now + self.rules.open_for))
    }

    /// Goes to `state` by hand, whatever the present one.
    pub(crate) fn force(&mut self, state: State, now: Timestamp, until: Timestamp) -> Transition {
        self.enter(state, Cause::Manual, now, until)
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) const fn until(&self) -> Timestamp {
        self.until
    }

    /// The word that stands for this state; the closed circuit starts with no evidence.
    pub(crate) fn word(&self) -> Word {
        Word::new(self.state, self.generation).with_full(self.state == State::HalfOpen && !self.has_free_probe())
    }

    const fn has_free_probe(&self) -> bool {
        self.in_flight + self.succeeded + self.failed < self.rules.probes
    }

    fn enter(&mut self, to: State, cause: Cause, at: Timestamp, until: Timestamp) -> Transition {
        let from = self.state;
        self.state = to;
        self.generation = self.generation.wrapping_add(1);
        self.until = until;
        (self.in_flight, self.succeeded, self.failed) = (0, 0, 0);
        let ends = matches!(to, State::Open | State::HalfOpen);
        Transition { from, to, generation: self.generation, cause, at, until: ends.then_some(until) }
    }
}

/// The circuit as every call sees it.
///
/// ```text
/// 63            32 31     18 17      4  3     2    1 0
/// [ generation:32 | gave up | failures | watch full | state ]
/// ```
/// `failures` and `gave up` count in a row and saturate at 16,383; `watch` says that successes must be evaluated too;
/// `full` says that a half-open circuit has no probe left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(pub(crate) u64);

const STATE: u64 = 0b11;
const FULL: u64 = 1 << 2;
const WATCH: u64 = 1 << 3;
const FAILURES: u32 = 4;
const GAVE_UP: u32 = 18;
const COUNT: u64 = (1 << 14) - 1;
const GENERATION: u32 = 32;

/// The most failures in a row that can be counted, and so be configured.
pub(crate) const MOST_CONSECUTIVE: u32 = COUNT as u32;

impl Word {
    pub(crate) const fn new(state: State, generation: u32) -> Self {
        Self((generation as u64) << GENERATION | state as u64)
    }

    const fn with_full(self, full: bool) -> Self {
        if full { Self(self.0 | FULL) } else { self }
    }

    pub(crate) const fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            _ => State::Isolated,
        }
    }

    pub(crate) const fn is_closed(self) -> bool {
        self.0 & STATE == State::Closed as u64
    }

    pub(crate) const fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    pub(crate) const fn is_watched(self) -> bool {
        self.0 & WATCH != 0
    }

    pub(crate) const fn watched(self, watch: bool) -> Self {
        if watch { Self(self.0 | WATCH) } else { Self(self.0 & !WATCH) }
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }

    pub(crate) const fn failures(self) -> u32 {
        (self.0 >> FAILURES & COUNT) as u32
    }

    pub(crate) const fn gave_up(self) -> u32 {
        (self.0 >> GAVE_UP & COUNT) as u32
    }

    /// Whether it is the closed circuit of `generation`: whether an answer from then still matters.
    pub(crate) const fn is_closed_in(self, generation: u32) -> bool {
        self.is_closed() && self.generation() == generation
    }

    /// The word after a success: nothing in a row any more.
    pub(crate) const fn after_success(self) -> Self {
        Self(self.0 & !(COUNT << FAILURES | COUNT << GAVE_UP))
    }

    /// The word after a failure. It is conclusive, so what callers gave up before it counts no more.
    pub(crate) const fn after_failure(self) -> Self {
        let failures = if self.failures() < MOST_CONSECUTIVE { self.failures() + 1 } else { MOST_CONSECUTIVE };
        Self(self.0 & !(COUNT << FAILURES | COUNT << GAVE_UP) | (failures as u64) << FAILURES)
    }

    /// The word after a call was given up by its caller.
    pub(crate) const fn after_giving_up(self) -> Self {
        let gave_up = if self.gave_up() < MOST_CONSECUTIVE { self.gave_up() + 1 } else { MOST_CONSECUTIVE };
        Self(self.0 & !(COUNT << GAVE_UP) | (gave_up as u64) << GAVE_UP)
    }
}
