//! Sends the orders at random times, and repeats what was not answered until it is.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resilience_core::rng::Rng;
use resilience_core::time::{SharedTimer, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Answer, Client};
use crate::domain::Order;
use crate::problem::Problem;
use crate::stats::Histogram;

/// First wait before an order is sent again, when the gateway did not say.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Most latencies kept for the live percentiles: the last few seconds at any rate a loopback can carry.
const RECENT: usize = 4_096;

/// An order the gateway has promised to deal with: the customer's own record, against which the stores are audited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) order_id: String,
    /// Milliseconds from its arrival to the promise.
    pub(crate) millis: f64,
    /// Times it was sent.
    pub(crate) attempts: u32,
}

/// What the load has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    /// Answered with a client error: the gateway found something wrong with it.
    pub(crate) refused: u64,
    /// Not answered within the patience: it may have been accepted all the same.
    pub(crate) gave_up: u64,
    /// Times an order was sent again.
    pub(crate) resent: u64,
    pub(crate) latency: Histogram,
    /// Latest latencies and when they ended, oldest first.
    recent: std::collections::VecDeque<(Timestamp, Duration)>,
}

impl Progress {
    /// Quantiles over the orders accepted since `from`.
    pub(crate) fn recent(&self, from: Timestamp, qs: [f64; 2]) -> [Option<Duration>; 2] {
        let mut times: Vec<_> = self.recent.iter().filter(|(at, _)| *at >= from).map(|(_, took)| *took).collect();
        times.sort_unstable();
        qs.map(|q| {
            let rank = (times.len() as f64 * q).ceil() as usize;
            times.get(rank.saturating_sub(1)).copied()
        })
    }
}

/// The load of a run; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    timer: SharedTimer,
    patience: Duration,
    progress: Mutex<Progress>,
    log: Mutex<File>,
}

impl Load {
    pub(crate) fn new(client: Client, log: &Path, patience: Duration) -> Result<Self, Problem> {
        let log = Mutex::new(File::create(log).map_err(|why| Problem::file("write", log, why))?);
        let (timer, progress) = (SharedTimer::default(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { client, timer, patience, progress, log }) })
    }

    pub(crate) fn progress(&self) -> Progress {
        self.shared.progress().clone()
    }

    /// Sends every order and waits for its answer; stops sending when `stop` turns true.
    pub(crate) async fn send(self, orders: Arc<[Order]>, rate: f64, seed: u64, mut stop: watch::Receiver<bool>) {
        let mut rng = Rng::seeded(seed ^ 0x9015_50AA_44A1_0A15);
        let mut under_way = JoinSet::new();
        let mut at = self.shared.timer.now();
        for number in 0..orders.len() {
            // The times between arrivals of a Poisson process are exponential; 1 - u is never 0.
            at = at + Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / rate);
            tokio::select! {
                () = self.shared.timer.sleep_until(at) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let (shared, orders, stop, rng) = (self.shared.clone(), orders.clone(), stop.clone(), rng.fork());
            under_way.spawn(async move { shared.place(&orders[number], at, rng, stop).await });
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one order until it is answered, always under the same key.
    async fn place(&self, order: &Order, arrived: Timestamp, mut rng: Rng, stop: watch::Receiver<bool>) {
        self.progress().sent += 1;
        let mut wait = FIRST_WAIT;
        for attempts in 1.. {
            let answer = self.client.post("/orders", &order.order_id, order).await;
            let now = self.timer.now();
            let asked = match answer {
                Ok(Answer { status, .. }) if status.is_success() => {
                    return self.accepted(order, now, now - arrived, attempts);
                }
                Ok(Answer { status, .. }) if status.is_client_error() => {
                    self.progress().refused += 1;
                    return;
                }
                Ok(answer) => answer.retry_after,
                Err(error) => error.retry_after(),
            };
            if now - arrived >= self.patience || *stop.borrow() {
                self.progress().gave_up += 1;
                return;
            }
            // Half the wait is random, so that orders refused together do not come back together.
            let jittered = asked.unwrap_or(wait).mul_f64(0.75 + rng.unit() / 2.0);
            self.timer.sleep(jittered).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            self.progress().resent += 1;
        }
    }

    fn accepted(&self, order: &Order, now: Timestamp, took: Duration, attempts: u32) {
        let record = Accepted { order_id: order.order_id.clone(), millis: took.as_secs_f64() * 1e3, attempts };
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line) {
            tracing::error!(%error, order = order.order_id, "acceptance not recorded");
        }
        let mut progress = self.progress();
        progress.accepted += 1;
        progress.latency.record(took);
        if progress.recent.len() == RECENT {
            progress.recent.pop_front();
        }
        progress.recent.push_back((now, took));
    }
}
