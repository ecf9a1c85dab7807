//! From a path to a running store.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use resilience_core::time::SharedTimer;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::config::SqliteStoreBuilder;
use super::decode::{Names, Reader};
use super::error::{Fault, Meaning, OpenError};
use super::guard::Guard;
use super::writer::{QUEUE, Writer};
use super::{Shared, SqliteStore, schema};
use crate::log::{Corrupt, Position};
use crate::pool::Pool;

/// The first SQLite without the WAL-reset bug: with several connections that write or checkpoint at once, earlier ones
/// can corrupt the file. A bundled library is newer; one linked from the system may not be.
const OLDEST_LIBRARY: i32 = 3_051_003;

/// What remains of a write-ahead log after it was brought over, so that it need not grow again: 32 MiB.
const WAL_KEEP: i64 = 32 << 20;

/// Page cache of the writer, in KiB. Enough for the inner pages of every index of a large log.
const WRITER_CACHE: i64 = 64 << 10;
const READER_CACHE: i64 = 16 << 10;

/// How often a lock held elsewhere is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

pub(super) async fn open(mut config: SqliteStoreBuilder, path: PathBuf) -> Result<SqliteStore, OpenError> {
    if rusqlite::version_number() < OLDEST_LIBRARY {
        return Err(OpenError::Library { found: rusqlite::version() });
    }
    let lock = lock(&path, config.lock_wait, &config.timer).await?;
    config.listeners = config.listeners.bound("event_store", &config.name);
    let (opened, outcome) = oneshot::channel();
    let spawned = thread::Builder::new().name("cqrs-writer".into()).spawn({
        let path = path.clone();
        move || match connect(&path, config) {
            Ok((conn, guard, store, writer)) => {
                // Whoever asked may have gone; then the store is dropped here, and the writer ends at once.
                let _ = opened.send(Ok(store));
                writer.run(conn, guard, lock);
            }
            Err(error) => {
                drop(lock);
                let _ = opened.send(Err(error));
            }
        }
    });
    spawned.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match outcome.await {
        Ok(result) => result,
        Err(_) => Err(OpenError::Io { path, source: std::io::Error::other("the writer's thread panicked") }),
    }
}

/// Takes the lock that makes this the only store on the file, whichever process the other would be in.
///
/// SQLite would let two writers take turns. But the writer remembers where streams end, and the published head wakes
/// waiters in this process only; both are right only while nobody else appends. The lock is the operating system's and
/// ends with the process, so a killed one leaves nothing to clean up.
async fn lock(path: &Path, wait: Duration, timer: &SharedTimer) -> Result<File, OpenError> {
    let mut name = OsString::from(path);
    name.push("-lock");
    let io = |source| OpenError::Io { path: PathBuf::from(&name), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(io)?;
    let until = timer.now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) if timer.now() >= until => {
                return Err(OpenError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => timer.sleep(LOCK_RETRY).await,
        }
    }
}

type Opened = (Connection, Guard, SqliteStore, Writer);

fn connect(path: &Path, config: SqliteStoreBuilder) -> Result<Opened, OpenError> {
    let explain = |error| explain(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_CREATE).map_err(explain)?;
    conn.busy_timeout(config.busy_timeout).map_err(explain)?;
    prepare_writer(&mut conn, path, config.max_bytes, config.erase).map_err(|error| match error {
        OpenError::Sqlite(error) => explain(error),
        other => other,
    })?;
    let guard = Guard::install(&mut conn).map_err(explain)?;
    let head: i64 =
        conn.query_row("SELECT coalesce(max(position), 0) FROM log_event", [], |row| row.get(0)).map_err(explain)?;
    let head = Arc::new(watch::Sender::new(Position::new(head.unsigned_abs())));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let readers = config.readers.map_or(processors.min(4), usize::from);
    let readers = (0..readers).map(|_| reader(path, config.busy_timeout)).collect::<Result<Vec<_>, _>>();
    let (pool, threads) =
        Pool::start(readers.map_err(explain)?).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
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
        erase: config.erase,
        given_up,
        #[cfg(test)]
        faults: config.faults,
    };
    let shared = Shared { jobs: sender, head, pool, given_up: gone, name: config.name, path: path.to_owned() };
    Ok((conn, guard, SqliteStore { shared: Arc::new(shared) }, writer))
}

fn prepare_writer(conn: &mut Connection, path: &Path, max_bytes: Option<u64>, erase: bool) -> Result<(), OpenError> {
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(OpenError::NoWal { path: path.to_owned() });
    }
    // FULL: an acknowledged append survives a power cut. NORMAL, which many default to, loses the last ones.
    conn.pragma_update(None, "synchronous", "FULL")?;
    plan_once(conn)?;
    // On macOS a plain fsync does not reach the medium; elsewhere these change nothing.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)?;
    // The writer does it itself, after the answers are out.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_KEEP)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "secure_delete", erase)?;
    if let Some(bytes) = max_bytes {
        let page: u64 = conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
        let pages = i64::try_from(bytes / page.max(1)).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX) - 2);
        conn.pragma_update(None, "max_page_count", pages)?;
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::prepare(&tx)?;
    Ok(tx.commit()?)
}

fn reader(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Reader> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(busy_timeout)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE)?;
    conn.pragma_update(None, "query_only", true)?;
    plan_once(&conn)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(Reader { conn, names: Names::new() })
}

/// Keeps a statement as it was planned, whatever is bound to it.
///
/// Without this SQLite looks at a bound `LIMIT` when it plans, and so plans a cached statement anew each time another one is
/// bound: reading a short stream took three times as long. The plans of this layout do not depend on values.
fn plan_once(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// SQLite's codes in words somebody can act on.
fn explain(path: &Path, error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path: path.to_owned() },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            OpenError::Io { path: path.to_owned(), source: std::io::Error::other(error) }
        }
        _ => match Fault::from(error).meaning() {
            Meaning::Corrupt(corrupt) => OpenError::Corrupt(corrupt),
            Meaning::Full => OpenError::Io { path: path.to_owned(), source: std::io::ErrorKind::StorageFull.into() },
            Meaning::Later(unavailable) | Meaning::Broken(unavailable) => {
                OpenError::Io { path: path.to_owned(), source: std::io::Error::other(unavailable) }
            }
        },
    }
}

/// Reads the whole log and says what does not fit together.
pub(super) fn verify(conn: &Connection) -> Result<(), Fault> {
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Corrupt::new(found).into());
    }
    let rules = [
        ("positions have a gap", "SELECT count(*) <> coalesce(max(position), 0) FROM log_event"),
        (
            "a stream's versions have a gap",
            "SELECT EXISTS (SELECT 1 FROM log_event GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1)",
        ),
        (
            "an event's stream or type has no name",
            "SELECT EXISTS (SELECT 1 FROM log_event
             WHERE stream NOT IN (SELECT id FROM log_stream) OR kind NOT IN (SELECT id FROM log_kind))",
        ),
        (
            "a tag is of no event",
            "SELECT EXISTS (SELECT 1 FROM log_tagged WHERE position NOT IN (SELECT position FROM log_event))",
        ),
        ("a tag has no name", "SELECT EXISTS (SELECT 1 FROM log_tagged WHERE tag NOT IN (SELECT id FROM log_tag))"),
    ];
    for (what, sql) in rules {
        if conn.query_row(sql, [], |row| row.get(0))? {
            return Err(Corrupt::new(what).into());
        }
    }
    Ok(())
}
