use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use proptest::prelude::*;

use super::{MetricsSink, TracingSink};
use crate::bulkhead::Bulkhead;
use crate::circuit_breaker::CircuitBreaker;
use crate::context::{Context, FencingToken};
use crate::event::{Event, Fact, Severity, Sink};
use crate::lease::Fence;
use crate::rate_limit::RateLimiter;
use crate::time::{ManualTimer, Timer, Timestamp};
use crate::timeout::Timeout;
use crate::{Class, Error, Name};

/// The series a recorder has, by name and labels.
fn series(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let value = |value: DebugValue| match value {
        DebugValue::Counter(count) => count as f64,
        DebugValue::Gauge(value) => *value,
        DebugValue::Histogram(samples) => samples.iter().map(|sample| **sample).sum(),
    };
    let name = |key: &Key| {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        format!("{}{{{}}}", key.name(), labels.join(","))
    };
    let snapshot = snapshotter.snapshot().into_vec();
    snapshot.into_iter().map(|(key, _, _, found)| (name(key.key()), value(found))).collect()
}

proptest! {
    /// CP5: whatever a breaker goes through, exactly one of its `state=` series is 1 after each transition.
    /// tower-resilience leaves the state before at 1 as well.
    #[test]
    fn exactly_one_state_is_one_after_any_transition(steps in prop::collection::vec(0..6_u8, 1..40)) {
        let recorder = Registrations::default();
        let timer = ManualTimer::new();
        metrics::with_local_recorder(&recorder, || {
            let breaker = CircuitBreaker::builder()
                .name("b")
                .consecutive_failures(1)
                .probes(1)
                .timer(timer.clone())
                .listener(MetricsSink)
                .build()
                .unwrap();
            for step in steps {
                match step {
                    0 => breaker.isolate(),
                    1 => breaker.close(),
                    2 => breaker.open_for(Duration::from_secs(1)),
                    3 => timer.advance(Duration::from_secs(2)),
                    _ => {
                        if let Ok(permit) = breaker.try_acquire() {
                            permit.settle(if step == 4 { Class::Failure } else { Class::Success });
                        }
                    }
                }
                let ones = recorder.states_at_one();
                assert!(recorder.gauges.lock().unwrap().is_empty() || ones == [breaker.state().label()], "{ones:?}");
            }
        });
    }
}

/// A fact that is all labels.
#[derive(Debug)]
struct Turned(&'static str);

impl Fact for Turned {
    fn pattern(&self) -> &'static str {
        "lamp"
    }

    fn name(&self) -> &'static str {
        "turned"
    }

    fn severity(&self) -> Severity {
        Severity::Warn
    }

    fn reason(&self) -> Option<&'static str> {
        Some("dusk")
    }

    fn outcome(&self) -> Option<&'static str> {
        Some("success")
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        Some(("glowed", Duration::from_millis(1_500)))
    }

    fn state(&self) -> Option<(&'static str, &'static [&'static str])> {
        Some((self.0, &["on", "off", "broken"]))
    }
}

fn tell(sink: &dyn Sink, policy: &Name, fact: &dyn Fact) {
    sink.on_event(&Event { policy, at: Timestamp::ORIGIN, fact });
}

/// A gauge that is slow to write, so that two writers meet.
#[derive(Default)]
struct Slow(AtomicU64, AtomicU64);

impl metrics::GaugeFn for Slow {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        // As long as it happens to take, so that writers overtake each other.
        let turns = self.1.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).rotate_left(17) % 600;
        (0..turns).for_each(|_| std::hint::spin_loop());
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Counts what is registered, and holds on to the gauges, by state.
#[derive(Default)]
struct Registrations {
    made: AtomicUsize,
    gauges: Mutex<BTreeMap<String, Arc<Slow>>>,
    units: Mutex<Vec<(String, Option<Unit>)>>,
}

impl Registrations {
    fn states_at_one(&self) -> Vec<String> {
        let gauges = self.gauges.lock().unwrap();
        let at_one = gauges.iter().filter(|(_, gauge)| f64::from_bits(gauge.0.load(Ordering::Relaxed)) == 1.0);
        at_one.map(|(state, _)| state.clone()).collect()
    }
}

impl Recorder for Registrations {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.units.lock().unwrap().push((name.as_str().to_owned(), unit));
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.made.fetch_add(1, Ordering::Relaxed);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.made.fetch_add(1, Ordering::Relaxed);
        let mut gauges = self.gauges.lock().unwrap();
        let state = key.labels().find(|label| label.key() == "state").map(|label| label.value().to_owned());
        Gauge::from_arc(gauges.entry(state.unwrap_or_default()).or_default().clone())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.made.fetch_add(1, Ordering::Relaxed);
        Histogram::noop()
    }
}

#[test]
fn a_series_is_registered_once_however_often_it_is_counted() {
    let recorder = Registrations::default();
    metrics::with_local_recorder(&recorder, || {
        let policy = Name::from("hall");
        let sink = MetricsSink.bind("lamp", &policy).unwrap();
        for _ in 0..1_000 {
            tell(&*sink, &policy, &Turned("on"));
            tell(&*sink, &policy, &Turned("off"));
        }
    });
    assert_eq!(recorder.made.into_inner(), 1 + 3 + 1, "a counter, three states, a histogram");
    assert_eq!(*recorder.units.lock().unwrap(), [("resilience.lamp.glowed".to_owned(), Some(Unit::Seconds))]);
}

/// CP5, with two threads at once: without a lock around the gauges of one policy, both their states stay at 1 now and
/// then.
#[test]
fn two_threads_that_report_at_once_leave_one_state_at_one() {
    let recorder = Registrations::default();
    let policy = Name::from("hall");
    let sink = MetricsSink.bind("lamp", &policy).unwrap();
    let (start, end) = (Barrier::new(2), Barrier::new(2));
    let states = ["on", "off"];
    let reporting = &|state: &'static str| {
        metrics::with_local_recorder(&recorder, || {
            let mut wrong = 0;
            for _ in 0..2_000 {
                start.wait();
                tell(&*sink, &policy, &Turned(state));
                // The first thread looks, while the other waits for the next round.
                if end.wait().is_leader() {
                    wrong += usize::from(recorder.states_at_one().len() != 1);
                }
                start.wait();
            }
            wrong
        })
    };
    let wrong: usize = std::thread::scope(|scope| {
        let threads = states.map(|state| scope.spawn(move || reporting(state)));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wrong, 0);
}

#[test]
fn a_fact_is_counted_under_all_its_labels_and_timed_in_seconds() {
    let recorder = DebuggingRecorder::new();
    let policy = Name::from("hall");
    metrics::with_local_recorder(&recorder, || tell(&MetricsSink, &policy, &Turned("on")));
    let expected = [
        ("resilience.lamp.glowed{policy=hall}", 1.5),
        ("resilience.lamp.state{policy=hall,state=broken}", 0.0),
        ("resilience.lamp.state{policy=hall,state=off}", 0.0),
        ("resilience.lamp.state{policy=hall,state=on}", 1.0),
        ("resilience.lamp.turned{policy=hall,reason=dusk,outcome=success}", 1.0),
    ];
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(series(&recorder.snapshotter()), expected);
}

/// Every refusal counts, and says why: a panel that sums `*.rejected` by `reason` misses nobody.
#[test]
fn every_refusal_is_counted_with_its_reason() {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || {
        let breaker = CircuitBreaker::builder().name("p").listener(MetricsSink).build().unwrap();
        breaker.isolate();
        assert!(breaker.try_acquire().is_err());
        let bulkhead = Bulkhead::builder().name("p").limit(1).listener(MetricsSink).build().unwrap();
        let _slot = bulkhead.try_acquire().unwrap();
        assert!(bulkhead.try_acquire().is_err());
        let limiter = RateLimiter::builder().name("p").quota(1, Duration::from_secs(9)).listener(MetricsSink).build();
        let limiter = limiter.unwrap();
        limiter.try_acquire().unwrap();
        assert!(limiter.try_acquire().is_err());
        let timer = ManualTimer::new();
        let timeout = Timeout::builder().name("p").limit(Duration::from_secs(1)).timer(timer.clone());
        let timeout = timeout.listener(MetricsSink).build().unwrap();
        let late = Context::new().with_deadline(timer.now());
        let call = late.run(|| timeout.call(std::future::ready(Ok::<_, Error<()>>(()))));
        assert!(futures::executor::block_on(call).is_err());
        let fence = Fence::builder().name("p").listener(MetricsSink).build().unwrap();
        fence.observe("r", FencingToken::new(2));
        assert!(fence.check("r", Some(FencingToken::new(1))).is_err());
    });
    let counted = series(&recorder.snapshotter());
    for (pattern, reason) in [
        ("circuit_breaker", "isolated"),
        ("bulkhead", "full"),
        ("rate_limit", "rate_limited"),
        ("timeout", "deadline"),
        ("lease", "fenced"),
    ] {
        let name = format!("resilience.{pattern}.rejected{{policy=p,reason={reason}}}");
        assert_eq!(counted.get(&name), Some(&1.0), "{name} is not in {counted:#?}");
    }
}

/// Keeps each event's level and fields as text.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "resilience"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

#[test]
fn a_fact_is_logged_at_its_level_with_all_it_says() {
    let log = Arc::new(Log::default());
    tracing::subscriber::with_default(log.clone(), || {
        tell(&TracingSink, &Name::from("hall"), &Turned("on"));
        let breaker =
            CircuitBreaker::builder().name("b").consecutive_failures(1).listener(TracingSink).build().unwrap();
        breaker.try_acquire().unwrap().settle(Class::Failure);
        assert!(breaker.try_acquire().is_err());
    });
    let lines = log.0.lock().unwrap();
    let expected = "WARN policy=\"hall\" pattern=\"lamp\" event=\"turned\" reason=\"dusk\" outcome=\"success\" state=\"on\" \
                    seconds=1.5 detail=Turned(\"on\")";
    assert_eq!(lines[0], expected);
    let opened = lines.iter().find(|line| line.contains("event=\"opened\"")).unwrap();
    assert!(opened.starts_with("ERROR policy=\"b\" pattern=\"circuit_breaker\""), "{opened}");
    assert!(lines.iter().any(|line| line.starts_with("DEBUG") && line.contains("event=\"rejected\" reason=\"open\"")));
}
