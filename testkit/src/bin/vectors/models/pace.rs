//! Limiters that say when a permit is due, and the AWS SDKs' client rate.

use std::time::Duration;

use resilience_core::control::{Bursty, ClientRate, Clocker, Cubic, Cycle, NackThrottle, RateBucket, Smooth, Throttle};
use serde_json::{Value, json};

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step, as_millis};

fn nanos(of: &Fields, key: &str) -> Result<Duration, String> {
    Ok(Duration::from_nanos(of.need_number(key)? as u64))
}

fn count(of: &Fields, key: &str) -> u32 {
    of.number(key).unwrap_or(1.0) as u32
}

/// Resilience4j's cycles; times are nanoseconds.
struct Cycles {
    limiter: Cycle,
    timeout: Duration,
}

pub(crate) fn cycle(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let limiter = Cycle::new(nanos(setup, "cycle_ns")?, setup.need_number("limit")? as u32);
    Ok(Box::new(Cycles { limiter, timeout: nanos(setup, "timeout_ns").unwrap_or_default() }))
}

impl Model for Cycles {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let now = nanos(&step.0, "at")?;
        let mut shown = Observed::new();
        match step.op() {
            "reserve" | "acquire" => {
                let timeout = nanos(&step.0, "timeout_ns").unwrap_or(self.timeout);
                let wait = self.limiter.reserve(now, count(&step.0, "n"), timeout);
                let wait = wait.map_or(json!(-1), |wait| json!(wait.as_nanos() as u64));
                shown.insert("ok".into(), json!(wait != json!(-1)));
                shown.insert("wait_ns".into(), wait);
            }
            "set_limit" => self.limiter.set_limit(step.0.need_number("limit")? as u32),
            "set_timeout" => self.timeout = nanos(&step.0, "timeout_ns")?,
            "read" | "tick" => {}
            _ => return Err(unknown(step)),
        }
        shown.insert("available".into(), json!(self.limiter.available(now)));
        shown.insert("next_ns".into(), json!(self.limiter.next(now).as_nanos() as u64));
        Ok(shown)
    }
}

/// failsafe-go's smooth limiter.
struct Smoothly(Smooth);

pub(crate) fn smooth(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Smoothly(Smooth::new(setup.need_millis("interval_ms")?))))
}

impl Model for Smoothly {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let now = step.0.millis("at").unwrap_or_default();
        let mut wait = Duration::ZERO;
        match step.op() {
            "acquire" => (0..step.0.count("repeat", 1)?).for_each(|_| wait = self.0.acquire(now, count(&step.0, "n"))),
            _ => return Err(unknown(step)),
        }
        Ok(observed([("wait_ms", json!(as_millis(wait))), ("next_free_ms", json!(as_millis(self.0.next_free())))]))
    }
}

/// failsafe-go's bursty limiter.
struct Burstily(Bursty);

pub(crate) fn bursty(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let period = setup.need_millis("period_ms")?;
    Ok(Box::new(Burstily(Bursty::new(setup.need_number("permits")? as u32, period))))
}

impl Model for Burstily {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let now = step.0.millis("at").unwrap_or_default();
        let mut wait = Duration::ZERO;
        match step.op() {
            "acquire" => (0..step.0.count("repeat", 1)?).for_each(|_| wait = self.0.acquire(now, count(&step.0, "n"))),
            _ => return Err(unknown(step)),
        }
        Ok(observed([
            ("wait_ms", json!(as_millis(wait))),
            ("available", json!(self.0.available())),
            ("period", json!(self.0.period())),
        ]))
    }
}

/// The curve alone.
struct Curve {
    cubic: Cubic,
    rate: f64,
    /// Throttled answers lower the rate that was last calculated, and not one that is given.
    own_rate: bool,
}

pub(crate) fn cubic(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let number = |key: &str, preset: f64| setup.number(key).unwrap_or(preset);
    let w_max = number("w_max", 0.0);
    let cubic =
        Cubic::with(number("beta", Cubic::BETA), number("scale", Cubic::SCALE), w_max, number("last_throttle_s", 0.0));
    let own_rate = setup.text("throttle_uses") == Some("last_calculated_rate");
    Ok(Box::new(Curve { cubic, rate: w_max, own_rate }))
}

impl Model for Curve {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let at = step.0.number("at_s").unwrap_or(0.0);
        match step.op() {
            "k" => {}
            "throttle" if self.own_rate && step.0.number("rate").is_none() => {
                self.rate = self.cubic.throttled(self.rate, at);
                // This mode takes the lowered rate for the one to come back to.
                self.cubic.throttled(self.rate, at);
            }
            "throttle" => {
                let rate = step.0.number("rate").unwrap_or(self.rate);
                self.rate = self.cubic.throttled(rate, at);
            }
            "success" => self.rate = self.cubic.rate(at),
            _ => return Err(unknown(step)),
        }
        Ok(observed([("rate", json!(self.rate)), ("k", json!(self.cubic.k())), ("w_max", json!(self.cubic.w_max()))]))
    }
}

/// The measured rate alone.
struct Clock(Clocker);

pub(crate) fn clocker(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let number = |key: &str, preset: f64| setup.number(key).unwrap_or(preset);
    Ok(Box::new(Clock(Clocker::with(number("smoothing", 0.8), number("bucket_s", 0.5), number("start_s", 0.0)))))
}

impl Model for Clock {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "record" {
            return Err(unknown(step));
        }
        let times = step.0.numbers("times_s").or(step.0.number("at_s").map(|at| vec![at]));
        for at in times.ok_or("times_s is missing")? {
            self.0.record(at);
        }
        Ok(observed([("rate", json!(self.0.measured()))]))
    }
}

/// The bucket alone.
struct Bucket(RateBucket);

pub(crate) fn bucket(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let number = |key: &str, preset: f64| setup.number(key).unwrap_or(preset);
    let bucket = RateBucket::new(setup.need_number("max_rate")?, number("min_rate", 0.5), number("start_s", 0.0));
    Ok(Box::new(Bucket(bucket)))
}

impl Model for Bucket {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let at = step.0.number("at_s").unwrap_or(0.0);
        let mut shown = Observed::new();
        match step.op() {
            "acquire" => shown = acquired(self.0.acquire(step.0.number("n").unwrap_or(1.0), at)),
            "set_rate" => self.0.set_rate(step.0.need_number("rate")?, at),
            _ => return Err(unknown(step)),
        }
        shown.insert("available".into(), json!(self.0.available()));
        shown.insert("capacity".into(), json!(self.0.available()));
        shown.insert("max_rate".into(), json!(self.0.fill()));
        shown.insert("fill".into(), json!(self.0.fill()));
        shown.insert("max_capacity".into(), json!(self.0.capacity()));
        Ok(shown)
    }
}

fn acquired(result: Result<(), f64>) -> Observed {
    observed([("ok", json!(result.is_ok())), ("wait_s", json!(result.err().unwrap_or(0.0)))])
}

/// The whole limiter.
struct Adaptive(ClientRate);

pub(crate) fn adaptive(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Adaptive(ClientRate::new(setup.number("start_s").unwrap_or(0.0)))))
}

impl Model for Adaptive {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let at = step.0.number("at_s").unwrap_or(0.0);
        let mut shown = Observed::new();
        match step.op() {
            "response" => {
                let throttled = step.0.get("throttled").and_then(Value::as_bool).unwrap_or(false);
                self.0.answered(throttled, at);
            }
            "acquire" => shown = acquired(self.0.acquire(step.0.number("n").unwrap_or(1.0), at)),
            _ => return Err(unknown(step)),
        }
        shown.insert("measured".into(), json!(self.0.measured()));
        shown.insert("fill".into(), json!(self.0.bucket().fill()));
        shown.insert("capacity".into(), json!(self.0.bucket().available()));
        shown.insert("max_capacity".into(), json!(self.0.bucket().capacity()));
        Ok(shown)
    }
}

/// A probability from requests and accepts.
struct Refusal {
    throttle: Throttle,
    /// Requests a second below which nothing is refused.
    min_rate: f64,
}

pub(crate) fn client_throttle(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let number = |key: &str, preset: f64| setup.number(key).unwrap_or(preset);
    let throttle = Throttle {
        k: number("k", 2.0),
        pad: number("pad", 1.0),
        most: number("max", 1.0),
        aggression: 1.0,
        min_requests: number("min_requests", 0.0) as u64,
    };
    Ok(Box::new(Refusal { throttle, min_rate: 0.0 }))
}

pub(crate) fn admission_control(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let number = |key: &str, preset: f64| setup.number(key).unwrap_or(preset);
    let throttle = Throttle {
        k: 1.0 / number("threshold", 0.95),
        most: number("max", 0.8),
        aggression: number("aggression", 1.0),
        ..Throttle::SRE
    };
    Ok(Box::new(Refusal { throttle, min_rate: number("rps_threshold", 0.0) }))
}

impl Model for Refusal {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "p" {
            return Err(unknown(step));
        }
        let number = |key: &str| step.0.need_number(key).map(|number| number as u64);
        let mut p = self.throttle.refusal(number("requests")?, number("accepts")?);
        if step.0.number("rps").is_some_and(|rate| rate < self.min_rate) {
            p = 0.0;
        }
        Ok(observed([("p", json!(p))]))
    }
}

/// Finagle's share of refusals.
struct Nack(NackThrottle);

pub(crate) fn nack(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let preset = NackThrottle::default();
    Ok(Box::new(Nack(NackThrottle {
        threshold: setup.number("nack_threshold").unwrap_or(preset.threshold),
        most: setup.number("max_drop").unwrap_or(preset.most),
        min_rate: setup.number("min_rps").unwrap_or(preset.min_rate),
    })))
}

impl Model for Nack {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "p" {
            return Err(unknown(step));
        }
        let rate = step.0.number("rps").unwrap_or(f64::INFINITY);
        Ok(observed([("p", json!(self.0.refusal(step.0.need_number("accept_ema")?, rate)))]))
    }
}
