use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use resilience_core::event::{Event as Told, Sink};
use resilience_core::time::ManualTimer;
use tempfile::TempDir;

mod tags;

use super::*;
use crate::log::{Condition, Expected, NewEvent, Version};

/// Faults a test can ask for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) fail_commit: AtomicBool,
}

impl Faults {
    pub(super) fn at_commit(&self) -> rusqlite::Result<()> {
        if !self.fail_commit.load(Ordering::SeqCst) {
            return Ok(());
        }
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        Err(rusqlite::Error::SqliteFailure(error, None))
    }
}

struct Place {
    _directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        Self { _directory: directory, path }
    }

    async fn open(&self) -> SqliteStore {
        // Who had it before gives it up in its own time.
        SqliteStore::builder().lock_wait(Duration::from_secs(60)).open(&self.path).await.unwrap()
    }
}

fn one(stream: &str, payload: &'static str) -> Append {
    Append::new().events(stream, Expected::Any, [NewEvent::new("E", payload)])
}

/// Keeps the writer busy inside an append until it is let go.
async fn hold(store: &SqliteStore) -> (tokio::task::JoinHandle<Appended>, mpsc::Sender<()>) {
    let (go, gone) = mpsc::channel();
    let (inside, entered) = oneshot::channel();
    let store = store.clone();
    let task = tokio::spawn(async move {
        let held = store.append_with(Append::new(), move |_| {
            let _ = inside.send(());
            let _ = gone.recv();
            Ok(())
        });
        held.await.unwrap()
    });
    entered.await.unwrap();
    (task, go)
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn on_event(&self, event: &Told<'_>) {
        self.0.lock().unwrap().extend(event.fact::<Event>().cloned());
    }
}

/// ES6.
#[tokio::test]
async fn what_waits_shares_one_commit_and_a_refusal_costs_it_nothing() {
    let place = Place::new();
    let heard = Arc::new(Heard::default());
    let store = SqliteStore::builder().listener(heard.clone()).open(&place.path).await.unwrap();
    store.append(one("s-37", "0")).await.unwrap();
    let (held, go) = hold(&store).await;
    let appends = (0..100).map(|n| {
        let append = Append::new().events(format!("s-{n}"), Expected::NoStream, [NewEvent::new("E", "")]);
        let store = store.clone();
        tokio::spawn(async move { store.append(append).await })
    });
    let appends: Vec<_> = appends.collect();
    while store.shared.jobs.capacity() > store.shared.jobs.max_capacity() - 100 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    held.await.unwrap();
    for (n, append) in appends.into_iter().enumerate() {
        assert_eq!(append.await.unwrap().is_err(), n == 37);
    }
    store.close().await;
    let heard = heard.0.lock().unwrap();
    let commits: Vec<_> = heard
        .iter()
        .filter_map(|event| match event {
            Event::Committed { appends, refused, events, .. } => Some((*appends, *refused, *events)),
            _ => None,
        })
        .collect();
    assert_eq!(commits, [(1, 0, 1), (1, 0, 0), (99, 1, 99)]);
}

/// ES9.
#[tokio::test]
async fn a_failed_commit_ends_writing_until_the_store_is_opened_again() {
    let place = Place::new();
    let builder = SqliteStore::builder();
    let faults = builder.faults.clone();
    let store = builder.open(&place.path).await.unwrap();
    store.append(one("s", "1")).await.unwrap();
    faults.fail_commit.store(true, Ordering::SeqCst);
    let failed = store.append(one("s", "2")).await.unwrap_err();
    assert!(failed.may_have_committed() && !failed.is_retryable(), "{failed:?}");
    // The medium seems to be well again; nobody knows what it has lost, so nothing is acknowledged.
    faults.fail_commit.store(false, Ordering::SeqCst);
    for append in [one("s", "3"), Append::new()] {
        let refused = store.append(append).await.unwrap_err();
        assert!(matches!(refused, AppendError::Unavailable(_)) && !refused.may_have_committed(), "{refused:?}");
    }
    assert_eq!(store.head(), Position::new(1));
    assert_eq!(store.read_stream(&"s".into(), Version::EMPTY, 10).await.unwrap().len(), 1);
    store.close().await;
    let log = place.path.with_extension("db-wal");
    assert!(log.exists(), "nothing was brought over on a medium that had failed");
    let store = place.open().await;
    let appended = store.append(one("s", "4")).await.unwrap();
    assert_eq!(appended.first, Position::new(2));
    store.verify().await.unwrap();
    store.close().await;
    assert!(!log.exists(), "or there would be nothing to prevent");
}

#[tokio::test]
async fn a_full_store_refuses_and_goes_on_once_there_is_room() {
    let place = Place::new();
    let store = SqliteStore::builder().max_size(1 << 20).open(&place.path).await.unwrap();
    let ballast = vec![0_u8; 600 << 10];
    store.append(Append::new().row(RowChange::put("ballast", "k", ballast.clone()))).await.unwrap();
    let large = || Append::new().events("s", Expected::Any, [NewEvent::new("Large", ballast.clone())]);
    let full = store.append(large()).await.unwrap_err();
    assert!(matches!(full, AppendError::Full) && full.is_retryable() && !full.may_have_committed(), "{full:?}");
    assert_eq!(store.head(), Position::ORIGIN);
    // A small one still fits, and streams go on where they were.
    assert_eq!(store.append(one("s", "1")).await.unwrap().version("s"), Some(Version::new(1)));
    store.append(Append::new().row(RowChange::delete("ballast", "k"))).await.unwrap();
    assert_eq!(store.append(large()).await.unwrap().version("s"), Some(Version::new(2)));
    store.verify().await.unwrap();
}

/// ES11.
#[tokio::test]
async fn an_append_given_up_while_it_waits_is_not_written() {
    let place = Place::new();
    let store = place.open().await;
    let (held, go) = hold(&store).await;
    let mut given_up = Box::pin(store.append(one("s", "given up")));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.append(one("s", "waited for")).await }
    });
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().version("s"), Some(Version::new(1)));
}

#[tokio::test]
async fn the_queue_is_bounded_and_whoever_is_in_front_of_it_waits() {
    let place = Place::new();
    let store = place.open().await;
    let (held, go) = hold(&store).await;
    let over = writer::QUEUE + 500;
    let appends: Vec<_> = (0..over)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.append(one("s", "")).await })
        })
        .collect();
    while store.shared.jobs.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    held.await.unwrap();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    assert_eq!(store.head().get(), over as u64);
}

#[tokio::test]
async fn an_error_or_a_panic_inside_refuses_that_append_alone() {
    let place = Place::new();
    let store = place.open().await;
    let table = |tx: &Transaction<'_>| -> Result<(), BoxError> {
        tx.execute_batch("CREATE TABLE IF NOT EXISTS model (n INTEGER UNIQUE)")?;
        tx.execute("INSERT INTO model VALUES (1)", [])?;
        Ok(())
    };
    store.append_with(one("s", "1"), table).await.unwrap();
    let (held, go) = hold(&store).await;
    let conflicting = store.append_with(one("s", "2"), move |tx| {
        tx.execute("INSERT INTO model VALUES (2)", [])?;
        table(tx) // The same row again.
    });
    let panicking = store.append_with(one("s", "3"), |_| panic!("as asked"));
    let neighbour = store.append(one("s", "4"));
    let all = futures::future::join3(conflicting, panicking, neighbour);
    let release = async {
        tokio::task::yield_now().await;
        go.send(()).unwrap();
    };
    let ((conflicting, panicking, neighbour), ()) = futures::future::join(all, release).await;
    held.await.unwrap();
    assert!(matches!(conflicting, Err(AppendError::Refused(error)) if error.is::<rusqlite::Error>()));
    assert!(matches!(panicking, Err(AppendError::Refused(_))));
    assert_eq!(neighbour.unwrap().version("s"), Some(Version::new(2)));
    let rows: i64 =
        store.read_sql(|db| db.query_row("SELECT count(*) FROM model", [], |row| row.get(0))).await.unwrap();
    assert_eq!(rows, 1);
    assert_eq!(store.head(), Position::new(2));
}

/// Nobody is asked when a statement says by itself that it undoes the transaction it fails in: the neighbours' appends are
/// gone with it, are refused like it, and can be tried again.
#[tokio::test]
async fn what_sqlite_undoes_of_its_own_accord_is_refused_as_a_whole_and_ends_nothing() {
    let place = Place::new();
    let store = place.open().await;
    store.append(one("s", "1")).await.unwrap();
    let (held, go) = hold(&store).await;
    let before = store.append(one("s", "lost"));
    let undoing = store.append_with(one("s", "lost"), |tx| {
        tx.execute_batch("CREATE TABLE model (n INTEGER UNIQUE)")?;
        let _ = tx.execute("INSERT OR ROLLBACK INTO model VALUES (1), (1)", []);
        Ok(()) // As if nothing had happened.
    });
    let after = store.append(one("s", "lost"));
    let all = futures::future::join3(before, undoing, after);
    let release = async {
        tokio::task::yield_now().await;
        go.send(()).unwrap();
    };
    let ((before, undoing, after), ()) = futures::future::join(all, release).await;
    held.await.unwrap();
    for refused in [before, undoing, after] {
        let refused = refused.unwrap_err();
        assert!(refused.is_retryable() && !refused.may_have_committed(), "{refused:?}");
    }
    let again = store.append(one("s", "2")).await.unwrap();
    assert_eq!((again.last, again.version("s")), (Position::new(2), Some(Version::new(2))));
    store.verify().await.unwrap();
}

#[tokio::test]
async fn what_runs_inside_cannot_end_the_transaction_or_touch_the_log() {
    let place = Place::new();
    let store = place.open().await;
    store.append(one("s", "1")).await.unwrap();
    for sql in [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "DELETE FROM log_event",
        "UPDATE LOG_ROW SET value = x''",
        "INSERT INTO log_stream (id, name) VALUES (9, 'x')",
        "DROP TABLE log_tag",
        "INSERT INTO log_tagged (tag, position, kind) VALUES (1, 1, 1)",
        "ALTER TABLE log_event ADD COLUMN x",
        "CREATE TRIGGER t AFTER INSERT ON log_event BEGIN SELECT 1; END",
        "PRAGMA synchronous = OFF",
        "ATTACH ':memory:' AS other",
        // Neither by half, nor behind the log's back.
        "RELEASE log_inside",
        "ROLLBACK TO log_inside",
        "SAVEPOINT Log_Append",
        "CREATE TEMP TABLE log_row (space, key, value)",
        "CREATE TEMP VIEW log_command AS SELECT 1 AS id",
        "CREATE TEMP TRIGGER t AFTER INSERT ON log_event BEGIN SELECT RAISE(IGNORE); END",
    ] {
        let refused = store.append_with(one("s", "2"), move |tx| Ok(tx.execute_batch(sql)?)).await;
        assert!(matches!(refused, Err(AppendError::Refused(_))), "{sql}: {refused:?}");
    }
    // Reading the log is fine, and so are savepoints.
    let count = "SAVEPOINT mine; CREATE TABLE seen AS SELECT count(*) AS n FROM log_event; RELEASE mine";
    store.append_with(one("s", "2"), move |tx| Ok(tx.execute_batch(count)?)).await.unwrap();
    store.verify().await.unwrap();
    assert_eq!(store.head(), Position::new(2));
}

#[tokio::test]
async fn what_belongs_to_a_command_runs_once() {
    let place = Place::new();
    let store = place.open().await;
    let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    for _ in 0..2 {
        let runs = runs.clone();
        let command = one("s", "1").command_id("c");
        let counted = move |_: &Transaction<'_>| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        store.append_with(command, counted).await.unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let fenced = one("s", "2").require(Condition::row_is("r", "k", "other"));
    let never = store.append_with(fenced, |_| panic!("its condition does not hold")).await;
    assert!(matches!(never, Err(AppendError::Conflict(_))));
}

#[tokio::test]
async fn a_second_store_on_the_file_waits_for_the_first_and_then_gives_up() {
    let place = Place::new();
    let first = place.open().await;
    let timer = ManualTimer::new();
    let second = SqliteStore::builder().timer(timer.clone()).lock_wait(Duration::from_secs(1));
    let opening = tokio::spawn(second.clone().open(place.path.clone()));
    while timer.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    timer.advance(Duration::from_secs(2));
    let locked = opening.await.unwrap().unwrap_err();
    assert!(locked.to_string().ends_with("is open elsewhere: one store at a time may append to it"), "{locked}");
    let opening = tokio::spawn(second.open(place.path.clone()));
    while timer.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    first.close().await;
    timer.advance(Duration::from_millis(500));
    opening.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_one_clear_error_and_stays_as_it_is() {
    let place = Place::new();
    let garbage = b"This is a letter, and not a database at all.".repeat(100);
    std::fs::write(&place.path, &garbage).unwrap();
    let error = SqliteStore::open(&place.path).await.unwrap_err();
    assert!(error.to_string().ends_with("log.db is not a database"), "{error}");
    assert_eq!(std::fs::read(&place.path).unwrap(), garbage);
    let nowhere = SqliteStore::open(place.path.join("nowhere/log.db")).await.unwrap_err();
    assert!(matches!(nowhere, OpenError::Io { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn a_log_of_another_layout_is_refused_and_not_guessed_at() {
    let place = Place::new();
    place.open().await.close().await;
    let conn = Connection::open(&place.path).unwrap();
    conn.execute("UPDATE log_meta SET value = 99", []).unwrap();
    drop(conn);
    let error = SqliteStore::open(&place.path).await.unwrap_err();
    assert_eq!(error.to_string(), "the log has layout version 99, this program knows 2");
}

#[tokio::test]
async fn an_applications_own_tables_and_versions_are_left_alone() {
    let place = Place::new();
    let conn = Connection::open(&place.path).unwrap();
    conn.execute_batch("CREATE TABLE event (n); INSERT INTO event VALUES (1); PRAGMA user_version = 7").unwrap();
    drop(conn);
    let store = place.open().await;
    store.append(one("s", "1")).await.unwrap();
    let own = |db: &Connection| {
        db.query_row("SELECT n, (SELECT user_version FROM pragma_user_version) FROM event", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
    };
    assert_eq!(store.read_sql(own).await.unwrap(), (1, 7));
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let place = Place::new();
    let store = place.open().await;
    store.append(Append::new().events("s", Expected::Any, vec![NewEvent::new("E", "x").tag("t"); 5])).await.unwrap();
    store.verify().await.unwrap();
    store.close().await;
    let damage = |sql: &str| Connection::open(&place.path).unwrap().execute_batch(sql).unwrap();
    damage("DELETE FROM log_event WHERE position = 3");
    let store = place.open().await;
    let error = store.verify().await.unwrap_err();
    assert!(matches!(&error, ReadError::Corrupt(corrupt) if corrupt.what == "positions have a gap"), "{error:?}");
    let dangling = store.read(Position::ORIGIN, &Query::tags(["t"]), 10).await.unwrap_err();
    assert!(matches!(dangling, ReadError::Corrupt(_)), "{dangling:?}");
    store.close().await;
    damage("DELETE FROM log_kind");
    let store = place.open().await;
    let nameless = store.read(Position::ORIGIN, &Query::all(), 10).await.unwrap_err();
    assert!(matches!(nameless, ReadError::Corrupt(_)), "{nameless:?}");
}

#[tokio::test]
async fn a_truncated_file_is_corrupt_and_not_a_shorter_log() {
    let place = Place::new();
    let store = place.open().await;
    let event = NewEvent::new("E", vec![7; 3000]);
    store.append(Append::new().events("s", Expected::Any, vec![event; 500])).await.unwrap();
    store.close().await;
    let file = std::fs::OpenOptions::new().write(true).open(&place.path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    match SqliteStore::open(&place.path).await {
        Err(error) => assert!(matches!(error, OpenError::Corrupt(_)), "{error:?}"),
        Ok(store) => panic!("opened with head {:?}", store.head()),
    }
}

#[tokio::test]
async fn a_foreign_transaction_holds_appends_up_but_loses_none() {
    let place = Place::new();
    let store = SqliteStore::builder().busy_timeout(Duration::ZERO).open(&place.path).await.unwrap();
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE mine (n)").unwrap();
    let busy = store.append(one("s", "1")).await.unwrap_err();
    assert!(busy.is_retryable() && !busy.may_have_committed(), "{busy:?}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.append(one("s", "1")).await.unwrap().first, Position::new(1));
}

#[tokio::test]
async fn a_closed_store_says_so_and_closing_twice_is_once() {
    let place = Place::new();
    let store = place.open().await;
    let clone = store.clone();
    tokio::join!(store.close(), clone.close());
    assert!(matches!(clone.append(one("s", "1")).await, Err(AppendError::Closed)));
    assert!(matches!(clone.row("r", b"k").await, Err(ReadError::Closed)));
    clone.close().await;
    // What was queued before the end was done, and the write-ahead log was brought over.
    assert!(!place.path.with_extension("db-wal").exists());
}

#[tokio::test]
async fn the_last_clone_gives_the_file_up() {
    let place = Place::new();
    let store = place.open().await;
    let pending = store.append(one("s", "1")).await;
    drop(store);
    pending.unwrap();
    // The writer ends in its own time; opening waits for it.
    assert_eq!(place.open().await.head(), Position::new(1));
}

#[tokio::test]
async fn readers_cannot_write_and_survive_a_callers_panic() {
    let place = Place::new();
    let store = SqliteStore::builder().readers(NonZeroUsize::MIN).open(&place.path).await.unwrap();
    store.append(one("s", "1")).await.unwrap();
    let write = store.read_sql(|db| db.execute("DELETE FROM log_event", [])).await;
    assert!(matches!(write, Err(SqlError::Sql(_))), "{write:?}");
    let panicked = store.read_sql(|_| -> rusqlite::Result<()> { panic!("as asked") }).await;
    assert!(matches!(panicked, Err(SqlError::Read(_))), "{panicked:?}");
    assert_eq!(store.read_stream(&"s".into(), Version::EMPTY, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_write_ahead_log_is_brought_over_between_commits() {
    let place = Place::new();
    let heard = Arc::new(Heard::default());
    let store = SqliteStore::builder().listener(heard.clone()).open(&place.path).await.unwrap();
    for _ in 0..160 {
        let event = NewEvent::new("E", vec![1; 64 << 10]);
        store.append(Append::new().events("s", Expected::Any, vec![event; 8])).await.unwrap();
    }
    // 80 MiB went through it; it began again whenever it was brought over, at 32 MiB if somebody always waited.
    let wal = std::fs::metadata(place.path.with_extension("db-wal")).unwrap().len();
    assert!(wal < 40 << 20, "the write-ahead log has {wal} bytes");
    store.close().await;
    let heard = heard.0.lock().unwrap();
    assert!(heard.iter().any(|event| matches!(event, Event::Checkpointed { left: 0, .. })));
}

#[tokio::test]
async fn a_statement_is_compiled_once_whatever_is_bound_to_it() {
    // Planned by value, a stream's events were read by a statement compiled anew for each stream.
    let place = Place::new();
    let store = place.open().await;
    let compiled_again = store.read_sql(|db| {
        let mut select = db.prepare(read::STREAM)?;
        for n in 0..20_i64 {
            select.query((n, n % 3, n * 7))?.next()?;
        }
        Ok(select.get_status(rusqlite::StatementStatus::RePrepare))
    });
    assert_eq!(compiled_again.await.unwrap(), 0);
}

/// ES50.
#[test]
fn conditions_and_filters_are_answered_by_index() {
    let conn = Connection::open_in_memory().unwrap();
    schema::prepare(&conn).unwrap();
    let plan = |sql: &str| -> String {
        let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let unset = vec![rusqlite::types::Null; explain.parameter_count()];
        let details = explain.query_map(rusqlite::params_from_iter(unset), |row| row.get::<_, String>(3)).unwrap();
        details.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    let reads = [read::STREAM, read::NAMED, read::TAGGED, super::tags::LAST_OF_TAG];
    for sql in [query::OF_KIND, query::OF_TAG, query::SEEK_TAG].into_iter().chain(reads) {
        let plan = plan(sql);
        assert!(plan.contains("SEARCH") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
