//! Reads every service's `/stats` twice a second and keeps the figures of the run, across restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resilience_core::time::{SharedTimer, Timestamp};
use serde::{Deserialize, Serialize};

use super::load::Load;
use super::supervisor::Board;
use crate::client;
use crate::domain::ServiceName;
use crate::stats::{Figures, Histogram};

/// Time between two samples.
pub(crate) const EVERY: Duration = Duration::from_millis(500);
/// Samples a rate or a percentile looks back on.
const WINDOW: usize = 6;

/// The run at one moment: what the live view shows and the charts are drawn from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds after the first order.
    pub(crate) at: f64,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) gave_up: u64,
    pub(crate) resent: u64,
    /// Orders whose saga ended well.
    pub(crate) completed: u64,
    /// Orders whose saga was undone.
    pub(crate) cancelled: u64,
    /// Sagas under way.
    pub(crate) in_flight: u64,
    /// Orders whose customers were told, in a run with a bus.
    pub(crate) told: u64,
    /// Orders completed a second, over the last three seconds.
    pub(crate) goodput: f64,
    /// Milliseconds from an order's arrival to its acceptance, over the last three seconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Attempts beyond the first, of all clients together.
    pub(crate) retries: u64,
    /// Calls refused by a policy and never sent.
    pub(crate) rejected: u64,
    /// Orders cancelled for want of stock.
    pub(crate) stock_outs: u64,
    /// The state of each breaker.
    pub(crate) breakers: BTreeMap<String, String>,
    pub(crate) kills: u32,
    pub(crate) crashes: u32,
    /// Services that are up.
    pub(crate) up: usize,
}

/// Collects samples; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    shared: Arc<Mutex<Collected>>,
    timer: SharedTimer,
    load: Load,
    board: Board,
    started: Timestamp,
}

/// Everything collected so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) samples: Vec<Sample>,
    /// Each change of a breaker's state: Unix milliseconds, breaker, state.
    pub(crate) changes: Vec<(u64, String, String)>,
    /// How long a checkout took from acceptance to its end.
    pub(crate) checkout: Histogram,
    figures: BTreeMap<ServiceName, Incarnations>,
}

/// One service's figures: of the process that runs, and of those before it together.
#[derive(Clone, Debug, Default)]
struct Incarnations {
    before: Figures,
    now: Figures,
}

impl Incarnations {
    /// Takes a newer snapshot; a new process id closes the old account.
    fn take(&mut self, figures: Figures) {
        if self.now.pid != figures.pid {
            let old = std::mem::take(&mut self.now);
            for (what, count) in old.counts {
                *self.before.counts.entry(what).or_default() += count;
            }
            for (what, times) in old.times {
                self.before.times.entry(what).or_default().merge(&times);
            }
        }
        self.now = figures;
    }

    fn count(&self, matches: impl Fn(&str) -> bool) -> u64 {
        let counts = self.before.counts.iter().chain(&self.now.counts);
        counts.filter(|(what, _)| matches(what)).map(|(_, count)| count).sum()
    }
}

impl Sampler {
    pub(crate) fn new(load: Load, board: Board) -> Self {
        let timer = SharedTimer::default();
        let started = timer.now();
        Self { shared: Arc::default(), timer, load, board, started }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Collected> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one sample.
    pub(crate) async fn sample(&self) -> Sample {
        let board = self.board.all();
        let answers = board.iter().filter_map(|(name, status)| Some((*name, status.address?)));
        let answers = answers.map(|(name, address)| async move { (name, client::figures(address).await) });
        let answers = futures::future::join_all(answers).await;
        let mut collected = self.lock();
        for (name, figures) in answers {
            if let Some(figures) = figures {
                collected.take(name, figures);
            }
        }
        let mut sample = collected.sum();
        sample.kills = board.values().map(|status| status.kills).sum();
        sample.crashes = board.values().map(|status| status.crashes).sum();
        sample.up = board.values().filter(|status| status.address.is_some()).count();
        let now = self.timer.now();
        sample.at = (now - self.started).as_secs_f64();
        let progress = self.load.progress();
        sample.sent = progress.sent;
        sample.accepted = progress.accepted;
        sample.refused = progress.refused;
        sample.gave_up = progress.gave_up;
        sample.resent = progress.resent;
        let from = now.before(EVERY * WINDOW as u32);
        let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        [sample.p50, sample.p99] = progress.recent(from, [0.50, 0.99]).map(millis);
        let back = collected.samples.len().saturating_sub(WINDOW);
        if let Some(earlier) = collected.samples.get(back) {
            let span = (sample.at - earlier.at).max(0.1);
            sample.goodput = sample.completed.saturating_sub(earlier.completed) as f64 / span;
        }
        collected.samples.push(sample.clone());
        sample
    }
}

impl Collected {
    fn take(&mut self, name: ServiceName, figures: Figures) {
        let incarnations = self.figures.entry(name).or_default();
        let known = if incarnations.now.pid == figures.pid { incarnations.now.changes.len() } else { 0 };
        self.changes.extend(figures.changes.iter().skip(known).cloned());
        incarnations.take(figures);
        if name == ServiceName::Orders {
            let times = [&incarnations.before, &incarnations.now].map(|figures| figures.times.get("checkout"));
            let mut checkout = Histogram::default();
            times.into_iter().flatten().for_each(|times| checkout.merge(times));
            self.checkout = checkout;
        }
    }

    fn sum(&self) -> Sample {
        let mut sample = Sample::default();
        for (name, service) in &self.figures {
            sample.retries += service.count(|what| what == "retry.retrying");
            sample.rejected += service.count(|what| what.contains(".rejected"));
            for (policy, state) in &service.now.states {
                sample.breakers.insert(policy.clone(), state.clone());
            }
            if *name == ServiceName::Shipping {
                sample.told = service.now.gauges.get("told").copied().unwrap_or_default().max(0) as u64;
            }
            if *name == ServiceName::Orders {
                // Read from the store when the service starts, so they survive its death.
                let gauge = |what: &str| service.now.gauges.get(what).copied().unwrap_or_default().max(0) as u64;
                sample.completed = gauge("completed");
                sample.cancelled = gauge("cancelled");
                sample.in_flight = gauge("in_flight");
                sample.stock_outs = gauge("stock_outs");
            }
        }
        if let Some(last) = self.samples.last() {
            // A process that just started and has not counted yet says nothing new.
            sample.completed = sample.completed.max(last.completed);
            sample.told = sample.told.max(last.told);
            sample.cancelled = sample.cancelled.max(last.cancelled);
            sample.stock_outs = sample.stock_outs.max(last.stock_outs);
        }
        sample
    }

    /// Every count of every service, as `service what`.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (name, service) in &self.figures {
            for (what, count) in service.before.counts.iter().chain(&service.now.counts) {
                *all.entry(format!("{name} {what}")).or_default() += count;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_where_a_killed_process_left_off() {
        let figures = |pid, retried| Figures {
            pid,
            counts: [("retry.retrying".to_owned(), retried)].into(),
            ..Figures::default()
        };
        let mut collected = Collected::default();
        for (pid, retried) in [(1, 3), (1, 5), (2, 0), (2, 4)] {
            collected.take(ServiceName::Orders, figures(pid, retried));
        }
        assert_eq!(collected.sum().retries, 9);
    }

    #[test]
    fn a_change_of_state_is_collected_once_per_process() {
        let figures = |pid, changes: usize| Figures {
            pid,
            changes: (0..changes).map(|at| (at as u64, "b".to_owned(), "open".to_owned())).collect(),
            ..Figures::default()
        };
        let mut collected = Collected::default();
        for (pid, changes) in [(1, 1), (1, 3), (2, 1)] {
            collected.take(ServiceName::Orders, figures(pid, changes));
        }
        assert_eq!(collected.changes.len(), 4);
    }
}
