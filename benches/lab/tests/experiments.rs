//! Whole experiments, short ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::measure::{Figures, Runs, Verdict, judge};
use lab::scenario::{Scenario, Time, Variant, read};
use lab::sim::{End, run};

fn scenario(text: &str) -> Scenario {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    read(&path).unwrap()
}

fn runs(scenario: &Scenario) -> Runs {
    scenario.variant.iter().map(|variant| Some(run(scenario, variant).unwrap())).collect()
}

fn shipped() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    files.sort();
    files
}

/// Scenario a with everything shorter: 5 s of outage in 20 s.
const OUTAGE: &str = r#"
name = "short-outage"
title = "A short outage"
about = "As a-outage, shorter."
seed = 7
duration = "20s"

[[station]]
name = "stock"
workers = 20
queue = 256
service = { exponential = "50ms" }
fault = [{ from = "5s", to = "10s", kind = "hang" }]

[[load]]
name = "orders"
station = "stock"
rate = 320.0
patience = "3s"

[[variant]]
name = "budget"
layers = [
    { timeout = { limit = "3s" } },
    { retry = { attempts = 3, backoff = { base = "100ms", cap = "2s" }, budget = { own = { ratio = 0.1, reserve = 10 } } } },
    { timeout = { limit = "500ms" } },
]

[[variant]]
name = "no budget"
layers = [
    { timeout = { limit = "3s" } },
    { retry = { attempts = 3, backoff = { base = "100ms", cap = "2s" }, budget = "unlimited" } },
    { timeout = { limit = "500ms" } },
]

[[variant]]
name = "tower"
layers = [{ tower_retry = { attempts = 3, base = "100ms", cap = "2s" } }, { tower_timeout = { limit = "500ms" } }]

[[variant]]
name = "tower-resilience"
layers = [
    { tower_resilience_retry = { attempts = 3, base = "100ms", cap = "2s" } },
    { tower_resilience_timeout = { limit = "500ms" } },
]

[[variant]]
name = "failsafe"
layers = [
    { failsafe = { success_rate = { success_rate = 0.5, minimum_calls = 20, window = "2s", open_for = "1s" } } },
    { timeout = { limit = "500ms" } },
]

[[goal]]
say = "back in time"
variant = "budget"
measure = { recovery = { since = "10s", level = 0.95 } }
at_most = 5

[[goal]]
say = "stays down"
variant = "no budget"
measure = { goodput = { from = "15s" } }
at_most = 0.05
"#;

/// A result that cannot be had again is an anecdote. Clocks of the process, seeds of hash maps, the order of tasks: each
/// of them has a way into a simulation, and any of them shows here.
#[test]
fn an_experiment_comes_out_the_same_to_the_last_bit() {
    let scenario = scenario(OUTAGE);
    let (first, second) = (runs(&scenario), runs(&scenario));
    for ((variant, first), second) in scenario.variant.iter().zip(&first).zip(&second) {
        assert!(first == second, "{} differs between two runs", variant.name);
    }
    let seeds = [first];
    for goal in &scenario.goal {
        let verdict = judge(&scenario, &seeds, goal);
        assert!(verdict.is_met(), "{}: {verdict:?}", goal.say);
    }
}

#[test]
fn another_seed_is_another_experiment() {
    let mut scenario = scenario(OUTAGE);
    scenario.variant.truncate(1);
    let first = runs(&scenario);
    scenario.seed += 1;
    assert!(first != runs(&scenario));
}

/// The servers are what queueing theory says: a single worker at 80 % load has calls in the system for 1 / (mu - lambda)
/// on average. A worker that began its next job a tick late would show here first.
#[test]
fn a_lone_worker_keeps_callers_as_long_as_the_formula_says() {
    let scenario = scenario(
        r#"
        name = "theory"
        title = "M/M/1"
        about = "One worker, no end to the line."
        seed = 3
        duration = "20000s"
        goal = []

        [[station]]
        name = "server"
        workers = 1
        service = { exponential = "50ms" }

        [[load]]
        name = "callers"
        station = "server"
        rate = 16.0
        patience = "600s"

        [[variant]]
        name = "bare"
        "#,
    );
    let run = run(&scenario, &scenario.variant[0]).unwrap();
    assert!(run.outcomes.iter().all(|outcome| outcome.end == End::Answered));
    let total: Duration = run.outcomes.iter().map(|outcome| outcome.took).sum();
    let mean = total.as_secs_f64() / run.outcomes.len() as f64;
    // 250 ms, and half a millisecond until the tick.
    assert!((mean - 0.2505).abs() < 0.0075, "{mean}");
    let figures = Figures::new(&scenario, &run, None);
    let p99 = figures.latency(0.99, figures.whole()).unwrap().as_secs_f64();
    assert!((p99 - 0.25 * 100_f64.ln()).abs() < 0.05, "{p99}"); // the time in the system is exponential, too
}

#[test]
fn the_shipped_scenarios_can_be_read() {
    let files = shipped();
    assert!(files.len() >= 3);
    for path in files {
        let scenario = read(&path).unwrap_or_else(|mistake| panic!("{mistake}"));
        let name = path.file_stem().unwrap().to_string_lossy();
        assert_eq!(scenario.name, name, "the files it writes are called after it");
        assert!(!scenario.goal.is_empty(), "{name} can fail");
    }
}

/// What a shipped scenario promises holds for what is built now: by another seed than its own, without those variants
/// that need real time.
fn meets_its_goals(file: &str) {
    let mut scenario = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(file)).unwrap();
    scenario.seed = 20;
    let judged: Vec<_> = scenario.goal.iter().flat_map(|goal| [Some(&goal.variant), goal.of.as_ref()]).collect();
    let wanted = |variant: &&Variant| variant.time == Time::Virtual && judged.contains(&Some(&variant.name));
    let run = |variant| Some(variant).filter(wanted).map(|variant| run(&scenario, variant).unwrap());
    let seeds = [scenario.variant.iter().map(run).collect()];
    for goal in &scenario.goal {
        let verdict = judge(&scenario, &seeds, goal);
        assert!(verdict.is_met() || verdict == Verdict::NotRun, "{file}: {}: {verdict:?}", goal.say);
    }
}

/// A test for each: together they take a minute of a processor, which a machine with others on it may not give one test.
macro_rules! goals_are_met {
    ($($test:ident: $file:literal,)*) => {
        const HELD: &[&str] = &[$($file),*];
        mod the_goals_are_met_of {
            $(#[test]
            fn $test() {
                super::meets_its_goals($file);
            })*
        }
    };
}

/// Too many calls, a million, for a build that is not optimised.
const TOO_LONG: [&str; 2] = ["f-hot-key.toml", "i-shift.toml"];

goals_are_met! {
    outage: "a-outage.toml",
    overload: "b-overload.toml",
    tail: "c-tail.toml",
    isolation: "d-isolation.toml",
    breaker: "e-breaker.toml",
    quota: "g-quota.toml",
    batch: "h-batch.toml",
    write_behind: "h-write-behind.toml",
}

#[test]
fn every_shipped_scenario_is_held_to_its_goals() {
    let files = shipped().into_iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let mut held: Vec<&str> = HELD.iter().copied().chain(TOO_LONG).collect();
    held.sort_unstable();
    assert_eq!(files.collect::<Vec<_>>(), held);
}
