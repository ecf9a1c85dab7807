//! The machine against one that keeps every call in a list, under any combination of options.

use proptest::prelude::*;

use super::super::window::Sums;
use super::*;

/// A breaker in milliseconds.
struct Model {
    options: Options,
    state: State,
    generation: u32,
    until: Option<u64>,
    /// The window of this state, when it began, who was admitted when, and who ended how, by the time it counts from.
    window: Window,
    began: u64,
    admitted: Vec<u64>,
    ended: Vec<(u64, Outcome)>,
    /// Whether each call failed, of those that say so.
    row: Vec<bool>,
    refused: u64,
    taken: u32,
    openings: i32,
    attempts: u32,
}

impl Model {
    fn new(options: Options) -> Self {
        let mut model = Self {
            options,
            state: State::Closed,
            generation: 0,
            until: None,
            window: Window::Unbounded,
            began: 0,
            admitted: Vec::new(),
            ended: Vec::new(),
            row: Vec::new(),
            refused: 0,
            taken: 0,
            openings: 0,
            attempts: 0,
        };
        model.enter(State::Closed, 0);
        model.generation = 0;
        model
    }

    fn in_a_row(&self, failed: bool) -> u64 {
        self.row.iter().rev().take_while(|outcome| **outcome == failed).count() as u64
    }

    fn sums(&self, now: u64) -> Sums {
        let is_in = |moment: u64| match self.window {
            Window::Rolling { part, parts } => {
                let number = |time: u64| time.saturating_sub(self.began) / part.as_millis() as u64;
                number(moment) + u64::from(parts) > number(now)
            }
            _ => true,
        };
        let mut older = match self.window {
            Window::Count(size) => self.row_of_ended().saturating_sub(size as usize),
            _ => 0,
        };
        let requests = self.admitted.iter().filter(|at| is_in(**at)).count() as u64;
        let mut sums = Sums { requests, ..Sums::default() };
        for (moment, outcome) in &self.ended {
            if outcome.failed.is_some() && older > 0 {
                older -= 1;
            } else if is_in(*moment) {
                sums.add(*outcome);
            }
        }
        sums
    }

    fn row_of_ended(&self) -> usize {
        self.ended.iter().filter(|(_, outcome)| outcome.failed.is_some()).count()
    }

    fn look(&mut self, now: u64) -> State {
        let is_over = self.until.is_some_and(|until| match (self.state, self.options.ends) {
            (State::Open, Ends::After) | (State::Closed, _) => now > until,
            _ => now >= until,
        });
        match self.state {
            State::Open if is_over => {
                self.attempts += 1;
                self.enter(State::HalfOpen, now);
            }
            State::HalfOpen if is_over && self.options.half_open.then == Target::Open => self.open(now, None),
            State::HalfOpen | State::Closed if is_over => self.enter(State::Closed, now),
            _ => {}
        }
        self.state
    }

    /// When it began, if it was admitted; when to come back, if that is known, if it was not.
    fn acquire(&mut self, now: u64) -> Result<(u32, u64), Option<u64>> {
        let slots = match self.options.half_open.slots {
            Slots::Once(slots) | Slots::AtATime(slots) => slots,
        };
        let state = self.look(now);
        let is_admitted = match state {
            State::Open | State::ForcedOpen => false,
            State::HalfOpen => self.taken < slots,
            _ => true,
        };
        if !is_admitted {
            self.refused += 1;
            return Err(self.until.map(|until| until.saturating_sub(now)));
        }
        self.taken += u32::from(state == State::HalfOpen);
        if self.options.counts_at_start && state != State::Disabled {
            self.admitted.push(now);
        }
        Ok((self.generation, now))
    }

    fn finish(&mut self, (generation, started): (u32, u64), outcome: Outcome, now: u64) {
        self.look(now);
        let is_own = generation == self.generation;
        if is_own || self.options.late == Late::Count {
            self.take(outcome, started, now, is_own);
        }
    }

    fn take(&mut self, mut outcome: Outcome, started: u64, now: u64, holds_slot: bool) {
        outcome.slow |= self.options.slow_above.is_some_and(|above| outcome.duration > above);
        if self.options.ignored == Ignored::Success {
            outcome.failed = outcome.failed.or(Some(false));
        }
        if matches!(self.state, State::ForcedOpen | State::Disabled) {
            return;
        }
        self.ended.push((if self.options.counts_at_start { started } else { now }, outcome));
        self.row.extend(outcome.failed);
        let sums = self.sums(now);
        match self.state {
            State::Closed => {
                let is_judged = match self.options.evaluate {
                    Evaluate::Failures => outcome.failed == Some(true),
                    Evaluate::Everything => outcome.failed.is_some(),
                };
                if is_judged && self.options.trip.is_reached(&sums, self.in_a_row(true)) == Some(true) {
                    self.open(now, None);
                }
            }
            State::HalfOpen => {
                if holds_slot && (outcome.failed.is_none() || matches!(self.options.half_open.slots, Slots::AtATime(_)))
                {
                    self.taken = self.taken.saturating_sub(1);
                }
                match outcome.failed.and_then(|failed| self.verdict(failed, outcome.slow, &sums)) {
                    Some(true) => self.enter(State::Closed, now),
                    Some(false) => self.open(now, None),
                    None => {}
                }
            }
            _ => {}
        }
    }

    /// Whether it is well again, if that is decided.
    fn verdict(&self, failed: bool, slow: bool, sums: &Sums) -> Option<bool> {
        let decided = |well: bool, ill: bool| if well { Some(true) } else { ill.then_some(false) };
        match self.options.half_open.verdict {
            Verdict::First => Some(!(failed || slow && self.options.slow_fails)),
            Verdict::Rates { after } => (sums.success + sums.failed >= after).then(|| {
                let trip = match self.options.trip {
                    Trip::Rates { failures, slow, round, of_requests, .. } => {
                        Trip::Rates { failures, slow, minimum: 0, round, of_requests }
                    }
                    Trip::Failures { count, above, .. } => Trip::Failures { count, above, minimum: 0 },
                    trip => trip,
                };
                trip.is_reached(sums, self.in_a_row(true)) != Some(true)
            }),
            Verdict::Successes { count, of } => decided(sums.success >= count, sums.failed + count > of),
            Verdict::Failures { count, of } => decided(sums.success + count > of, sums.failed >= count),
            Verdict::InARow(count) => decided(!failed && self.in_a_row(false) >= count, failed),
        }
    }

    fn open(&mut self, now: u64, longest: Option<u64>) {
        let factor = self.options.open_factor as u64;
        let usual = self.options.open_for.as_millis() as u64 * factor.pow(self.openings as u32);
        self.openings += 1;
        self.enter(State::Open, now);
        self.until = Some(now + longest.unwrap_or(usual));
    }

    fn enter(&mut self, state: State, now: u64) {
        let own = self.options.window;
        let whole = match own {
            Window::Rolling { part, parts: 1 } => Some(part),
            _ => None,
        };
        (self.state, self.generation, self.refused, self.taken) = (state, self.generation + 1, 0, 0);
        let lasts = match state {
            State::Closed => whole,
            State::HalfOpen => self.options.half_open.longest,
            _ => None,
        };
        self.until = lasts.map(|lasts| now + lasts.as_millis() as u64);
        if state == State::Closed {
            (self.openings, self.attempts) = (0, 0);
        }
        if state == State::Open && self.options.late == Late::Count {
            return;
        }
        self.row.clear();
        self.ended.clear();
        self.admitted.clear();
        self.began = now;
        self.window = match (state, self.options.half_open.verdict) {
            (State::HalfOpen, Verdict::Rates { after }) => Window::Count(after as u32),
            (State::HalfOpen, Verdict::Successes { of, .. } | Verdict::Failures { of, .. }) => Window::Count(of as u32),
            (State::HalfOpen, _) => Window::Unbounded,
            _ if whole.is_some() => Window::Unbounded,
            _ => own,
        };
    }
}

fn trips() -> impl Strategy<Value = Trip> {
    let limit = || proptest::option::of((1..4u32).prop_map(|half| Limit::at_least(f64::from(half) / 4.0)));
    let rates = (limit(), limit(), 0..4u64, any::<bool>()).prop_map(|(failures, slow, minimum, of_requests)| {
        Trip::Rates { failures, slow, minimum, round: None, of_requests }
    });
    let failures = (1..4u64, any::<bool>(), 0..4u64);
    prop_oneof![
        rates,
        failures.prop_map(|(count, above, minimum)| Trip::Failures { count, above, minimum }),
        (0..3u64).prop_map(Trip::InARowAbove),
    ]
}

fn half_open() -> impl Strategy<Value = HalfOpen> {
    let of = (1..4u64).prop_flat_map(|of| (1..=of, Just(of)));
    let verdict = prop_oneof![
        Just(Verdict::First),
        (1..4u64).prop_map(|after| Verdict::Rates { after }),
        of.clone().prop_map(|(count, of)| Verdict::Successes { count, of }),
        of.prop_map(|(count, of)| Verdict::Failures { count, of }),
        (1..4u64).prop_map(Verdict::InARow),
    ];
    let slots = (1..4u32, any::<bool>())
        .prop_map(|(slots, once)| if once { Slots::Once(slots) } else { Slots::AtATime(slots) });
    (slots, verdict, any::<bool>(), any::<bool>()).prop_map(|(slots, verdict, ends, closes)| HalfOpen {
        slots,
        verdict,
        longest: ends.then(|| ms(3_000)),
        then: if closes { Target::Closed } else { Target::Open },
    })
}

fn options() -> impl Strategy<Value = Options> {
    let window = prop_oneof![
        (1..6u32).prop_map(Window::Count),
        Just(Window::Unbounded),
        (1..4u32).prop_map(|parts| Window::Rolling { part: ms(1_000), parts }),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let more = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (window, trips(), half_open(), flags, more).prop_map(|(window, trip, half_open, flags, more)| Options {
        window,
        counts_at_start: flags.0,
        trip,
        evaluate: if flags.1 { Evaluate::Failures } else { Evaluate::Everything },
        slow_above: flags.2.then(|| ms(100)),
        slow_fails: flags.3,
        open_for: ms(2_000),
        open_factor: if more.0 { 1.0 } else { 2.0 },
        ends: if more.1 { Ends::At } else { Ends::After },
        half_open,
        ignored: if more.2 { Ignored::Neutral } else { Ignored::Success },
        late: if more.3 { Late::Count } else { Late::Dropped },
    })
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Acquire,
    Finish(usize, Outcome),
    Record(Outcome),
    Release(usize),
    Force(State, Option<u64>),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![3 => Just(Outcome::SUCCESS), 4 => Just(Outcome::FAILURE), 1 => Just(Outcome::IGNORED)];
    let outcome = (kind, any::<bool>(), prop_oneof![Just(0), Just(100), Just(101)]).prop_map(|(kind, slow, took)| {
        let kind = kind.after(ms(took));
        if slow { kind.slowly() } else { kind }
    });
    let state = prop_oneof![
        2 => Just(State::Open),
        // From here most of what differs between breakers begins, and single steps come here seldom.
        12 => Just(State::HalfOpen),
        1 => Just(State::Closed),
        1 => Just(State::ForcedOpen),
        1 => Just(State::Disabled),
        1 => Just(State::MetricsOnly),
    ];
    let step = prop_oneof![
        8 => prop_oneof![0..600u64, Just(1), Just(1_000), Just(2_000), Just(3_000)].prop_map(Step::Advance),
        12 => Just(Step::Acquire),
        10 => (0..4usize, outcome.clone()).prop_map(|(which, outcome)| Step::Finish(which, outcome)),
        4 => outcome.prop_map(Step::Record),
        1 => (0..4usize).prop_map(Step::Release),
        4 => (state, proptest::option::of(0..3_000u64)).prop_map(|(state, longest)| Step::Force(state, longest)),
        4 => Just(Step::Look),
    ];
    proptest::collection::vec(step, 1..100)
}

proptest! {
    #[test]
    fn the_exact_machine_does_what_lists_of_calls_say(options in options(), steps in steps()) {
        let (mut breaker, mut model) = (ExactBreaker::new(options, ms(0)), Model::new(options));
        let (mut now, mut out) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Advance(millis) => now += millis,
                Step::Acquire => match (breaker.acquire(ms(now)), model.acquire(now)) {
                    (Ok(permit), Ok(expected)) => out.push((permit, expected)),
                    (Err(refused), Err(retry_after)) => prop_assert_eq!(refused.retry_after, retry_after.map(ms)),
                    (seen, expected) => prop_assert!(false, "{seen:?} and not {expected:?}"),
                },
                Step::Finish(which, outcome) => if which < out.len() {
                    let (permit, expected) = out.swap_remove(which);
                    breaker.finish(permit, outcome, ms(now));
                    model.finish(expected, outcome, now);
                },
                Step::Record(outcome) => {
                    breaker.record(outcome, ms(now));
                    model.look(now);
                    model.take(outcome, now, now, false);
                }
                Step::Release(which) => if which < out.len() {
                    let (permit, (generation, _)) = out.swap_remove(which);
                    breaker.release(permit);
                    model.taken -= u32::from(generation == model.generation && model.taken > 0);
                },
                Step::Force(state, longest) => {
                    breaker.force(state, ms(now), longest.map(ms));
                    match state {
                        State::Open => model.open(now, longest),
                        state => {
                            model.attempts += u32::from(state == State::HalfOpen);
                            model.enter(state, now);
                        }
                    }
                }
                Step::Look => {
                    let seen = breaker.counts(ms(now));
                    model.look(now);
                    let (sums, failures) = (model.sums(now), model.in_a_row(true));
                    prop_assert_eq!(seen.sums, sums);
                    prop_assert_eq!(seen.reached, model.options.trip.is_reached(&sums, failures));
                    prop_assert_eq!((seen.failures_in_a_row, seen.successes_in_a_row), (failures, model.in_a_row(false)));
                    prop_assert_eq!((seen.refused, seen.attempts), (model.refused, model.attempts));
                }
            }
            prop_assert_eq!(breaker.place(), (model.state, model.generation, model.until.map(ms)));
        }
    }
}
