//! One sample, the same loop for every store; the rival in a program of its own includes this file too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

/// What every event carries: with type and stream about a hundred bytes.
pub const PAYLOAD: &str = r#"{"cents":1250,"currency":"EUR","reference":"order 8841-2207","by":"teller-3"}"#;

/// Events an aggregate gets before the next one begins: a command finds a history of 0 to 9.
pub const HISTORY: u64 = 10;

/// Streams that are loaded in turn, where loading is measured.
#[allow(dead_code)] // Neither program uses all of this file.
pub const STREAMS: u64 = 500;

/// Events of each of them.
#[allow(dead_code)]
pub const LENGTH: u64 = 50;

/// After which of them the snapshot is, where there is one.
#[allow(dead_code)]
pub const SNAPSHOT: u64 = 40;

/// How hard, and for how long.
#[derive(Args, Clone, Copy, Debug)]
pub struct Load {
    /// Tasks that append at the same time, each to aggregates of its own.
    #[arg(long, default_value_t = 1)]
    pub tasks: u64,
    /// For how long.
    #[arg(long, default_value_t = 1_200)]
    pub millis: u64,
}

/// What one sample measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Sample {
    /// Appends each task got an acknowledgement for, in order and without gaps.
    pub acknowledged: Vec<u64>,
    /// Appends that were refused.
    pub refused: u64,
    /// Wall time.
    pub seconds: f64,
    /// Microseconds, median and 99th percentile.
    pub p50: f64,
    /// See `p50`.
    pub p99: f64,
    /// The share of the processors that other programs used; filled in by who started the sample.
    #[serde(default)]
    pub foreign: f64,
}

/// Events a freshly opened store holds, by stream.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Held(pub BTreeMap<String, u64>);

impl Held {
    /// Acknowledged events that are not there.
    #[allow(dead_code)] // The rival's program leaves the judging to the one that started it.
    pub fn missing(&self, sample: &Sample) -> u64 {
        let mut missing = 0;
        for (task, &count) in (0..).zip(&sample.acknowledged) {
            for aggregate in 0..count.div_ceil(HISTORY) {
                let due = HISTORY.min(count - aggregate * HISTORY);
                missing += due.saturating_sub(self.0.get(&stream(task, aggregate)).copied().unwrap_or(0));
            }
        }
        missing
    }
}

/// The name of a task's n-th aggregate.
pub fn stream(task: u64, aggregate: u64) -> String {
    format!("account-{task}-{aggregate}")
}

/// Appends from `load.tasks` tasks until the time is up. `append(task, index)` is the task's index-th append; it answers
/// whether the append was acknowledged, and a task stops at the first that was not.
pub async fn run<A, F>(load: Load, append: A) -> Sample
where
    A: Fn(u64, u64) -> F + Clone + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let start = Instant::now();
    let end = start + Duration::from_millis(load.millis);
    let tasks: Vec<_> = (0..load.tasks)
        .map(|task| {
            let append = append.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                let mut sent = Instant::now();
                while sent < end {
                    if !append(task, waits.len() as u64).await {
                        return (waits, 1);
                    }
                    let now = Instant::now();
                    waits.push((now - sent).as_secs_f64() * 1e6);
                    sent = now;
                }
                (waits, 0)
            })
        })
        .collect();
    let (mut acknowledged, mut refused, mut waits) = (Vec::new(), 0, Vec::new());
    for task in tasks {
        let (own, failed) = task.await.unwrap_or_else(|_| (Vec::new(), 1));
        acknowledged.push(own.len() as u64);
        refused += failed;
        waits.extend(own);
    }
    let seconds = start.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Sample { acknowledged, refused, seconds, p50: at(0.5), p99: at(0.99), foreign: 0.0 }
}
