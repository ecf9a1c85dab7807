//! The servers are what they are said to be: theory where there is some, arithmetic where there is none.

use std::time::Duration;

use lab::measure::{Ends, Figures};
use lab::scenario::{Scenario, read};
use lab::sim::{End, Run, run};

/// One server under one load, with a single variant of these layers.
fn scenario(duration: &str, station: &str, load: &str, layers: &str) -> Scenario {
    let text = format!(
        r#"
        name = "server"
        title = "A server"
        about = "One server, one load."
        seed = 11
        duration = "{duration}"
        goal = []

        [[station]]
        name = "server"
        {station}

        [[load]]
        name = "callers"
        station = "server"
        {load}

        [[variant]]
        name = "only"
        layers = [{layers}]
        "#
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    read(&path).unwrap()
}

fn seen(scenario: &Scenario) -> Run {
    run(scenario, &scenario.variant[0]).unwrap()
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Mean time in the system of those who came in a window, in seconds.
fn mean(run: &Run, (from, to): (Duration, Duration)) -> f64 {
    let within = run.outcomes.iter().filter(|it| from <= it.arrived && it.arrived < to);
    let took: Vec<_> = within.map(|it| it.took.as_secs_f64()).collect();
    took.iter().sum::<f64>() / took.len() as f64
}

fn ends(scenario: &Scenario, run: &Run, from: u64, to: u64) -> Ends {
    Figures::new(scenario, run, None).ends((s(from), s(to)))
}

/// The chance that a call finds all of `servers` busy, at an offered load of `load` of them (Erlang, 1917).
fn erlang_c(servers: u32, load: f64) -> f64 {
    // Erlang B by its recursion, and C from B.
    let blocked = (1..=servers).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked));
    let busy = load / f64::from(servers);
    blocked / (1.0 - busy * (1.0 - blocked))
}

/// Twenty workers at 90 %: a call waits for C / (c mu - lambda) on average. Workers who left a job in the line, or took one
/// too many, would show here.
#[test]
fn calls_wait_for_twenty_workers_as_long_as_erlang_said() {
    let scenario =
        scenario("86400s", "workers = 20\nservice = { exponential = \"5s\" }", "rate = 3.6\npatience = \"3600s\"", "");
    let run = seen(&scenario);
    let expected = 5.0 + erlang_c(20, 18.0) / (4.0 - 3.6);
    let mean = mean(&run, (s(0), s(86_400)));
    assert!((mean - expected).abs() < 0.04 * expected, "{mean}, by theory {expected}");
}

/// Others' work is work: one worker at 10 % has calls in the system for 111 ms, at 70 % for 333.
#[test]
fn antagonists_take_the_worker_while_they_are_there_and_no_longer() {
    let station = r#"
        workers = 1
        service = { exponential = "100ms" }
        antagonist = [{ from = "10000s", to = "20000s", rate = 6.0, service = { exponential = "100ms" } }]"#;
    let scenario = scenario("30000s", station, "rate = 1.0\npatience = \"600s\"", "");
    let run = seen(&scenario);
    for (from, to, expected) in [(0, 10_000, 0.111), (10_100, 20_000, 0.333), (20_100, 30_000, 0.111)] {
        let mean = mean(&run, (s(from), s(to)));
        assert!((mean - expected).abs() < 0.15 * expected, "from {from} s: {mean}");
    }
}

#[test]
fn an_outage_refuses_everybody_while_it_lasts_and_nobody_else() {
    let station = r#"
        workers = 50
        service = { constant = "20ms" }
        fault = [{ from = "10s", to = "20s", kind = "refuse" }]"#;
    let scenario = scenario("30s", station, "rate = 100.0\npatience = \"5s\"", "");
    let run = seen(&scenario);
    for outcome in &run.outcomes {
        let is_out = s(10) <= outcome.arrived && outcome.arrived < s(20);
        assert_eq!(outcome.end, if is_out { End::Failed } else { End::Answered }, "{outcome:?}");
    }
}

/// A server that hangs answers nobody, and all who stay once it is repaired.
#[test]
fn a_hang_keeps_its_callers_until_it_is_over() {
    let station = r#"
        workers = 1000
        service = { constant = "20ms" }
        fault = [{ from = "10s", to = "20s", kind = "hang" }]"#;
    let scenario = scenario("30s", station, "rate = 50.0\npatience = \"60s\"", "");
    let run = seen(&scenario);
    for outcome in run.outcomes.iter().filter(|it| s(10) <= it.arrived && it.arrived < s(20)) {
        assert!(outcome.end == End::Answered && outcome.arrived + outcome.took >= s(20), "{outcome:?}");
    }
}

#[test]
fn a_shift_that_changes_changes_what_is_done() {
    let station = r#"
        workers = 10
        service = { constant = "100ms" }
        fault = [{ from = "10s", to = "20s", kind = { workers = 0.5 } }, { from = "30s", to = "40s", kind = { workers = 2.0 } }]"#;
    let scenario = scenario("50s", station, "rate = 400.0\npatience = \"300s\"", "");
    let run = seen(&scenario);
    // The line never ends, so a hundred are done in each second of ten workers.
    let done = |from: u64, to: u64| {
        let ended = run.outcomes.iter().map(|it| it.arrived + it.took);
        ended.filter(|at| s(from) <= *at && *at < s(to)).count()
    };
    for (from, to, expected) in [(2, 9, 700), (11, 20, 450), (21, 29, 800), (31, 40, 1_800), (41, 49, 800)] {
        let done = done(from, to);
        assert!(done.abs_diff(expected) <= 20, "from {from} s: {done} for {expected}");
    }
}

#[test]
fn a_longer_route_takes_longer_and_no_worker() {
    let station = r#"
        workers = 10
        service = { constant = "100ms" }
        fault = [{ from = "10s", to = "20s", kind = { delay = "400ms" } }]"#;
    // Ninety calls a second of the hundred it can do: with a worker kept for 500 ms they would never be done.
    let scenario = scenario("30s", station, "rate = 90.0\npatience = \"5s\"", "");
    let run = seen(&scenario);
    assert!(run.outcomes.iter().all(|it| it.end == End::Answered));
    let (before, longer) = (mean(&run, (s(0), s(9))), mean(&run, (s(10), s(19))));
    assert!((longer - before - 0.4).abs() < 0.1, "{before}, then {longer}");
}

#[test]
fn a_quota_is_hard_in_every_second_and_changes_with_its_fault() {
    let station = r#"
        workers = 100
        service = { constant = "20ms" }
        quota = { calls = 10, per = "1s" }
        fault = [{ from = "5s", to = "8s", kind = { quota = 0.5 } }]"#;
    let scenario = scenario("10s", station, "rate = 40.0\npatience = \"1s\"", "");
    let run = seen(&scenario);
    for second in 0..10 {
        let most = if (5..8).contains(&second) { 5 } else { 10 };
        let ends = ends(&scenario, &run, second, second + 1);
        assert_eq!((ends.answered, ends.failed), (most, ends.callers - most), "second {second}");
    }
    let figures = Figures::new(&scenario, &run, None);
    assert_eq!(figures.throttled((s(0), s(10))), ends(&scenario, &run, 0, 10).failed);
}

/// A hundred calls at once, in tens: ten calls, each as long as ten items are.
#[test]
fn a_batch_is_one_call_that_takes_longer_for_each_of_its_items() {
    let station = r#"
        workers = 1000
        service = { constant = "10ms" }
        per_item = "10ms""#;
    let layers = r#"{ batch = { size = 10, delay = "1h" } }"#;
    let mut scenario = scenario("1s", station, "rate = 1000.0\npatience = \"5s\"", layers);
    scenario.load[0].surge.clear();
    let run = seen(&scenario);
    let shortest = run.outcomes.iter().filter(|it| it.end == End::Answered).map(|it| it.took).min().unwrap();
    assert!((Duration::from_millis(100)..Duration::from_millis(103)).contains(&shortest), "{shortest:?}");
    assert_eq!(run.stations[0].calls.len(), run.outcomes.iter().filter(|it| it.end == End::Answered).count() / 10);
}

/// One who limits what is sent to what the server allows must see nothing throttled, or the lab's clock and the server's
/// windows are not one.
#[test]
fn permits_spaced_evenly_keep_to_the_quota_of_every_window() {
    let station = r#"
        workers = 100
        service = { constant = "20ms" }
        quota = { calls = 100, per = "1s" }"#;
    let limit = r#"{ rate_limit = { quota = { permits = 100, per = "1s" }, burst = 1, max_wait = "2s" } }"#;
    let scenario = scenario("20s", station, "rate = 300.0\npatience = \"3s\"", limit);
    let run = seen(&scenario);
    let ends = ends(&scenario, &run, 0, 20);
    assert_eq!((run.stations[0].throttled.len(), ends.failed), (0, 0), "{ends:?}");
    assert!(ends.answered >= 1_990, "{ends:?}");
}

/// What was written behind is in the store when the experiment is over: the last write of each key.
#[test]
fn what_is_written_behind_is_written_at_last() {
    let station = "workers = 2\nservice = { exponential = \"10ms\" }";
    let load = "rate = 1000.0\npatience = \"1s\"\nkeys = 100";
    let scenario = scenario("10s", station, load, "{ write_behind = { writers = 2 } }");
    let run = seen(&scenario);
    let figures = Figures::new(&scenario, &run, None);
    let stale = |run: &Run| {
        let held = &run.stations[0].held;
        let last = |key: u64| run.outcomes.iter().filter(|it| it.key == key).map(|it| it.id).max();
        (0..100).filter(|key| last(*key) != held.get(&(0, *key)).copied()).count()
    };
    assert_eq!(ends(&scenario, &run, 0, 10).refused, 0);
    assert_eq!(stale(&run), 0);
    assert!(figures.sent((s(0), s(10))) < 2_200, "the server can do two hundred a second");
}
