//! The schema of a file of cases.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

/// A file of cases. One that cannot be understood does not hide the others.
pub(crate) struct File {
    pub(crate) cases: Vec<Result<Case, String>>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the file is empty".into());
        }
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let file = Fields(value.as_object().cloned().ok_or("not an object")?);
        let format = file.need_text("format")?;
        let version = file.need_number("version")?;
        if format != "anchor-vectors" || version != 1.0 {
            return Err(format!("format {format:?} version {version} is not known"));
        }
        let cases = file.get("cases").ok_or("cases is missing")?.as_array().ok_or("cases is no list")?;
        if cases.is_empty() {
            return Err("there are no cases".into());
        }
        Ok(Self { cases: cases.iter().zip(1..).map(|(case, number)| Case::read(case, number)).collect() })
    }
}

/// One case: a model, how it is set up, and what is done and expected.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) setup: Fields,
    pub(crate) steps: Vec<Step>,
}

impl Case {
    /// A case that checks nothing is none: what passes must have been looked at.
    fn read(value: &Value, number: u32) -> Result<Self, String> {
        let fields = value.as_object().cloned().map(Fields).ok_or(format!("case {number}: not an object"))?;
        let id = fields.text("id").map_or_else(|| format!("case {number}"), String::from);
        let of = |why: String| format!("{id}: {why}");
        let model = fields.need_text("model").map_err(of)?.to_owned();
        let setup = match fields.get("setup") {
            None => Fields::default(),
            Some(setup) => Fields(setup.as_object().cloned().ok_or(of("setup is not an object".into()))?),
        };
        setup.check().map_err(|why| of(format!("setup: {why}")))?;
        let steps = fields.get("steps").ok_or(of("steps is missing".into()))?;
        let steps = steps.as_array().ok_or(of("steps is no list".into()))?;
        let mut read: Vec<Step> = Vec::with_capacity(steps.len());
        for (step, number) in steps.iter().zip(1..) {
            let step = Step::read(step, read.last()).map_err(|why| of(format!("step {number}: {why}")))?;
            read.push(step);
        }
        if !read.iter().any(|step| step.expect().is_some_and(|expect| expect.0.keys().any(|key| key != "tolerance"))) {
            return Err(of("nothing is expected".into()));
        }
        Ok(Self { id, model, setup, steps: read })
    }
}

/// One step: `op`, its inputs, `at`, `expect`.
#[derive(Clone, Debug)]
pub(crate) struct Step(pub(crate) Fields);

impl Step {
    /// A step without a time is at that of the one before: none implies that time has passed.
    fn read(value: &Value, before: Option<&Self>) -> Result<Self, String> {
        let mut fields = Fields(value.as_object().cloned().ok_or("not an object")?);
        fields.need_text("op")?;
        if let Some(expect) = fields.0.get("expect")
            && !expect.is_object()
        {
            return Err("expect is not an object".into());
        }
        fields.check()?;
        for clock in ["at", "at_s"] {
            if let (None, Some(at)) = (fields.get(clock), before.and_then(|before| before.get(clock))) {
                fields.0.insert(clock.into(), at.clone());
            }
        }
        Ok(Self(fields))
    }

    pub(crate) fn op(&self) -> &str {
        self.0.text("op").unwrap_or("")
    }

    pub(crate) fn expect(&self) -> Option<Fields> {
        self.0.0.get("expect").and_then(Value::as_object).map(|fields| Fields(fields.clone()))
    }
}

impl std::ops::Deref for Step {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

/// Named values, with errors that say which is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

/// The most of anything that is done one after the other, or kept side by side.
const MOST: u64 = 10_000_000;

impl Fields {
    /// The value under `key`, unless it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    pub(crate) fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        self.get(key)?.as_array()?.iter().map(Value::as_f64).collect()
    }

    pub(crate) fn need_text(&self, key: &str) -> Result<&str, String> {
        match self.get(key) {
            None => Err(format!("{key} is missing")),
            Some(value) => value.as_str().ok_or_else(|| format!("{key} is no text: {value}")),
        }
    }

    pub(crate) fn need_number(&self, key: &str) -> Result<f64, String> {
        match self.get(key) {
            None => Err(format!("{key} is missing")),
            Some(value) => value.as_f64().ok_or_else(|| format!("{key} is no number: {value}")),
        }
    }

    pub(crate) fn need_numbers(&self, key: &str) -> Result<Vec<f64>, String> {
        if self.get(key).is_none() {
            return Err(format!("{key} is missing"));
        }
        self.numbers(key).ok_or_else(|| format!("{key} is no list of numbers"))
    }

    pub(crate) fn need_millis(&self, key: &str) -> Result<Duration, String> {
        self.need_number(key).map(millis)
    }

    /// How often, or how many; `preset` when the case does not say.
    pub(crate) fn count(&self, key: &str, preset: u64) -> Result<u64, String> {
        let Some(count) = self.number(key) else { return Ok(preset) };
        if !(0.0..=MOST as f64).contains(&count) {
            return Err(format!("{key} must be from 0 to {MOST}, and is {count}"));
        }
        Ok(count as u64)
    }

    /// A duration given in milliseconds, fractions included.
    pub(crate) fn millis(&self, key: &str) -> Option<Duration> {
        self.number(key).map(millis)
    }

    /// No value is of a size or sign that means nothing; what is expected may be anything.
    fn check(&self) -> Result<(), String> {
        self.0.iter().filter(|(key, _)| *key != "expect").try_for_each(|(key, value)| check(key, value))
    }
}

fn check(key: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::INFINITY);
            let is_time = ["at", "dur"].contains(&key) || ["_ms", "_s", "_ns"].iter().any(|unit| key.ends_with(unit));
            if number.abs() > u64::MAX as f64 {
                Err(format!("{key} is too large: {number:e}"))
            } else if is_time && number < 0.0 {
                Err(format!("{key} is negative: {number}"))
            } else {
                Ok(())
            }
        }
        Value::Array(values) => values.iter().try_for_each(|value| check(key, value)),
        Value::Object(values) => values.iter().try_for_each(|(key, value)| check(key, value)),
        _ => Ok(()),
    }
}

/// Milliseconds as a duration, to the nanosecond; negative ones are zero.
pub(crate) fn millis(millis: f64) -> Duration {
    Duration::from_nanos((millis * 1e6).round().max(0.0) as u64)
}

/// Seconds as a duration; negative ones are zero.
pub(crate) fn seconds(seconds: f64) -> Duration {
    millis(seconds * 1e3)
}

/// A duration as milliseconds.
pub(crate) fn as_millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}
