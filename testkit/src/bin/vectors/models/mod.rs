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

/// A model, and the profiles that select its semantics.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    make: Make,
    profiles: &'static [&'static str],
}

/// Every model there is.
pub(crate) const KNOWN: &[Known] = &[
    Known::new("admission_control", pace::admission_control),
    Known::new("aws_adaptive", pace::adaptive),
    Known::new("aws_clocker", pace::clocker),
    Known::new("aws_cubic", pace::cubic),
    Known::new("aws_token_bucket", pace::bucket),
    Known::new("backoff", backoff::delays),
    Known::new("backoff_series", backoff::series),
    Known::new("bbr", limit::bbr),
    Known::new("bbr_check", limit::bbr),
    Known::new("break_duration_args", breaker::attempts).in_profiles(&["polly"]),
    Known::new("breaker", breaker::breaker).in_profiles(&["polly", "r4j", "failsafe", "gobreaker", "sentinel"]),
    Known::new("client_throttle", pace::client_throttle),
    Known::new("codel", limit::codel),
    Known::new("codel_load", limit::codel),
    Known::new("ejection_time", outlier::ejection_time),
    Known::new("envoy_gradient", limit::envoy_gradient),
    Known::new("envoy_jitter", limit::envoy_jitter),
    Known::new("envoy_min_rtt", limit::envoy_min_rtt),
    Known::new("function", limit::function),
    Known::new("jitter_bounds", backoff::bounds),
    Known::new("limit", limit::limit),
    Known::new("long_poll_empty_quota", retry::long_poll).in_profiles(&["aws_v2_0", "aws_v2_1"]),
    Known::new("max_limit", limit::max_limit),
    Known::new("measurement", limit::measurement),
    Known::new("nack_admission", pace::nack),
    Known::new("outlier", outlier::outlier).in_profiles(&["grpc", "envoy"]),
    Known::new("outlier_stat", outlier::threshold),
    Known::new("partitioned", limit::partitioned),
    Known::new("pid_error", limit::error),
    Known::new("predicate.trip", breaker::predicate),
    Known::new("queue_timeout", limit::patience),
    Known::new("quota_raw", retry::bucket),
    Known::new("rate_bursty", pace::bursty),
    Known::new("rate_cycle", pace::cycle).in_profiles(&["cycle_reservation"]),
    Known::new("rate_smooth", pace::smooth),
    Known::new("retry_after", retry::quota).in_profiles(&["aws_v2_0", "aws_v2_1"]),
    Known::new("retry_attempts", retry::attempts),
    Known::new("retry_budget_envoy", budget::envoy),
    Known::new("retry_budget_failsafe", budget::failsafe),
    Known::new("retry_budget_finagle", budget::finagle),
    Known::new("retry_quota", retry::quota).in_profiles(&["aws_v2_0", "aws_v2_1"]),
    Known::new("retry_throttle", retry::throttle).in_profiles(&["grpc"]),
    Known::new("sample_window", limit::sample_window),
    Known::new("window.count", breaker::count_window),
    Known::new("window.time", breaker::time_window),
];

/// Whose semantics a case may say it has where a model has those of one project, or of all alike.
const ANCHORS: &[&str] = &[
    "aws",
    "aws_v2_0",
    "aws_v2_1",
    "cenkalti",
    "envoy",
    "facebook",
    "failsafe",
    "failsafe-go",
    "finagle",
    "folly",
    "grpc",
    "kratos",
    "netflix",
    "polly",
    "r4j",
    "resilience4j",
    "sentinel",
    "sre",
    "uber",
];

impl Known {
    const fn new(name: &'static str, make: Make) -> Self {
        Self { name, make, profiles: ANCHORS }
    }

    const fn in_profiles(mut self, profiles: &'static [&'static str]) -> Self {
        self.profiles = profiles;
        self
    }

    /// The model as the case sets it up; a profile it does not have is no set-up.
    pub(crate) fn make(&self, setup: &Fields) -> Result<Box<dyn Model>, String> {
        match setup.get("profile") {
            Some(profile) if !profile.as_str().is_some_and(|profile| self.profiles.contains(&profile)) => {
                Err(format!("unknown profile {profile}"))
            }
            _ => (self.make)(setup),
        }
    }
}

/// Observables from pairs.
pub(crate) fn observed<const N: usize>(pairs: [(&str, Value); N]) -> Observed {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The error for an `op` a model does not have.
pub(crate) fn unknown(step: &Step) -> String {
    format!("unknown op {:?}", step.op())
}
