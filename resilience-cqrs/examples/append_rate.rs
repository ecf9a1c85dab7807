//! How many appends a second the engines in a file acknowledge, beside the bare medium that SQLite's stands on.
//!
//! `cargo run --release -p resilience-cqrs --features redb --example append_rate -- [SECONDS] [DIRECTORY]`
//!
//! Each of c tasks appends one event with 200 bytes to a stream of its own and waits for the answer, which is durable.
//! The floor is a thread that takes whatever waits, inserts each into one table without an index, and commits: what
//! SQLite itself allows with group commit. Then the time to load a stream of 50 events. Without the feature `redb` the rows of
//! redb are left out.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use resilience_cqrs::{AnyStore, Append, EventStore, Expected, NewEvent, Position, Query, StreamId, Version};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

const PAYLOAD: &[u8; 200] = &[b'x'; 200];

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let time = Duration::from_secs_f64(args.next().map_or(Ok(3.0), |seconds| seconds.parse())?);
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory)?;
    println!("{:>24} {:>10} {:>10} {:>10}", "appends/s", "c=1", "c=8", "c=64");
    for round in 0..2 {
        let mut rows = vec![("floor".to_owned(), Vec::new())];
        for engine in ENGINES {
            rows.push((format!("{engine}, a stream a task"), Vec::new()));
            rows.push((format!("{engine}, 512 streams"), Vec::new()));
        }
        for tasks in [1, 8, 64] {
            let path = |what: &str| directory.path().join(format!("{what}-{round}-{tasks}"));
            rows[0].1.push(bare(&path("floor"), tasks, time).await?);
            for (nth, engine) in ENGINES.iter().enumerate() {
                let log = |what: &str| format!("{engine}:{}-{engine}", path(what).display());
                rows[1 + 2 * nth].1.push(appends(&log("own"), tasks, 1, time).await?);
                rows[2 + 2 * nth].1.push(appends(&log("spread"), tasks, 512, time).await?);
            }
        }
        for (what, figures) in rows {
            println!("{what:>24} {:>10.0} {:>10.0} {:>10.0}", figures[0], figures[1], figures[2]);
        }
    }
    for engine in ENGINES {
        loads(engine, &format!("{engine}:{}", directory.path().join(format!("loads-{engine}")).display())).await?;
    }
    Ok(())
}

const ENGINES: &[&str] = if cfg!(feature = "redb") { &["sqlite", "redb"] } else { &["sqlite"] };

async fn verify(store: &AnyStore) -> Result<(), Failure> {
    match store {
        AnyStore::Sqlite(store) => store.verify().await?,
        #[cfg(feature = "redb")]
        AnyStore::Redb(store) => store.verify().await?,
        _ => {}
    }
    Ok(())
}

async fn appends(log: &str, tasks: usize, streams: usize, time: Duration) -> Result<f64, Failure> {
    let store = AnyStore::open(log).await?;
    let until = Instant::now() + time;
    let started = Instant::now();
    let work = (0..tasks).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let streams: Vec<_> = (0..streams).map(|n| StreamId::from(format!("account-{task}-{n}"))).collect();
            let mut done = 0_u64;
            while Instant::now() < until {
                let stream = &streams[done as usize % streams.len()];
                let expected = Expected::Exact(Version::new(done / streams.len() as u64));
                let event = NewEvent::new("MoneyDeposited", &PAYLOAD[..]);
                store.append(Append::new().events(stream, expected, [event])).await?;
                done += 1;
            }
            Ok::<u64, Failure>(done)
        })
    });
    let work: Vec<_> = work.collect();
    let mut total = 0;
    for task in work {
        total += task.await??;
    }
    let rate = total as f64 / started.elapsed().as_secs_f64();
    // A store that loses events gets no number.
    assert_eq!(store.head(), Position::new(total));
    verify(&store).await?;
    store.close().await;
    Ok(rate)
}

type Row = (String, oneshot::Sender<()>);

async fn bare(path: &Path, tasks: usize, time: Duration) -> Result<f64, Failure> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
         CREATE TABLE event (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, payload BLOB NOT NULL) STRICT;",
    )?;
    let (sender, mut rows) = mpsc::channel::<Row>(4096);
    let writer = std::thread::spawn(move || -> rusqlite::Result<()> {
        let mut insert = conn.prepare("INSERT INTO event (stream, payload) VALUES (?1, ?2)")?;
        let mut batch = Vec::new();
        while rows.blocking_recv_many(&mut batch, 1024) > 0 {
            let tx = conn.unchecked_transaction()?;
            for (stream, _) in &batch {
                insert.execute((stream, &PAYLOAD[..]))?;
            }
            tx.commit()?;
            for (_, answer) in batch.drain(..) {
                let _ = answer.send(());
            }
        }
        Ok(())
    });
    let started = Instant::now();
    let until = started + time;
    let work: Vec<_> = (0..tasks)
        .map(|task| {
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
        })
        .collect();
    let mut total = 0;
    for task in work {
        total += task.await??;
    }
    let rate = total as f64 / started.elapsed().as_secs_f64();
    drop(sender);
    let _ = writer.join();
    Ok(rate)
}

async fn loads(engine: &str, log: &str) -> Result<(), Failure> {
    let store = AnyStore::open(log).await?;
    let streams: Vec<_> = (0..2000).map(|n| StreamId::from(format!("account-{n}"))).collect();
    for _ in 0..50 {
        for part in streams.chunks(100) {
            let event = NewEvent::new("MoneyDeposited", &PAYLOAD[..]);
            let append =
                part.iter().fold(Append::new(), |append, stream| append.events(stream, Expected::Any, [event.clone()]));
            store.append(append).await?;
        }
    }
    let mut times = Vec::new();
    for n in 0..20_000_usize {
        let stream = &streams[n * 7919 % streams.len()];
        let began = Instant::now();
        assert_eq!(store.read_stream(stream, Version::EMPTY, 1000).await?.len(), 50);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "{engine}, load of 50 events: median {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    let began = Instant::now();
    let mut position = Position::ORIGIN;
    let mut seen = 0;
    while position < store.head() {
        let page = store.read(position, &Query::all(), 4096).await?;
        seen += page.events.len();
        position = page.next;
    }
    println!("{engine}, read of the log: {:.0} events/s", seen as f64 / began.elapsed().as_secs_f64());
    store.close().await;
    Ok(())
}
