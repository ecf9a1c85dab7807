//! What must come out: a figure of one variant, and a bound for it.

use resilience_core::config::Span;
use serde::Deserialize;

use super::{Nothing, Scenario};

/// A figure of a variant, bounded.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// The goal in words.
    pub say: String,
    /// Whose figure.
    pub variant: String,
    /// Of which load; of all of them together, if not said.
    pub load: Option<String>,
    /// Which figure.
    pub measure: Measure,
    /// It must be at least this.
    pub at_least: Option<f64>,
    /// It must be at most this.
    pub at_most: Option<f64>,
    /// The bound is so many times the same figure of this other variant.
    pub of: Option<String>,
}

/// A figure of every variant, for the table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its head.
    pub say: String,
    /// Which figure.
    pub measure: Measure,
}

/// A figure. Shares are from 0 to 1, times in seconds; what never happened is infinite.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The share of the callers of a window who got their answer in time.
    Goodput(Window),
    /// Callers of a window who got none.
    Lost(Window),
    /// Answers in time per second, to callers of a window.
    Throughput(Window),
    /// The time below which this share of the answers in time were.
    Latency(Quantile),
    /// The time after which goodput is never again, in any second, below a level.
    Recovery(Recovery),
    /// Calls that reached the stations in a window.
    Sent(Window),
    /// Calls that reached the stations, per caller.
    SentPerCaller(Window),
    /// Calls that the stations refused in a window because there were too many.
    Throttled(Window),
    /// Keys whose last answered call is not the one that the station served last: writes that were lost, whatever the
    /// caller was told.
    Stale(Nothing),
    /// The time after which a quantile of the latency is never again, in any second, above a bound.
    Calm(Calm),
    /// The time until the stack refused the first caller.
    FirstRefusal(Since),
    /// The time until the stack refused the last caller.
    LastRefusal(Since),
}

/// Callers who came in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// From here; from the start, if not said.
    pub from: Option<Span>,
    /// To here; to the end, if not said.
    pub to: Option<Span>,
}

/// A quantile of the latencies of a window.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// Which: 0.99 for the p99.
    pub q: f64,
    /// From here; from the start, if not said.
    pub from: Option<Span>,
    /// To here; to the end, if not said.
    pub to: Option<Span>,
}

/// A return to a level of goodput.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Counted from here: the repair.
    pub since: Span,
    /// Until here; to the end, if not said.
    pub to: Option<Span>,
    /// The share of callers who must be answered.
    pub level: f64,
}

/// A return to short latencies.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calm {
    /// Counted from here: the change.
    pub since: Span,
    /// Until here; to the end, if not said.
    pub to: Option<Span>,
    /// Which quantile: 0.5 for the median.
    pub q: f64,
    /// The bound.
    pub most: Span,
}

/// A moment, and how far to look.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Counted from here.
    pub since: Span,
    /// Until here; to the end, if not said.
    pub to: Option<Span>,
}

impl Goal {
    /// What is wrong with it: field and rule.
    pub(super) fn check(&self, scenario: &Scenario) -> Result<(), (String, String)> {
        let wrong = |field: &str, rule: &str| Err((field.to_owned(), rule.to_owned()));
        if scenario.variant(&self.variant).is_none() {
            return wrong("variant", "is not the name of a variant");
        }
        if self.of.as_ref().is_some_and(|of| scenario.variant(of).is_none()) {
            return wrong("of", "is not the name of a variant");
        }
        if self.load.as_ref().is_some_and(|load| scenario.load(load).is_none()) {
            return wrong("load", "is not the name of a load");
        }
        match (self.at_least, self.at_most) {
            (None, None) => return wrong("at_most", "must be given, or `at_least`"),
            (Some(_), Some(_)) => return wrong("at_most", "cannot stand beside `at_least`"),
            (Some(bound), None) | (None, Some(bound)) if !bound.is_finite() => {
                return wrong(if self.at_least.is_some() { "at_least" } else { "at_most" }, "must be a number");
            }
            _ => {}
        }
        self.measure.check()
    }
}

impl Measure {
    /// What is wrong with it: field and rule.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, rule: &str| Err((field.to_owned(), rule.to_owned()));
        match self {
            Self::Latency(Quantile { q, .. }) if !(*q > 0.0 && *q < 1.0) => {
                wrong("measure.latency.q", "must be between 0 and 1")
            }
            Self::Calm(Calm { q, .. }) if !(*q > 0.0 && *q < 1.0) => wrong("measure.calm.q", "must be between 0 and 1"),
            Self::Recovery(Recovery { level, .. }) if !(*level > 0.0 && *level <= 1.0) => {
                wrong("measure.recovery.level", "must be above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }
}
