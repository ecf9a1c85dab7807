//! Eight writers, and a reader that looks every 2 ms and goes by position, on each engine: what it is delivered is what was
//! acknowledged, once each and in order. ES13.
//!
//! `POLL_SECONDS` says for how long: one by default, 60 for a release (`cargo xtask polls`, `docs/results/polls.md`). The lag
//! of an event is the time from its writer's answer to its delivery, and none if it was delivered before.
#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resilience_core::time::{SharedTimer, Timestamp};
use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position, Query};
use tokio::sync::watch;

const WRITERS: usize = 8;
const POLL: Duration = Duration::from_millis(2);
/// How long the reader may take after the writers have ended.
const PATIENCE: Duration = Duration::from_secs(120);

/// A position, what is there, and when somebody learnt of it.
type Learnt = (u64, String, Timestamp);

fn seconds() -> u64 {
    std::env::var("POLL_SECONDS").map_or(1, |seconds| seconds.parse().expect("POLL_SECONDS is a number"))
}

/// Writers in the first two of the stores, the reader in the third: of as many processes, where the engine allows it. Each
/// writer rests for `pause` between appends.
async fn is_delivered_what_was_acknowledged<S: EventStore>(engine: &str, stores: [S; 3], pause: Duration) {
    let timer = SharedTimer::default();
    let stop = Arc::new(AtomicBool::new(false));
    let (tell_end, end) = watch::channel(None);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(stores[writer % 2].clone(), writer, pause, stop.clone(), timer.clone())))
        .collect();
    let reader = tokio::spawn(deliver(stores[2].clone(), end, timer.clone()));
    timer.sleep(Duration::from_secs(seconds())).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged: Vec<Learnt> = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("a writer ends"));
    }
    acknowledged.sort_by_key(|(position, ..)| *position);
    tell_end.send_replace(Some(acknowledged.last().map_or(Position::ORIGIN, |(last, ..)| Position::new(*last))));
    let delivered = tokio::select! {
        delivered = reader => delivered.expect("the reader ends"),
        () = timer.sleep(PATIENCE) => panic!("{engine}: the reader does not get to the end"),
    };
    let what = |learnt: &[Learnt]| learnt.iter().map(|(at, text, _)| (*at, text.clone())).collect::<Vec<_>>();
    assert!(what(&delivered) == what(&acknowledged), "{engine}: what was delivered is not what was acknowledged");
    assert!(acknowledged.iter().map(|(at, ..)| *at).eq(1..=acknowledged.len() as u64), "{engine}: a hole");
    let mut lags: Vec<Duration> =
        delivered.iter().zip(&acknowledged).map(|(seen, told)| seen.2.since(told.2)).collect();
    lags.sort();
    let lag = |share: usize| lags.get((lags.len() * share / 1000).min(lags.len() - 1)).map_or(0.0, millis);
    println!(
        "| {engine} | {} | {} | {} | {:.1} | {:.1} | {:.1} |",
        seconds(),
        acknowledged.len(),
        delivered.len(),
        lag(500),
        lag(990),
        lag(1000)
    );
}

fn millis(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

async fn write(
    store: impl EventStore,
    writer: usize,
    pause: Duration,
    stop: Arc<AtomicBool>,
    timer: SharedTimer,
) -> Vec<Learnt> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let text = format!("{writer}-{}", acknowledged.len());
        let event = NewEvent::new("Happened", text.clone());
        let append = Append::new().events(format!("s{writer}"), Expected::Any, [event]);
        let done = store.append(append).await.expect("nothing is in its way");
        acknowledged.push((done.last.get(), text, timer.now()));
        match pause {
            Duration::ZERO => {}
            pause => timer.sleep(pause).await,
        }
    }
    acknowledged
}

async fn deliver(store: impl EventStore, end: watch::Receiver<Option<Position>>, timer: SharedTimer) -> Vec<Learnt> {
    let (mut at, mut delivered) = (Position::ORIGIN, Vec::new());
    loop {
        let page = store.read(at, &Query::all(), 1_000).await.expect("the log can be read");
        at = page.next;
        let now = timer.now();
        let texts = page.events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned());
        delivered.extend(page.events.iter().zip(texts).map(|(event, text)| (event.position.get(), text, now)));
        if end.borrow().is_some_and(|end| at >= end) {
            return delivered;
        }
        if page.is_last() {
            timer.sleep(POLL).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_a_poller_is_delivered_what_was_acknowledged() {
    // It answers at once, and all that it takes in a minute is not to be kept.
    let (store, pause) = (MemoryStore::new(), Duration::from_millis(1));
    is_delivered_what_was_acknowledged("memory", [store.clone(), store.clone(), store], pause).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_poller_is_delivered_what_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = resilience_cqrs::SqliteStore::open(directory.path().join("log.db")).await.expect("it opens");
    is_delivered_what_was_acknowledged("SQLite", [store.clone(), store.clone(), store], Duration::ZERO).await;
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redb_a_poller_is_delivered_what_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = resilience_cqrs::RedbStore::open(directory.path().join("log.redb")).await.expect("it opens");
    is_delivered_what_was_acknowledged("redb", [store.clone(), store.clone(), store], Duration::ZERO).await;
}

/// With a server that waits for its disk, and three stores as of three processes.
#[cfg(feature = "postgres")]
#[test]
fn on_postgresql_a_poller_is_delivered_what_was_acknowledged() {
    // Outside of the runtime: the server ends with the thread that started it.
    let server = testkit::postgres::Postgres::start_with(&[]).expect("a private server starts");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let open = async || resilience_cqrs::PostgresStore::open(&server.url()).await.expect("it opens");
        let stores = [open().await, open().await, open().await];
        is_delivered_what_was_acknowledged("PostgreSQL", stores, Duration::ZERO).await;
    });
}
