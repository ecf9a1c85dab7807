//! The machine against whole windows, each a list of the calls in it, and a rule of the same constants beside it.

use proptest::prelude::*;

use super::super::event::Cause;
use super::super::machine::{Change, Ended, Machine, Settings};
use super::super::rule::{Active, Chosen};
use super::super::window::Shape;
use super::*;
use crate::control::Sample;
use crate::rng::Rng;
use crate::time::Timestamp;

const LEAST: u64 = 50;
const MOST: u64 = 400;

/// What the machine should hold, with the calls of the window in a list. Times in nanoseconds.
struct Model {
    rule: Active,
    rng: Rng,
    min: u32,
    max: u32,
    samples: usize,
    ruled: u32,
    /// While it measures: how many calls are still to be passed over.
    probing: Option<u32>,
    epoch: u32,
    /// Calls since it was last measured, and after how many for each of the limit it is due.
    calls: u64,
    patience: f64,
    answered: Vec<(u64, u32)>,
    lost: Option<(u64, u32)>,
    began: u64,
    length: u64,
    last: Option<Sample>,
    windows: u64,
}

impl Model {
    fn new(rule: Rule, initial: u32, (min, max): (u32, u32), samples: usize, seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let patience = 30.0 * (1.0 + rng.unit());
        Self {
            rule: Active::new(Chosen::Rule(rule), initial, min, max),
            rng,
            min,
            max,
            samples,
            ruled: initial.clamp(min, max),
            probing: None,
            epoch: 0,
            calls: 0,
            patience,
            answered: Vec::new(),
            lost: None,
            began: 0,
            length: LEAST,
            last: None,
            windows: 0,
        }
    }

    fn limit(&self) -> u32 {
        match self.probing {
            Some(_) => (self.ruled / 2).max(self.min),
            None => self.ruled,
        }
    }

    fn record(&mut self, rtt: u64, in_flight: u32, lost: bool, now: u64) -> Option<Change> {
        self.calls += 1;
        if lost {
            self.lost = Some((rtt, in_flight));
            return self.judge();
        }
        if let Some(early) = self.probing.filter(|early| *early > 0) {
            self.probing = Some(early - 1);
            return None;
        }
        if self.answered.is_empty() {
            self.began = now;
        }
        self.answered.push((rtt, in_flight));
        let is_over = match self.probing {
            Some(_) => self.answered.len() >= self.samples.max(self.ruled as usize),
            None => self.answered.len() >= self.samples && now >= self.began + self.length,
        };
        if is_over { self.judge() } else { None }
    }

    fn judge(&mut self) -> Option<Change> {
        let (from, before, was_probing) = (self.limit(), self.ruled, self.probing.is_some());
        let mean = |calls: &[(u64, u32)]| {
            let sum: u128 = calls.iter().map(|(rtt, _)| u128::from(*rtt)).sum();
            Duration::from_nanos((sum / calls.len() as u128) as u64)
        };
        let rtt = match (&self.answered[..], self.lost) {
            ([], lost) => {
                let lost = lost.map(|(rtt, _)| Duration::from_nanos(rtt));
                lost.max(self.last.map(|last| last.rtt)).max(self.rule.baseline()).unwrap_or_default()
            }
            (answered, _) => mean(answered),
        };
        let busiest = self.answered.iter().map(|(_, in_flight)| *in_flight).chain(self.lost.map(|(_, of)| of)).max();
        let sample = Sample { rtt, in_flight: busiest.unwrap_or(0), dropped: self.lost.is_some() };
        if let Some(least) = self.answered.iter().map(|(rtt, _)| *rtt).min() {
            self.length = (2 * least).clamp(LEAST, MOST);
        }
        self.answered.clear();
        (self.lost, self.probing) = (None, None);
        (self.last, self.windows) = (Some(sample), self.windows + 1);
        let is_used = 2 * u64::from(sample.in_flight) >= u64::from(before);
        let is_due = |model: &Self, times: f64| {
            model.rule.probes() && model.calls as f64 >= model.patience * times * f64::from(model.ruled)
        };
        let is_unloaded = !sample.dropped && (was_probing || (!is_used && is_due(self, 1.0)));
        if is_unloaded {
            (self.calls, self.patience) = (0, 30.0 * (1.0 + self.rng.unit()));
        }
        let says = self.rule.sample(sample, is_unloaded).clamp(self.min, self.max);
        self.ruled = if is_used || was_probing { says } else { says.min(before) };
        let goes_down = self.ruled < before;
        let mut cause = match (was_probing, sample.dropped, goes_down) {
            (true, ..) => Cause::Probed,
            (_, true, _) => Cause::Loss,
            (_, _, true) => Cause::Queue,
            _ => Cause::Room,
        };
        // Sooner where something seems to have grown longer, and while a path is new.
        let is_urgent = goes_down || self.rule.is_in_doubt();
        if is_used && !was_probing && !sample.dropped && is_due(self, if is_urgent { 1.0 } else { 5.0 }) {
            self.probing = Some(self.ruled);
            cause = Cause::Probing;
        }
        self.changed(from, cause)
    }

    fn changed(&mut self, from: u32, cause: Cause) -> Option<Change> {
        let to = self.limit();
        if to < from {
            self.epoch += 1;
            self.answered.clear();
            self.lost = None;
        }
        (to != from).then_some(Change { from, to, cause })
    }

    fn rebound(&mut self, rule: Rule, (min, max): (u32, u32)) -> Option<Change> {
        let from = self.limit();
        (self.min, self.max) = (min, max);
        self.ruled = self.ruled.clamp(min, max);
        if !self.rule.set(rule, min, max) {
            self.rule = Active::new(Chosen::Rule(rule), self.ruled, min, max);
        }
        self.probing = None;
        self.changed(from, Cause::Reconfigured)
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![1 => Just(Rule::AIMD), 4 => Just(Rule::VEGAS), 1 => Just(Rule::GRADIENT2)]
}

#[derive(Clone, Debug)]
enum Step {
    /// So many calls of a round trip, that end so far apart, with this share of the limit in flight.
    Calls {
        count: u32,
        rtt: u64,
        apart: u64,
        used: f64,
    },
    Lose {
        rtt: u64,
        used: f64,
    },
    /// A call that began before the limit last went down.
    Late,
    Rebound {
        rule: Rule,
        bounds: (u32, u32),
    },
}

fn bounds() -> impl Strategy<Value = (u32, u32)> {
    (1..4u32, 0..12u32).prop_map(|(min, span)| (min, min + span))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let used = || prop_oneof![Just(0.0), Just(0.5), Just(1.0), 0.0..1.2f64];
    let calls = (1..120u32, prop_oneof![10..600u64, Just(100)], 0..60u64, used());
    let step = prop_oneof![
        12 => calls.prop_map(|(count, rtt, apart, used)| Step::Calls { count, rtt, apart, used }),
        2 => (1..600u64, used()).prop_map(|(rtt, used)| Step::Lose { rtt, used }),
        1 => Just(Step::Late),
        1 => (rule(), bounds()).prop_map(|(rule, bounds)| Step::Rebound { rule, bounds }),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn the_machine_does_what_whole_windows_say(
        (rule, bounds, samples, seed) in (rule(), bounds(), 1..6u32, any::<u64>()), steps in steps(),
    ) {
        let nanos = Duration::from_nanos;
        let shape = Shape { least: nanos(LEAST), most: nanos(MOST), samples, figure: Figure::Mean };
        let settings = |rule, (min, max)| Settings { min, max, shape, chosen: Chosen::Rule(rule) };
        let mut machine = Machine::new(5, settings(rule, bounds), Rng::seeded(seed));
        let mut model = Model::new(rule, 5, bounds, samples as usize, seed);
        let mut now = 0;
        for step in steps {
            let mut ended = |machine: &mut Machine, rtt, used: f64, lost, now| {
                let in_flight = (f64::from(machine.limit()) * used).round() as u32;
                let ended = Ended { rtt: nanos(rtt), in_flight, epoch: machine.epoch(), lost };
                (machine.record(ended, Timestamp::from_nanos(now)), model.record(rtt, in_flight, lost, now))
            };
            match step {
                Step::Calls { count, rtt, apart, used } => {
                    for _ in 0..count {
                        now += apart;
                        let (change, expected) = ended(&mut machine, rtt, used, false, now);
                        prop_assert_eq!(change, expected);
                    }
                }
                Step::Lose { rtt, used } => {
                    let (change, expected) = ended(&mut machine, rtt, used, true, now);
                    prop_assert_eq!(change, expected);
                }
                Step::Late => {
                    let ended = Ended { rtt: nanos(1), in_flight: 9, epoch: machine.epoch().wrapping_sub(1), lost: true };
                    prop_assert_eq!(machine.record(ended, Timestamp::from_nanos(now)), None);
                }
                Step::Rebound { rule, bounds } => {
                    prop_assert_eq!(machine.reconfigure(settings(rule, bounds)).0, model.rebound(rule, bounds));
                }
            }
            let seen = (machine.limit(), machine.epoch(), machine.last(), machine.samples(), machine.baseline());
            prop_assert_eq!(seen, (model.limit(), model.epoch, model.last, model.windows, model.rule.baseline()));
        }
    }
}
