//! Read models taken in by the append itself: never behind, and what they refuse is not appended.
#![cfg(all(unix, feature = "sqlite", feature = "postgres"))]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use resilience_cqrs::conformance::Engine;
use resilience_cqrs::projection::{
    InlineEngine, InlineStore, PostgresProjection, Projection, ProjectionRunner, Rows, SqlProjection,
};
use resilience_cqrs::{
    Append, AppendError, BoxError, EventStore, Expected, MemoryStore, NewEvent, Position, PostgresStore, Query,
    Recorded, SqliteStore,
};
use rusqlite::Transaction;
use sqlx::{Executor, PgConnection};
use tokio::runtime::Runtime;

/// Funds by account, never below zero; counts what it has seen.
struct Funds;

fn cents(event: &Recorded) -> Result<i64, BoxError> {
    Ok(std::str::from_utf8(&event.payload)?.parse()?)
}

async fn number(rows: &mut Rows<'_>, key: &str) -> Result<i64, BoxError> {
    match rows.get("funds", key).await? {
        Some(number) => Ok(std::str::from_utf8(&number)?.parse()?),
        None => Ok(0),
    }
}

impl Projection for Funds {
    fn name(&self) -> &str {
        "funds@1"
    }

    fn query(&self) -> Query {
        Query::types(["Moved"])
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let left = number(rows, event.stream.as_str()).await? + cents(event)?;
        if left < 0 {
            return Err("insufficient".into());
        }
        let seen = number(rows, "seen").await? + 1;
        rows.put("funds", event.stream.as_str().to_owned(), left.to_string());
        rows.put("funds", "seen", seen.to_string());
        Ok(())
    }
}

impl SqlProjection for Funds {
    fn name(&self) -> &str {
        "funds_sql@1"
    }

    fn query(&self) -> Query {
        Query::types(["Moved"])
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let columns = "(account TEXT PRIMARY KEY, cents INTEGER CHECK (cents >= 0), seen INTEGER)";
        Ok(tx.execute_batch(&format!("CREATE TABLE IF NOT EXISTS funds {columns}"))?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        tx.execute("INSERT OR IGNORE INTO funds VALUES (?1, 0, 0)", [event.stream.as_str()])?;
        let add = "UPDATE funds SET cents = cents + ?2, seen = seen + 1 WHERE account = ?1";
        tx.execute(add, (event.stream.as_str(), cents(event)?))?;
        Ok(())
    }
}

impl PostgresProjection for Funds {
    fn name(&self) -> &str {
        "funds_sql@1"
    }

    fn query(&self) -> Query {
        Query::types(["Moved"])
    }

    async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
        let columns = "(account text PRIMARY KEY, cents bigint CHECK (cents >= 0), seen bigint)";
        tx.execute(sqlx::AssertSqlSafe(format!("CREATE TABLE IF NOT EXISTS funds {columns}"))).await?;
        Ok(())
    }

    async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
        let make = "INSERT INTO funds VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
        sqlx::query(make).bind(event.stream.as_str()).execute(&mut *tx).await?;
        let add = "UPDATE funds SET cents = cents + $2, seen = seen + 1 WHERE account = $1";
        sqlx::query(add).bind(event.stream.as_str()).bind(cents(event)?).execute(tx).await?;
        Ok(())
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
    })
}

fn memory() -> InlineStore<MemoryStore> {
    InlineStore::new(MemoryStore::new()).with(Funds)
}

fn sqlite() -> (InlineStore<SqliteStore>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = runtime().block_on(SqliteStore::open(directory.path().join("log.db"))).unwrap();
    (InlineStore::new(store).with(Funds).with_sql(Funds), directory)
}

fn postgres_in(schema: &str) -> InlineStore<PostgresStore> {
    let builder = PostgresStore::builder().schema(schema).poll(Duration::from_millis(20));
    let store = runtime().block_on(builder.open(testkit::postgres::shared())).unwrap();
    InlineStore::new(store).with(Funds).with_sql(Funds)
}

fn postgres() -> InlineStore<PostgresStore> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    postgres_in(&format!("inline {}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The store keeps the engine's laws, with models or without.
struct Memory;
struct Sqlite;
struct Postgres;

impl Engine for Memory {
    type Store = InlineStore<MemoryStore>;

    fn fresh(&self) -> Self::Store {
        memory()
    }
}

impl Engine for Sqlite {
    type Store = InlineStore<SqliteStore>;

    fn fresh(&self) -> Self::Store {
        let (store, directory) = sqlite();
        std::mem::forget(directory); // Removed with the process's scratch space.
        store
    }
}

impl Engine for Postgres {
    type Store = InlineStore<PostgresStore>;

    fn fresh(&self) -> Self::Store {
        postgres()
    }
}

mod memory_laws {
    resilience_cqrs::conformance_tests!(super::Memory);
}

mod sqlite_laws {
    resilience_cqrs::conformance_tests!(super::Sqlite);
}

mod postgres_laws {
    resilience_cqrs::conformance_tests!(super::Postgres);
}

fn moved(account: &str, cents: i64) -> Append {
    Append::new().events(account, Expected::Any, [NewEvent::new("Moved", cents.to_string())])
}

async fn row<S: EventStore>(store: &S, key: &str) -> i64 {
    let row = store.row("funds", key.as_bytes()).await.unwrap();
    row.map_or(0, |row| std::str::from_utf8(&row).unwrap().parse().unwrap())
}

/// ES22, then what others append, then many at once. `table` is what the model in SQL shows of an account, and
/// how many events of it it has seen.
async fn an_append_shows_its_effect_or_is_refused<S: InlineEngine>(
    store: InlineStore<S>,
    table: impl AsyncFn(&'static str) -> Option<(i64, i64)>,
) {
    store.append(moved("a", 100)).await.unwrap();
    assert_eq!(row(&store, "a").await, 100);
    assert!(table("a").await.is_none_or(|shown| shown == (100, 1)));
    // Two events in one append see each other; of an append that fails nothing is left, in no stream.
    let two = |first: i64, second: i64| {
        let events = [first, second].map(|cents| NewEvent::new("Moved", cents.to_string()));
        Append::new().events("b", Expected::Any, [NewEvent::new("Other", "")]).events("a", Expected::Any, events)
    };
    let refused = store.append(two(-60, -60)).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    assert_eq!((store.head().get(), row(&store, "a").await, row(&store, "seen").await), (1, 100, 1));
    assert!(store.read_stream(&"b".into(), resilience_cqrs::Version::EMPTY, 10).await.unwrap().is_empty());
    assert_eq!(store.append(two(-60, -40)).await.unwrap().first.get(), 2);
    assert_eq!((row(&store, "a").await, row(&store, "seen").await), (0, 3));
    assert!(table("a").await.is_none_or(|shown| shown == (0, 3)));
    // A command that was committed before is not taken in again.
    for _ in 0..2 {
        store.append(moved("a", 7).command_id("seven")).await.unwrap();
    }
    assert_eq!(row(&store, "a").await, 7);

    // One that does not know of the models appends: its events are taken in before the next one's own.
    store.inner().append(moved("c", 5)).await.unwrap();
    assert_eq!(row(&store, "c").await, 0);
    assert!(store.append(moved("c", -6)).await.is_err());
    store.append(moved("c", -5)).await.unwrap();
    assert_eq!((row(&store, "c").await, row(&store, "seen").await), (0, 6));
    assert!(table("c").await.is_none_or(|shown| shown == (0, 2)));

    // Beside a runner of the same projection, whoever comes first, each event is taken in once.
    let running = ProjectionRunner::builder(store.inner().clone(), Funds).start();
    let appends = (0..40).map(async |n| match n % 2 {
        0 => store.append(moved("d", 1)).await.unwrap(),
        _ => store.inner().append(moved("d", 1)).await.unwrap(),
    });
    futures::future::join_all(appends).await;
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
    running.stop().await.unwrap();
    store.append(moved("d", -40)).await.unwrap();
    assert_eq!((row(&store, "d").await, row(&store, "seen").await), (0, 47));
    assert!(store.append(moved("d", -1)).await.is_err());
    assert!(table("d").await.is_none_or(|shown| shown == (0, 41)));

    // Too far behind: refused, until a runner has brought the model near.
    let many = (0..10_001).map(|_| NewEvent::new("Other", ""));
    store.inner().append(Append::new().events("e", Expected::Any, many)).await.unwrap();
    let refused = store.append(moved("a", 1)).await.unwrap_err();
    assert!(
        matches!(&refused, AppendError::Refused(error) if error.to_string().contains("10001 events behind")),
        "{refused:?}"
    );
    let running = ProjectionRunner::builder(store.inner().clone(), Funds).start();
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
    running.stop().await.unwrap();
}

/// Its partitions have checkpoints of their own, which an append does not move: taken in by both, every event counts twice.
#[test]
fn a_model_that_is_run_in_partitions_is_taken_in_by_no_append() {
    runtime().block_on(async {
        let store = MemoryStore::new();
        let moved = || Append::new().events("a", Expected::Any, [NewEvent::new("Moved", "1")]);
        let first = store.append(moved()).await.unwrap().last;
        let two = std::num::NonZeroU32::new(2).unwrap();
        let leases = resilience_core::lease::MemoryLeases::default();
        let member = ProjectionRunner::builder(store.clone(), Funds).partitions(two, leases, "node").start();
        member.at_least(first, Duration::from_secs(100)).await.unwrap();
        member.stop().await.unwrap();
        let refused = InlineStore::new(store.clone()).with(Funds).append(moved()).await.unwrap_err();
        assert!(
            matches!(&refused, AppendError::Refused(error) if error.to_string().contains("partitions")),
            "{refused:?}"
        );
        assert_eq!(store.head(), first);
    });
}

#[test]
fn in_memory() {
    runtime().block_on(async {
        let store = memory();
        an_append_shows_its_effect_or_is_refused(store.clone(), async |_| None).await;
        store.append(moved("a", 1)).await.unwrap();
        assert_eq!(row(&store, "a").await, 8);
    });
}

#[test]
fn on_sqlite() {
    let (store, _directory) = sqlite();
    let table = async |account: &'static str| {
        let select = "SELECT cents, seen FROM funds WHERE account = ?1";
        store
            .inner()
            .read_sql(move |db| db.query_row(select, [account], |row| Ok((row.get(0)?, row.get(1)?))))
            .await
            .ok()
    };
    runtime().block_on(an_append_shows_its_effect_or_is_refused(store.clone(), table));
}

#[test]
fn on_postgres() {
    let store = postgres();
    let table = async |account: &'static str| {
        let select = sqlx::query_as("SELECT cents, seen FROM funds WHERE account = $1").bind(account);
        select.fetch_optional(&mut *store.inner().connection().await.unwrap()).await.unwrap()
    };
    runtime().block_on(an_append_shows_its_effect_or_is_refused(store.clone(), table));
}

#[test]
fn stores_of_two_processes_take_turns_at_the_models() {
    let (here, there) = (postgres_in("inline shared"), postgres_in("inline shared"));
    runtime().block_on(async {
        let appends = (0..60).map(async |n: i64| {
            let store = if n % 2 == 0 { &here } else { &there };
            store.append(moved(["a", "b", "c"][n as usize % 3], n)).await.unwrap();
        });
        futures::future::join_all(appends).await;
        assert_eq!(row(&here, "seen").await, 60);
        let select = "SELECT sum(cents)::bigint, sum(seen)::bigint FROM funds";
        let shown: (i64, i64) =
            sqlx::query_as(select).fetch_one(&mut *there.inner().connection().await.unwrap()).await.unwrap();
        assert_eq!(shown, ((0..60).sum::<i64>(), 60));
        // What one appends, the other is told of.
        let done = here.append(moved("a", 1)).await.unwrap();
        assert_eq!(there.wait_past(Position::new(done.last.get() - 1)).await, done.last);
    });
}
