//! Endpoints that stand out: gRPC's A50 and Envoy's outlier detection.

use std::time::Duration;

use resilience_core::time::Timestamp;
use resilience_discovery::outlier::{Cap, Detector, FailurePercentage, Judged, Outcome, Rules, Spread, SuccessRate};
use serde_json::{Value, json};

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step};

/// A detector whose hosts are numbered.
struct Outlier {
    detector: Detector<usize>,
}

pub(crate) fn outlier(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let is_envoy = setup.text("profile") == Some("envoy");
    let mut rules = if is_envoy { Rules::envoy() } else { Rules::grpc() };
    rules.success_rate = fields(setup, "success_rate").map(|rule| {
        let preset = SuccessRate::default();
        SuccessRate {
            stdev_factor: rule.number("stdev_factor").map_or(preset.stdev_factor, thousandths),
            enforcement: number(&rule, "enforcement", preset.enforcement),
            min_hosts: number(&rule, "min_hosts", preset.min_hosts as f64) as usize,
            volume: number(&rule, "volume", preset.volume as f64) as u64,
        }
    });
    rules.failure_percentage = fields(setup, "failure_percentage").map(|rule| {
        let preset = if is_envoy { FailurePercentage::ENVOY } else { FailurePercentage::GRPC };
        FailurePercentage {
            threshold: number(&rule, "threshold", preset.threshold),
            judged: if is_envoy { Judged::AtOrAbove } else { Judged::Above },
            enforcement: number(&rule, "enforcement", preset.enforcement),
            min_hosts: number(&rule, "min_hosts", preset.min_hosts as f64) as usize,
            volume: number(&rule, "volume", preset.volume as f64) as u64,
        }
    });
    let consecutive = ["consecutive_5xx", "consecutive_failures", "consecutive"];
    rules.consecutive = consecutive.iter().find_map(|key| setup.number(key)).map(|limit| limit as u32);
    if let Some(percent) = setup.number("max_ejection_percent") {
        let always_one = setup.get("always_eject_one_host").and_then(Value::as_bool).unwrap_or(false);
        rules.cap = if is_envoy { Cap::AtMost { percent, always_one } } else { Cap::Below(percent) };
    }
    rules.base = setup.millis("base_ms").unwrap_or(rules.base);
    rules.max = setup.millis("max_ms").unwrap_or(rules.max);
    rules.interval = setup.millis("interval_ms").unwrap_or(rules.interval);
    let detector = Detector::new(rules).map_err(|error| error.to_string())?;
    Ok(Box::new(Outlier { detector }))
}

fn fields(of: &Fields, key: &str) -> Option<Fields> {
    of.get(key).and_then(Value::as_object).cloned().map(Fields)
}

fn number(of: &Fields, key: &str, preset: f64) -> f64 {
    of.number(key).unwrap_or(preset)
}

/// A factor of deviations: gRPC's configuration says 1900 for what articles call 1.9.
fn thousandths(factor: f64) -> u32 {
    (if factor < 100.0 { factor * 1_000.0 } else { factor }).round() as u32
}

impl Outlier {
    fn count(&mut self, step: &Step, now: Timestamp) -> Result<(), String> {
        let Some(hosts) = step.0.get("hosts") else { return Ok(()) };
        for (key, host) in hosts.as_array().ok_or("hosts is no list")?.iter().enumerate() {
            let host = Fields(host.as_object().cloned().ok_or("a host is not an object")?);
            self.detector.insert(key);
            for _ in 0..host.count("success", 0)? {
                self.detector.record(&key, Outcome::Success, now);
            }
            for _ in 0..host.count("failure", 0)? {
                self.detector.record(&key, Outcome::Failure, now);
            }
        }
        Ok(())
    }
}

impl Model for Outlier {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let now = Timestamp::ORIGIN + step.0.millis("at").unwrap_or_default();
        let mut shown = Observed::new();
        match step.op() {
            "interval" | "sweep" => {
                self.count(step, now)?;
                let draw = step.0.number("random").or(step.0.number("u")).unwrap_or(0.0);
                let factor = self.detector.rules().success_rate.map_or(0, |rule| rule.stdev_factor);
                if let Some(spread) = self.detector.sweep(now, || draw).spread {
                    shown = observed([
                        ("mean", json!(spread.mean)),
                        ("stdev", json!(spread.deviation)),
                        ("required", json!(spread.required(factor))),
                    ]);
                }
            }
            "record" | "call" => self.count(step, now)?,
            _ => return Err(unknown(step)),
        }
        let ejected: Vec<usize> = self.detector.ejected().copied().collect();
        let multipliers = (0..).map_while(|key| self.detector.host(&key)).map(|host| host.multiplier);
        let multipliers: Vec<u32> = multipliers.collect();
        shown.insert("ejected".into(), json!(ejected));
        shown.insert("multiplier".into(), json!(multipliers));
        Ok(shown)
    }
}

/// The threshold alone.
struct Threshold(u32);

pub(crate) fn threshold(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Threshold(thousandths(setup.need_number("stdev_factor")?))))
}

impl Model for Threshold {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "threshold" {
            return Err(unknown(step));
        }
        let rates = step.0.need_numbers("success_rates")?;
        let spread = Spread::of(&rates);
        let threshold = spread.required(self.0);
        let ejected: Vec<usize> = (0..rates.len()).filter(|&host| rates[host] < threshold).collect();
        Ok(observed([
            ("mean", json!(spread.mean)),
            ("stdev", json!(spread.deviation)),
            ("threshold", json!(threshold)),
            ("ejected_index", json!(ejected)),
        ]))
    }
}

/// How long an ejection lasts.
struct EjectionTime {
    rules: Rules,
    jitter: Duration,
}

pub(crate) fn ejection_time(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let mut rules = Rules::envoy();
    rules.base = setup.millis("base_ms").unwrap_or(rules.base);
    rules.max = setup.millis("max_ms").unwrap_or(rules.max);
    Ok(Box::new(EjectionTime { rules, jitter: setup.millis("jitter_ms").unwrap_or_default() }))
}

impl Model for EjectionTime {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "duration" {
            return Err(unknown(step));
        }
        let ejections = step.0.need_number("ejections")? as u32;
        let lasts = self.rules.lasts(ejections) + self.jitter;
        Ok(observed([("ms", json!(lasts.as_millis() as u64))]))
    }
}
