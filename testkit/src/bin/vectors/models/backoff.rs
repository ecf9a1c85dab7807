//! Delays before retries: each kind of case is a curve and a jitter of `retry::Backoff`.

use std::time::Duration;

use resilience_core::retry::{Backoff, Jitter, Series};
use serde_json::json;

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step, as_millis, millis};

/// The longest delay of kinds that set none.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// One delay a step, by retry number and random number.
struct Delays {
    kind: Kind,
    /// The random number of steps that do not give one.
    unit: f64,
}

enum Kind {
    /// A curve; `first` is the number its first retry goes by in the cases.
    Curve { backoff: Backoff, first: u32 },
    /// Whole units: `min + floor(u * (max - min + 1))`.
    Whole { interval: f64, factor: f64 },
}

pub(crate) fn delays(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let kind = match setup.need_text("kind")? {
        "cenkalti_random" => {
            Kind::Whole { interval: setup.need_number("interval")?, factor: setup.need_number("factor")? }
        }
        kind => {
            let first = u32::from(!kind.starts_with("polly"));
            Kind::Curve { backoff: curve(kind, setup)?, first }
        }
    };
    Ok(Box::new(Delays { kind, unit: setup.number("rand").unwrap_or(0.5) }))
}

fn curve(kind: &str, setup: &Fields) -> Result<Backoff, String> {
    let base = || setup.millis("base_ms").or(setup.millis("initial_ms")).ok_or("base_ms is missing");
    let cap = setup.millis("cap_ms").or(setup.millis("max_ms")).unwrap_or(FAR);
    let factor = setup.number("multiplier").or(setup.number("factor")).unwrap_or(2.0);
    let exponential = || Ok::<_, &str>(Backoff::exponential(base()?, cap).factor(factor));
    let linear = || Ok::<_, &str>(Backoff::linear(base()?, cap));
    let constant = || Ok::<_, &str>(Backoff::constant(base()?).capped(cap));
    Ok(match kind {
        "aws" | "aws_full" | "full" | "envoy" => exponential()?.jitter(Jitter::Full),
        "equal" => exponential()?.jitter(Jitter::Equal),
        "decorrelated" => exponential()?.jitter(Jitter::Decorrelated),
        "grpc" => exponential()?.jitter(Jitter::Around(0.2)).capped(cap.mul_f64(1.2)),
        "polly_constant" => constant()?.jitter(Jitter::None),
        "polly_constant_jitter" => constant()?.jitter(Jitter::Around(0.25)),
        "polly_linear" => linear()?.jitter(Jitter::None),
        "polly_linear_jitter" => linear()?.jitter(Jitter::Around(0.25)).capped(FAR),
        "polly_exponential" | "r4j_exponential" | "cenkalti_base" | "exponential" => {
            exponential()?.jitter(Jitter::None)
        }
        "polly_decorrelated_v2" | "polly_exponential_jitter" => exponential()?.jitter(Jitter::PollyV2),
        "r4j_randomized" => constant()?.jitter(around(setup)),
        "r4j_exponential_random" | "cenkalti" => exponential()?.jitter(around(setup)).capped(FAR),
        kind => return Err(format!("unknown kind {kind:?}")),
    })
}

fn around(setup: &Fields) -> Jitter {
    Jitter::Around(setup.number("randomization").or(setup.number("jitter")).unwrap_or(0.5))
}

impl Model for Delays {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let unit = step.number("rand").unwrap_or(self.unit);
        match (&self.kind, step.op()) {
            (Kind::Curve { backoff, first }, "delay") => {
                let number = number(step)?;
                let delay = at(backoff, number.saturating_sub(*first), step, unit);
                Ok(observed([("ms", json!(as_millis(delay)))]))
            }
            (Kind::Curve { backoff, first }, "range") => {
                let number = number(step)?;
                let retries = number.saturating_sub(*first);
                Ok(range(backoff, retries, step))
            }
            (Kind::Whole { interval, factor }, "delay") => {
                let (least, most) = (interval * (1.0 - factor), interval * (1.0 + factor));
                // A delay uniform over the whole numbers is one over the reals, cut off.
                let spread = Backoff::constant(millis(most - least + 1.0)).jitter(Jitter::Full);
                let drawn = as_millis(spread.delay(&mut Series::default(), unit));
                Ok(observed([("ms", json!((least + drawn).floor()))]))
            }
            _ => Err(unknown(step)),
        }
    }
}

/// Which retry, or attempt, a step asks about.
fn number(step: &Step) -> Result<u32, String> {
    Ok(step.count(if step.get("retry").is_some() { "retry" } else { "attempt" }, 1)? as u32)
}

/// The delay after `retries` earlier ones; decorrelated series start from the step's `prev_ms`.
fn at(backoff: &Backoff, retries: u32, step: &Step, unit: f64) -> Duration {
    let mut series = match step.millis("prev_ms") {
        Some(previous) => Series::after(retries.max(1), previous),
        None => Series::default(),
    };
    while series.retries() < retries {
        backoff.delay(&mut series, unit);
    }
    backoff.delay(&mut series, unit)
}

fn range(backoff: &Backoff, retries: u32, step: &Step) -> Observed {
    let least = as_millis(at(backoff, retries, step, 0.0));
    let most = as_millis(at(backoff, retries, step, 1.0));
    observed([("min_ms", json!(least)), ("max_ms", json!(most))])
}

/// A whole series, from a list of random numbers.
struct Whole(Backoff);

pub(crate) fn series(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Whole(curve(setup.need_text("kind")?, setup)?)))
}

impl Model for Whole {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "series" {
            return Err(unknown(step));
        }
        let mut series = Series::default();
        let units = step.need_numbers("rands")?;
        let delays: Vec<f64> = units.iter().map(|unit| as_millis(self.0.delay(&mut series, *unit))).collect();
        Ok(observed([("ms", json!(delays))]))
    }
}

/// The least and the most a jitter may yield, the kind given by each step.
struct Bounds(Fields);

pub(crate) fn bounds(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Bounds(setup.clone())))
}

impl Model for Bounds {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        if step.op() != "range" {
            return Err(unknown(step));
        }
        let backoff = curve(step.need_text("kind")?, &self.0)?;
        Ok(range(&backoff, number(step)?, step))
    }
}
