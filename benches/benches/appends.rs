//! `cargo bench -p benches --bench appends`: durable appends, by the number of tasks that append at once.
#![allow(missing_docs)] // `criterion_group!` makes public items.
#![allow(clippy::disallowed_methods)] // A bench reads the real clock; that is its whole work.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, SqliteStore, Version};
use tokio::runtime::{Builder, Runtime};

const PAYLOAD: &str = r#"{"cents":1250,"currency":"EUR","reference":"order 8841-2207","by":"teller-3"}"#;

/// Wall time in which `tasks` tasks together append `count` events, each task to a stream of its own.
async fn appends<S: EventStore>(store: &S, round: u64, tasks: u64, count: u64) -> Duration {
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, share) = (store.clone(), count / tasks + u64::from(task < count % tasks));
            tokio::spawn(async move {
                let stream = format!("account-{round}-{task}");
                for version in 0..share {
                    let expected = Expected::Exact(Version::new(version));
                    let append = Append::new().events(&*stream, expected, [NewEvent::new("Deposited", PAYLOAD)]);
                    store.append(append).await.expect("nobody else appends to this stream");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("an append does not panic");
    }
    start.elapsed()
}

fn bench_store<S: EventStore>(criterion: &mut Criterion, runtime: &Runtime, name: &str, store: &S) {
    let group = &mut criterion.benchmark_group(format!("appends, {name}"));
    group.throughput(Throughput::Elements(1));
    let mut round = 0;
    for tasks in [1, 8, 64] {
        group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
            bencher.iter_custom(|count| {
                round += 1;
                runtime.block_on(appends(store, round, tasks, count))
            });
        });
    }
}

fn stores(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    let entered = runtime.enter();
    bench_store(criterion, &runtime, "memory", &MemoryStore::new());
    drop(entered);
    // Beside the build, and so on a disk: /tmp may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the database");
    let store = runtime.block_on(SqliteStore::open(folder.path().join("events.db"))).expect("a database");
    bench_store(criterion, &runtime, "SQLite", &store);
    runtime.block_on(store.close());
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(4));
    targets = stores
}
criterion_main!(benches);
