//! Read models in SQL, in the transaction of their checkpoint.
#![cfg(feature = "sqlite")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use resilience_cqrs::projection::{Health, ProjectionHandle, ProjectionRunner, Replayed, SqlProjection};
use resilience_cqrs::{Append, AppendError, BoxError, EventStore, Expected, NewEvent, Query, Recorded, SqliteStore};
use rusqlite::Transaction;

/// Sums up payloads by stream. Fails on what is no number until it is mended.
#[derive(Clone, Default)]
struct Balances {
    mended: Arc<AtomicU64>,
}

impl SqlProjection for Balances {
    fn name(&self) -> &str {
        "balances@1"
    }

    fn query(&self) -> Query {
        Query::types(["Deposited"])
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL)")?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let add = "INSERT INTO balance VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents";
        let mut add = tx.prepare_cached(add)?;
        // Changed before the failure: it must be undone with the event.
        add.execute((event.stream.as_str(), 1000))?;
        let cents: i64 = match std::str::from_utf8(&event.payload)?.parse() {
            Err(_) if self.mended.load(Ordering::Relaxed) == 1 => 0,
            Err(_) if &event.payload[..] == b"panic" => panic!("as asked"),
            cents => cents?,
        };
        add.execute((event.stream.as_str(), cents - 1000))?;
        Ok(())
    }
}

async fn open(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(directory.path().join("log.db")).await.unwrap()
}

async fn deposit(store: &SqliteStore, account: &str, payload: &'static str) {
    let event = NewEvent::new("Deposited", payload);
    store.append(Append::new().events(account, Expected::Any, [event])).await.unwrap();
}

async fn balance(store: &SqliteStore, account: &'static str) -> i64 {
    let select = "SELECT coalesce(sum(cents), 0) FROM balance WHERE account = ?1";
    store.read_sql(move |db| db.query_row(select, [account], |row| row.get(0))).await.unwrap()
}

async fn caught_up(store: &SqliteStore, running: &ProjectionHandle) {
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
}

/// ES23.
#[tokio::test]
async fn a_poison_event_in_the_middle_of_a_batch_parks_its_key_and_the_rest_goes_in() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    for (account, payload) in
        [("k", "1"), ("other", "1"), ("k", "poison"), ("other", "2"), ("p", "panic"), ("k", "4"), ("p", "8")]
    {
        deposit(&store, account, payload).await;
    }
    let balances = Balances::default();
    let running = ProjectionRunner::sql(store.clone(), balances.clone()).start();
    caught_up(&store, &running).await;
    assert_eq!((balance(&store, "k").await, balance(&store, "other").await, balance(&store, "p").await), (1, 3, 0));
    assert_eq!(running.status().parked, [("k".into(), 2), ("p".into(), 2)].into());
    assert_eq!(running.status().health, Health::Degraded);
    deposit(&store, "k", "16").await;
    deposit(&store, "other", "16").await;
    caught_up(&store, &running).await;
    assert_eq!((balance(&store, "k").await, balance(&store, "other").await), (1, 19));
    running.replay("k").await.unwrap_err();
    assert_eq!(balance(&store, "k").await, 1);
    balances.mended.store(1, Ordering::Relaxed);
    assert_eq!(running.replay("k").await, Ok(Replayed { events: 3 }));
    assert_eq!(running.replay("p").await, Ok(Replayed { events: 2 }));
    assert_eq!((balance(&store, "k").await, balance(&store, "p").await), (21, 8));
    assert_eq!(running.status().health, Health::Good);
    running.stop().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_projection_goes_on_where_it_stopped_in_whatever_batches() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    for round in 1..=5_i64 {
        for _ in 0..20 {
            deposit(&store, "a", "1").await;
        }
        let batch = NonZeroUsize::new(round as usize * 3).unwrap();
        let running = ProjectionRunner::sql(store.clone(), Balances::default()).batch(batch).start();
        caught_up(&store, &running).await;
        assert_eq!(balance(&store, "a").await, round * 20);
        if round % 2 == 0 {
            running.stop().await.unwrap(); // The other times the runner is replaced while it runs.
        }
    }
}

#[tokio::test]
async fn a_full_disk_parks_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::builder().max_size(1 << 20).open(directory.path().join("log.db")).await.unwrap();
    let running = ProjectionRunner::sql(store.clone(), Hoard).start();
    deposit(&store, "a", "1").await;
    caught_up(&store, &running).await;
    // The next event's row does not fit any more. That is not the event's fault.
    deposit(&store, "a", "2").await;
    while !matches!(running.status().health, Health::Retrying { .. }) {
        tokio::task::yield_now().await;
    }
    assert!(running.status().parked.is_empty());
    store.append_with(Append::new(), |tx| Ok(tx.execute_batch("DELETE FROM hoard")?)).await.unwrap();
    caught_up(&store, &running).await;
    assert_eq!(running.status().health, Health::Good);
}

/// Keeps 600 KiB for each event.
struct Hoard;

impl SqlProjection for Hoard {
    fn name(&self) -> &str {
        "hoard@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS hoard (what BLOB)")?)
    }

    fn apply(&self, _: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        tx.execute("INSERT INTO hoard VALUES (zeroblob(600 << 10))", [])?;
        Ok(())
    }
}

/// ES22, by hand.
#[tokio::test]
async fn a_model_updated_inside_the_append_refuses_it_by_failing() {
    // The inline form: no runner, no lag, and the model's rule is the append's.
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let append = |amount: i64| {
        let event = NewEvent::new("Withdrawn", amount.to_string());
        store.append_with(Append::new().events("a", Expected::Any, [event]), move |tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS funds (cents INTEGER CHECK (cents >= 0))")?;
            if tx.execute("UPDATE funds SET cents = cents - ?1", [amount])? == 0 {
                tx.execute("INSERT INTO funds VALUES (100 - ?1)", [amount])?;
            }
            Ok(())
        })
    };
    append(60).await.unwrap();
    assert!(matches!(append(60).await, Err(AppendError::Refused(_))));
    assert_eq!(store.head().get(), 1);
    append(40).await.unwrap();
    let left: i64 = store.read_sql(|db| db.query_row("SELECT cents FROM funds", [], |row| row.get(0))).await.unwrap();
    assert_eq!(left, 0);
}
