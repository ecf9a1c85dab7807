//! What all clones of a breaker share: the machine behind a short lock, the closed circuit in one atomic word.

use std::collections::VecDeque;
use std::time::Duration;

use super::config::{Abandoned, Config, Fixed, Trip, WindowKind};
use super::event::Event;
use super::exact::{Evaluate, ExactBreaker, Ignored, Late};
use super::machine::{Machine, Question, Transitions};
use super::ring::Ring;
use super::slow::InFlight;
use super::state::{Cause, State, Transition};
use super::window::{Counts, Record, TimeWindow};
use super::word::Word;
use crate::Name;
use crate::event::Listeners;
use crate::held::keep;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::{SharedTimer, Timestamp};

pub(super) struct Shared {
    /// The state as every call sees it; see [`Word`].
    pub(super) word: AtomicU64,
    /// When an open or half-open state ends by itself, in nanoseconds. Written under the lock before `word`.
    pub(super) until: AtomicU64,
    /// What is to be done about a success while nothing is amiss.
    pub(super) routine: Routine,
    pub(super) window: Option<Window>,
    pub(super) limits: Limits,
    pub(super) slow: Option<Box<Slow>>,
    /// Another project's breaker, whose rules hold instead.
    pub(super) exact: Option<Box<Mutex<ExactBreaker>>>,
    pub(super) abandoned: Abandoned,
    pub(super) evaluate: Evaluate,
    pub(super) late: Late,
    pub(super) ignored: Ignored,
    pub(super) dry_run: AtomicBool,
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    pub(super) cold: Mutex<Cold>,
    pub(super) rejected: AtomicU64,
    pub(super) would_reject: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) fixed: Fixed,
    /// See [`Keep`](crate::held::Keep).
    is_own: bool,
}

keep!(Shared);

/// What a success is to a closed circuit that has nothing in a row to forget and nothing to watch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Routine {
    /// Failures in a row are counted, and nothing else: there is nothing to do.
    Nothing,
    /// One more in the time window.
    Record,
    /// All there is to do for any answer.
    Whole,
}

/// The thresholds, which can change while the breaker runs.
pub(super) struct Limits {
    pub(super) consecutive: AtomicU32,
    ratio: AtomicU64,
    minimum: AtomicU64,
    slow_ratio: AtomicU64,
    slow_minimum: AtomicU64,
}

impl Limits {
    fn new(config: &Config) -> Self {
        let limits = Self {
            consecutive: AtomicU32::new(0),
            ratio: AtomicU64::new(0),
            minimum: AtomicU64::new(0),
            slow_ratio: AtomicU64::new(0),
            slow_minimum: AtomicU64::new(0),
        };
        limits.set(config.trip, config.slow);
        limits
    }

    /// Relaxed, as are the reads: each figure is one of two that are both right, and none says anything about another.
    pub(super) fn set(&self, trip: Trip, slow: Option<(Duration, f64, u64)>) {
        match trip {
            Trip::Consecutive(failures) => self.consecutive.store(failures, Ordering::Relaxed),
            Trip::Rate { ratio, minimum } => {
                self.ratio.store(ratio.to_bits(), Ordering::Relaxed);
                self.minimum.store(minimum, Ordering::Relaxed);
            }
        }
        if let Some((_, ratio, minimum)) = slow {
            self.slow_ratio.store(ratio.to_bits(), Ordering::Relaxed);
            self.slow_minimum.store(minimum, Ordering::Relaxed);
        }
    }

    /// The share of failures that is too much, and of how many calls at least.
    pub(super) fn rate(&self) -> (f64, u64) {
        (f64::from_bits(self.ratio.load(Ordering::Relaxed)), self.minimum.load(Ordering::Relaxed))
    }

    pub(super) fn slow(&self) -> (f64, u64) {
        (f64::from_bits(self.slow_ratio.load(Ordering::Relaxed)), self.slow_minimum.load(Ordering::Relaxed))
    }
}

/// The calls a rate is of.
pub(super) enum Window {
    Time(TimeWindow),
    Count(Mutex<Ring>),
}

impl Window {
    fn new(kind: WindowKind, shards: usize) -> Self {
        match kind {
            WindowKind::Time(length) => Self::Time(TimeWindow::new(length, shards)),
            WindowKind::Count(calls) => Self::Count(Mutex::new(Ring::new(calls))),
        }
    }

    pub(super) fn record(&self, shard: usize, generation: u32, now: Timestamp, record: Record) {
        match self {
            Self::Time(window) => window.record(shard, generation, now, record),
            Self::Count(ring) => lock(ring).record(generation, record),
        }
    }

    pub(super) fn counts(&self, generation: u32, now: Timestamp) -> Counts {
        match self {
            Self::Time(window) => window.counts(generation, now),
            Self::Count(ring) => lock(ring).counts(generation),
        }
    }
}

/// The watch over slow calls.
pub(super) struct Slow {
    pub(super) threshold: Duration,
    /// Slow calls as its failures.
    pub(super) window: Window,
    /// Whether the window may hold a slow call, so that a fast one can make them enough. A hint.
    pub(super) any: AtomicBool,
    tables: Box<[Table]>,
}

/// One per core or so, on a cache line of its own.
#[repr(align(128))]
struct Table(Mutex<InFlight>);

impl Slow {
    fn new(threshold: Duration, config: &Config) -> Self {
        let table = |_| Table(Mutex::new(InFlight::new(threshold)));
        Self {
            threshold,
            window: Window::new(config.window, config.shards),
            any: AtomicBool::new(false),
            tables: (0..config.shards.max(1).next_power_of_two()).map(table).collect(),
        }
    }

    fn table(&self, shard: usize) -> &Mutex<InFlight> {
        &self.tables[shard & (self.tables.len() - 1)].0
    }

    pub(super) fn begin(&self, shard: usize, generation: u32, now: Timestamp) -> (Timestamp, bool) {
        lock(self.table(shard)).begin(generation, now)
    }

    pub(super) fn end(&self, shard: usize, generation: u32, started: Timestamp) {
        lock(self.table(shard)).end(generation, started);
    }

    pub(super) fn overdue(&self, generation: u32, now: Timestamp) -> u64 {
        self.tables.iter().map(|table| u64::from(lock(&table.0).overdue(generation, now))).sum()
    }
}

pub(super) struct Cold {
    pub(super) machine: Machine,
    pub(super) opened: u64,
    /// The generation in which it was told that a circuit which only counts would have opened.
    exceeded: Option<u32>,
    /// Transitions not yet reported, and whether somebody is at it: they are reported one at a time and in order, by
    /// whoever comes first, outside the lock. With them, what the user's rule of waits is to be asked.
    unreported: VecDeque<(Transition, Option<Question>)>,
    reporting: bool,
}

impl Cold {
    /// Whether there is something to report that nobody is at: who is goes on until nothing is left.
    pub(super) fn has_to_report(&self) -> bool {
        !self.unreported.is_empty() && !self.reporting
    }
}

impl Shared {
    pub(super) fn new(config: &Config) -> Self {
        let machine = Machine::new(config.rules.clone(), config.rng.fork());
        let exact = config
            .exact
            .map(|options| Box::new(Mutex::new(ExactBreaker::new(options, since_origin(config.timer.now())))));
        let word = if exact.is_some() { Word::elsewhere() } else { machine.word() };
        let window = match config.trip {
            Trip::Rate { .. } if exact.is_none() => Some(Window::new(config.window, config.shards)),
            _ => None,
        };
        let slow =
            config.slow.filter(|_| exact.is_none()).map(|(threshold, ..)| Box::new(Slow::new(threshold, config)));
        Self {
            word: AtomicU64::new(word.0),
            until: AtomicU64::new(Timestamp::NEVER.as_nanos()),
            routine: match &window {
                _ if slow.is_some() || exact.is_some() || !config.listeners.is_empty() => Routine::Whole,
                None => Routine::Nothing,
                Some(Window::Time(_)) => Routine::Record,
                Some(Window::Count(_)) => Routine::Whole,
            },
            window,
            limits: Limits::new(config),
            slow,
            exact,
            abandoned: config.abandoned,
            evaluate: config.evaluate,
            late: config.late,
            ignored: config.ignored,
            dry_run: AtomicBool::new(config.dry_run),
            fixed: config.fixed(),
            is_own: config.is_kept && config.listeners.is_empty() && config.timer.is_own() && !config.asks_user,
            name: config.name.clone(),
            timer: config.timer.clone(),
            listeners: config.listeners.clone(),
            cold: Mutex::new(Cold {
                machine,
                opened: 0,
                exceeded: None,
                unreported: VecDeque::new(),
                reporting: false,
            }),
            rejected: AtomicU64::new(0),
            would_reject: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// Evidence of `generation` is enough: opens the circuit, or tells so if it only counts.
    pub(super) fn open(&self, generation: u32, cause: Cause, hint: Option<Duration>, now: Timestamp) {
        let mut only_counts = false;
        self.change(hint, |machine| {
            only_counts = machine.state() == State::MetricsOnly && machine.generation() == generation;
            ((), [machine.trip(generation, cause, hint, now), None])
        });
        if only_counts {
            let first = lock(&self.cold).exceeded.replace(generation) != Some(generation);
            if first {
                self.listeners.emit(&self.name, || now, || Event::WouldOpen { cause });
            }
        }
    }

    /// Applies one step of the machine, publishes its word, and reports what happened. The lock is taken once, and again
    /// for each transition there is to report.
    pub(super) fn change<R>(&self, hint: Option<Duration>, step: impl FnOnce(&mut Machine) -> (R, Transitions)) -> R {
        let mut cold = lock(&self.cold);
        let (result, transitions) = step(&mut cold.machine);
        let before = Word(self.word.load(Ordering::Relaxed));
        let after = cold.machine.word();
        let same = after.counts() && before.counts_in(after.generation());
        if before != after && !same {
            self.until.store(cold.machine.until().as_nanos(), Ordering::Relaxed);
            // Release pairs with the Acquire loads of the word: who sees the new state sees its `until`. Counts that
            // were added to an older word meanwhile belong to the generation that ends here. A swap and not a store,
            // so that every change of the word is a read-modify-write and none can slip in behind it.
            self.word.swap(after.0, Ordering::AcqRel);
        }
        for transition in transitions.into_iter().flatten() {
            let question = cold.machine.question(&transition, hint);
            self.note(&mut cold, transition, question);
        }
        let reports = cold.has_to_report();
        drop(cold);
        if reports {
            self.report();
        }
        result
    }

    /// Counts a transition, and keeps it to be reported.
    pub(super) fn note(&self, cold: &mut Cold, transition: Transition, question: Option<Question>) {
        cold.opened += u64::from(transition.to == State::Open);
        if !self.listeners.is_empty() || question.is_some() {
            cold.unreported.push_back((transition, question));
        }
    }

    /// Reports what there is to report, unless somebody else is at it.
    pub(super) fn report(&self) {
        let mut cold = lock(&self.cold);
        if !cold.has_to_report() {
            return;
        }
        cold.reporting = true;
        while let Some((mut transition, question)) = cold.unreported.pop_front() {
            drop(cold);
            if let Some((waits, opening, unit)) = question {
                let wait = waits.generated(&opening, unit);
                transition.until = Some(transition.at + wait);
                self.amend(&transition, wait);
            }
            self.listeners.emit(&self.name, || transition.at, || Event::Changed(transition));
            cold = lock(&self.cold);
        }
        cold.reporting = false;
    }

    /// Takes over how long the user's rule wants an opened circuit to wait.
    fn amend(&self, transition: &Transition, wait: Duration) {
        let mut cold = lock(&self.cold);
        cold.machine.amend(transition.generation, transition.at, wait);
        if cold.machine.generation() == transition.generation {
            // Relaxed: whoever reads the old one waits for as long as is allowed at most, and asks again.
            self.until.store(cold.machine.until().as_nanos(), Ordering::Relaxed);
        }
    }
}

/// Time as the exact breaker has it.
pub(super) fn since_origin(now: Timestamp) -> Duration {
    Duration::from_nanos(now.as_nanos())
}
