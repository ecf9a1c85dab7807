//! A new version of a model in SQL, built in parts while appends go on: it takes over, and is what the log says.
#![cfg(all(unix, any(feature = "sqlite", feature = "postgres")))]

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resilience_core::event::Sink;
use resilience_core::lease::MemoryLeases;
use resilience_cqrs::projection::{Apply, Event, Phase, ProjectionRunnerBuilder, Versions};
use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded};
use tokio::sync::watch;

const ACCOUNTS: u64 = 50;
/// Events before the rebuild.
const OLD: u64 = 1_000;
/// How far behind the new version may take over.
const NEAR: u64 = 100;

struct Orders(&'static str);

impl Orders {
    fn table(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

fn cents(event: &Recorded) -> Result<i64, BoxError> {
    Ok(std::str::from_utf8(&event.payload)?.parse()?)
}

async fn append<S: EventStore>(store: &S, n: u64) {
    let event = NewEvent::new("Deposited", (n % 97).to_string());
    let account = format!("account-{}", n % ACCOUNTS);
    store.append(Append::new().events(account, Expected::Any, [event])).await.unwrap();
}

/// Balances after everything up to a position.
async fn fold<S: EventStore>(store: &S, until: Position) -> BTreeMap<String, i64> {
    let (mut at, mut balances) = (Position::ORIGIN, BTreeMap::new());
    while at < until {
        let page = store.read(at, &Query::all(), 8192).await.unwrap();
        for event in page.events.iter().filter(|event| event.position <= until) {
            *balances.entry(event.stream.as_str().to_owned()).or_insert(0) += cents(event).unwrap();
        }
        at = page.next;
    }
    balances
}

fn sum(balances: &BTreeMap<String, i64>) -> i64 {
    balances.values().sum()
}

/// From where on the new version serves.
#[derive(Default)]
struct Served(Mutex<Option<Position>>);

impl Sink for Served {
    fn on_event(&self, event: &resilience_core::event::Event<'_>) {
        if let Some(Event::Serving { position, .. }) = event.fact() {
            *self.0.lock().unwrap() = Some(*position);
        }
    }
}

/// ES25. The old version goes on throughout; each reader is shown one that knows what it has been told before.
///
/// It ends whoever is faster. A writer without bounds that is faster than the rebuild would keep it behind for ever, so
/// this one appends one event for each two that the rebuild has got past: with the rebuild at `p` the head is at most at
/// `OLD + p / 2`, so that at `2 * (OLD - NEAR)` at the latest it is `NEAR` behind. Until then there is always something
/// to take in, and the log never grows past twice `OLD`.
async fn takes_over<S: EventStore, A: Apply<S> + Clone>(
    store: S,
    builder: impl Fn(Orders) -> ProjectionRunnerBuilder<S, A>,
    read: impl AsyncFn(String) -> BTreeMap<String, i64>,
) {
    let versions = Versions::new(store.clone());
    for n in 0..OLD {
        append(&store, n).await;
    }
    let old = builder(Orders("orders@2")).start();
    old.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
    versions.serve("orders@2").await.unwrap();
    let (allow, mut allowed) = watch::channel(OLD);
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            let mut n = OLD;
            while allowed.wait_for(|allowed| *allowed > n).await.is_ok() {
                append(&store, n).await;
                n += 1;
            }
        }
    });
    let served = Arc::new(Served::default());
    let runner = builder(Orders("orders@3")).batch(NonZeroUsize::new(64).unwrap()).listener(served.clone());
    let rebuild = runner.rebuild(MemoryLeases::default(), "node");
    let rebuild = rebuild.parallel(NonZeroU32::new(4).unwrap()).threshold(NEAR).start();
    let (mut seen, mut begun_at) = (0, Position::ORIGIN);
    let shown = loop {
        let status = rebuild.status();
        match status.phase {
            // Nobody would ever see it serve.
            Phase::Failed => panic!("{:?}", rebuild.finish().await),
            Phase::TakingOver | Phase::Serving => {}
            _ => begun_at = status.head,
        }
        allow.send_replace(OLD + status.position.get() / 2);
        let serving = versions.serving("orders").await.unwrap().unwrap();
        let shown = sum(&read(serving.clone()).await);
        if serving == "orders@3" {
            break shown;
        }
        // Deposits only add: a version that shows less than was shown before would go back in time.
        assert!(shown >= seen, "{shown} after {seen}");
        seen = shown;
    };
    let rebuilt = rebuild.finish().await.unwrap();
    assert_eq!(rebuilt.replaced.as_deref(), Some("orders@2"));
    // What was committed while the row changed may be missing for a moment, and nothing before that.
    let served = served.0.lock().unwrap().expect("it says from where on it serves");
    assert!(served >= begun_at, "at {served} it did not know the events before {begun_at}");
    let known = sum(&fold(&store, served).await);
    assert!(shown >= known, "{shown} of {known} after {seen}");
    allow.send_replace(0);
    drop(allow);
    writing.await.unwrap();
    for (version, running) in [("orders@3", rebuilt.running), ("orders@2", old)] {
        running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(read(version.into()).await, fold(&store, store.head()).await, "{version}");
        running.stop().await.unwrap();
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use resilience_cqrs::SqliteStore;
    use resilience_cqrs::projection::{ProjectionRunner, SqlProjection};
    use rusqlite::Transaction;

    use super::*;

    impl SqlProjection for Orders {
        fn name(&self) -> &str {
            self.0
        }

        fn query(&self) -> Query {
            Query::all()
        }

        fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
            let columns = "(account TEXT PRIMARY KEY, cents INTEGER NOT NULL)";
            Ok(tx.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {} {columns}", self.table()))?)
        }

        fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
            let add = "VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents";
            let mut add = tx.prepare_cached(&format!("INSERT INTO {} {add}", self.table()))?;
            add.execute((event.stream.as_str(), cents(event)?))?;
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_version_built_in_parts_takes_over_while_events_come() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("log.db")).await.unwrap();
        let read = async |version: String| {
            let rows = store.read_sql(move |db| {
                let mut select = db.prepare(&format!("SELECT account, cents FROM \"{version}\""))?;
                select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()
            });
            rows.await.unwrap().into_iter().collect()
        };
        takes_over(store.clone(), |orders| ProjectionRunner::sql(store.clone(), orders), read).await;
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use resilience_cqrs::PostgresStore;
    use resilience_cqrs::projection::{PostgresProjection, ProjectionRunner};
    use sqlx::{AssertSqlSafe, PgConnection};

    use super::*;

    impl PostgresProjection for Orders {
        fn name(&self) -> &str {
            self.0
        }

        fn query(&self) -> Query {
            Query::all()
        }

        async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
            let columns = "(account text PRIMARY KEY, cents bigint NOT NULL)";
            let make = format!("CREATE TABLE IF NOT EXISTS {} {columns}", self.table());
            sqlx::query(AssertSqlSafe(make)).execute(tx).await?;
            Ok(())
        }

        async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
            let add = "VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET cents = model.cents + excluded.cents";
            let add = AssertSqlSafe(format!("INSERT INTO {} AS model {add}", self.table()));
            sqlx::query(add).bind(event.stream.as_str()).bind(cents(event)?).execute(tx).await?;
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_version_built_in_parts_takes_over_while_events_come() {
        let store = PostgresStore::builder().schema("rebuilt").open(testkit::postgres::shared()).await.unwrap();
        let read = async |version: String| {
            let select = AssertSqlSafe(format!("SELECT account, cents FROM \"{version}\""));
            let rows: Vec<(String, i64)> =
                sqlx::query_as(select).fetch_all(&mut *store.connection().await.unwrap()).await.unwrap();
            rows.into_iter().collect()
        };
        takes_over(store.clone(), |orders| ProjectionRunner::postgres(store.clone(), orders), read).await;
    }
}
