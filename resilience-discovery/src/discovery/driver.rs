//! The task that listens to a source and feeds the machine.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::rng::Rng;
use resilience_core::time::{SharedTimer, Timestamp};
use tokio::sync::watch;

use super::{EndpointSet, Event};
use crate::{Changes, Freshness, Snapshot, Source, SourceError, Update};

pub(super) struct Driver {
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    pub(super) set: EndpointSet,
    pub(super) backoff: Backoff,
    pub(super) snapshots: watch::Sender<Snapshot>,
}

impl Driver {
    pub(super) async fn run(mut self, mut source: impl Source) {
        loop {
            // A source that always has something to say must not keep the runtime's other tasks from running.
            tokio::task::consume_budget().await;
            match self.listen(&mut source).await {
                Ok(update) => {
                    self.backoff.reset();
                    let changes = self.set.apply(update, self.timer.now());
                    self.publish(changes);
                }
                Err(error) => {
                    let (failures, planned) = self.backoff.next();
                    let retry_in = error.retry_after().unwrap_or(planned);
                    let error = Arc::new(error);
                    self.emit(|| Event::SourceFailed { error, failures, retry_in });
                    let changes = self.set.fail(self.timer.now());
                    self.publish(changes);
                    self.rest(self.timer.now() + retry_in).await;
                }
            }
        }
    }

    /// Waits for the source's next word, while the machine's own times go on. Silence for two heartbeats is a failure.
    async fn listen(&mut self, source: &mut impl Source) -> Result<Update, SourceError> {
        let silence = source.heartbeat().map_or(Duration::MAX, |heartbeat| heartbeat.saturating_mul(2));
        let timer = self.timer.clone();
        let deadline = timer.now() + silence;
        // A source that panics is a source that failed; the others of the process, and the calls, are not its business.
        let mut next = std::pin::pin!(AssertUnwindSafe(source.next(&timer)).catch_unwind());
        loop {
            let wake_up = self.set.next_wake_up().map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                biased;
                said = &mut next => return said.unwrap_or_else(|_| Err(SourceError::new("the source panicked"))),
                () = timer.sleep_until(wake_up), if wake_up != Timestamp::NEVER => {
                    let now = timer.now();
                    if now >= deadline {
                        return Err(SourceError::new(format!("silent for {silence:?}")));
                    }
                    let changes = self.set.tick(now);
                    self.publish(changes);
                }
            }
        }
    }

    /// Waits until `until`, while the machine's own times go on.
    async fn rest(&mut self, until: Timestamp) {
        while self.timer.now() < until {
            let wake_up = self.set.next_wake_up().map_or(until, |at| at.min(until));
            self.timer.sleep_until(wake_up).await;
            let changes = self.set.tick(self.timer.now());
            self.publish(changes);
        }
    }

    /// Sends what changed to those who follow, then tells the listeners.
    fn publish(&self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        let snapshot = self.set.snapshot().clone();
        let before = self.snapshots.send_replace(snapshot.clone());
        if let Some(freshness) = changes.freshness {
            self.report_freshness(before.freshness, freshness, snapshot.endpoints.len());
        }
        if let Some(kept) = changes.withheld {
            self.emit(|| Event::Withheld { kept });
        }
        if changes.endpoints_changed() {
            let endpoints = snapshot.endpoints.len();
            self.emit(|| Event::Updated { version: snapshot.version, endpoints, changes });
        }
    }

    fn report_freshness(&self, before: Freshness, now: Freshness, endpoints: usize) {
        match (before, now) {
            (Freshness::Stale { .. }, Freshness::Stale { .. }) => {}
            (_, Freshness::Stale { .. }) => self.emit(|| Event::Stale { endpoints }),
            (Freshness::Stale { since }, _) => {
                self.emit(|| Event::Recovered { stale_for: self.timer.now().since(since) });
            }
            _ => {}
        }
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

/// How long to leave a failing source alone.
///
/// Exponential with equal jitter (half fixed, half random): a registry that comes back is not met by all its clients
/// at once, and none of them hammers it in between. After "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
    rng: Rng,
}

impl Backoff {
    pub(super) fn new(first: Duration, cap: Duration, rng: Rng) -> Self {
        Self { first, cap, failures: 0, rng }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The number of failures in a row, this one included, and the wait before the next attempt.
    pub(super) fn next(&mut self) -> (u32, Duration) {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let full = self.first.saturating_mul(1 << doublings).min(self.cap);
        (self.failures, full / 2 + (full / 2).mul_f64(self.rng.unit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_no_two_clients_keep_step() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(30), Rng::seeded(1));
        for full in [1, 2, 4, 8, 16, 30, 30] {
            let (_, wait) = backoff.next();
            assert!(wait >= seconds(full) / 2 && wait <= seconds(full), "{wait:?} of {full} s");
        }
        backoff.reset();
        assert!(backoff.next().1 <= seconds(1));
        let mut other = Backoff::new(seconds(1), seconds(30), Rng::seeded(2));
        assert_ne!(other.next().1, Backoff::new(seconds(1), seconds(30), Rng::seeded(1)).next().1);
    }

    #[test]
    fn a_thousand_failures_in_a_row_overflow_nothing() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, Rng::seeded(1));
        for _ in 0..1000 {
            backoff.next();
        }
    }
}
