//! Figures of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use resilience_core::config::Span;

use crate::scenario::{Calm, Goal, Measure, Quantile, Recovery, Scenario, Since, Window};
use crate::sim::{End, Outcome, Run};

/// The figures of one run, of one load or of all.
#[derive(Clone, Copy, Debug)]
pub struct Figures<'a> {
    run: &'a Run,
    load: Option<usize>,
    duration: Duration,
}

/// How many callers ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// All of them.
    pub callers: usize,
    /// Got their answer.
    pub answered: usize,
    /// Were refused by the stack.
    pub refused: usize,
    /// Were told that time was up, or left by themselves.
    pub late: usize,
    /// Got the server's error.
    pub failed: usize,
}

impl<'a> Figures<'a> {
    /// Of one load, or of all together.
    pub fn new(scenario: &Scenario, run: &'a Run, load: Option<usize>) -> Self {
        Self { run, load, duration: scenario.duration.0 }
    }

    /// The figure.
    pub fn of(&self, measure: &Measure) -> f64 {
        match measure {
            Measure::Goodput(window) => self.ends(self.span(*window)).goodput(),
            Measure::Lost(window) => {
                let ends = self.ends(self.span(*window));
                (ends.callers - ends.answered) as f64
            }
            Measure::Throughput(window) => {
                let (from, to) = self.span(*window);
                self.ends((from, to)).answered as f64 / (to - from).as_secs_f64()
            }
            Measure::Latency(Quantile { q, from, to }) => self
                .latency(*q, self.span(Window { from: *from, to: *to }))
                .map_or(f64::INFINITY, |it| it.as_secs_f64()),
            Measure::Recovery(recovery) => self.recovery(*recovery),
            Measure::Sent(window) => self.sent(self.span(*window)) as f64,
            Measure::SentPerCaller(window) => {
                let span = self.span(*window);
                self.sent(span) as f64 / self.ends(span).callers.max(1) as f64
            }
            Measure::Throttled(window) => self.throttled(self.span(*window)) as f64,
            Measure::Stale(_) => self.stale() as f64,
            Measure::Calm(calm) => self.calm(*calm),
            Measure::FirstRefusal(since) => self.refusals(*since).min().map_or(f64::INFINITY, |it| it.as_secs_f64()),
            Measure::LastRefusal(since) => self.refusals(*since).max().map_or(0.0, |it| it.as_secs_f64()),
        }
    }

    /// How the callers of a window ended.
    pub fn ends(&self, (from, to): (Duration, Duration)) -> Ends {
        let mut ends = Ends::default();
        for outcome in self.outcomes().filter(|it| from <= it.arrived && it.arrived < to) {
            ends.callers += 1;
            match outcome.end {
                End::Answered => ends.answered += 1,
                End::Refused => ends.refused += 1,
                End::TimedOut | End::Left => ends.late += 1,
                End::Failed => ends.failed += 1,
            }
        }
        ends
    }

    /// From the first arrival to the last.
    pub fn whole(&self) -> (Duration, Duration) {
        (Duration::ZERO, self.duration)
    }

    /// A quantile of the latencies of the answered callers of a window, by nearest rank.
    pub fn latency(&self, q: f64, (from, to): (Duration, Duration)) -> Option<Duration> {
        let answered = self.outcomes().filter(|it| it.end == End::Answered && from <= it.arrived && it.arrived < to);
        let mut times: Vec<_> = answered.map(|outcome| outcome.took).collect();
        let rank = ((q * times.len() as f64).ceil() as usize).max(1) - 1;
        (rank < times.len()).then(|| *times.select_nth_unstable(rank).1)
    }

    /// Calls that reached the stations in a window.
    pub fn sent(&self, (from, to): (Duration, Duration)) -> usize {
        let calls = self.run.stations.iter().flat_map(|seen| &seen.calls);
        calls.filter(|(at, load)| from <= *at && *at < to && self.load.is_none_or(|it| it == *load)).count()
    }

    /// Calls that the stations refused in a window because there were too many.
    pub fn throttled(&self, (from, to): (Duration, Duration)) -> usize {
        let throttled = self.run.stations.iter().flat_map(|seen| &seen.throttled);
        throttled.filter(|(at, load)| from <= *at && *at < to && self.load.is_none_or(|it| it == *load)).count()
    }

    /// Keys whose last answered call is newer than what the stations have.
    fn stale(&self) -> usize {
        let mut told = BTreeMap::new();
        for outcome in self.outcomes().filter(|outcome| outcome.end == End::Answered) {
            let newest = told.entry((outcome.load, outcome.key)).or_insert(outcome.id);
            *newest = (*newest).max(outcome.id);
        }
        let held = |of| self.run.stations.iter().filter_map(|seen| seen.held.get(of)).max().copied();
        told.iter().filter(|(of, id)| held(of).is_none_or(|held| held < **id)).count()
    }

    /// Goodput of each second.
    pub fn goodput_by_second(&self) -> Vec<Option<f64>> {
        let seconds = self.duration.as_secs_f64().ceil() as usize;
        let mut counts = vec![(0_u32, 0_u32); seconds];
        for outcome in self.outcomes() {
            if let Some((callers, answered)) = counts.get_mut(outcome.arrived.as_secs() as usize) {
                *callers += 1;
                *answered += u32::from(outcome.end == End::Answered);
            }
        }
        counts
            .into_iter()
            .map(|(callers, answered)| (callers > 0).then(|| f64::from(answered) / f64::from(callers)))
            .collect()
    }

    fn recovery(&self, Recovery { since, to, level }: Recovery) -> f64 {
        let seconds = self.goodput_by_second();
        self.over(since.0, to, seconds.into_iter().map(|goodput| goodput.is_some_and(|it| it < level)))
    }

    fn calm(&self, Calm { since, to, q, most }: Calm) -> f64 {
        let second = Duration::from_secs;
        let seconds = 0..self.duration.as_secs_f64().ceil() as u64;
        // Where nobody is answered, it is not calm.
        let is_long = |at| self.latency(q, (second(at), second(at + 1))).is_none_or(|latency| latency > most.0);
        self.over(since.0, to, seconds.map(is_long))
    }

    /// The end of the last second that is bad, counted from a moment.
    fn over(&self, since: Duration, to: Option<Span>, is_bad: impl Iterator<Item = bool>) -> f64 {
        let until = to.map_or(self.duration, |to| to.0).as_secs_f64();
        let bad = |(second, is_bad): (usize, bool)| {
            let end = second as f64 + 1.0;
            (is_bad && end > since.as_secs_f64() && end <= until).then_some(end)
        };
        match is_bad.enumerate().filter_map(bad).last() {
            None => 0.0,
            Some(end) if end + 1.0 > until => f64::INFINITY,
            Some(end) => end - since.as_secs_f64(),
        }
    }

    fn refusals(&self, Since { since: Span(since), to }: Since) -> impl Iterator<Item = Duration> {
        let until = to.map_or(Duration::MAX, |to| to.0);
        self.outcomes()
            .filter(|it| it.end == End::Refused)
            .map(|it| it.arrived + it.took)
            .filter(move |at| since <= *at && *at < until)
            .map(move |at| at - since)
    }

    fn outcomes(&self) -> impl Iterator<Item = &'a Outcome> {
        let load = self.load;
        self.run.outcomes.iter().filter(move |outcome| load.is_none_or(|it| it == outcome.load))
    }

    fn span(&self, window: Window) -> (Duration, Duration) {
        let to = window.to.map_or(self.duration, |to| to.0);
        (window.from.map_or(Duration::ZERO, |from| from.0).min(to), to)
    }
}

impl Ends {
    /// The share that got their answer; 1 of nobody.
    pub fn goodput(&self) -> f64 {
        if self.callers == 0 { 1.0 } else { self.answered as f64 / self.callers as f64 }
    }
}

/// What came out for a goal.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// By one seed or several.
    Judged(Vec<Judged>),
    /// The variant, or the one it is compared to, was not run.
    NotRun,
}

/// What came out for a goal by one seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The figure.
    pub figure: f64,
    /// What it may be.
    pub bound: f64,
    /// Whether it keeps to that.
    pub met: bool,
}

impl Verdict {
    /// Whether every seed says so.
    pub fn is_met(&self) -> bool {
        matches!(self, Self::Judged(all) if all.iter().all(|judged| judged.met))
    }
}

/// The runs of all variants by one seed; none for a variant that was left out.
pub type Runs = Vec<Option<Run>>;

/// Judges one goal by the runs of each seed. Of a variant by the real clock there is one run, whatever the seeds.
pub fn judge(scenario: &Scenario, seeds: &[Runs], goal: &Goal) -> Verdict {
    let judged: Vec<_> = seeds.iter().filter_map(|runs| judge_one(scenario, runs, goal)).collect();
    if judged.is_empty() { Verdict::NotRun } else { Verdict::Judged(judged) }
}

fn judge_one(scenario: &Scenario, runs: &Runs, goal: &Goal) -> Option<Judged> {
    let figure = |variant: &str| {
        let run = runs.get(scenario.variant(variant)?)?.as_ref()?;
        let load = goal.load.as_ref().and_then(|load| scenario.load(load));
        Some(Figures::new(scenario, run, load).of(&goal.measure))
    };
    let other = match &goal.of {
        None => 1.0,
        Some(of) => figure(of)?,
    };
    let figure = figure(&goal.variant)?;
    let (bound, met) = match (goal.at_least, goal.at_most) {
        (Some(least), _) => (least * other, figure >= least * other),
        (None, Some(most)) => (most * other, figure <= most * other),
        (None, None) => (f64::NAN, false),
    };
    Some(Judged { figure, bound, met })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Seen;

    /// A caller each 100 ms, answered after 10 ms, but refused from 2 s to 5 s.
    fn run() -> Run {
        let outcome = |at: u64| {
            let end = if (2_000..5_000).contains(&at) { End::Refused } else { End::Answered };
            Outcome {
                load: 0,
                id: at / 100,
                key: at % 300,
                arrived: Duration::from_millis(at),
                took: Duration::from_millis(10 + at / 1_000),
                end,
            }
        };
        // Of the keys 0, 100 and 200 the last that were answered are 99, 97 and 98; the server has 99 and 94.
        let held = BTreeMap::from([((0, 0), 99), ((0, 100), 94)]);
        let throttled = vec![(Duration::from_secs(2), 0), (Duration::from_secs(3), 1)];
        let stations = vec![Seen { held, throttled, ..Seen::default() }];
        Run { outcomes: (0..100).map(|index| outcome(index * 100)).collect(), stations }
    }

    fn figure(measure: &str) -> f64 {
        #[derive(serde::Deserialize)]
        struct Only {
            measure: Measure,
        }
        let only: Only = toml::from_str(&format!("measure = {measure}")).unwrap();
        let run = run();
        Figures { run: &run, load: None, duration: Duration::from_secs(10) }.of(&only.measure)
    }

    #[test]
    fn each_measure_of_a_hand_made_run() {
        assert_eq!(figure("{ goodput = {} }"), 0.7);
        assert_eq!(figure("{ goodput = { from = '1s', to = '3s' } }"), 0.5);
        assert_eq!(figure("{ lost = {} }"), 30.0);
        assert_eq!(figure("{ throughput = { from = '5s' } }"), 10.0);
        assert_eq!(figure("{ latency = { q = 0.5, to = '1s' } }"), 0.010);
        assert_eq!(figure("{ latency = { q = 0.99 } }"), 0.019);
        assert_eq!(figure("{ latency = { q = 0.99, from = '2s', to = '3s' } }"), f64::INFINITY);
        assert_eq!(figure("{ recovery = { since = '4s', level = 0.95 } }"), 1.0);
        assert_eq!(figure("{ recovery = { since = '5s', level = 0.95 } }"), 0.0);
        assert_eq!(figure("{ recovery = { since = '1s', to = '5s', level = 0.95 } }"), f64::INFINITY);
        assert_eq!(figure("{ first_refusal = { since = '1s' } }"), 1.012);
        assert_eq!(figure("{ last_refusal = { since = '5s' } }"), 0.0);
        assert_eq!(figure("{ last_refusal = { since = '4s', to = '6s' } }"), 0.914);
        assert_eq!(figure("{ sent = {} }"), 0.0);
        assert_eq!(figure("{ throttled = {} }"), 2.0);
        assert_eq!(figure("{ throttled = { from = '3s' } }"), 1.0);
        assert_eq!(figure("{ stale = {} }"), 2.0);
        assert_eq!(figure("{ calm = { since = '4s', q = 0.5, most = '16ms' } }"), f64::INFINITY);
        assert_eq!(figure("{ calm = { since = '4s', to = '7s', q = 0.5, most = '16ms' } }"), 1.0);
    }
}
