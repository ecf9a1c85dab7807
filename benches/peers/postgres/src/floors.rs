//! What the server allows without a store.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row};
use testkit::postgres::Postgres;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::sample::{self, HISTORY, Held, Load, PAYLOAD};
use crate::{Failure, Ran};

const COUNT: &str = "SELECT stream, count(*) FROM raw GROUP BY stream";
const TABLE: &str = "CREATE TABLE raw (id bigserial, stream text NOT NULL, payload text NOT NULL)";

/// A database of a sample's own, on a server that has nothing left to write of the last.
pub fn new_database(runtime: &Runtime, server: &Postgres, name: &str) -> Result<String, Failure> {
    runtime.block_on(async {
        let mut conn = PgConnection::connect(&server.url()).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&mut conn).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(format!("{}/{name}", server.url().rsplit_once('/').map(|(server, _)| server.to_owned()).unwrap_or_default()))
    })
}

/// How many events each stream has, by a statement about it.
pub async fn held(url: &str, count: &'static str) -> Result<Held, Failure> {
    let mut conn = PgConnection::connect(url).await?;
    let rows = sqlx::query(count).fetch_all(&mut conn).await?;
    let counts = rows.iter().map(|row| Ok((row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)?.unsigned_abs())));
    Ok(Held(counts.collect::<Result<_, sqlx::Error>>()?))
}

async fn pool(url: &str, load: Load) -> Result<PgPool, Failure> {
    let most = u32::try_from(load.tasks.min(32))?;
    Ok(PgPoolOptions::new().max_connections(most).min_connections(most).test_before_acquire(false).connect(url).await?)
}

pub async fn round_trip(url: String, load: Load) -> Result<Ran, Failure> {
    let pool = pool(&url, load).await?;
    let asking = pool.clone();
    let sample = sample::run(load, move |_, _| {
        let pool = asking.clone();
        async move { sqlx::query("SELECT 1").execute(&pool).await.is_ok() }
    })
    .await;
    pool.close().await;
    Ok(Ran { sample, held: None, conflicts: 0 })
}

pub async fn raw(url: String, load: Load) -> Result<Ran, Failure> {
    let pool = pool(&url, load).await?;
    sqlx::raw_sql(TABLE).execute(&pool).await?;
    let inserting = pool.clone();
    let sample = sample::run(load, move |task, index| {
        let pool = inserting.clone();
        async move {
            let insert = sqlx::query("INSERT INTO raw (stream, payload) VALUES ($1, $2)");
            insert.bind(sample::stream(task, index / HISTORY)).bind(PAYLOAD).execute(&pool).await.is_ok()
        }
    })
    .await;
    pool.close().await;
    Ok(Ran { sample, held: Some(held(&url, COUNT).await?), conflicts: 0 })
}

type Entry = (String, i64, oneshot::Sender<()>);

/// A table, and the insert into it.
pub type Table = (&'static str, &'static str);

pub const ONE_TABLE: Table =
    (TABLE, "INSERT INTO raw (stream, payload) SELECT stream, $3 FROM unnest($1::text[], $2::bigint[]) AS s (stream)");

/// What a log keeps of an event, and finds it by, and nothing that makes it one.
pub const LOGS_TABLE: Table = (
    "CREATE TABLE raw (position bigserial PRIMARY KEY, stream text COLLATE \"C\" NOT NULL, version bigint NOT NULL,
        kind text COLLATE \"C\" NOT NULL, recorded_at bigint NOT NULL, payload text NOT NULL);
     CREATE UNIQUE INDEX raw_stream ON raw (stream, version); CREATE INDEX raw_kind ON raw (kind, position)",
    "INSERT INTO raw (stream, version, kind, recorded_at, payload)
        SELECT stream, version, 'Deposited', 0, $3 FROM unnest($1::text[], $2::bigint[]) AS s (stream, version)",
);

pub async fn grouped(url: String, load: Load, (table, insert): Table) -> Result<Ran, Failure> {
    let mut conn = PgConnection::connect(&url).await?;
    sqlx::raw_sql(table).execute(&mut conn).await?;
    let (sender, mut entries) = mpsc::channel::<Entry>(4096);
    let writer = tokio::spawn(async move {
        let mut batch = Vec::new();
        while entries.recv_many(&mut batch, 512).await > 0 {
            let (mut streams, mut versions, mut answers) = (Vec::new(), Vec::new(), Vec::new());
            for (stream, version, answer) in batch.drain(..) {
                streams.push(stream);
                versions.push(version);
                answers.push(answer);
            }
            sqlx::query(insert).bind(streams).bind(versions).bind(PAYLOAD).execute(&mut conn).await?;
            for answer in answers {
                let _ = answer.send(());
            }
        }
        Ok::<(), sqlx::Error>(())
    });
    let sample = sample::run(load, move |task, index| {
        let sender = sender.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let entry = (sample::stream(task, index / HISTORY), index.cast_signed(), answer);
            sender.send(entry).await.is_ok() && answered.await.is_ok()
        }
    })
    .await;
    writer.await??;
    Ok(Ran { sample, held: Some(held(&url, COUNT).await?), conflicts: 0 })
}
