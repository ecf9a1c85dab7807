//! The schema of a file of cases.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A file of cases.
#[derive(Deserialize)]
pub(crate) struct File {
    pub(crate) cases: Vec<Case>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let head: Head = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if head.format != "anchor-vectors" || head.version != 1 {
            return Err(format!("format {:?} version {} is not known", head.format, head.version));
        }
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

/// One case: a model, how it is set up, and what is done and expected.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) setup: Fields,
    pub(crate) steps: Vec<Step>,
}

/// One step: `op`, its inputs, `at`, `expect`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Step(pub(crate) Fields);

impl Step {
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
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

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
        self.text(key).ok_or_else(|| format!("{key} is missing"))
    }

    pub(crate) fn need_number(&self, key: &str) -> Result<f64, String> {
        self.number(key).ok_or_else(|| format!("{key} is missing"))
    }

    /// A duration given in milliseconds, fractions included.
    pub(crate) fn millis(&self, key: &str) -> Option<Duration> {
        self.number(key).map(millis)
    }
}

/// Milliseconds as a duration, to the nanosecond; negative ones are zero.
pub(crate) fn millis(millis: f64) -> Duration {
    Duration::from_nanos((millis * 1e6).round().max(0.0) as u64)
}

/// A duration as milliseconds.
pub(crate) fn as_millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}
