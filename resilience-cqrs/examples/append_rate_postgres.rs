//! How many appends a second the PostgreSQL engine acknowledges, beside the bare server it stands on.
//!
//! `cargo run --release -p resilience-cqrs --features postgres --example append_rate_postgres -- [SECONDS]`
//!
//! Starts a private server with its default settings (it waits for the disk). Each of c tasks appends one event with 200
//! bytes to a stream of its own and waits for the answer. The floor is a task that takes whatever waits, inserts it with
//! one statement into one table without an index, and commits: what the server allows with group commit.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::error::Error;
use std::time::{Duration, Instant};

use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Position, PostgresStore, StreamId, Version};
use sqlx::{Connection, PgConnection};
use testkit::postgres::Postgres;
use tokio::sync::{mpsc, oneshot};

const PAYLOAD: &[u8; 200] = &[b'x'; 200];

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let time = Duration::from_secs_f64(std::env::args().nth(1).map_or(Ok(3.0), |seconds| seconds.parse())?);
    // On this thread, because the server ends with the thread that started it.
    let server = Postgres::start_with(&[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&server.url(), time))
}

async fn measure(url: &str, time: Duration) -> Result<(), Failure> {
    println!("{:>24} {:>10} {:>10} {:>10}", "appends/s", "c=1", "c=8", "c=64");
    for round in 0..2 {
        let (mut floor, mut own) = (Vec::new(), Vec::new());
        for tasks in [1, 8, 64] {
            floor.push(bare(url, &format!("floor_{round}_{tasks}"), tasks, time).await?);
            own.push(appends(url, &format!("own_{round}_{tasks}"), tasks, time).await?);
        }
        for (what, figures) in [("floor", floor), ("a stream a task", own)] {
            println!("{what:>24} {:>10.0} {:>10.0} {:>10.0}", figures[0], figures[1], figures[2]);
        }
    }
    Ok(())
}

async fn appends(url: &str, schema: &str, tasks: usize, time: Duration) -> Result<f64, Failure> {
    let store = PostgresStore::builder().schema(schema).open(url).await?;
    let started = Instant::now();
    let until = started + time;
    let work = (0..tasks).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let stream = StreamId::from(format!("account-{task}"));
            let mut done = 0_u64;
            while Instant::now() < until {
                let event = NewEvent::new("MoneyDeposited", &PAYLOAD[..]);
                let expected = Expected::Exact(Version::new(done));
                store.append(Append::new().events(&stream, expected, [event])).await?;
                done += 1;
            }
            Ok::<u64, Failure>(done)
        })
    });
    let total = sum(work.collect()).await?;
    let rate = total as f64 / started.elapsed().as_secs_f64();
    // A store that loses events gets no number.
    assert_eq!(store.head(), Position::new(total));
    store.close().await;
    Ok(rate)
}

type Row = (String, oneshot::Sender<()>);

async fn bare(url: &str, table: &str, tasks: usize, time: Duration) -> Result<f64, Failure> {
    let mut conn = PgConnection::connect(url).await?;
    let make = format!("CREATE TABLE {table} (id bigserial, stream text NOT NULL, payload bytea NOT NULL)");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut conn).await?;
    let insert = format!("INSERT INTO {table} (stream, payload) SELECT * FROM unnest($1::text[], $2::bytea[])");
    let (sender, mut rows) = mpsc::channel::<Row>(4096);
    let writer = tokio::spawn(async move {
        let mut batch = Vec::new();
        while rows.recv_many(&mut batch, 512).await > 0 {
            let (streams, answers): (Vec<String>, Vec<_>) = batch.drain(..).unzip();
            let payloads = vec![&PAYLOAD[..]; streams.len()];
            let insert = sqlx::query(sqlx::AssertSqlSafe(insert.as_str())).bind(streams).bind(payloads);
            insert.execute(&mut conn).await?;
            for answer in answers {
                let _ = answer.send(());
            }
        }
        Ok::<(), sqlx::Error>(())
    });
    let started = Instant::now();
    let until = started + time;
    let work = (0..tasks).map(|task| {
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                let (answer, answered) = oneshot::channel();
                sender.send((format!("account-{task}"), answer)).await?;
                answered.await?;
                done += 1;
            }
            Ok::<u64, Failure>(done)
        })
    });
    let total = sum(work.collect()).await?;
    let rate = total as f64 / started.elapsed().as_secs_f64();
    drop(sender);
    writer.await??;
    Ok(rate)
}

async fn sum(work: Vec<tokio::task::JoinHandle<Result<u64, Failure>>>) -> Result<u64, Failure> {
    let mut total = 0;
    for task in work {
        total += task.await??;
    }
    Ok(total)
}
