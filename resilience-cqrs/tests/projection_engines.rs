//! What projections promise each other and their readers, on the engines that keep files and servers: rebuilds, slow
//! neighbours, and reading what one has written. In memory the same is tested beside the code, in time that stands still.
#![cfg(all(unix, any(feature = "sqlite", feature = "postgres")))]

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::lease::Leases;
use resilience_core::time::SharedTimer;
use resilience_cqrs::projection::{
    Phase, Projection, ProjectionHandle, ProjectionRunner, RebuildError, Rows, StaleRead, Versions,
};
use resilience_cqrs::queries::{Ask, Handler, Queries, QueryError};
use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// Long enough for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);

async fn append<S: EventStore>(store: &S) -> Position {
    let event = NewEvent::new("Counted", "");
    store.append(Append::new().events("s", Expected::Any, [event])).await.unwrap().last
}

/// More than any test lets in.
const OPEN: usize = 100_000;

/// Keeps the position of the last event in a row; takes an event in when it is let to.
#[derive(Clone)]
struct Last {
    name: &'static str,
    gate: Arc<Semaphore>,
}

fn last(name: &'static str, open: bool) -> Last {
    Last { name, gate: Arc::new(Semaphore::new(if open { OPEN } else { 0 })) }
}

impl Projection for Last {
    fn name(&self) -> &str {
        self.name
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        self.gate.acquire().await?.forget();
        rows.put(self.name, "last", event.position.get().to_string());
        Ok(())
    }
}

/// What a model says is the last event.
async fn shown<S: EventStore>(store: &S, model: &str) -> Option<u64> {
    let row = store.row(model, b"last").await.unwrap()?;
    Some(std::str::from_utf8(&row).unwrap().parse().unwrap())
}

/// ES26. Two nodes, each with a store and leases of its own, as two processes have, begin the same rebuild; the first is
/// in the middle of it.
async fn of_two_who_rebuild_one_does<S: EventStore, L: Leases + Clone + 'static>(nodes: [(S, L); 2]) {
    // Nothing is to run out meanwhile, however slow the machine.
    let ttl = PATIENCE;
    let [(store, leases), (other, other_leases)] = nodes;
    for _ in 0..100 {
        append(&store).await;
    }
    let new = last("orders@3", false);
    new.gate.add_permits(20);
    let first = ProjectionRunner::builder(store.clone(), new.clone()).batch(NonZeroUsize::new(10).unwrap());
    let mut first = first.rebuild(leases, "node-1").threshold(10).ttl(ttl).start();
    while first.status().phase != Phase::Building {
        tokio::select! {
            changed = first.changed() => assert!(changed.is_some(), "it has ended: {:?}", first.finish().await),
            () = SharedTimer::default().sleep(PATIENCE) => panic!("it does not begin: {:?}", first.finish().await),
        }
    }
    let second = || {
        let runner = ProjectionRunner::builder(other.clone(), last("orders@3", true));
        runner.rebuild(other_leases.clone(), "node-2").threshold(10).ttl(ttl).start().finish()
    };
    match second().await {
        Err(error @ RebuildError::AlreadyRunning { .. }) => {
            assert_eq!(error.to_string(), "the version is being built already, by node-1");
        }
        other => panic!("{other:?}"),
    }
    assert!(shown(&store, "orders@3").await < Some(100), "nobody has gone on with it");
    new.gate.add_permits(100);
    first.finish().await.unwrap().running.stop().await.unwrap();
    assert_eq!(Versions::new(other.clone()).serving("orders").await.unwrap().as_deref(), Some("orders@3"));
    // It serves already: nothing is to be done, and nothing is done twice.
    let again = second().await.unwrap();
    assert_eq!((again.replaced.as_deref(), shown(&other, "orders@3").await), (None, Some(100)));
    again.running.stop().await.unwrap();
}

/// ES27. One hangs in the middle of its first event. The other takes in each at once, and nobody's append waits.
async fn the_slow_one_costs_nothing<S: EventStore>(store: &S, slow: &ProjectionHandle, fast: &ProjectionHandle) {
    for _ in 0..100 {
        let at = append(store).await;
        fast.at_least(at, PATIENCE).await.unwrap();
    }
    assert_eq!(slow.status().position, Position::ORIGIN);
}

struct WhichIsLast;

/// ES28. A question to the model itself knows what the one who asks has written. Of a model that stands still it is said
/// after the wait and not before, and of one that nobody keeps up at once.
async fn whoever_has_written_sees_it<S, H>(store: &S, running: ProjectionHandle, gate: Option<&Semaphore>, handler: H)
where
    S: EventStore,
    H: Handler<WhichIsLast, Answer = u64, Error = Infallible>,
{
    const SHORT: Duration = Duration::from_millis(100);
    let queries = Queries::new(handler).follow(running.progress(), PATIENCE);
    for _ in 0..100 {
        let written = append(store).await;
        let answer = queries.clone().oneshot(Ask::new(WhichIsLast).at_least(written)).await.unwrap();
        assert!(answer.value >= written.get() && answer.position >= written, "{answer:?} after {written}");
    }
    let (mut at, timer) = (store.head(), SharedTimer::default());
    if let Some(gate) = gate {
        gate.forget_permits(OPEN);
        let wanted = append(store).await;
        let (hurried, began) = (queries.clone().follow(running.progress(), SHORT), timer.now());
        let stale = hurried.oneshot(Ask::new(WhichIsLast).at_least(wanted)).await.unwrap_err();
        assert_eq!(stale, QueryError::Stale(StaleRead { at, wanted }));
        assert!(timer.now().since(began) >= SHORT);
        gate.add_permits(OPEN);
        at = running.at_least(wanted, PATIENCE).await.unwrap();
    }
    running.stop().await.unwrap();
    let wanted = append(store).await;
    let stale = queries.oneshot(Ask::new(WhichIsLast).at_least(wanted)).await.unwrap_err();
    assert_eq!(stale, QueryError::Stale(StaleRead { at, wanted }));
}

/// Answers from the row that [`Last`] keeps.
fn from_row<S: EventStore>(store: &S) -> impl Handler<WhichIsLast, Answer = u64, Error = Infallible> + use<S> {
    let store = store.clone();
    move |WhichIsLast| {
        let store = store.clone();
        async move { Ok(shown(&store, "row@1").await.unwrap_or_default()) }
    }
}

fn rows<S: EventStore>(store: &S, model: Last) -> ProjectionHandle {
    ProjectionRunner::builder(store.clone(), model).start()
}

/// The same in SQL: a table of its own.
struct InSql {
    name: &'static str,
    gate: Arc<Semaphore>,
}

fn in_sql(name: &'static str, open: bool) -> InSql {
    InSql { name, gate: last(name, open).gate }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use resilience_cqrs::SqliteStore;
    use resilience_cqrs::lease::SqliteLeases;
    use resilience_cqrs::projection::SqlProjection;
    use rusqlite::Transaction;
    use tempfile::TempDir;

    use super::*;

    async fn store() -> (TempDir, SqliteStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("log.db")).await.unwrap();
        (directory, store)
    }

    impl SqlProjection for InSql {
        fn name(&self) -> &str {
            self.name
        }

        fn query(&self) -> Query {
            Query::all()
        }

        fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
            Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS last_event (position INTEGER NOT NULL)")?)
        }

        fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
            tx.execute("INSERT INTO last_event VALUES (?1)", [i64::try_from(event.position.get())?])?;
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_two_who_rebuild_at_once_one_does_and_the_other_is_told() {
        let (directory, store) = store().await;
        let leases = async || {
            let builder = SqliteLeases::builder().busy_timeout(PATIENCE);
            builder.open(directory.path().join("leases.db")).await.unwrap()
        };
        of_two_who_rebuild_one_does([(store.clone(), leases().await), (store, leases().await)]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_projection_costs_its_neighbour_nothing() {
        let (_directory, store) = store().await;
        let slow = rows(&store, last("slow@1", false));
        the_slow_one_costs_nothing(&store, &slow, &rows(&store, last("row@1", true))).await;
        let fast = ProjectionRunner::sql(store.clone(), in_sql("sql@1", true)).start();
        the_slow_one_costs_nothing(&store, &slow, &fast).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_has_written_is_shown_it_and_a_model_that_stands_still_is_said_to() {
        let (_directory, store) = store().await;
        let model = last("row@1", true);
        let gate = model.gate.clone();
        whoever_has_written_sees_it(&store, rows(&store, model), Some(&gate), from_row(&store)).await;
        let running = ProjectionRunner::sql(store.clone(), in_sql("sql@1", true)).start();
        let model = store.clone();
        let from_table = move |WhichIsLast| {
            let model = model.clone();
            async move {
                let max = "SELECT coalesce(max(position), 0) FROM last_event";
                let last = model.read_sql(|db| db.query_row(max, [], |row| row.get::<_, i64>(0))).await.unwrap();
                Ok(last.unsigned_abs())
            }
        };
        whoever_has_written_sees_it(&store, running, None, from_table).await;
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use resilience_cqrs::PostgresStore;
    use resilience_cqrs::lease::PostgresLeases;
    use resilience_cqrs::projection::PostgresProjection;
    use sqlx::{Executor, PgConnection};

    use super::*;

    async fn store(schema: &str) -> PostgresStore {
        let poll = Duration::from_millis(20);
        PostgresStore::builder().schema(schema).poll(poll).open(testkit::postgres::shared()).await.unwrap()
    }

    impl PostgresProjection for InSql {
        fn name(&self) -> &str {
            self.name
        }

        fn query(&self) -> Query {
            Query::all()
        }

        async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
            tx.execute("CREATE TABLE IF NOT EXISTS last_event (position bigint NOT NULL)").await?;
            Ok(())
        }

        async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
            let position = i64::try_from(event.position.get())?;
            sqlx::query("INSERT INTO last_event VALUES ($1)").bind(position).execute(&mut *tx).await?;
            self.gate.acquire().await?.forget();
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_two_who_rebuild_at_once_one_does_and_the_other_is_told() {
        let node = async || {
            let leases = PostgresLeases::builder().schema("two rebuild").patience(PATIENCE);
            let leases = leases.open(testkit::postgres::shared()).await;
            (store("two rebuild").await, leases.unwrap())
        };
        of_two_who_rebuild_one_does([node().await, node().await]).await;
    }

    /// A slow model in SQL keeps its transaction open all the time, with rows that it has written.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_projection_costs_its_neighbour_nothing() {
        let store = store("slow and fast").await;
        let sql = |model| ProjectionRunner::postgres(store.clone(), model).start();
        for slow in [rows(&store, last("slow@1", false)), sql(in_sql("slow sql@1", false))] {
            the_slow_one_costs_nothing(&store, &slow, &rows(&store, last("row@1", true))).await;
            the_slow_one_costs_nothing(&store, &slow, &sql(in_sql("sql@1", true))).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_has_written_is_shown_it_and_a_model_that_stands_still_is_said_to() {
        let store = store("written and seen").await;
        let model = last("row@1", true);
        let gate = model.gate.clone();
        whoever_has_written_sees_it(&store, rows(&store, model), Some(&gate), from_row(&store)).await;
        let model = in_sql("sql@1", true);
        let gate = model.gate.clone();
        let running = ProjectionRunner::postgres(store.clone(), model).start();
        let model = store.clone();
        let from_table = move |WhichIsLast| {
            let model = model.clone();
            async move {
                let max = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM last_event");
                let last: i64 = max.fetch_one(&mut *model.connection().await.unwrap()).await.unwrap();
                Ok(last.unsigned_abs())
            }
        };
        whoever_has_written_sees_it(&store, running, Some(&gate), from_table).await;
    }
}
