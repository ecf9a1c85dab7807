//! One sample of appends with cqrs-es over sqlite-es; prints one JSON line. Started by `peers stores`.
#![allow(clippy::disallowed_methods)] // A measuring program reads the real clock.

#[path = "../../src/stores/sample.rs"]
mod sample;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, CqrsFramework, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};
use sqlite_es::SqliteEventRepository;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::sample::{HISTORY, LENGTH, Load, PAYLOAD, SNAPSHOT, STREAMS, Sample};

/// One sample of cqrs-es over sqlite-es.
#[derive(Debug, Parser)]
struct Cli {
    /// The sqlite-es default (`synchronous=NORMAL`, not durable at power loss) instead of FULL.
    #[arg(long)]
    normal: bool,
    /// Where the database goes.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    load: Load,
    /// Do not append; print what a freshly opened store holds.
    #[arg(long)]
    verify: bool,
    /// Do not append, but load accounts of fifty events.
    #[arg(long)]
    loads: Option<From>,
}

/// What an account is loaded from.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    Events,
    Snapshot,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    entries: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Entry {
    Deposited { note: String },
}

impl DomainEvent for Entry {
    fn event_type(&self) -> String {
        "Deposited".into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

#[derive(Debug)]
struct Never;

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("never")
    }
}

impl std::error::Error for Never {}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = Entry;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), sink: &EventSink<Self>) -> Result<(), Never> {
        sink.write(Entry::Deposited { note: PAYLOAD.into() }, self).await;
        Ok(())
    }

    fn apply(&mut self, _: Entry) {
        self.entries += 1;
    }
}

type Store = PersistedEventStore<SqliteEventRepository, Account>;
type Framework = CqrsFramework<Account, Store>;

fn main() {
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let answer = runtime.block_on(async {
        let pool = pool(&cli.dir, cli.normal).await;
        if cli.verify {
            return verify(&pool).await;
        }
        create(&pool).await;
        if let Some(from) = cli.loads {
            let sample = loads(&pool, cli.load, from).await;
            pool.close().await;
            return serde_json::to_string(&sample).expect("a sample is JSON");
        }
        let framework: Arc<Framework> = Arc::new(sqlite_es::sqlite_cqrs(pool.clone(), Vec::new(), ()));
        let sample = sample::run(cli.load, move |task, index| {
            let framework = framework.clone();
            async move { framework.execute(&sample::stream(task, index / HISTORY), ()).await.is_ok() }
        })
        .await;
        pool.close().await;
        serde_json::to_string(&sample).expect("a sample is JSON")
    });
    println!("{answer}");
}

/// The pool of `sqlite_es::default_sqlite_pool`, with the durability that was asked for.
async fn pool(dir: &Path, normal: bool) -> sqlx::SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(dir.join("events.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if normal { SqliteSynchronous::Normal } else { SqliteSynchronous::Full })
        .foreign_keys(true);
    SqlitePoolOptions::new().max_connections(10).connect_with(options).await.expect("a database")
}

/// The tables of sqlite-es' own migration.
async fn create(pool: &sqlx::SqlitePool) {
    let tables = [
        "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence integer CHECK (sequence >= 0) \
         NOT NULL, event_type text NOT NULL, event_version text NOT NULL, payload text NOT NULL, metadata text NOT NULL, \
         PRIMARY KEY (aggregate_type, aggregate_id, sequence)) STRICT",
        "CREATE TABLE snapshots (aggregate_type text NOT NULL, aggregate_id text NOT NULL, last_sequence integer CHECK \
         (last_sequence >= 0) NOT NULL, current_snapshot integer CHECK (current_snapshot >= 0) NOT NULL, payload text NOT NULL, \
         PRIMARY KEY (aggregate_type, aggregate_id, last_sequence)) STRICT",
    ];
    for table in tables {
        sqlx::query(table).execute(pool).await.expect("a table");
    }
}

/// Fills accounts of fifty events, loads each once, and then measures loading them in turn.
///
/// The store's own `commit` fills them: the framework's `execute` has applied a command's events when `commit` applies them
/// again for the snapshot, so a snapshot that it writes (cqrs-es 0.5.0) contains them twice.
async fn loads(pool: &sqlx::SqlitePool, load: Load, from: From) -> Sample {
    let repository = SqliteEventRepository::new(pool.clone());
    let store: Arc<Store> = Arc::new(match from {
        From::Events => PersistedEventStore::new_event_store(repository),
        From::Snapshot => PersistedEventStore::new_snapshot_store(repository, SNAPSHOT as usize),
    });
    for n in 0..STREAMS {
        let id = sample::stream(0, n);
        for count in [SNAPSHOT, LENGTH - SNAPSHOT] {
            let account = store.load_aggregate(&id).await.expect("an account");
            let events = vec![Entry::Deposited { note: PAYLOAD.into() }; count as usize];
            store.commit(events, account, HashMap::new()).await.expect("events");
        }
    }
    for n in 0..STREAMS {
        assert!(whole(&store, n).await, "account {n} is not whole");
    }
    sample::run(Load { tasks: 1, ..load }, move |_, index| {
        let store = store.clone();
        async move { whole(&store, index % STREAMS).await }
    })
    .await
}

/// Loads one; whether all its events are in it.
async fn whole(store: &Store, n: u64) -> bool {
    let account = store.load_aggregate(&sample::stream(0, n)).await;
    account.is_ok_and(|account| account.aggregate.entries == LENGTH)
}

async fn verify(pool: &sqlx::SqlitePool) -> String {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT aggregate_id, count(*) FROM events GROUP BY aggregate_id")
        .fetch_all(pool)
        .await
        .expect("the events");
    let held = rows.into_iter().map(|(stream, count)| (stream, count as u64)).collect();
    serde_json::to_string(&sample::Held(held)).expect("a map is JSON")
}
