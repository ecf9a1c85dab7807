//! Interleaved rounds: every candidate once, then every candidate again, so that a slow minute is slow for all.

use std::time::{Duration, Instant};

use super::{Case, Kind, RunDelay, Runtimes, Spec};

/// A sample counts if our threads waited less than this share of it for a processor.
const CALM: f64 = 0.01;

const ANSWERS_WRONGLY: &str = "answers wrongly";

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Samples per case.
    pub rounds: usize,
    /// Wall time of one sample.
    pub sample: Duration,
    /// How often a disturbed sample is repeated before the round goes on without it.
    pub tries: usize,
}

/// What was measured of one case.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The table it belongs to.
    pub group: &'static str,
    /// Its row.
    pub name: String,
    /// Whose it is.
    pub kind: Kind,
    /// Nanoseconds a call with one thread, sorted.
    pub one: Vec<f64>,
    /// Nanoseconds a call and thread with two threads, sorted; equal to `one` if the case scales perfectly.
    pub two: Vec<f64>,
    /// Allocations a call.
    pub allocations: f64,
    /// Bytes allocated a call.
    pub bytes: f64,
    /// Bytes of the call's future.
    pub future_bytes: Option<usize>,
    /// Instructions a call, from callgrind.
    pub instructions: Option<f64>,
    /// Calls of the pattern in one call of the case.
    pub each: u64,
    /// Why its times mean nothing: it answered otherwise than it must, or allocated.
    pub wrong: Option<&'static str>,
}

/// Samples kept and samples taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noise {
    kept: usize,
    taken: usize,
    rounds: usize,
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.kept as f64 / self.taken.max(1) as f64;
        write!(
            f,
            "{} rounds, {} samples kept of {} taken ({share:.0} %); a sample is kept if our threads waited less than 1 % of \
             it for a processor (`/proc/self/task/*/schedstat`), and repeated otherwise",
            self.rounds, self.kept, self.taken
        )
    }
}

struct Entry {
    case: Case,
    calls_one: u64,
    calls_two: u64,
    figures: Figures,
}

/// Builds all cases and measures them in interleaved rounds.
pub fn measure(specs: Vec<Spec>, runtimes: &Runtimes, plan: Plan) -> (Vec<Figures>, Noise) {
    let mut noise = Noise { rounds: plan.rounds, ..Noise::default() };
    let mut entries: Vec<_> = specs.into_iter().map(|spec| prepare(spec, runtimes, plan)).collect();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for index in 0..entries.len() {
            // Another neighbour every round: the cache a case finds is not always the same rival's.
            let index = (index * stride(entries.len()) + round) % entries.len();
            let Entry { case, calls_one, calls_two, figures } = &mut entries[index];
            if let Some(wall) = calm(plan, 1.0, &mut noise, || Some(case.one(*calls_one))) {
                figures.one.push(wall.as_nanos() as f64 / (*calls_one * figures.each) as f64);
            }
            if let Some(wall) = calm(plan, 2.0, &mut noise, || case.two(*calls_two)) {
                figures.two.push(2.0 * wall.as_nanos() as f64 / (*calls_two * figures.each) as f64);
            }
        }
    }
    let figures = entries.into_iter().map(|Entry { mut case, mut figures, calls_one, .. }| {
        if !case.answers_as_it_must(calls_one.min(100)) {
            figures.wrong = Some(ANSWERS_WRONGLY);
        }
        figures.one.sort_by(f64::total_cmp);
        figures.two.sort_by(f64::total_cmp);
        figures
    });
    (figures.collect(), noise)
}

fn prepare(spec: Spec, runtimes: &Runtimes, plan: Plan) -> Entry {
    let Spec { group, name, kind, each, allocates, make } = spec;
    let mut case = make(runtimes);
    let calls_one = calibrate(plan.sample, 1, |calls| case.one(calls));
    let answers = case.answers_as_it_must(calls_one.min(1_000));
    let calls_two = match case.two(16) {
        Some(_) => calibrate(plan.sample, 16, |calls| case.two(calls).unwrap_or_default()),
        None => 0,
    };
    let (allocations, bytes) = case.allocations(calls_one);
    let (allocations, bytes) = (allocations / each as f64, bytes / each as f64);
    let wrong = match (answers, allocates || allocations == 0.0) {
        (false, _) => Some(ANSWERS_WRONGLY),
        (true, false) => Some("allocates"),
        (true, true) => None,
    };
    if let Some(why) = wrong {
        eprintln!("{group} / {name}: {why}");
    }
    let future_bytes = case.future_bytes;
    let figures = Figures {
        group,
        name,
        kind,
        one: Vec::new(),
        two: Vec::new(),
        allocations,
        bytes,
        future_bytes,
        instructions: None,
        each,
        wrong,
    };
    Entry { case, calls_one, calls_two, figures }
}

/// How many calls (a multiple of `unit`) last about as long as a sample should.
///
/// The fastest of several runs decides: the first call of a balancer that must meet ten thousand endpoints, or a moment
/// without a processor, would otherwise shrink every later sample to a few cold calls.
fn calibrate(sample: Duration, unit: u64, mut run: impl FnMut(u64) -> Duration) -> u64 {
    let mut calls = unit;
    loop {
        let wall = (0..4).map(|_| run(calls)).min().unwrap_or_default();
        if wall >= sample / 4 || calls > 1 << 32 {
            let scaled = calls as f64 * sample.as_secs_f64() / wall.as_secs_f64().max(1e-9);
            return ((scaled as u64) / unit).max(1) * unit;
        }
        calls *= 4;
    }
}

/// Runs until a sample was not disturbed, at most `plan.tries` times.
fn calm(plan: Plan, threads: f64, noise: &mut Noise, mut run: impl FnMut() -> Option<Duration>) -> Option<Duration> {
    for _ in 0..plan.tries {
        let before = RunDelay::now();
        let start = Instant::now();
        let wall = run()?;
        let share = RunDelay::now().since(before).as_secs_f64() / (threads * start.elapsed().as_secs_f64());
        noise.taken += 1;
        if share < CALM {
            noise.kept += 1;
            return Some(wall);
        }
    }
    None
}

/// A step that visits every index of `length` once.
fn stride(length: usize) -> usize {
    let coprime = |step: &usize| {
        let (mut a, mut b) = (*step, length);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (length / 2 + 1..length).find(coprime).unwrap_or(1)
}
