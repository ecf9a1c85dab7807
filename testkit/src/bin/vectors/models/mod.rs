//! The models cases may name. Each drives the family's own machine, configured to the semantics of the case's profile.

mod backoff;
mod budget;
mod outlier;
mod retry;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::case::{Fields, Step};

/// What a model shows after a step.
pub(crate) type Observed = BTreeMap<String, Value>;

/// Something that takes steps and shows what came of them.
pub(crate) trait Model {
    fn step(&mut self, step: &Step) -> Result<Observed, String>;
}

/// Makes a model from a case's set-up.
pub(crate) type Make = fn(&Fields) -> Result<Box<dyn Model>, String>;

/// Every model there is.
pub(crate) const KNOWN: &[(&str, Make)] = &[
    ("backoff", backoff::delays),
    ("backoff_series", backoff::series),
    ("ejection_time", outlier::ejection_time),
    ("jitter_bounds", backoff::bounds),
    ("long_poll_empty_quota", retry::long_poll),
    ("outlier", outlier::outlier),
    ("outlier_stat", outlier::threshold),
    ("quota_raw", retry::bucket),
    ("retry_after", retry::quota),
    ("retry_attempts", retry::attempts),
    ("retry_budget_envoy", budget::envoy),
    ("retry_budget_failsafe", budget::failsafe),
    ("retry_budget_finagle", budget::finagle),
    ("retry_quota", retry::quota),
    ("retry_throttle", retry::throttle),
];

/// Observables from pairs.
pub(crate) fn observed<const N: usize>(pairs: [(&str, Value); N]) -> Observed {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The error for an `op` a model does not have.
pub(crate) fn unknown(step: &Step) -> String {
    format!("unknown op {:?}", step.op())
}
