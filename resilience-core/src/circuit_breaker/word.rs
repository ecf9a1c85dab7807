//! The closed circuit's state in one word.

use super::state::State;

/// The circuit as every call sees it.
///
/// ```text
/// 63            32 31     19 18      5  4     3    2 0
/// [ generation:32 | gave up | failures | watch full | state ]
/// ```
/// `failures` and `gave up` count in a row and saturate at 16,383 and 8,191; `watch` says that successes must be evaluated too;
/// `full` says that a half-open circuit has no probe left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(pub(crate) u64);

const STATE: u64 = 0b111;
const FULL: u64 = 1 << 3;
const WATCH: u64 = 1 << 4;
const FAILURES: u32 = 5;
const GAVE_UP: u32 = 19;
const COUNT: u64 = (1 << 14) - 1;
const GAVE_UP_COUNT: u64 = (1 << 13) - 1;
/// Stands for no state: the rules of another breaker decide, under their lock.
const ELSEWHERE: u64 = 0b111;
const GENERATION: u32 = 32;

/// The most failures in a row that can be counted, and so be configured.
pub(crate) const MOST_CONSECUTIVE: u32 = COUNT as u32;

impl Word {
    pub(crate) const fn new(state: State, generation: u32) -> Self {
        Self((generation as u64) << GENERATION | state as u64)
    }

    pub(crate) const fn with_full(self, full: bool) -> Self {
        if full { Self(self.0 | FULL) } else { self }
    }

    /// The word of a breaker whose state lies elsewhere.
    pub(crate) const fn elsewhere() -> Self {
        Self(ELSEWHERE)
    }

    pub(crate) const fn is_elsewhere(self) -> bool {
        self.0 & STATE == ELSEWHERE
    }

    pub(crate) const fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::Isolated,
            4 => State::Disabled,
            _ => State::MetricsOnly,
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
        (self.0 >> GAVE_UP & GAVE_UP_COUNT) as u32
    }

    /// Whether answers are counted in this state without the lock.
    pub(crate) const fn counts(self) -> bool {
        self.is_closed() || self.0 & STATE == State::MetricsOnly as u64
    }

    /// Whether it counts answers to calls of `generation`: whether an answer from then still matters.
    pub(crate) const fn counts_in(self, generation: u32) -> bool {
        self.counts() && self.generation() == generation
    }

    /// The word after a success: nothing in a row any more.
    pub(crate) const fn after_success(self) -> Self {
        Self(self.0 & !(COUNT << FAILURES | GAVE_UP_COUNT << GAVE_UP))
    }

    /// The word after a failure. It is conclusive, so what callers gave up before it counts no more.
    pub(crate) const fn after_failure(self) -> Self {
        let failures = if self.failures() < MOST_CONSECUTIVE { self.failures() + 1 } else { MOST_CONSECUTIVE };
        Self(self.0 & !(COUNT << FAILURES | GAVE_UP_COUNT << GAVE_UP) | (failures as u64) << FAILURES)
    }

    /// The word after a call was given up by its caller.
    pub(crate) const fn after_giving_up(self) -> Self {
        let most = GAVE_UP_COUNT as u32;
        let gave_up = if self.gave_up() < most { self.gave_up() + 1 } else { most };
        Self(self.0 & !(GAVE_UP_COUNT << GAVE_UP) | (gave_up as u64) << GAVE_UP)
    }
}
