//! Retries of one client: what an attempt costs, what comes back, when it is over.

use std::sync::atomic::{AtomicUsize, Ordering};

use resilience_core::Classification;
use resilience_core::retry::budget::{Costs, Kind, Permit, RetryBudget, Rule, Throttle};
use resilience_core::retry::{Backoff, Jitter, Retry, Series};
use serde_json::json;

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step, as_millis};

/// The AWS SDKs' standard mode: a backoff, a quota, and requests one after the other.
struct Quota {
    setup: Fields,
    budget: RetryBudget,
    backoff: Backoff,
    throttled: Backoff,
    unit: f64,
    attempts_most: u32,
    /// How far above the backoff the server's wish may go.
    window: Option<f64>,
    /// Whether an operation that waits for messages sleeps once although the quota is empty.
    long_poll: bool,
    attempts: u32,
    series: Series,
    held: Option<Permit>,
}

pub(crate) fn quota(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Quota::new(setup, false)?))
}

pub(crate) fn long_poll(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Quota::new(setup, true)?))
}

impl Quota {
    fn new(setup: &Fields, long_poll: bool) -> Result<Self, String> {
        let profile = setup.need_text("profile")?;
        let known = match profile {
            "aws_v2_0" => Costs::AWS_2_0,
            "aws_v2_1" => Costs::AWS_2_1,
            other => return Err(format!("unknown profile {other:?}")),
        };
        let number = |key: &str, preset: u32| setup.number(key).map_or(preset, |number| number as u32);
        let failure = number("cost_other", known.failure);
        let costs = Costs {
            capacity: number("capacity", known.capacity),
            failure,
            throttled: number("cost_throttling", if profile == "aws_v2_0" { failure } else { known.throttled }),
            timed_out: number("cost_transient", if profile == "aws_v2_0" { known.timed_out } else { failure }),
            reward: setup.number("reward_first_try").unwrap_or(known.reward),
            gives_back: true,
        };
        let budget = RetryBudget::builder().rule(Rule::Costs(costs)).build().map_err(|error| error.to_string())?;
        let cap = setup.millis("cap_ms").unwrap_or(std::time::Duration::from_secs(20));
        let base = setup.need_millis("base_ms")?;
        let curve = |base| Backoff::exponential(base, cap).jitter(Jitter::Full);
        Ok(Self {
            setup: setup.clone(),
            budget,
            backoff: curve(base.min(cap)),
            throttled: curve(setup.millis("base_throttling_ms").unwrap_or(base).min(cap)),
            unit: setup.number("rand").unwrap_or(1.0),
            attempts_most: number("max_attempts", 3),
            window: setup.number("window_ms"),
            long_poll,
            attempts: 0,
            series: Series::default(),
            held: None,
        })
    }

    fn begin(&mut self) {
        // What a retry cost that did not succeed is gone.
        if let Some(mut permit) = self.held.take() {
            permit.spend();
        }
        self.attempts = 0;
        self.series = Series::default();
    }

    fn attempt(&mut self, outcome: &str, hint: Option<f64>) -> Result<(bool, Option<f64>), String> {
        self.attempts += 1;
        let kind = match outcome {
            "ok" | "success" => {
                match self.held.take() {
                    Some(permit) => permit.succeeded(),
                    None => self.budget.succeeded(),
                }
                self.begin();
                return Ok((false, None));
            }
            "transient" | "timeout" => Kind::TimedOut,
            "throttling" | "throttled" => Kind::Throttled,
            "other" | "error" => Kind::Failure,
            // Not to be repeated, whatever the quota.
            "fatal" | "non_retryable" => return Ok((false, None)),
            other => return Err(format!("unknown outcome {other:?}")),
        };
        if self.attempts >= self.attempts_most {
            return Ok((false, None));
        }
        let backoff = if kind == Kind::Throttled { &self.throttled } else { &self.backoff };
        let granted = self.budget.withdraw(kind);
        if granted.is_none() && !self.long_poll {
            return Ok((false, None));
        }
        let delay = as_millis(backoff.delay(&mut self.series, self.unit));
        let delay = match (hint, self.window) {
            (Some(hint), Some(window)) => hint.clamp(delay, delay + window),
            _ => delay,
        };
        let retry = granted.is_some();
        if let Some(mut permit) = granted {
            permit.spend();
            if let Some(mut earlier) = self.held.replace(permit) {
                earlier.spend();
            }
        }
        Ok((retry, Some(delay)))
    }
}

impl Model for Quota {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let mut seen = Observed::new();
        match step.op() {
            "attempt" => {
                if self.window.is_some() || self.long_poll {
                    // Each row is a first attempt of a client of its own.
                    *self = Self::new(&self.setup, self.long_poll)?;
                }
                let hint = step.text("header").and_then(|header| header.parse::<u64>().ok());
                let hint = hint.map(|millis| millis as f64);
                // A row with a header is of an answer that failed.
                let outcome = match step.text("header") {
                    Some(_) => step.text("outcome").unwrap_or("other"),
                    None => step.need_text("outcome")?,
                };
                let (retry, delay) = self.attempt(outcome, hint)?;
                seen.insert("retry".into(), json!(retry));
                if let Some(delay) = delay {
                    seen.insert("delay_ms".into(), json!(delay));
                }
            }
            "abandon" | "new_request" => self.begin(),
            "first_try_ok" => {
                for _ in 0..step.count("n", 1)? {
                    self.budget.succeeded();
                }
            }
            "read" => {}
            _ => return Err(unknown(step)),
        }
        seen.insert("quota".into(), json!(self.budget.snapshot().available));
        Ok(seen)
    }
}

/// The bare bucket of the AWS SDKs: so many out, so many in, never above the capacity.
struct Bucket {
    budget: RetryBudget,
}

pub(crate) fn bucket(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let capacity = setup.need_number("capacity")? as u32;
    let costs = Costs { capacity, failure: 1, throttled: 1, timed_out: 1, reward: 1.0, gives_back: true };
    let budget = RetryBudget::builder().rule(Rule::Costs(costs)).build().map_err(|error| error.to_string())?;
    Ok(Box::new(Bucket { budget }))
}

impl Model for Bucket {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let n = step.count("n", 1)? as usize;
        let mut ok = true;
        match step.op() {
            "acquire" => {
                let permits: Vec<Permit> = std::iter::from_fn(|| self.budget.withdraw(Kind::Failure)).take(n).collect();
                ok = permits.len() == n;
                for mut permit in permits {
                    // All or nothing: what was taken in vain goes back when dropped unspent.
                    if ok {
                        permit.spend();
                    }
                }
            }
            "release" => (0..n).for_each(|_| self.budget.succeeded()),
            "read" => {}
            _ => return Err(unknown(step)),
        }
        Ok(observed([("ok", json!(ok)), ("available", json!(self.budget.snapshot().available))]))
    }
}

/// gRPC calls against a scripted server: each attempt is answered by the next index.
struct Calls {
    retry: Retry,
    budget: Option<RetryBudget>,
    answer: Box<dyn Fn(usize) -> String>,
    retryable: Vec<String>,
    next: AtomicUsize,
    runtime: tokio::runtime::Runtime,
}

pub(crate) fn throttle(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let max_tokens = setup.need_number("max_tokens")? as u32;
    let ratio = setup.need_number("token_ratio")?;
    let good: Vec<usize> = setup.numbers("server_ok_indices").unwrap_or_default().iter().map(|n| *n as usize).collect();
    let answer = move |index: usize| String::from(if good.contains(&index) { "OK" } else { "UNAVAILABLE" });
    let budget = RetryBudget::builder().rule(Rule::Throttle(Throttle { max_tokens, ratio }));
    let budget = budget.build().map_err(|error| error.to_string())?;
    calls(setup, Some(budget), Box::new(answer), vec!["UNAVAILABLE".into()])
}

pub(crate) fn attempts(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let codes = setup.get("server").and_then(|codes| codes.as_object()).cloned().unwrap_or_default();
    let preset = setup.text("default").unwrap_or("UNAVAILABLE").to_owned();
    let answer = move |index: usize| {
        codes.get(&index.to_string()).and_then(|code| code.as_str()).map_or_else(|| preset.clone(), str::to_owned)
    };
    let retryable = setup.get("retryable").and_then(|codes| codes.as_array()).cloned().unwrap_or_default();
    let retryable = retryable.iter().filter_map(|code| code.as_str().map(str::to_owned)).collect();
    calls(setup, None, Box::new(answer), retryable)
}

fn calls(
    setup: &Fields,
    budget: Option<RetryBudget>,
    answer: Box<dyn Fn(usize) -> String>,
    retryable: Vec<String>,
) -> Result<Box<dyn Model>, String> {
    let most = setup.count("max_attempts", 5)? as u32;
    let builder = Retry::builder().attempts(most).backoff(Backoff::none());
    let builder = match &budget {
        Some(budget) => builder.budget(budget.clone()),
        None => builder.unlimited(),
    };
    let retry = builder.build().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    Ok(Box::new(Calls { retry, budget, answer, retryable, next: AtomicUsize::new(0), runtime }))
}

impl Model for Calls {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "rpc" {
            return Err(unknown(step));
        }
        let meaning = |answer: &Result<(), String>| match answer {
            Ok(()) => Classification::SUCCESS,
            Err(code) if self.retryable.contains(code) => Classification::FAILURE,
            Err(_) => Classification::PERMANENT,
        };
        let call = self.retry.run_with(meaning, |_attempt| {
            let code = (self.answer)(self.next.fetch_add(1, Ordering::Relaxed));
            async move { if code == "OK" { Ok(()) } else { Err(code) } }
        });
        let code = self.runtime.block_on(call).map_or_else(|code| code, |()| "OK".into());
        let last = self.next.load(Ordering::Relaxed) - 1;
        let mut seen = observed([("code", json!(code)), ("last_server_index", json!(last))]);
        if let Some(budget) = &self.budget {
            seen.insert("tokens".into(), json!(budget.snapshot().available));
        }
        Ok(seen)
    }
}
