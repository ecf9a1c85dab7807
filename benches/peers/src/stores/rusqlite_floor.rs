//! SQLite's floor: one thread inserts what has gathered in one transaction, WAL and `synchronous=FULL`.

use std::path::Path;
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::sample::{self, HISTORY, Held, Load, PAYLOAD, Sample};

/// Events that may wait for the writer, and the most one commit takes.
const QUEUE: usize = 1_024;

type Entry = ((String, u64), oneshot::Sender<()>);

/// One sample.
pub async fn sample(dir: &Path, load: Load) -> Result<Sample, String> {
    let database = open(dir).map_err(|error| error.to_string())?;
    let (queue, entries) = mpsc::channel(QUEUE);
    let writer = thread::spawn(move || write(database, entries));
    let sample = sample::run(load, move |task, index| {
        let queue = queue.clone();
        async move {
            let (done, acknowledged) = oneshot::channel();
            let event = (sample::stream(task, index / HISTORY), index % HISTORY);
            queue.send((event, done)).await.is_ok() && acknowledged.await.is_ok()
        }
    })
    .await;
    match writer.join() {
        Ok(result) => result.map(|()| sample).map_err(|error| error.to_string()),
        Err(_) => Err("the writer panicked".into()),
    }
}

fn open(dir: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(dir.join("events.db"))?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS events (
             position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
             payload TEXT NOT NULL, UNIQUE (stream, version));",
    )?;
    Ok(database)
}

fn write(mut database: Connection, mut entries: mpsc::Receiver<Entry>) -> rusqlite::Result<()> {
    let mut batch = Vec::new();
    while entries.blocking_recv_many(&mut batch, QUEUE) > 0 {
        let transaction = database.transaction()?;
        {
            let insert = "INSERT INTO events (stream, version, kind, payload) VALUES (?1, ?2, 'Deposited', ?3)";
            let mut insert = transaction.prepare_cached(insert)?;
            for ((stream, version), _) in &batch {
                insert.execute((stream, *version as i64, PAYLOAD))?;
            }
        }
        transaction.commit()?;
        for (_, done) in batch.drain(..) {
            let _ = done.send(());
        }
    }
    Ok(())
}

/// What the database holds.
pub fn held(dir: &Path) -> Result<Held, String> {
    let read = || -> rusqlite::Result<Held> {
        let database = open(dir)?;
        let mut count = database.prepare("SELECT stream, count(*) FROM events GROUP BY stream")?;
        let rows = count.query_map((), |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
        rows.collect::<Result<_, _>>().map(Held)
    };
    read().map_err(|error| error.to_string())
}
