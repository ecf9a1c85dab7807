//! How many events a second a projection takes in that begins at the log's beginning, each exactly once.
//!
//! `cargo run --release -p resilience-cqrs --features postgres --example projection_rate -- [EVENTS] [ENGINE...]`
//!
//! The log has 1,000,000 events of 10,000 accounts with about 100 bytes each; the model is the balance of each account, in
//! rows of the store or in a table of SQL. Afterwards every balance is compared with the log's; a model that is wrong gets
//! no figure. "Each" takes in event by event, "set" a batch with one statement (`apply_all`). PostgreSQL is a private
//! server with its default settings. Engines: `memory`, `sqlite`, `postgres`; all by default.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::collections::HashMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use resilience_cqrs::projection::{
    Apply, PostgresProjection, Projection, ProjectionRunner, ProjectionRunnerBuilder, Rows, SqlProjection,
};
use resilience_cqrs::{
    Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, PostgresStore, Query, Recorded, SqliteStore,
};
use rusqlite::Transaction;
use sqlx::PgConnection;
use testkit::postgres::Postgres;

const ACCOUNTS: u64 = 10_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let events = args.next().map_or(Ok(1_000_000), |events| events.parse())?;
    let engines: Vec<String> = args.collect();
    let wanted = |engine: &str| engines.is_empty() || engines.iter().any(|wanted| wanted == engine);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{:>10} {:>6} {:>6} {:>12} {:>10} {:>12}", "engine", "model", "batch", "events/s", "seconds", "checked");
    if wanted("memory") {
        runtime.block_on(memory(events))?;
    }
    if wanted("sqlite") {
        runtime.block_on(sqlite(events))?;
    }
    if wanted("postgres") {
        // On this thread, because the server ends with the thread that started it.
        let server = Postgres::start_with(&[])?;
        runtime.block_on(postgres(events, &server.url()))?;
    }
    Ok(())
}

async fn memory(events: u64) -> Result<(), Failure> {
    let store = MemoryStore::new();
    let expected = fill(&store, events).await?;
    for batch in [256, 1024] {
        let projection = Balances(format!("rows@{batch}"));
        let space = projection.0.clone();
        let took = catch_up(&store, ProjectionRunner::builder(store.clone(), projection), batch).await?;
        let found = rows(&store, &space).await?;
        report(("memory", "rows", batch), events, took, &found, &expected);
    }
    Ok(())
}

async fn sqlite(events: u64) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(directory.path().join("log.db")).await?;
    let expected = fill(&store, events).await?;
    for batch in [256, 1024, 4096] {
        for set in [false, true] {
            let model = if set { "set" } else { "each" };
            let projection = Table { name: format!("{model}_{batch}"), set };
            let select = format!("SELECT account, cents FROM \"{}\"", projection.name);
            let took = catch_up(&store, ProjectionRunner::sql(store.clone(), projection), batch).await?;
            let found = store.read_sql(move |db| {
                let mut select = db.prepare(&select)?;
                select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()
            });
            report(("sqlite", model, batch), events, took, &found.await?, &expected);
        }
        let projection = Balances(format!("rows@{batch}"));
        let space = projection.0.clone();
        let took = catch_up(&store, ProjectionRunner::builder(store.clone(), projection), batch).await?;
        report(("sqlite", "rows", batch), events, took, &rows(&store, &space).await?, &expected);
    }
    store.close().await;
    Ok(())
}

async fn postgres(events: u64, url: &str) -> Result<(), Failure> {
    let store = PostgresStore::builder().schema("bank").open(url).await?;
    let expected = fill(&store, events).await?;
    for batch in [256, 1024, 4096] {
        for set in [false, true] {
            let model = if set { "set" } else { "each" };
            // Event by event a round trip each: a twentieth of the log says enough.
            let events = if set { events } else { events / 20 };
            let projection = Table { name: format!("{model}_{batch}"), set };
            let select = format!("SELECT account, cents FROM \"{}\"", projection.name);
            let runner = ProjectionRunner::postgres(store.clone(), projection);
            let took = catch_up_to(&store, runner, batch, events).await?;
            if set {
                let select = sqlx::query_as(sqlx::AssertSqlSafe(select));
                let found: Vec<(String, i64)> = select.fetch_all(&mut *store.connection().await?).await?;
                report(("postgres", model, batch), events, took, &found, &expected);
            } else {
                report(("postgres", model, batch), events, took, &[], &HashMap::new());
            }
        }
    }
    store.close().await;
    Ok(())
}

/// Fills the log, and says what the balances are.
async fn fill<S: EventStore>(store: &S, events: u64) -> Result<HashMap<String, i64>, Failure> {
    let mut expected = HashMap::new();
    let mut next = 0;
    while next < events {
        let mut append = Append::new();
        for _ in 0..100.min(events - next) {
            // A stride that visits all accounts, in no order of theirs.
            let account = format!("account-{:05}", next * 7919 % ACCOUNTS);
            let cents = (next % 997) as i64;
            *expected.entry(account.clone()).or_insert(0) += cents;
            let event = NewEvent::new("Deposited", format!("{cents:<80}"));
            append = append.events(account, Expected::Any, [event]);
            next += 1;
        }
        store.append(append).await?;
    }
    Ok(expected)
}

async fn catch_up<S: EventStore, A: Apply<S>>(
    store: &S,
    builder: ProjectionRunnerBuilder<S, A>,
    batch: usize,
) -> Result<Duration, Failure> {
    catch_up_to(store, builder, batch, store.head().get()).await
}

async fn catch_up_to<S: EventStore, A: Apply<S>>(
    _: &S,
    builder: ProjectionRunnerBuilder<S, A>,
    batch: usize,
    position: u64,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    let running = builder.batch(NonZeroUsize::new(batch).unwrap_or(NonZeroUsize::MIN)).start();
    running.at_least(resilience_cqrs::Position::new(position), Duration::from_secs(600)).await?;
    let took = began.elapsed();
    running.stop().await?;
    Ok(took)
}

async fn rows<S: EventStore>(store: &S, space: &str) -> Result<Vec<(String, i64)>, Failure> {
    let rows = store.rows(space, None, ACCOUNTS as usize).await?;
    let number = |(key, value): (bytes::Bytes, bytes::Bytes)| {
        Ok((String::from_utf8(key.to_vec())?, std::str::from_utf8(&value)?.parse()?))
    };
    rows.into_iter().map(number).collect()
}

fn report(
    (engine, model, batch): (&str, &str, usize),
    events: u64,
    took: Duration,
    found: &[(String, i64)],
    expected: &HashMap<String, i64>,
) {
    let wrong = expected.len() != found.len() || found.iter().any(|(key, cents)| expected.get(key) != Some(cents));
    assert!(!wrong, "a model that is wrong gets no figure");
    let (rate, seconds) = (events as f64 / took.as_secs_f64(), took.as_secs_f64());
    println!("{engine:>10} {model:>6} {batch:>6} {rate:>12.0} {seconds:>10.2} {:>12}", found.len());
}

fn cents(event: &Recorded) -> Result<i64, BoxError> {
    Ok(std::str::from_utf8(&event.payload)?.trim_end().parse()?)
}

/// The sums of a batch, by account.
fn sums(events: &[Recorded]) -> Result<HashMap<&str, i64>, BoxError> {
    let mut sums = HashMap::new();
    for event in events {
        *sums.entry(event.stream.as_str()).or_insert(0) += cents(event)?;
    }
    Ok(sums)
}

struct Balances(String);

impl Projection for Balances {
    fn name(&self) -> &str {
        &self.0
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let balance: i64 = match rows.get(self.0.as_str(), event.stream.as_str()).await? {
            Some(balance) => std::str::from_utf8(&balance)?.parse()?,
            None => 0,
        };
        rows.put(self.0.as_str(), event.stream.as_str().to_owned(), (balance + cents(event)?).to_string());
        Ok(())
    }
}

struct Table {
    name: String,
    set: bool,
}

impl SqlProjection for Table {
    fn name(&self) -> &str {
        &self.name
    }

    fn query(&self) -> Query {
        Query::all()
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let make = "(account TEXT PRIMARY KEY, cents INTEGER NOT NULL) WITHOUT ROWID";
        Ok(tx.execute_batch(&format!("CREATE TABLE IF NOT EXISTS \"{}\" {make}", self.name))?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let add = "VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents";
        let mut add = tx.prepare_cached(&format!("INSERT INTO \"{}\" {add}", self.name))?;
        add.execute((event.stream.as_str(), cents(event)?))?;
        Ok(())
    }

    fn apply_all(&self, events: &[Recorded], tx: &Transaction<'_>) -> Result<(), BoxError> {
        if !self.set {
            return events.iter().try_for_each(|event| SqlProjection::apply(self, event, tx));
        }
        let add = "VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents";
        let mut add = tx.prepare_cached(&format!("INSERT INTO \"{}\" {add}", self.name))?;
        for (account, cents) in sums(events)? {
            add.execute((account, cents))?;
        }
        Ok(())
    }
}

impl PostgresProjection for Table {
    fn name(&self) -> &str {
        &self.name
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
        let make = "(account text PRIMARY KEY, cents bigint NOT NULL)";
        let make = format!("CREATE TABLE IF NOT EXISTS \"{}\" {make}", self.name);
        sqlx::query(sqlx::AssertSqlSafe(make)).execute(tx).await?;
        Ok(())
    }

    async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
        PostgresProjection::apply_all(self, std::slice::from_ref(event), tx).await
    }

    async fn apply_all(&self, events: &[Recorded], tx: &mut PgConnection) -> Result<(), BoxError> {
        let add = format!(
            "INSERT INTO \"{0}\" AS model SELECT * FROM unnest($1::text[], $2::bigint[])
             ON CONFLICT (account) DO UPDATE SET cents = model.cents + excluded.cents",
            self.name
        );
        let parts: Vec<&[Recorded]> = if self.set { vec![events] } else { events.chunks(1).collect() };
        for part in parts {
            let (accounts, cents): (Vec<&str>, Vec<i64>) = sums(part)?.into_iter().unzip();
            sqlx::query(sqlx::AssertSqlSafe(add.as_str())).bind(accounts).bind(cents).execute(&mut *tx).await?;
        }
        Ok(())
    }
}
