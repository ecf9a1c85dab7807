//! Read models in PostgreSQL, in the transaction of their checkpoint and without the log's lock.
#![cfg(all(feature = "postgres", unix))]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use resilience_cqrs::projection::{
    Health, PostgresProjection, ProjectionHandle, ProjectionRunner, Replayed, RunnerError,
};
use resilience_cqrs::{
    Append, BoxError, Condition, EventStore, Expected, NewEvent, PostgresStore, Query, Recorded, RowChange,
};
use sqlx::{Executor, PgConnection};

/// Sums up payloads by stream, in sets. Fails on what is no number until it is mended.
#[derive(Clone, Default)]
struct Balances {
    mended: Arc<AtomicBool>,
}

impl PostgresProjection for Balances {
    fn name(&self) -> &str {
        "balances@1"
    }

    fn query(&self) -> Query {
        Query::types(["Deposited"])
    }

    async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS balance (account text PRIMARY KEY, cents bigint NOT NULL)").await?;
        Ok(())
    }

    async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
        self.apply_all(std::slice::from_ref(event), tx).await
    }

    async fn apply_all(&self, events: &[Recorded], tx: &mut PgConnection) -> Result<(), BoxError> {
        let add = "INSERT INTO balance VALUES ($1, $2)
                   ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents";
        for event in events {
            let payload = std::str::from_utf8(&event.payload)?;
            // Changed before the failure: it must be undone with the event.
            sqlx::query(add).bind(event.stream.as_str()).bind(1000_i64).execute(&mut *tx).await?;
            let cents: i64 = match payload {
                _ if self.mended.load(Ordering::Relaxed) => payload.parse().unwrap_or(0),
                "panic" => panic!("as asked"),
                // The server refuses, and the projection goes on as if nothing had happened.
                "swallowed" => tx.execute("SELECT 1 / 0").await.map_or(0, |_| 1),
                // The server refuses, and the projection says so.
                "refused" => tx.execute("SELECT 1 / 0").await.map(|_| 1)?,
                number => number.parse()?,
            };
            let _ = sqlx::query(add).bind(event.stream.as_str()).bind(cents - 1000).execute(&mut *tx).await;
        }
        Ok(())
    }
}

async fn open(schema: &str) -> PostgresStore {
    let builder = PostgresStore::builder().schema(schema).poll(Duration::from_millis(20));
    builder.open(testkit::postgres::shared()).await.unwrap()
}

fn new_schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("model {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn deposit(store: &PostgresStore, account: &str, payload: &'static str) {
    let event = NewEvent::new("Deposited", payload);
    store.append(Append::new().events(account, Expected::Any, [event])).await.unwrap();
}

async fn balance(store: &PostgresStore, account: &str) -> i64 {
    let select = sqlx::query_scalar("SELECT coalesce(sum(cents), 0)::bigint FROM balance WHERE account = $1");
    select.bind(account).fetch_one(&mut *store.connection().await.unwrap()).await.unwrap()
}

async fn caught_up(store: &PostgresStore, running: &ProjectionHandle) {
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
}

/// ES23, and ES24 for an event whose payload means nothing: the events stay in the log, byte for byte.
#[tokio::test]
async fn a_poison_event_in_the_middle_of_a_batch_parks_its_key_and_the_rest_goes_in() {
    let store = open(&new_schema()).await;
    let poison = ["poison", "panic", "swallowed", "refused"];
    for (account, payload) in [("k", "1"), ("other", "1"), ("other", "2")] {
        deposit(&store, account, payload).await;
    }
    for payload in poison {
        deposit(&store, payload, payload).await;
        deposit(&store, payload, "4").await;
    }
    deposit(&store, "other", "16").await;
    let balances = Balances::default();
    let running = ProjectionRunner::postgres(store.clone(), balances.clone()).start();
    caught_up(&store, &running).await;
    assert_eq!((balance(&store, "k").await, balance(&store, "other").await), (1, 19));
    assert_eq!(running.status().parked, poison.map(|key| (key.to_owned(), 2)).into());
    assert_eq!(running.status().health, Health::Degraded);
    for key in poison {
        deposit(&store, key, "16").await;
        deposit(&store, "other", "1").await;
    }
    caught_up(&store, &running).await;
    running.replay("poison").await.unwrap_err();
    for key in poison {
        assert_eq!(balance(&store, key).await, 0, "{key}");
    }
    balances.mended.store(true, Ordering::Relaxed);
    for key in poison {
        assert_eq!(running.replay(key).await, Ok(Replayed { events: 3 }), "{key}");
        assert_eq!(balance(&store, key).await, 20, "{key}");
    }
    assert_eq!(balance(&store, "other").await, 23);
    assert_eq!(running.status().health, Health::Good);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_projection_goes_on_where_it_stopped_in_whatever_batches_and_whoever_takes_it_over() {
    let schema = new_schema();
    let (here, there) = (open(&schema).await, open(&schema).await);
    let mut replaced = Vec::new();
    for round in 1..=6_i64 {
        for _ in 0..20 {
            deposit(&here, "a", "1").await;
        }
        // Two processes, for all they know of each other.
        let store = if round % 2 == 0 { &here } else { &there };
        let batch = NonZeroUsize::new(round as usize * 3).unwrap();
        let running = ProjectionRunner::postgres(store.clone(), Balances::default()).batch(batch).start();
        running.at_least(here.head(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(balance(&here, "a").await, round * 20);
        if round % 3 == 0 {
            running.stop().await.unwrap(); // The other times the runner is replaced while it runs.
        } else {
            replaced.push(running);
        }
    }
    deposit(&here, "a", "1").await;
    for mut running in replaced {
        assert!(matches!(running.ended().await, Err(RunnerError::Fenced)));
    }
    assert_eq!(balance(&here, "a").await, 120);
}

/// ES19's zombie, at its worst moment: it has changed its tables, and is stopped before it commits.
#[tokio::test]
async fn a_successor_takes_over_while_the_one_before_hangs_in_its_transaction_and_cannot_commit() {
    let store = open(&new_schema()).await;
    deposit(&store, "a", "1").await;
    let (zombie, stopped, go_on) = Zombie::new();
    let mut old = ProjectionRunner::postgres(store.clone(), zombie).start();
    stopped.notified().await;
    // Appends go on all the while, and nobody waits for the zombie but who wants its rows.
    deposit(&store, "b", "2").await;
    let new = ProjectionRunner::postgres(store.clone(), Balances::default()).start();
    while store.row("projection", b"balances@1").await.unwrap().unwrap()[8..] != 2_u64.to_be_bytes() {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    assert!(matches!(old.ended().await, Err(RunnerError::Fenced)));
    caught_up(&store, &new).await;
    assert_eq!((balance(&store, "a").await, balance(&store, "b").await), (1, 2));
}

/// Stops after it has changed its table.
struct Zombie(Balances, Arc<tokio::sync::Notify>, Arc<tokio::sync::Notify>);

impl Zombie {
    fn new() -> (Self, Arc<tokio::sync::Notify>, Arc<tokio::sync::Notify>) {
        let (stopped, go_on) = (Arc::default(), Arc::default());
        (Self(Balances::default(), Arc::clone(&stopped), Arc::clone(&go_on)), stopped, go_on)
    }
}

impl PostgresProjection for Zombie {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn query(&self) -> Query {
        self.0.query()
    }

    async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
        self.0.prepare(tx).await
    }

    async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
        self.0.apply(event, tx).await?;
        self.1.notify_one();
        self.2.notified().await;
        Ok(())
    }
}

/// A checkpoint moves without the log's lock. An append with a condition on that row must not judge it by what it was
/// before: the condition held, and the move is gone.
#[tokio::test]
async fn a_condition_on_a_row_waits_for_a_change_of_it_beside_the_log() {
    let store = open(&new_schema()).await;
    store.append(Append::new().row(RowChange::put("s", "k", "old"))).await.unwrap();
    let mut conn = store.connection().await.unwrap();
    let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
    tx.execute("UPDATE log_row SET value = 'moved' WHERE space = 's'").await.unwrap();
    let append = Append::new().require(Condition::row_is("s", "k", "old")).row(RowChange::put("s", "k", "mine"));
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.append(append).await }
    });
    // It waits for the row by now, or will.
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let mut look = store.connection().await.unwrap();
    while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut *look).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();
    assert!(waiting.await.unwrap().unwrap_err().as_conflict().is_some());
    assert_eq!(store.row("s", b"k").await.unwrap().as_deref(), Some(&b"moved"[..]));
}
