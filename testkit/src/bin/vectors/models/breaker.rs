//! Circuit breakers: five projects' semantics by options, and their windows alone.

use std::collections::BTreeMap;
use std::time::Duration;

use resilience_core::circuit_breaker::exact::{
    Compare, ExactBreaker, HalfOpen, Limit, Options, Outcome, Permit, Slots, State, Stats, Sums, Target, Trip, Verdict,
    Window,
};
use serde_json::{Value, json};

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step};

fn whole(of: &Fields, key: &str, preset: u64) -> u64 {
    of.number(key).map_or(preset, |number| number as u64)
}

fn fields(of: &Fields, key: &str) -> Option<Fields> {
    of.get(key).and_then(Value::as_object).cloned().map(Fields)
}

fn share(of: &Fields, key: &str) -> Option<f64> {
    of.number(key).map(|percent| percent / 100.0)
}

fn outcome(letter: char, duration: Duration) -> Result<Outcome, String> {
    let outcome = match letter {
        'S' => Outcome::SUCCESS,
        'F' => Outcome::FAILURE,
        'I' => Outcome::IGNORED,
        's' => Outcome::SUCCESS.slowly(),
        'f' => Outcome::FAILURE.slowly(),
        other => return Err(format!("unknown outcome {other:?}")),
    };
    Ok(outcome.after(duration))
}

fn outcomes(step: &Step) -> Result<Vec<Outcome>, String> {
    let letters = step.0.text("outcomes").or(step.0.text("outcome")).ok_or("outcome is missing")?;
    let duration = step.0.millis("dur").unwrap_or_default();
    letters.chars().map(|letter| outcome(letter, duration)).collect()
}

/// A breaker and the permits it has out.
struct Breaker {
    breaker: ExactBreaker,
    permits: BTreeMap<String, Permit>,
    /// Below the least number of calls there is no rate.
    unknown_rate: bool,
    round: Option<i32>,
    isolated: bool,
}

pub(crate) fn breaker(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let profile = setup.need_text("profile")?;
    let options = match profile {
        "polly" => polly(setup),
        "r4j" => resilience4j(setup),
        "failsafe" => failsafe(setup),
        "gobreaker" => gobreaker(setup)?,
        "sentinel" => sentinel(setup)?,
        other => return Err(format!("unknown profile {other:?}")),
    };
    let mut breaker = ExactBreaker::new(options, Duration::ZERO);
    match setup.text("initial_state").or(setup.text("state")) {
        Some(name) => breaker.force(state(name)?, Duration::ZERO, None),
        None if setup.get("isolated") == Some(&Value::Bool(true)) => {
            breaker.force(State::ForcedOpen, Duration::ZERO, None);
        }
        None => {}
    }
    Ok(Box::new(Breaker {
        breaker,
        permits: BTreeMap::new(),
        unknown_rate: profile == "r4j",
        round: (profile == "failsafe").then_some(2),
        isolated: profile == "polly",
    }))
}

fn polly(setup: &Fields) -> Options {
    let mut options = Options::polly();
    let length = setup.millis("sampling_ms").unwrap_or(Duration::from_secs(30));
    // Polly has one part where ten would be shorter than its clock ticks.
    let parts = if length < Duration::from_millis(200) { 1 } else { 10 };
    options.window = Window::FirstTouch { length, parts };
    options.trip = Trip::Rates {
        failures: Some(Limit::at_least(setup.number("failure_ratio").unwrap_or(0.1))),
        slow: None,
        minimum: whole(setup, "min_throughput", 100),
        round: None,
        of_requests: false,
    };
    options.open_for = setup.millis("break_ms").unwrap_or(options.open_for);
    options
}

fn resilience4j(setup: &Fields) -> Options {
    let mut options = Options::resilience4j();
    let minimum = whole(setup, "min_calls", 100);
    let size = fields(setup, "window").map_or(100, |window| whole(&window, "size", 100));
    let seconds = fields(setup, "window").and_then(|window| window.number("seconds"));
    options.window = match seconds {
        Some(seconds) => Window::Aligned { part: Duration::from_secs(1), parts: seconds as u32 },
        None => Window::Count(size as u32),
    };
    options.trip = Trip::Rates {
        failures: Some(Limit::at_least(share(setup, "failure_rate_pct").unwrap_or(0.5))),
        slow: Some(Limit::at_least(share(setup, "slow_rate_pct").unwrap_or(1.0))),
        minimum: if seconds.is_some() { minimum } else { minimum.min(size) },
        round: None,
        of_requests: false,
    };
    options.slow_above = setup.millis("slow_ms").or(options.slow_above);
    options.open_for = setup.millis("open_wait_ms").unwrap_or(options.open_for);
    options.open_factor = setup.number("open_wait_factor").unwrap_or(1.0);
    let calls = whole(setup, "half_open_calls", 10);
    options.half_open = HalfOpen {
        slots: Slots::Once(calls as u32),
        verdict: Verdict::Rates { after: calls.min(minimum) },
        longest: setup.millis("half_open_max_wait_ms").filter(|longest| !longest.is_zero()),
        then: match setup.text("half_open_after_max_wait") {
            Some("closed") => Target::Closed,
            _ => Target::Open,
        },
    };
    options
}

fn failsafe(setup: &Fields) -> Options {
    let mut options = Options::failsafe();
    let failure = fields(setup, "failure").unwrap_or_else(|| Fields(serde_json::Map::new()));
    let rate = failure.number("rate").or(share(&failure, "rate_pct"));
    let executions = whole(&failure, "executions", whole(&failure, "min_executions", 0));
    let count = whole(&failure, "count", 1);
    let capacity = whole(&failure, "capacity", count.max(1));
    options.window = match failure.millis("period_ms") {
        Some(period) => Window::Aligned { part: period / 10, parts: 10 },
        None => Window::Count(capacity as u32),
    };
    options.trip = match rate {
        Some(rate) => Trip::Rates {
            failures: Some(Limit::at_least(rate)),
            slow: None,
            minimum: executions,
            round: Some(2),
            of_requests: false,
        },
        None => Trip::Failures { count, above: false, minimum: executions },
    };
    let success = fields(setup, "success");
    let (slots, verdict) = match (&success, rate) {
        (Some(success), _) => {
            let count = whole(success, "count", 1);
            let of = whole(success, "capacity", count);
            (of, Verdict::Successes { count, of })
        }
        (None, Some(_)) => (executions, Verdict::Rates { after: executions }),
        (None, None) => {
            let slots = if executions > 0 { executions } else { capacity };
            (slots, Verdict::Failures { count, of: capacity })
        }
    };
    options.half_open = HalfOpen { slots: Slots::AtATime(slots as u32), verdict, longest: None, then: Target::Open };
    options.open_for = setup.millis("delay_ms").unwrap_or(options.open_for);
    options
}

fn gobreaker(setup: &Fields) -> Result<Options, String> {
    let mut options = Options::gobreaker();
    let interval = setup.millis("interval_ms").unwrap_or_default();
    let bucket = setup.millis("bucket_ms").unwrap_or_default();
    options.window = match (interval.is_zero(), bucket.is_zero()) {
        (true, _) => Window::Unbounded,
        (false, true) => Window::Rolling { part: interval, parts: 1 },
        (false, false) => {
            let parts = interval.as_nanos().div_ceil(bucket.as_nanos());
            Window::Rolling { part: bucket, parts: u32::try_from(parts).unwrap_or(u32::MAX) }
        }
    };
    if let Some(trip) = fields(setup, "trip") {
        options.trip = match trip.need_text("kind")? {
            "consecutive_gt" => Trip::InARowAbove(whole(&trip, "n", 5)),
            "consecutive_gte" => Trip::InARowAbove(whole(&trip, "n", 6).saturating_sub(1)),
            kind @ ("ratio_gte" | "ratio_gt") => Trip::Rates {
                failures: Some(Limit {
                    share: trip.need_number("ratio")?,
                    compare: if kind == "ratio_gt" { Compare::Above } else { Compare::AtLeast },
                }),
                slow: None,
                minimum: whole(&trip, "min", 0),
                round: None,
                of_requests: true,
            },
            kind @ ("failures_gte" | "failures_gt") => {
                Trip::Failures { count: whole(&trip, "n", 1), above: kind == "failures_gt", minimum: 0 }
            }
            other => return Err(format!("unknown trip {other:?}")),
        };
    }
    // Zero means one, as in gobreaker.
    let probes = whole(setup, "max_requests", 1).max(1);
    options.half_open.slots = Slots::Once(probes as u32);
    options.half_open.verdict = Verdict::InARow(probes);
    options.open_for = setup.millis("timeout_ms").filter(|timeout| !timeout.is_zero()).unwrap_or(options.open_for);
    Ok(options)
}

fn sentinel(setup: &Fields) -> Result<Options, String> {
    let mut options = Options::sentinel();
    let threshold = setup.need_number("threshold")?;
    let minimum = whole(setup, "min_requests", 5);
    let rates = |failures: Option<Limit>, slow: Option<Limit>| Trip::Rates {
        failures,
        slow,
        minimum,
        round: None,
        of_requests: false,
    };
    options.trip = match setup.need_text("grade")? {
        "slow_ratio" => {
            options.slow_fails = true;
            rates(None, Some(Limit { share: threshold, compare: Compare::AboveOrAll }))
        }
        "exception_ratio" => rates(Some(Limit { share: threshold, compare: Compare::Above }), None),
        "exception_count" => Trip::Failures { count: threshold as u64, above: true, minimum },
        other => return Err(format!("unknown grade {other:?}")),
    };
    options.slow_above = setup.millis("slow_ms");
    options.window = Window::Aligned { part: setup.millis("stat_ms").unwrap_or(Duration::from_secs(1)), parts: 1 };
    options.open_for = setup.millis("retry_ms").unwrap_or(options.open_for);
    Ok(options)
}

fn state(name: &str) -> Result<State, String> {
    Ok(match name {
        "closed" => State::Closed,
        "open" => State::Open,
        "half_open" => State::HalfOpen,
        "forced_open" | "isolated" => State::ForcedOpen,
        "disabled" => State::Disabled,
        "metrics_only" => State::MetricsOnly,
        other => return Err(format!("unknown state {other:?}")),
    })
}

impl Breaker {
    fn name(&self, state: State) -> &'static str {
        match state {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
            State::ForcedOpen if self.isolated => "isolated",
            State::ForcedOpen => "forced_open",
            State::Disabled => "disabled",
            State::MetricsOnly => "metrics_only",
            _ => "?",
        }
    }

    fn acquire(&mut self, now: Duration, shown: &mut Observed) -> Option<Permit> {
        let answer = self.breaker.acquire(now);
        shown.insert("permit".into(), json!(answer.is_ok()));
        match answer {
            Ok(permit) => Some(permit),
            Err(refused) => {
                let wait = refused.retry_after.map(|wait| wait.as_secs_f64() * 1_000.0);
                shown.insert("retry_after_ms".into(), json!(wait));
                None
            }
        }
    }

    fn take(&mut self, step: &Step) -> Result<Permit, String> {
        let id = match step.0.text("id") {
            Some(id) => id.to_owned(),
            None => self.permits.keys().next_back().cloned().ok_or("no permit is out")?,
        };
        self.permits.remove(&id).ok_or_else(|| format!("no permit {id:?} is out"))
    }
}

impl Model for Breaker {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let now = step.0.millis("at").unwrap_or_default();
        let mut shown = Observed::new();
        match step.op() {
            "call" => {
                let outcome = outcomes(step)?.first().copied().ok_or("outcome is empty")?;
                if let Some(permit) = self.acquire(now, &mut shown) {
                    self.breaker.finish(permit, outcome, now);
                }
            }
            "acquire" => {
                if let Some(permit) = self.acquire(now, &mut shown) {
                    let unnamed = || format!("~{:06}", self.permits.len());
                    let id = step.0.text("id").map_or_else(unnamed, String::from);
                    self.permits.insert(id, permit);
                }
            }
            "finish" => {
                let permit = self.take(step)?;
                let outcome = outcomes(step)?.first().copied().ok_or("outcome is empty")?;
                self.breaker.finish(permit, outcome, now);
            }
            "release" => {
                let permit = self.take(step)?;
                self.breaker.release(permit);
            }
            "record" => outcomes(step)?.into_iter().for_each(|outcome| self.breaker.record(outcome, now)),
            "to" => {
                let to = state(step.0.need_text("state")?)?;
                let is_strict = step.0.get("strict") == Some(&Value::Bool(true));
                if is_strict && to == State::HalfOpen && self.breaker.state(now) == State::Closed {
                    shown.insert("error".into(), json!("illegal_transition"));
                } else {
                    self.breaker.force(to, now, step.0.millis("for_ms"));
                }
            }
            "tick" | "read" => {}
            _ => return Err(unknown(step)),
        }
        let state = self.breaker.state(now);
        let counts = self.breaker.counts(now);
        show(&mut shown, &counts.sums, counts.reached.is_none() && self.unknown_rate, self.round);
        shown.insert("state".into(), json!(self.name(state)));
        shown.insert("not_permitted".into(), json!(counts.refused));
        shown.insert("requests".into(), json!(counts.sums.requests));
        shown.insert("excluded".into(), json!(counts.sums.excluded));
        shown.insert("consec_fail".into(), json!(counts.failures_in_a_row));
        shown.insert("consec_succ".into(), json!(counts.successes_in_a_row));
        Ok(shown)
    }
}

fn show(shown: &mut Observed, sums: &Sums, is_unknown: bool, round: Option<i32>) {
    let total = sums.total();
    let millis = sums.duration.as_secs_f64() * 1_000.0;
    let rate = |part: u64| {
        let rate = if total == 0 { 0.0 } else { part as f64 / total as f64 };
        let scale = round.map(|decimals| 10_f64.powi(decimals));
        scale.map_or(rate, |scale| (rate * scale).round() / scale)
    };
    let percent = |part: u64| if is_unknown { -1.0 } else { rate(part) * 100.0 };
    shown.extend(observed([
        ("total", json!(total)),
        ("success", json!(sums.success)),
        ("failed", json!(sums.failed)),
        ("slow", json!(sums.slow())),
        ("slow_success", json!(sums.slow_success)),
        ("slow_failed", json!(sums.slow_failed)),
        ("duration_ms", json!(millis)),
        ("avg_ms", json!(if total == 0 { 0.0 } else { millis / total as f64 })),
        ("failure_rate", json!(rate(sums.failed))),
        ("success_rate", json!(rate(sums.success))),
        ("slow_rate", json!(rate(sums.slow()))),
        ("failure_rate_pct", json!(percent(sums.failed))),
        ("success_rate_pct", json!(percent(sums.success))),
        ("slow_rate_pct", json!(percent(sums.slow()))),
    ]));
}

/// A window alone.
struct Alone {
    stats: Stats,
    trip: Option<Trip>,
    round: Option<i32>,
}

pub(crate) fn count_window(setup: &Fields) -> Result<Box<dyn Model>, String> {
    setup.need_number("size")?;
    let size = setup.count("size", 1)?;
    alone(setup, Window::Count(size as u32), size)
}

pub(crate) fn time_window(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let parts = |key: &str| setup.number(key).map_or(10, |parts| parts as u32);
    let window = match setup.text("bucketing") {
        Some("first_touch") => {
            let length = setup.need_millis("sampling_ms")?;
            Window::FirstTouch { length, parts: parts("windows") }
        }
        Some("aligned") | None => {
            let part = setup.need_millis("bucket_ms")?;
            Window::Aligned { part, parts: parts("buckets") }
        }
        Some(other) => return Err(format!("unknown bucketing {other:?}")),
    };
    alone(setup, window, u64::MAX)
}

fn alone(setup: &Fields, window: Window, most: u64) -> Result<Box<dyn Model>, String> {
    let trip = setup.number("min_calls").map(|minimum| Trip::Rates {
        failures: Some(Limit::at_least(share(setup, "failure_rate_pct").unwrap_or(0.5))),
        slow: share(setup, "slow_rate_pct").map(Limit::at_least),
        minimum: (minimum as u64).min(most),
        round: None,
        of_requests: false,
    });
    let round = setup.number("round").map(|decimals| decimals as i32);
    Ok(Box::new(Alone { stats: Stats::new(window, Duration::ZERO), trip, round }))
}

impl Model for Alone {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let now = step.0.millis("at").unwrap_or_default();
        match step.op() {
            "record" => outcomes(step)?.into_iter().for_each(|outcome| self.stats.record(outcome, now, now)),
            "read" | "tick" => {}
            _ => return Err(unknown(step)),
        }
        let sums = self.stats.sums(now);
        let reached = self.trip.map(|trip| trip.is_reached(&sums, 0));
        let mut shown = Observed::new();
        show(&mut shown, &sums, reached == Some(None), self.round);
        let verdict = match reached.flatten() {
            None => "below_min_calls",
            Some(true) => "exceeded",
            Some(false) => "below_thresholds",
        };
        shown.insert("verdict".into(), json!(verdict));
        Ok(shown)
    }
}

/// Whether figures that are given trip.
struct Predicate;

pub(crate) fn predicate(_: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Predicate))
}

impl Model for Predicate {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "eval" {
            return Err(unknown(step));
        }
        let total = whole(&step.0, "total", 0);
        let failed = (step.0.need_number("failure_rate")? * total as f64).round() as u64;
        // The rate is given rounded: compared with what it is a rate of, as far as whole calls can say it.
        let rate = step.0.need_number("failure_rate")?;
        let exact = failed as f64 / (total.max(1)) as f64;
        let threshold = step.0.need_number("ratio")? + (exact - rate);
        let trip = Trip::Rates {
            failures: Some(Limit::at_least(threshold)),
            slow: None,
            minimum: whole(&step.0, "min_throughput", 0),
            round: None,
            of_requests: false,
        };
        let sums = Sums { failed, success: total - failed.min(total), ..Sums::default() };
        Ok(observed([("trip", json!(trip.is_reached(&sums, 0) == Some(true)))]))
    }
}

/// What the generator of open durations is told.
struct Attempts(ExactBreaker);

pub(crate) fn attempts(_: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Attempts(ExactBreaker::new(Options::polly(), Duration::ZERO))))
}

impl Model for Attempts {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "sequence" {
            return Err(unknown(step));
        }
        let mut seen = Vec::new();
        for event in step.0.need_text("events")?.chars().filter(|event| !event.is_whitespace()) {
            match event {
                'O' => {
                    seen.push(self.0.counts(Duration::ZERO).attempts);
                    self.0.force(State::Open, Duration::ZERO, Some(Duration::MAX));
                }
                'H' => self.0.force(State::HalfOpen, Duration::ZERO, None),
                'C' => self.0.force(State::Closed, Duration::ZERO, None),
                other => return Err(format!("unknown event {other:?}")),
            }
        }
        Ok(observed([("half_open_attempts_seen", json!(seen))]))
    }
}
