//! Backups of a store in use.
#![cfg(feature = "sqlite")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resilience_cqrs::projection::{ProjectionRunner, SqlProjection};
use resilience_cqrs::sqlite::BackupError;
use resilience_cqrs::{
    Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded, SqliteStore, Version,
};
use rusqlite::Transaction;

async fn append(store: &SqliteStore, stream: &str, count: usize) -> Position {
    let events = vec![NewEvent::new("Counted", "1"); count];
    store.append(Append::new().events(stream, Expected::Any, events)).await.unwrap().last
}

/// What the log has, in order.
async fn all(store: &SqliteStore) -> Vec<Recorded> {
    let (mut at, mut events) = (Position::ORIGIN, Vec::new());
    loop {
        let page = store.read(at, &Query::all(), 1000).await.unwrap();
        at = page.next;
        events.extend_from_slice(&page.events);
        if page.is_last() {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_a_prefix_of_the_log_with_all_that_was_acknowledged_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("log.db")).await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, ended) = (store.clone(), ended.clone());
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    append(&store, &format!("s-{writer}"), 3).await;
                }
            })
        })
        .collect();
    let mut backups = Vec::new();
    for number in 0..3 {
        let acknowledged = append(&store, "before", 1).await;
        let path = directory.path().join(format!("backup-{number}.db"));
        let backup = store.backup(&path).await.unwrap();
        assert!(backup.head >= acknowledged && backup.bytes == fs::metadata(&path).unwrap().len());
        backups.push((path, backup.head));
    }
    ended.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let log = all(&store).await;
    for (path, head) in backups {
        let restored = SqliteStore::open(path).await.unwrap();
        assert_eq!(restored.head(), head);
        assert_eq!(all(&restored).await, log[..head.get() as usize]);
        restored.verify().await.unwrap();
        // It is a store like any other.
        assert_eq!(append(&restored, "after", 1).await, head.next());
    }
}

/// Counts events in a table.
struct Counting;

impl SqlProjection for Counting {
    fn name(&self) -> &str {
        "counting@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        tx.execute_batch("CREATE TABLE IF NOT EXISTS counted (events INTEGER); INSERT INTO counted SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counted)")?;
        Ok(())
    }

    fn apply(&self, _: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        tx.execute("UPDATE counted SET events = events + 1", [])?;
        Ok(())
    }
}

async fn counted(store: &SqliteStore) -> u32 {
    let running = ProjectionRunner::sql(store.clone(), Counting).start();
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
    running.stop().await.unwrap();
    store.read_sql(|db| db.query_row("SELECT events FROM counted", [], |row| row.get(0))).await.unwrap()
}

/// ES16.
#[tokio::test]
async fn a_projection_in_a_restored_backup_goes_on_where_the_backup_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("log.db")).await.unwrap();
    append(&store, "s", 10).await;
    assert_eq!(counted(&store).await, 10);
    append(&store, "s", 5).await;
    let path = directory.path().join("backup.db");
    store.backup(&path).await.unwrap();
    append(&store, "s", 7).await;
    assert_eq!(counted(&store).await, 22);
    // Ten are in the model already, five are not, seven never were.
    let restored = SqliteStore::open(path).await.unwrap();
    assert_eq!(counted(&restored).await, 15);
}

#[tokio::test]
async fn a_backup_is_never_written_over_and_never_half_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("log.db")).await.unwrap();
    append(&store, "s", 10).await;
    let path = directory.path().join("backup.db");
    // What is left of a process that was killed while it copied.
    fs::write(directory.path().join("backup.db.partial"), "half").unwrap();
    store.backup(&path).await.unwrap();
    let before = fs::read(&path).unwrap();
    append(&store, "s", 1).await;
    let again = store.backup(&path).await.unwrap_err();
    assert!(matches!(again, BackupError::Exists { .. }), "{again:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let nowhere = store.backup(directory.path().join("no").join("such.db")).await.unwrap_err();
    assert!(matches!(nowhere, BackupError::Sqlite(_) | BackupError::Io { .. }), "{nowhere:?}");
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{left:?}");
    assert_eq!(store.read_stream(&"s".into(), Version::EMPTY, 100).await.unwrap().len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_backups_to_one_place_at_once_one_is_made_and_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("log.db")).await.unwrap();
    append(&store, "s", 1000).await;
    for round in 0..10 {
        let path = directory.path().join(format!("backup-{round}.db"));
        let backups = futures::future::join_all((0..4).map(|_| store.backup(&path))).await;
        assert_eq!(backups.iter().filter(|backup| backup.is_ok()).count(), 1, "{backups:?}");
        let others = backups.iter().filter_map(|backup| backup.as_ref().err());
        assert!(others.into_iter().all(|error| matches!(error, BackupError::Exists { .. })), "{backups:?}");
        SqliteStore::open(&path).await.unwrap().verify().await.unwrap();
    }
}
