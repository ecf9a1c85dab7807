//! Sagas a second: four linear steps that do nothing, so that what is measured is the engine and its store.
//!
//! `cargo bench -p resilience-saga --features sqlite`; the figures are of this run and this machine. Each line also says how many
//! records that was and how long one saga took, in the median and at the 99th percentile.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::time::{Duration, Instant};

use resilience_cqrs::{EventStore, MemoryStore, SqliteStore};
use resilience_saga::{Cx, Effect, Engine, Input, Outcome, Saga, StepError, saga};

const RECORDS: u64 = 5;

fn linear() -> Saga<u64, u64> {
    saga("linear", 1, |g, input: Input<'_, u64>| {
        let add = |_: Cx, n: u64| async move { Ok::<_, StepError>(n + 1) };
        let undo = |_: Cx, _: Effect<u64>| async { Ok(()) };
        let a = g.step("a", input, add).undo(undo);
        let b = g.step("b", a, add).undo(undo);
        let c = g.step("c", b, add).undo(undo);
        g.step("d", c, add).undo(undo)
    })
    .expect("the definition is sound")
}

async fn measure<S: EventStore>(what: &str, store: S, tasks: u64, sagas: u64) {
    let linear = linear();
    let engine = Engine::builder(store).register(&linear).start().await.expect("the store is new");
    let began = Instant::now();
    let workers = (0..tasks).map(|task| {
        let (engine, linear) = (engine.clone(), linear.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            for n in 0..sagas / tasks {
                let began = Instant::now();
                let outcome = engine.run(&linear, &format!("{task}-{n}"), n).await.expect("nothing is in the way");
                assert_eq!(outcome, Outcome::Completed(n + 4));
                times.push(began.elapsed());
            }
            times
        })
    });
    let mut times: Vec<Duration> = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        times.extend(worker.await.expect("a worker does not panic"));
    }
    let elapsed = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let rate = times.len() as f64 / elapsed;
    println!(
        "{what:<8} {tasks:>5} tasks {rate:>10.0} sagas/s {:>10.0} records/s   p50 {:>9.1?}  p99 {:>9.1?}",
        rate * RECORDS as f64,
        at(0.5),
        at(0.99)
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        for (tasks, sagas) in [(1, 20_000), (8, 40_000), (64, 100_000)] {
            measure("memory", MemoryStore::new(), tasks, sagas).await;
        }
        for (tasks, sagas) in [(1, 2_000), (8, 8_000), (64, 40_000), (1_024, 100_000)] {
            let directory = tempfile::tempdir().expect("a directory can be made");
            let store = SqliteStore::open(directory.path().join("sagas.db")).await.expect("the file can be made");
            measure("sqlite", store.clone(), tasks, sagas).await;
            store.close().await;
        }
    });
}
