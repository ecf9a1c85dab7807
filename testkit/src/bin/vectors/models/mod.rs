//! The models cases may name. Each drives the family's own machine, configured to the semantics of the case's profile.

mod backoff;
mod breaker;
mod budget;
mod limit;
mod outlier;
mod pace;
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
    ("admission_control", pace::admission_control),
    ("aws_adaptive", pace::adaptive),
    ("aws_clocker", pace::clocker),
    ("aws_cubic", pace::cubic),
    ("aws_token_bucket", pace::bucket),
    ("backoff", backoff::delays),
    ("backoff_series", backoff::series),
    ("bbr", limit::bbr),
    ("bbr_check", limit::bbr),
    ("break_duration_args", breaker::attempts),
    ("breaker", breaker::breaker),
    ("client_throttle", pace::client_throttle),
    ("codel", limit::codel),
    ("codel_load", limit::codel),
    ("ejection_time", outlier::ejection_time),
    ("envoy_gradient", limit::envoy_gradient),
    ("envoy_jitter", limit::envoy_jitter),
    ("envoy_min_rtt", limit::envoy_min_rtt),
    ("function", limit::function),
    ("jitter_bounds", backoff::bounds),
    ("limit", limit::limit),
    ("long_poll_empty_quota", retry::long_poll),
    ("max_limit", limit::max_limit),
    ("measurement", limit::measurement),
    ("nack_admission", pace::nack),
    ("outlier", outlier::outlier),
    ("outlier_stat", outlier::threshold),
    ("partitioned", limit::partitioned),
    ("pid_error", limit::error),
    ("predicate.trip", breaker::predicate),
    ("queue_timeout", limit::patience),
    ("quota_raw", retry::bucket),
    ("rate_bursty", pace::bursty),
    ("rate_cycle", pace::cycle),
    ("rate_smooth", pace::smooth),
    ("retry_after", retry::quota),
    ("retry_attempts", retry::attempts),
    ("retry_budget_envoy", budget::envoy),
    ("retry_budget_failsafe", budget::failsafe),
    ("retry_budget_finagle", budget::finagle),
    ("retry_quota", retry::quota),
    ("retry_throttle", retry::throttle),
    ("sample_window", limit::sample_window),
    ("window.count", breaker::count_window),
    ("window.time", breaker::time_window),
];

/// Observables from pairs.
pub(crate) fn observed<const N: usize>(pairs: [(&str, Value); N]) -> Observed {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The error for an `op` a model does not have.
pub(crate) fn unknown(step: &Step) -> String {
    format!("unknown op {:?}", step.op())
}
