//! What a service counts, and the JSON under `/stats` that the live view reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resilience_core::event::{Event, Sink};
use resilience_core::time::SharedTimer;
use serde::{Deserialize, Serialize};

/// The pattern whose states are shown.
const CIRCUIT_BREAKER: &str = "circuit_breaker";
/// Most state changes kept for the timeline; later ones are counted only.
const MAX_CHANGES: usize = 4_096;

/// A service's figures: counted by its handlers, and by the policies it listens to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    inner: Arc<Mutex<Figures>>,
    timer: SharedTimer,
}

/// The figures as they go over the wire.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// The process, so that a restart can be told from a count that went back.
    pub(crate) pid: u32,
    /// What happened, since the process started.
    pub(crate) counts: BTreeMap<String, u64>,
    /// What holds now.
    pub(crate) gauges: BTreeMap<String, i64>,
    /// The state of each policy that has one.
    pub(crate) states: BTreeMap<String, String>,
    /// Each change of such a state: Unix milliseconds, policy, state.
    pub(crate) changes: Vec<(u64, String, String)>,
    /// How long something took, by what.
    pub(crate) times: BTreeMap<String, Histogram>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let stats = Self::default();
        stats.lock().pid = std::process::id();
        stats
    }

    /// One more of `what`.
    pub(crate) fn count(&self, what: &str) {
        let mut figures = self.lock();
        match figures.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(figures.counts.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn gauge(&self, what: &str, value: i64) {
        self.lock().gauges.insert(what.to_owned(), value);
    }

    pub(crate) fn took(&self, what: &str, duration: Duration) {
        self.lock().times.entry(what.to_owned()).or_default().record(duration);
    }

    pub(crate) fn snapshot(&self) -> Figures {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every fact of every policy is counted under `pattern.event`, refusals with their reason.
impl Sink for Stats {
    fn on_event(&self, event: &Event<'_>) {
        let fact = event.fact;
        let mut what = format!("{}.{}", fact.pattern(), fact.name());
        if let Some(reason) = fact.reason() {
            what.push('.');
            what.push_str(reason);
        }
        self.count(&what);
        // Only breakers are shown by their state; whether a file could be read is in the counts.
        if let (CIRCUIT_BREAKER, Some((state, _))) = (fact.pattern(), fact.state()) {
            let at = self.timer.wall().as_unix_millis();
            let mut figures = self.lock();
            // Its name in the file is `from-to.circuit_breaker`; it is shown by its edge.
            let policy = event.policy.as_str();
            let policy = policy.strip_suffix(".circuit_breaker").unwrap_or(policy).to_owned();
            figures.states.insert(policy.clone(), state.to_owned());
            if figures.changes.len() < MAX_CHANGES {
                figures.changes.push((at, policy, state.to_owned()));
            }
        }
    }
}

/// Durations in buckets an eighth of an octave wide: a quantile read from it is at most 9 % too high.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Histogram {
    /// Count by bucket; bucket `b` ends at `2^((b + 1) / 8)` microseconds.
    buckets: BTreeMap<u16, u64>,
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = duration.as_micros().max(1) as f64;
        let bucket = (micros.log2() * 8.0) as u16;
        *self.buckets.entry(bucket).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The duration that a share `q` of all stays within; `None` when nothing was recorded.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (self.len() as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros((f64::from(bucket + 1) / 8.0).exp2() as u64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_a_tenth_too_high_and_never_too_low() {
        let mut times = Histogram::default();
        for millis in 1..=1_000 {
            times.record(Duration::from_millis(millis));
        }
        for (q, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = times.quantile(q).unwrap().as_secs_f64() * 1_000.0;
            assert!((exact..exact * 1.1).contains(&found), "p{q}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
