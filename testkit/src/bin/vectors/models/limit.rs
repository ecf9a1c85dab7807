//! Limits of calls at once, queues, and the figures they are made of.

use std::time::Duration;

use resilience_core::control::{
    Aimd, Bbr, CoDel, EnvoyGradient, Gradient, Gradient2, Limit, MovingAverage, QueueEstimate, Sample, Shares, Vegas,
    log10_root, percentile, pid_error, queue_timeout, sqrt_root,
};
use serde_json::{Value, json};

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step, as_millis, millis};

/// One of the algorithms that find a limit.
struct Limiter {
    limit: Box<dyn Limit>,
    /// Of a limit that is set and not found.
    fixed: Option<f64>,
}

pub(crate) fn limit(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let number = |key: &str, preset: f64| setup.number(key).unwrap_or(preset);
    let whole = |key: &str, preset: u32| number(key, preset.into()) as u32;
    let initial = |preset: u32| whole("initial", preset);
    let mut fixed = None;
    let limit: Box<dyn Limit> = match setup.need_text("algorithm")? {
        "vegas" => {
            let mut vegas = Vegas::new(initial(20));
            vegas.max = whole("max", vegas.max);
            vegas.smoothing = number("smoothing", vegas.smoothing);
            vegas.alpha = setup.number("alpha").map(|alpha| alpha as u32);
            vegas.beta = setup.number("beta").map(|beta| beta as u32);
            vegas.halves = setup.text("decrease") == Some("half");
            if let Some(noload) = setup.millis("noload_ms") {
                vegas.set_noload(noload);
            }
            Box::new(vegas)
        }
        "aimd" => {
            let mut aimd = Aimd::new(initial(20));
            aimd.min = whole("min", aimd.min);
            aimd.max = whole("max", aimd.max);
            aimd.backoff = number("backoff", aimd.backoff);
            aimd.timeout = setup.millis("timeout_ms").unwrap_or(aimd.timeout);
            Box::new(aimd)
        }
        "gradient" => {
            let mut gradient = Gradient::new(initial(50));
            gradient.min = whole("min", gradient.min);
            gradient.max = whole("max", gradient.max);
            gradient.smoothing = number("smoothing", gradient.smoothing);
            gradient.tolerance = number("tolerance", gradient.tolerance);
            gradient.backoff = number("backoff", gradient.backoff);
            gradient.queue = whole("queue", gradient.queue);
            gradient.probe = setup
                .number("probe_interval")
                .or(setup.number("probe"))
                .map_or(gradient.probe, |probe| (probe > 0.0).then_some(probe as u64));
            Box::new(gradient)
        }
        "gradient2" => {
            let mut gradient = Gradient2::new(initial(20), whole("long_window", 600), whole("warmup", 10));
            gradient.min = whole("min", gradient.min);
            gradient.max = whole("max", gradient.max);
            gradient.smoothing = number("smoothing", gradient.smoothing);
            gradient.tolerance = number("tolerance", gradient.tolerance);
            gradient.queue = whole("queue", gradient.queue);
            Box::new(gradient)
        }
        "failsafe" => {
            let warmup = setup.numbers("warmup_ms").unwrap_or_default();
            let mut limit = QueueEstimate::new(initial(20), whole("baseline_age", 10), warmup.into_iter().map(millis));
            limit.min = whole("min", limit.min);
            limit.max = whole("max", limit.max);
            limit.max_factor = number("max_factor", limit.max_factor);
            limit.decay = number("decay", number("max_factor_decay", limit.decay));
            limit.stabilized = number("stabilization_ms", 0.0) > 0.0;
            Box::new(limit)
        }
        "fixed" | "settable" => {
            fixed = Some(number("initial", number("limit", 20.0)));
            Box::new(Aimd::new(initial(20)))
        }
        other => return Err(format!("unknown algorithm {other:?}")),
    };
    Ok(Box::new(Limiter { limit, fixed }))
}

impl Model for Limiter {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        match step.op() {
            "sample" => {
                let dropped = step.0.get("drop").and_then(Value::as_bool).unwrap_or(false);
                // What was dropped may have no round trip.
                let rtt =
                    if dropped { step.0.millis("rtt_ms").unwrap_or_default() } else { step.0.need_millis("rtt_ms")? };
                let in_flight = step.0.need_number("inflight")? as u32;
                self.limit.sample(Sample { rtt, in_flight, dropped });
            }
            "set_limit" if self.fixed.is_some() => self.fixed = Some(step.0.need_number("limit")?),
            "read" => {}
            _ => return Err(unknown(step)),
        }
        let limit = self.fixed.unwrap_or(self.limit.limit().into());
        Ok(observed([("limit", json!(limit))]))
    }
}

/// Guaranteed shares.
struct Partitioned {
    shares: Shares<String>,
    parts: Vec<String>,
    bypass: Option<String>,
}

pub(crate) fn partitioned(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let parts = setup.get("partitions").and_then(Value::as_object).ok_or("partitions is missing")?;
    let parts: Vec<(String, f64)> =
        parts.iter().filter_map(|(name, share)| Some((name.clone(), share.as_f64()?))).collect();
    Ok(Box::new(Partitioned {
        parts: parts.iter().map(|(name, _)| name.clone()).collect(),
        shares: Shares::new(setup.need_number("limit")? as u32, parts),
        bypass: setup.text("bypass").map(String::from),
    }))
}

impl Model for Partitioned {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let part = step.0.text("partition").unwrap_or_default().to_owned();
        let times = step.0.count("n", 1)?;
        let bypasses = self.bypass.as_ref() == Some(&part);
        let mut shown = Observed::new();
        match step.op() {
            "acquire" => {
                let ok = bypasses || (0..times).all(|_| self.shares.acquire(&part));
                shown.insert("ok".into(), json!(ok));
            }
            "release" if bypasses => {}
            "release" => (0..times).for_each(|_| self.shares.release(&part)),
            "set_limit" => self.shares.set_limit(step.0.need_number("limit")? as u32),
            "limits" | "read" => {}
            _ => return Err(unknown(step)),
        }
        shown.insert("inflight".into(), json!(self.shares.in_flight()));
        shown.insert("part_inflight".into(), json!(self.shares.part_in_flight(&part)));
        for name in &self.parts {
            shown.insert(name.clone(), json!(self.shares.guaranteed(name)));
        }
        Ok(shown)
    }
}

/// A window of samples as one.
struct Window {
    percentile: Option<f64>,
}

pub(crate) fn sample_window(setup: &Fields) -> Result<Box<dyn Model>, String> {
    match setup.need_text("kind")? {
        "average" => Ok(Box::new(Window { percentile: None })),
        "percentile" => Ok(Box::new(Window { percentile: Some(setup.need_number("p")?) })),
        other => Err(format!("unknown kind {other:?}")),
    }
}

impl Model for Window {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "tracked" {
            return Err(unknown(step));
        }
        let mut rtts: Vec<u64> = step.0.need_numbers("rtts")?.into_iter().map(|rtt| rtt as u64).collect();
        rtts.sort_unstable();
        let rtt = match self.percentile {
            None => (rtts.iter().map(|&rtt| u128::from(rtt)).sum::<u128>() / (rtts.len() as u128).max(1)) as u64,
            Some(share) => percentile(&rtts, share).unwrap_or(0),
        };
        Ok(observed([("rtt", json!(rtt)), ("count", json!(rtts.len()))]))
    }
}

/// A figure made of several.
enum Measurement {
    Average(MovingAverage),
    Minimum(Option<f64>),
    Single(f64),
}

pub(crate) fn measurement(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let whole = |key: &str, preset: f64| setup.number(key).unwrap_or(preset) as u32;
    Ok(Box::new(match setup.need_text("kind")? {
        "expavg" => Measurement::Average(MovingAverage::new(whole("window", 600.0), whole("warmup", 10.0))),
        "minimum" | "min" => Measurement::Minimum(None),
        "single" => Measurement::Single(0.0),
        other => return Err(format!("unknown kind {other:?}")),
    }))
}

impl Model for Measurement {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let add = match step.op() {
            "add" => Some(step.0.need_number("value")?),
            "get" | "read" => None,
            "reset" => {
                *self = match self {
                    Self::Minimum(_) => Self::Minimum(None),
                    _ => Self::Single(0.0),
                };
                None
            }
            _ => return Err(unknown(step)),
        };
        let value = match (self, add) {
            (Self::Average(average), Some(value)) => average.add(value),
            (Self::Average(average), None) => average.value(),
            (Self::Minimum(least), add) => {
                *least = [*least, add].into_iter().flatten().reduce(f64::min);
                least.unwrap_or(0.0)
            }
            (Self::Single(last), add) => {
                *last = add.unwrap_or(*last);
                *last
            }
        };
        Ok(observed([("value", json!(value))]))
    }
}

/// How far limits move, and how long queues may be.
struct Function {
    name: String,
    least: u32,
}

pub(crate) fn function(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let least = setup.number("min").or(setup.number("baseline")).unwrap_or(0.0) as u32;
    Ok(Box::new(Function { name: setup.need_text("fn")?.to_owned(), least }))
}

impl Model for Function {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "eval" {
            return Err(unknown(step));
        }
        let x = step.0.need_number("x")? as u32;
        let y = match &*self.name {
            "log10_root" => self.least.saturating_add(log10_root(x)),
            "sqrt_min" | "sqrt" => sqrt_root(x, self.least),
            other => return Err(format!("unknown function {other:?}")),
        };
        Ok(observed([("y", json!(y))]))
    }
}

/// failsafe-go's highest limit.
struct MaxLimit(f64);

pub(crate) fn max_limit(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(MaxLimit(setup.number("min_factor").unwrap_or(1.2))))
}

impl Model for MaxLimit {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let in_flight = step.0.need_number("inflight")? as u32;
        let factor = step.0.number("factor").unwrap_or(5.0);
        let cap = QueueEstimate::cap(in_flight, factor, step.0.number("decay").unwrap_or(0.0), self.0);
        Ok(observed([("limit", json!(cap))]))
    }
}

/// Envoy's gradient controller.
struct Envoy(EnvoyGradient);

pub(crate) fn envoy_gradient(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Envoy(envoy(setup))))
}

fn envoy(setup: &Fields) -> EnvoyGradient {
    let preset = EnvoyGradient::default();
    let whole = |key: &str, preset: u32| setup.number(key).map_or(preset, |number| number as u32);
    EnvoyGradient { min: whole("min_concurrency", preset.min), max: whole("max_concurrency", preset.max) }
}

impl Model for Envoy {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "update" {
            return Err(unknown(step));
        }
        let limit = step.0.need_number("limit")? as u32;
        let Some(newest) = step.0.millis("sample_rtt_ms") else {
            // Without samples nothing is known, and nothing changes.
            return Ok(observed([("limit", json!(limit))]));
        };
        let min_rtt = step.0.need_millis("min_rtt_ms")?;
        let gradient = EnvoyGradient::gradient(min_rtt, step.0.number("buffer").unwrap_or(0.25), newest);
        Ok(observed([("gradient", json!(gradient)), ("limit", json!(self.0.update(limit, gradient)))]))
    }
}

/// The least round trip as Envoy measures it.
struct MinRtt {
    share: f64,
    pinned: u32,
}

pub(crate) fn envoy_min_rtt(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(MinRtt { share: setup.number("percentile").unwrap_or(0.5), pinned: envoy(setup).min }))
}

impl Model for MinRtt {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "measure" {
            return Err(unknown(step));
        }
        let mut samples = step.0.need_numbers("samples_ms")?;
        samples.sort_by(f64::total_cmp);
        let min_rtt = percentile(&samples, self.share);
        Ok(observed([("min_rtt_ms", json!(min_rtt)), ("pinned_limit", json!(self.pinned))]))
    }
}

/// When Envoy measures next.
struct Jitter {
    interval: f64,
    jitter: f64,
}

pub(crate) fn envoy_jitter(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Jitter { interval: setup.need_number("interval_ms")?, jitter: setup.number("jitter").unwrap_or(0.15) }))
}

impl Model for Jitter {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let range = (self.interval * self.jitter) as u64;
        let random = step.0.need_number("random")? as u64;
        let added = random.checked_rem(range).unwrap_or(0);
        Ok(observed([("ms", json!(self.interval + added as f64))]))
    }
}

/// Controlled delay.
struct Delay(CoDel);

fn controlled(setup: &Fields) -> CoDel {
    let or = |key: &str, preset: u64| setup.millis(key).unwrap_or(Duration::from_millis(preset));
    CoDel::new(or("interval_ms", 100), or("target_ms", 5), setup.number("slough").unwrap_or(2.0) as u32)
}

pub(crate) fn codel(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Delay(controlled(setup))))
}

impl Model for Delay {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        match step.op() {
            "request" => {
                let delay = step.0.need_millis("delay_ms")?;
                let drop = self.0.is_overloaded(delay, step.0.millis("at").unwrap_or_default());
                Ok(observed([("drop", json!(drop)), ("load", json!(self.0.load()))]))
            }
            "load" => {
                let least = step.0.need_millis("min_delay_ms")?;
                Ok(observed([("load", json!(self.0.load_of(least)))]))
            }
            _ => Err(unknown(step)),
        }
    }
}

/// How long a request may wait.
struct Patience {
    patient: Duration,
    hasty: Duration,
}

pub(crate) fn patience(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let or = |key: &str, preset: u64| setup.millis(key).unwrap_or(Duration::from_millis(preset));
    Ok(Box::new(Patience { patient: or("n_ms", 100), hasty: or("m_ms", 5) }))
}

impl Model for Patience {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "timeout" {
            return Err(unknown(step));
        }
        let since = step.0.need_millis("since_queue_empty_ms")?;
        Ok(observed([("ms", json!(as_millis(queue_timeout(since, self.patient, self.hasty))))]))
    }
}

/// Bandwidth times delay.
struct Bandwidth(Bbr);

pub(crate) fn bbr(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Bandwidth(Bbr { buckets_per_second: setup.number("buckets_per_s").unwrap_or(10.0) })))
}

impl Model for Bandwidth {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let min_rt = step.0.need_millis("min_rt_ms")?;
        match step.op() {
            "max_inflight" => {
                Ok(observed([("n", json!(self.0.max_in_flight(step.0.need_number("max_pass")?, min_rt)))]))
            }
            "check" => {
                let threads = step.0.need_number("threads")? as u64;
                let pass = Bbr::admits(threads, step.0.need_number("max_success_qps")?, min_rt);
                Ok(observed([("pass", json!(pass))]))
            }
            _ => Err(unknown(step)),
        }
    }
}

/// The error a shedding controller works on.
struct Error;

pub(crate) fn error(_: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Error))
}

impl Model for Error {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "error" {
            return Err(unknown(step));
        }
        let number = |key: &str| step.0.number(key).unwrap_or(0.0);
        let (came, went) = (step.0.need_number("in")?, step.0.need_number("out")?);
        let error = pid_error(came, went, number("free"), number("limit"));
        Ok(observed([("error", json!(error))]))
    }
}
