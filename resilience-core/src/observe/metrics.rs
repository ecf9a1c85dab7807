//! Facts as metrics.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, Label, Unit};

use crate::Name;
use crate::event::{Event, Fact, Sink};

/// Counts facts, shows states and times what took time.
///
/// | series | kind | labels |
/// |---|---|---|
/// | `resilience.<pattern>.<event>` | counter | `policy`, and `reason` and `outcome` where the fact has them |
/// | `resilience.<pattern>.state` | gauge, one-hot | `policy`, `state` |
/// | `resilience.<pattern>.<what>` | histogram, seconds | `policy` |
///
/// Handles are registered once per policy and series, then only counted up. Of a policy's states exactly one is 1, from
/// its first transition on, also while two threads report at once; give each policy of a pattern a name of its own.
///
/// ```
/// use metrics_util::debugging::DebuggingRecorder;
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::observe::MetricsSink;
///
/// let recorder = DebuggingRecorder::new();
/// metrics::with_local_recorder(&recorder, || {
///     let breaker = CircuitBreaker::builder().name("stock").listener(MetricsSink).build()?;
///     breaker.isolate();
///     Ok::<(), resilience_core::ConfigError>(())
/// })?;
/// let series: Vec<_> = recorder.snapshotter().snapshot().into_vec();
/// assert_eq!(series.len(), 1 + 6); // resilience.circuit_breaker.isolated, and .state for each of the six states
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MetricsSink;

impl Sink for MetricsSink {
    fn on_event(&self, event: &Event<'_>) {
        // Reached only when a sink was not bound: the series are looked up for this one event.
        Series::new(event.fact.pattern(), event.policy).on_event(event);
    }

    fn bind(&self, pattern: &'static str, policy: &Name) -> Option<Arc<dyn Sink>> {
        Some(Arc::new(Series::new(pattern, policy)))
    }
}

/// The series of one policy.
struct Series {
    pattern: &'static str,
    policy: String,
    counters: Table<Counted, Counter>,
    states: Table<&'static str, Gauge>,
    /// Held while a state is shown: of two at once, the gauges of both would be 1.
    showing: Mutex<()>,
    histograms: Table<&'static str, Histogram>,
}

/// An event, its reason and its outcome.
type Counted = (&'static str, Option<&'static str>, Option<&'static str>);

/// A handful of entries, written the first time each is seen.
type Table<K, V> = RwLock<HashMap<K, V>>;

impl Series {
    fn new(pattern: &'static str, policy: &Name) -> Self {
        Self {
            pattern,
            policy: policy.as_str().to_owned(),
            counters: Table::default(),
            states: Table::default(),
            showing: Mutex::default(),
            histograms: Table::default(),
        }
    }

    fn count(&self, fact: &dyn Fact) {
        let key = (fact.name(), fact.reason(), fact.outcome());
        with(&self.counters, key, || self.register_counter(key), |counter| counter.increment(1));
    }

    fn register_counter(&self, (event, reason, outcome): Counted) -> Counter {
        let mut labels = vec![Label::new("policy", self.policy.clone())];
        labels.extend(reason.map(|reason| Label::from_static_parts("reason", reason)));
        labels.extend(outcome.map(|outcome| Label::from_static_parts("outcome", outcome)));
        metrics::counter!(format!("resilience.{}.{event}", self.pattern), labels)
    }

    fn register_histogram(&self, what: &'static str) -> Histogram {
        let name = format!("resilience.{}.{what}", self.pattern);
        metrics::describe_histogram!(name.clone(), Unit::Seconds, "How long it took.");
        metrics::histogram!(name, "policy" => self.policy.clone())
    }

    fn show(&self, now: &'static str, all: &'static [&'static str]) {
        let _showing = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        for state in all {
            let register = || {
                let name = format!("resilience.{}.state", self.pattern);
                metrics::gauge!(name, "policy" => self.policy.clone(), "state" => *state)
            };
            let value = if *state == now { 1.0 } else { 0.0 };
            with(&self.states, *state, register, |gauge| gauge.set(value));
        }
    }
}

impl Sink for Series {
    fn on_event(&self, event: &Event<'_>) {
        self.count(event.fact);
        if let Some((now, all)) = event.fact.state() {
            self.show(now, all);
        }
        if let Some((what, duration)) = event.fact.duration() {
            let register = || self.register_histogram(what);
            with(&self.histograms, what, register, |histogram| histogram.record(duration.as_secs_f64()));
        }
    }
}

/// Uses the entry for `key`, made once.
fn with<K: Copy + Eq + std::hash::Hash, V>(
    table: &Table<K, V>,
    key: K,
    register: impl FnOnce() -> V,
    act: impl FnOnce(&V),
) {
    if let Some(value) = table.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return act(value);
    }
    act(table.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert_with(register));
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("pattern", &self.pattern).field("policy", &self.policy).finish_non_exhaustive()
    }
}
