//! From a path to a running store.

use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable};
use tokio::sync::{mpsc, oneshot, watch};

use super::config::RedbStoreBuilder;
use super::error::{Fault, Meaning, OpenError};
use super::read::Reader;
use super::tables::{ReadTables, VERSION, View, prepare};
use super::writer::{QUEUE, Writer};
use super::{RedbStore, Shared};
use crate::log::Position;
use crate::pool::Pool;

/// How often a lock held elsewhere is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// What a file of redb's begins with (its docs/design.md, "Super-header").
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

pub(super) async fn open(mut config: RedbStoreBuilder, path: PathBuf) -> Result<RedbStore, OpenError> {
    config.listeners = config.listeners.bound("event_store", &config.name);
    let until = config.timer.now() + config.lock_wait;
    loop {
        match attempt(config.clone(), path.clone()).await {
            Err(OpenError::Locked { .. }) if config.timer.now() < until => config.timer.sleep(LOCK_RETRY).await,
            result => return result,
        }
    }
}

/// On the thread that is to write: opening reads, and may have much to repair.
async fn attempt(config: RedbStoreBuilder, path: PathBuf) -> Result<RedbStore, OpenError> {
    let (opened, outcome) = oneshot::channel();
    let spawned = thread::Builder::new().name("cqrs-writer".into()).spawn({
        let path = path.clone();
        move || match connect(&path, config) {
            Ok((database, store, writer)) => {
                // Whoever asked may have gone; then the store is dropped here, and the writer ends at once.
                let _ = opened.send(Ok(store));
                writer.run(database);
            }
            Err(error) => drop(opened.send(Err(error))),
        }
    });
    spawned.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match outcome.await {
        Ok(result) => result,
        Err(_) => Err(OpenError::Io { path, source: io::Error::other("the writer's thread panicked") }),
    }
}

type Opened = (Arc<Database>, RedbStore, Writer);

fn connect(path: &Path, config: RedbStoreBuilder) -> Result<Opened, OpenError> {
    let known = fs::metadata(path).is_ok_and(|file| file.len() > 0);
    // Of a file that was closed well redb believes every byte, and panics where that was a mistake.
    let prepared = catch_unwind(AssertUnwindSafe(|| prepared(path, &config)));
    let (database, head) = prepared.unwrap_or_else(|_| Err(explain(path, Fault::panicked())))?;
    if !known {
        sync_directory(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    }
    let head = Arc::new(watch::Sender::new(head));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let readers = config.readers.map_or(processors.min(4), usize::from);
    let readers = (0..readers).map(|_| Reader::new(database.clone())).collect();
    let (pool, threads) = Pool::start(readers).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let (sender, jobs) = mpsc::channel(QUEUE);
    let (given_up, gone) = watch::channel(());
    let writer = Writer {
        jobs,
        head: head.clone(),
        pool: pool.clone(),
        readers: threads,
        timer: config.timer,
        name: config.name.clone(),
        listeners: config.listeners,
        quick_repair: config.quick_repair,
        given_up,
        #[cfg(test)]
        faults: config.faults,
    };
    let shared = Shared { jobs: sender, head, pool, given_up: gone, name: config.name, path: path.to_owned() };
    Ok((database, RedbStore { shared: Arc::new(shared) }, writer))
}

/// The database with its tables, and the last position.
fn prepared(path: &Path, config: &RedbStoreBuilder) -> Result<(Arc<Database>, Position), OpenError> {
    if !is_redb(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })? {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    let mut builder = Database::builder();
    builder.set_cache_size(config.cache_bytes).set_check_integrity_on_open(config.verify);
    let database = builder.create(path).map_err(|error| refused(path, error))?;
    let tx = database.begin_write().map_err(|error| explain(path, error.into()))?;
    let found = prepare(&tx).map_err(|fault| explain(path, fault))?;
    if found != Some(VERSION) {
        return Err(OpenError::Schema { found, supported: VERSION });
    }
    tx.commit().map_err(|error| explain(path, error.into()))?;
    let head = last(&database).map_err(|fault| explain(path, fault))?;
    Ok((Arc::new(database), head))
}

/// Whether the file is there and begins as redb's do, or has nothing in it yet.
fn is_redb(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    Ok(head.is_empty() || head == MAGIC)
}

fn last(database: &Database) -> Result<Position, Fault> {
    let tables = ReadTables::open(&database.begin_read()?)?;
    let last = tables.events().last()?;
    Ok(Position::new(last.map_or(0, |(position, _)| position.value())))
}

/// A file that was just made is only there after a power cut if its directory knows of it.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if cfg!(unix) { File::open(directory.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

fn refused(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::Locked { path: path.to_owned() }
        }
        DatabaseError::UpgradeRequired(found) => OpenError::Format { found },
        other => explain(path, Fault::Redb(other.into())),
    }
}

/// In words somebody can act on.
fn explain(path: &Path, fault: Fault) -> OpenError {
    match fault {
        Fault::Redb(redb::Error::Io(source)) => OpenError::Io { path: path.to_owned(), source },
        fault => match fault.meaning() {
            Meaning::Corrupt(corrupt) => OpenError::Corrupt(corrupt),
            Meaning::Broken(unavailable) => {
                OpenError::Io { path: path.to_owned(), source: io::Error::other(unavailable) }
            }
        },
    }
}
