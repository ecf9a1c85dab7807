//! Facts as OpenTelemetry instruments.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use resilience_core::Name;
use resilience_core::event::{Event, Fact, Sink};

/// Turns what policies do into the instruments of a meter, under the names `MetricsSink` uses.
///
/// | instrument | kind | attributes |
/// |---|---|---|
/// | `resilience.<pattern>.<event>` | counter | `policy`, and `reason` and `outcome` where the fact has them |
/// | `resilience.<pattern>.state` | gauge, one-hot | `policy`, `state` |
/// | `resilience.<pattern>.<what>` | histogram, seconds | `policy` |
#[derive(Clone, Debug)]
pub(crate) struct OpenTelemetrySink {
    meter: Meter,
}

impl OpenTelemetrySink {
    pub(crate) const fn new(meter: Meter) -> Self {
        Self { meter }
    }
}

impl Sink for OpenTelemetrySink {
    fn on_event(&self, event: &Event<'_>) {
        // Reached only when a sink was not bound: the instruments are looked up for this one event.
        Instruments::new(self.meter.clone(), event.fact.pattern(), event.policy).on_event(event);
    }

    fn bind(&self, pattern: &'static str, policy: &Name) -> Option<Arc<dyn Sink>> {
        Some(Arc::new(Instruments::new(self.meter.clone(), pattern, policy)))
    }
}

/// The instruments of one policy, each made when it is first used, with their attributes.
struct Instruments {
    meter: Meter,
    pattern: &'static str,
    policy: KeyValue,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    counters: HashMap<Counted, (Counter<u64>, Vec<KeyValue>)>,
    states: HashMap<&'static str, [KeyValue; 2]>,
    state: Option<Gauge<u64>>,
    histograms: HashMap<&'static str, Histogram<f64>>,
}

/// An event, its reason and its outcome.
type Counted = (&'static str, Option<&'static str>, Option<&'static str>);

impl Instruments {
    fn new(meter: Meter, pattern: &'static str, policy: &Name) -> Self {
        let policy = KeyValue::new("policy", policy.as_str().to_owned());
        Self { meter, pattern, policy, made: Mutex::default() }
    }

    fn name(&self, what: &str) -> String {
        format!("resilience.{}.{what}", self.pattern)
    }

    fn counter(&self, (event, reason, outcome): Counted) -> (Counter<u64>, Vec<KeyValue>) {
        let mut attributes = vec![self.policy.clone()];
        attributes.extend(reason.map(|reason| KeyValue::new("reason", reason)));
        attributes.extend(outcome.map(|outcome| KeyValue::new("outcome", outcome)));
        (self.meter.u64_counter(self.name(event)).build(), attributes)
    }

    fn histogram(&self, what: &'static str) -> Histogram<f64> {
        self.meter.f64_histogram(self.name(what)).with_unit("s").build()
    }

    fn attributes(&self, state: &'static str) -> [KeyValue; 2] {
        [self.policy.clone(), KeyValue::new("state", state)]
    }
}

impl Sink for Instruments {
    fn on_event(&self, event: &Event<'_>) {
        let fact: &dyn Fact = event.fact;
        // One lock for all: that of two states shown at once one is the last is worth more than what it costs.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (fact.name(), fact.reason(), fact.outcome());
        let (counter, attributes) = made.counters.entry(key).or_insert_with(|| self.counter(key));
        counter.add(1, attributes);
        if let Some((now, all)) = fact.state() {
            let gauge = made.state.get_or_insert_with(|| self.meter.u64_gauge(self.name("state")).build()).clone();
            for &state in all {
                let attributes = made.states.entry(state).or_insert_with(|| self.attributes(state));
                gauge.record(u64::from(state == now), attributes);
            }
        }
        if let Some((what, duration)) = fact.duration() {
            let histogram = made.histograms.entry(what).or_insert_with(|| self.histogram(what));
            histogram.record(duration.as_secs_f64(), std::slice::from_ref(&self.policy));
        }
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments")
            .field("pattern", &self.pattern)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
