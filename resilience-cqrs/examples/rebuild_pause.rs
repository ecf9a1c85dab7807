//! What readers notice of a read model that is built anew and takes over, while 1,000 events a second are written.
//!
//! `cargo run --release -p resilience-cqrs --features postgres --example rebuild_pause -- [EVENTS] [ENGINE...]`
//!
//! Each writer's answer is followed by a question to whichever version serves, for that very event: the wait is what a user
//! who looks for his own write has to wait. It is told for the second before the rebuild, for the rebuild, and for the half
//! seconds before and after the first answer of the new version. Afterwards every balance of the new version is compared
//! with the log's. Engines: `memory`, `sqlite`, `postgres`; all by default.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::collections::HashMap;
use std::error::Error;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use resilience_core::lease::MemoryLeases;
use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows, Serving, Versions};
use resilience_cqrs::{
    Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, PostgresStore, Query, Recorded, SqliteStore,
};
use testkit::postgres::Postgres;
use tokio::time::MissedTickBehavior;

const ACCOUNTS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let events = args.next().map_or(Ok(100_000), |events| events.parse())?;
    let engines: Vec<String> = args.collect();
    let wanted = |engine: &str| engines.is_empty() || engines.iter().any(|wanted| wanted == engine);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("| engine | rebuilt, s | written/s | when | reads | median ms | 99 of 100, ms | longest, ms |");
    println!("|---|--:|--:|---|--:|--:|--:|--:|");
    if wanted("memory") {
        runtime.block_on(rebuild("memory", MemoryStore::new(), events))?;
    }
    if wanted("sqlite") {
        let directory = tempfile::tempdir()?;
        let store = runtime.block_on(SqliteStore::open(directory.path().join("log.db")))?;
        runtime.block_on(rebuild("SQLite", store.clone(), events))?;
        runtime.block_on(store.close());
    }
    if wanted("postgres") {
        // On this thread, because the server ends with the thread that started it.
        let server = Postgres::start_with(&[])?;
        let store = runtime.block_on(PostgresStore::open(&server.url()))?;
        runtime.block_on(rebuild("PostgreSQL", store.clone(), events))?;
        runtime.block_on(store.close());
    }
    Ok(())
}

/// A question that was answered.
struct Read {
    asked: Instant,
    answered: Instant,
    version: String,
}

async fn rebuild<S: EventStore + Clone>(engine: &str, store: S, events: u64) -> Result<(), Failure> {
    let mut expected = HashMap::new();
    for first in (0..events).step_by(100) {
        let numbers = first..events.min(first + 100);
        store.append(numbers.fold(Append::new(), |append, n| deposit(append, n, &mut expected))).await?;
    }
    let old = ProjectionRunner::builder(store.clone(), Balances("balances@1")).batch(BATCH).start();
    old.at_least(store.head(), 10 * PATIENCE).await?;
    let versions = Versions::new(store.clone());
    versions.serve("balances@1").await?;
    let serving = Arc::new(Serving::new(versions, "balances"));
    serving.runs("balances@1", old.progress());

    let ends = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(store.clone(), serving.clone(), ends.clone(), (events, expected)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let new = ProjectionRunner::builder(store.clone(), Balances("balances@2")).batch(BATCH);
    let new = new.rebuild(MemoryLeases::default(), "here").parallel(NonZeroU32::MIN.saturating_add(1)).start();
    let new = new.finish().await?.running;
    let took = began.elapsed();
    serving.runs("balances@2", new.progress());
    tokio::time::sleep(Duration::from_secs(1)).await;
    ends.store(true, Ordering::Relaxed);
    let (written, seconds, reads, expected) = writing.await??;

    new.at_least(store.head(), PATIENCE).await?;
    let found = store.rows("balances@2", None, ACCOUNTS as usize).await?;
    let right = found.iter().all(|(account, cents)| {
        let account = std::str::from_utf8(account).unwrap_or_default();
        expected.get(account).is_some_and(|expected: &i64| expected.to_string().as_bytes() == &cents[..])
    });
    assert!(right && found.len() == expected.len(), "a model that is wrong gets no figure");
    old.stop().await?;
    new.stop().await?;

    let changed = reads.iter().filter(|read| read.version == "balances@2").map(|read| read.answered).min();
    let changed = changed.ok_or("nobody was answered by the new version")?;
    let near = |read: &&Read| {
        let (early, late) = (changed - Duration::from_millis(500), changed + Duration::from_millis(500));
        read.asked >= early && read.asked < late
    };
    let (took, rate) = (took.as_secs_f64(), written as f64 / seconds);
    let row = |when: &str, which: Vec<&Read>| {
        let mut waits: Vec<f64> = which.iter().map(|read| (read.answered - read.asked).as_secs_f64() * 1e3).collect();
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).or(waits.last()).copied();
        let [median, most, longest] = [0.5, 0.99, 1.0].map(|share| at(share).unwrap_or(f64::NAN));
        let reads = waits.len();
        println!("| {engine} | {took:.1} | {rate:.0} | {when} | {reads} | {median:.1} | {most:.1} | {longest:.1} |");
    };
    row("before", reads.iter().filter(|read| read.answered < began).collect());
    row("meanwhile", reads.iter().filter(|read| read.asked >= began).filter(|read| !near(read)).collect());
    row("at the change", reads.iter().filter(near).collect());
    Ok(())
}

/// Writes an event a millisecond, and asks for each.
async fn write<S: EventStore + Clone>(
    store: S,
    serving: Arc<Serving<S>>,
    ends: Arc<AtomicBool>,
    (mut next, mut expected): (u64, HashMap<String, i64>),
) -> Result<(usize, f64, Vec<Read>, HashMap<String, i64>), Failure> {
    let (began, mut asking) = (Instant::now(), Vec::new());
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !ends.load(Ordering::Relaxed) {
        tick.tick().await;
        let append = deposit(Append::new(), next, &mut expected);
        next += 1;
        let (store, serving) = (store.clone(), serving.clone());
        asking.push(tokio::spawn(async move {
            let done = store.append(append).await?;
            let asked = Instant::now();
            let (version, _) = serving.at_least(done.last, PATIENCE).await?;
            Ok::<_, Failure>(Read { asked, answered: Instant::now(), version })
        }));
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut reads = Vec::with_capacity(asking.len());
    for read in asking {
        reads.push(read.await??);
    }
    Ok((reads.len(), seconds, reads, expected))
}

fn deposit(append: Append, n: u64, expected: &mut HashMap<String, i64>) -> Append {
    let account = format!("account-{:04}", n * 7919 % ACCOUNTS);
    let cents = (n % 997) as i64;
    *expected.entry(account.clone()).or_insert(0) += cents;
    append.events(account, Expected::Any, [NewEvent::new("Deposited", format!("{cents:<80}"))])
}

#[derive(Clone)]
struct Balances(&'static str);

impl Projection for Balances {
    fn name(&self) -> &str {
        self.0
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let number = |value: &[u8]| Ok::<i64, BoxError>(std::str::from_utf8(value)?.trim_end().parse()?);
        let balance = match rows.get(self.0, event.stream.as_str()).await? {
            Some(balance) => number(&balance)?,
            None => 0,
        };
        rows.put(self.0, event.stream.as_str().to_owned(), (balance + number(&event.payload)?).to_string());
        Ok(())
    }
}
