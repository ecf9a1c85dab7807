//! Whether a store and a projection need more memory the longer the log gets.
//!
//! `cargo run --release -p resilience-cqrs --example steady -- [MILLIONS] [DIRECTORY]`
//!
//! 64 tasks append batches of events to a SQLite log, spread over a million streams and ten thousand tags, while a
//! projection in SQL takes them in behind. A line each tenth of the way: what the process has in memory, and how far the
//! projection is. Memory must not follow the log.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use resilience_cqrs::projection::{ProjectionRunner, SqlProjection};
use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded, SqliteStore};
use rusqlite::Transaction;

const TASKS: u64 = 64;
const BATCH: u64 = 20;
const PAYLOAD: &str = r#"{"cents":1250,"currency":"EUR","reference":"order 8841-2207","by":"teller-3"}"#;

type Failure = Box<dyn Error + Send + Sync>;

/// How many events each of a thousand groups has.
struct Counts;

impl SqlProjection for Counts {
    fn name(&self) -> &str {
        "counts@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS counts (of INTEGER PRIMARY KEY, n INTEGER NOT NULL)")?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let sql = "INSERT INTO counts VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1";
        tx.prepare_cached(sql)?.execute([event.position.get() as i64 % 1000])?;
        Ok(())
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let events = args.next().map_or(Ok(10), |millions| millions.parse::<u64>())? * 1_000_000;
    let directory = tempfile::tempdir_in(args.next().map_or_else(std::env::temp_dir, PathBuf::from))?;
    let store = SqliteStore::open(directory.path().join("log.db")).await?;
    let counting = ProjectionRunner::sql(store.clone(), Counts).start();
    println!("{:>12} {:>10} {:>12} {:>12}", "events", "events/s", "RSS MiB", "taken in");
    let (started, sent) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let writers = (0..TASKS).map(|task| tokio::spawn(write(store.clone(), sent.clone(), task, events)));
    let writers = futures::future::try_join_all(writers);
    let watch = async {
        for tenth in 1..=10 {
            store.wait_past(Position::new(events / 10 * tenth - 1)).await;
            let rate = store.head().get() as f64 / started.elapsed().as_secs_f64();
            let taken_in = counting.status().position;
            println!("{:>12} {rate:>10.0} {:>12} {taken_in:>12}", store.head(), resident_mib());
        }
    };
    let (written, ()) = tokio::join!(writers, watch);
    written?.into_iter().collect::<Result<(), Failure>>()?;
    counting.at_least(store.head(), Duration::from_secs(3_600)).await?;
    println!("{:>12} {:>10} {:>12} {:>12}", store.head(), "", resident_mib(), counting.status().position);
    let counted: i64 = store.read_sql(|db| db.query_row("SELECT sum(n) FROM counts", [], |row| row.get(0))).await?;
    assert_eq!(counted.unsigned_abs(), store.head().get(), "each event once");
    Ok(())
}

async fn write(store: SqliteStore, sent: Arc<AtomicU64>, task: u64, events: u64) -> Result<(), Failure> {
    // Relaxed: a count of its own, ordered with nothing.
    while sent.fetch_add(BATCH, Ordering::Relaxed) < events {
        let n = sent.load(Ordering::Relaxed);
        let batch = (0..BATCH).map(|_| NewEvent::new("Deposited", PAYLOAD).tag(format!("branch:{}", n % 10_000)));
        store.append(Append::new().events(format!("account-{task}-{}", n % 15_625), Expected::Any, batch)).await?;
    }
    Ok(())
}

/// What the system says this process has in memory.
fn resident_mib() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default();
    (resident * 4096) >> 20
}
