use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use redb::{Database, TableDefinition};
use resilience_core::event::{Event as Told, Sink};
use tempfile::TempDir;

use super::*;
use crate::log::limits::Invalid;
use crate::log::{Expected, NewEvent, RowChange};

/// What a test does to a commit that is about to happen.
#[derive(Debug, Default)]
pub(super) struct Faults {
    fail: AtomicBool,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Faults {
    pub(super) fn at_commit(&self) -> Result<(), Fault> {
        if let Some((entered, go)) = self.gate.lock().unwrap().take() {
            entered.send(()).unwrap();
            let _ = go.recv();
        }
        let failed = || redb::StorageError::Io(io::Error::other("the disk is gone"));
        if self.fail.load(Ordering::SeqCst) { Err(failed().into()) } else { Ok(()) }
    }

    /// Holds the next commit back: it is there once the first is received, and goes on when the second is dropped.
    fn hold(&self) -> (Receiver<()>, Sender<()>) {
        let ((enter, entered), (go, gone)) = (channel(), channel());
        *self.gate.lock().unwrap() = Some((enter, gone));
        (entered, go)
    }
}

struct Place {
    _directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.redb");
        Self { _directory: directory, path }
    }

    async fn open(&self) -> RedbStore {
        RedbStore::open(&self.path).await.unwrap()
    }

    async fn refused(&self) -> OpenError {
        RedbStore::builder().lock_wait(Duration::ZERO).open(&self.path).await.unwrap_err()
    }
}

fn one(stream: &str, payload: &'static str) -> Append {
    Append::new().events(stream, Expected::Any, [NewEvent::new("E", payload)])
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
    let (builder, heard) = (RedbStore::builder(), Arc::new(Heard::default()));
    let faults = builder.faults.clone();
    let store = builder.listener(heard.clone()).open(&place.path).await.unwrap();
    store.append(one("s-37", "0")).await.unwrap();
    let (entered, go) = faults.hold();
    let held = tokio::spawn({
        let store = store.clone();
        async move { store.append(Append::new()).await.unwrap() }
    });
    tokio::task::spawn_blocking(move || entered.recv().unwrap()).await.unwrap();
    let appends = (0..100).map(|n| {
        let append = Append::new().events(format!("s-{n}"), Expected::NoStream, [NewEvent::new("E", "")]);
        let store = store.clone();
        tokio::spawn(async move { store.append(append).await })
    });
    let appends: Vec<_> = appends.collect();
    while store.shared.jobs.capacity() > store.shared.jobs.max_capacity() - 100 {
        tokio::task::yield_now().await;
    }
    drop(go);
    held.await.unwrap();
    for (n, append) in appends.into_iter().enumerate() {
        assert_eq!(append.await.unwrap().is_err(), n == 37);
    }
    store.verify().await.unwrap();
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
    assert!(matches!(heard.last(), Some(Event::Closed)));
}

/// A subscriber must not act on what a power cut could still take back.
#[tokio::test]
async fn nothing_is_seen_before_it_is_durable() {
    let place = Place::new();
    let builder = RedbStore::builder();
    let faults = builder.faults.clone();
    let store = builder.open(&place.path).await.unwrap();
    let (entered, go) = faults.hold();
    let appended = tokio::spawn({
        let store = store.clone();
        async move { store.append(one("s", "1").row(RowChange::put("r", "k", "v"))).await.unwrap() }
    });
    tokio::task::spawn_blocking(move || entered.recv().unwrap()).await.unwrap();
    assert_eq!(store.head(), Position::ORIGIN);
    assert_eq!(store.read(Position::ORIGIN, &Query::all(), 10).await.unwrap().events, []);
    assert_eq!(store.read_stream(&"s".into(), Version::EMPTY, 10).await.unwrap(), []);
    assert_eq!(store.row("r", b"k").await.unwrap(), None);
    drop(go);
    assert_eq!(appended.await.unwrap().last, store.head());
    assert_eq!(store.row("r", b"k").await.unwrap().as_deref(), Some(&b"v"[..]));
}

/// ES9.
#[tokio::test]
async fn a_failed_commit_ends_writing_until_the_store_is_opened_again() {
    let place = Place::new();
    let builder = RedbStore::builder();
    let faults = builder.faults.clone();
    let store = builder.open(&place.path).await.unwrap();
    store.append(one("s", "1")).await.unwrap();
    faults.fail.store(true, Ordering::SeqCst);
    let failed = store.append(one("s", "2")).await.unwrap_err();
    assert!(failed.may_have_committed() && !failed.is_retryable(), "{failed:?}");
    // The medium seems to be well again; nobody knows what it has lost, so nothing is acknowledged.
    faults.fail.store(false, Ordering::SeqCst);
    for append in [one("s", "3"), Append::new()] {
        let refused = store.append(append).await.unwrap_err();
        assert!(matches!(refused, AppendError::Unavailable(_)) && !refused.may_have_committed(), "{refused:?}");
    }
    assert_eq!(store.head(), Position::new(1));
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.append(one("s", "4")).await.unwrap().first, Position::new(2));
    store.verify().await.unwrap();
}

#[tokio::test]
async fn an_append_given_up_while_it_waits_is_not_written() {
    let place = Place::new();
    let builder = RedbStore::builder();
    let faults = builder.faults.clone();
    let store = builder.open(&place.path).await.unwrap();
    let (entered, go) = faults.hold();
    let held = tokio::spawn({
        let store = store.clone();
        async move { store.append(Append::new()).await }
    });
    tokio::task::spawn_blocking(move || entered.recv().unwrap()).await.unwrap();
    let mut given_up = Box::pin(store.append(one("s", "1")));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    drop(go);
    held.await.unwrap().unwrap();
    store.append(one("s", "2")).await.unwrap();
    assert_eq!(store.head(), Position::new(1));
}

#[tokio::test]
async fn a_second_store_on_the_file_is_told_so_and_waits_for_an_orderly_restart() {
    let place = Place::new();
    let first = place.open().await;
    assert!(matches!(place.refused().await, OpenError::Locked { path } if path == place.path));
    let second = tokio::spawn(RedbStore::open(place.path.clone()));
    first.append(one("s", "1")).await.unwrap();
    first.close().await;
    assert!(matches!(first.append(one("s", "2")).await, Err(AppendError::Closed)));
    assert!(matches!(first.row("r", b"k").await, Err(ReadError::Closed)));
    assert_eq!(second.await.unwrap().unwrap().head(), Position::new(1));
}

/// Each kind of bad input is one error that says what it is, and the file is what it was.
#[tokio::test]
async fn a_file_that_is_no_log_of_ours_is_refused_by_name() {
    let place = Place::new();
    fs::write(&place.path, "SQLite format 3\0 and so on").unwrap();
    let error = place.refused().await;
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert_eq!(fs::read(&place.path).unwrap(), b"SQLite format 3\0 and so on");

    fs::write(&place.path, b"redb\x1a\x0a\xa9\x0d\x0a").unwrap();
    let error = place.refused().await;
    assert!(matches!(error, OpenError::Corrupt(_) | OpenError::Io { .. }), "only its first bytes: {error:?}");

    fs::remove_file(&place.path).unwrap();
    place.open().await.close().await;
    let database = Database::create(&place.path).unwrap();
    let tx = database.begin_write().unwrap();
    tx.open_table(TableDefinition::<&str, u64>::new("log_meta")).unwrap().insert("version", 2).unwrap();
    tx.commit().unwrap();
    drop(database);
    let error = place.refused().await;
    assert_eq!(error.to_string(), "the log has layout version 2, this program knows 1");

    let error = RedbStore::open(place.path.join("below")).await.unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn an_append_that_is_too_large_is_refused_before_it_is_queued() {
    let place = Place::new();
    let store = place.open().await;
    let large = NewEvent::new("E", vec![0; crate::limits::PAYLOAD_BYTES + 1]);
    let error = store.append(Append::new().events("s", Expected::Any, [large])).await.unwrap_err();
    assert!(matches!(error, AppendError::Invalid(Invalid::TooLong { what: "payload", .. })), "{error:?}");
    store.append(one("s", "1")).await.unwrap();
}

/// Wherever a bit has flipped, the answer is the right one or an error: no panic, no wrong event.
#[tokio::test]
async fn a_damaged_file_is_found_to_be_damaged_and_never_believed() {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..200 {
        let event = NewEvent::new("E", format!("payload {n}")).tag(format!("t:{}", n % 7));
        store.append(Append::new().events(format!("s-{}", n % 10), Expected::Any, [event])).await.unwrap();
    }
    let right = store.read(Position::ORIGIN, &Query::all(), 8192).await.unwrap().events;
    store.close().await;
    let sound = fs::read(&place.path).unwrap();
    let (mut found, mut step) = (0, 0);
    for at in (0..sound.len()).step_by(sound.len() / 60) {
        let mut damaged = sound.clone();
        step += 1;
        damaged[at + step % 13] ^= 1 << (step % 8);
        fs::write(&place.path, &damaged).unwrap();
        let builder = RedbStore::builder().verify_on_open(true).lock_wait(Duration::ZERO);
        match builder.open(&place.path).await {
            Err(OpenError::Locked { path }) => panic!("{} is still held", path.display()),
            Err(_) => found += 1,
            Ok(store) => {
                store.verify().await.unwrap();
                assert_eq!(store.read(Position::ORIGIN, &Query::all(), 8192).await.unwrap().events, right, "byte {at}");
                store.close().await;
            }
        }
        // Without the check at the start: whatever is asked for is answered, by an error if need be.
        fs::write(&place.path, &damaged).unwrap();
        let Ok(store) = RedbStore::builder().lock_wait(Duration::ZERO).open(&place.path).await else { continue };
        let _ = store.verify().await;
        let _ = store.append(one("s-1", "more")).await;
        store.close().await;
    }
    assert!(found > 0);
}

#[tokio::test]
async fn quick_repair_changes_no_answer() {
    let place = Place::new();
    let store = RedbStore::builder().quick_repair(true).open(&place.path).await.unwrap();
    store.append(one("s", "1")).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.append(one("s", "2")).await.unwrap().version("s"), Some(Version::new(2)));
    store.verify().await.unwrap();
}
