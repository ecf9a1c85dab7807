//! Files that somebody has changed.
#![cfg(all(feature = "audit", feature = "sqlite"))]

use std::fs;
use std::path::Path;

use resilience_cqrs::audit::{Evidence, Seal, Tampered, VerifyError, seal, verify, verify_against};
use resilience_cqrs::{
    Append, EventStore, Expected, Metadata, NewEvent, Position, Query, ReadError, Recorded, SqliteStore,
};

const EVENTS: u64 = 120;

/// A sealed log whose payloads are all different and can be found in the file. Its write-ahead log is brought over.
async fn sealed(path: &Path) -> (Seal, Vec<Recorded>) {
    let store = SqliteStore::open(path).await.unwrap();
    for n in 1..=EVENTS {
        let metadata = Metadata::new().with_actor(format!("actor-{}", n % 7)).with_trace(format!("trace-{n:04}"));
        let event = NewEvent::new(format!("Kind{}", n % 5), format!("the payload of {n:04}"));
        let event = event.tag(format!("tag:{}", n % 11)).metadata(metadata);
        store.append(Append::new().events(format!("stream-{}", n % 13), Expected::Any, [event])).await.unwrap();
        if n == EVENTS / 2 {
            seal(&store).await.unwrap();
        }
    }
    let seal = seal(&store).await.unwrap();
    let page = store.read(Position::ORIGIN, &Query::all(), 1000).await.unwrap();
    store.close().await;
    (seal, page.events)
}

fn flip(from: &Path, to: &Path, at: &[usize]) {
    let mut bytes = fs::read(from).unwrap();
    at.iter().for_each(|at| bytes[*at] ^= 1);
    fs::write(to, bytes).unwrap();
}

fn tampered(result: Result<impl std::fmt::Debug, VerifyError>) -> Tampered {
    match result {
        Err(VerifyError::Tampered(tampered)) => tampered,
        other => panic!("{other:?}"),
    }
}

/// ES60: one byte of one payload is flipped on the disk. Nothing of SQLite's notices, and the log would answer with
/// what was never appended; the chain says where.
#[tokio::test]
async fn a_byte_flipped_on_the_disk_is_found_at_the_first_event_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let (seal, _) = sealed(&path).await;
    let bytes = fs::read(&path).unwrap();
    for n in [1, 2, 59, 60, 61, 62, EVENTS - 1, EVENTS] {
        let payload = format!("the payload of {n:04}");
        // One is in use; SQLite leaves others in the free parts of pages that it has split.
        let places = bytes.windows(payload.len()).enumerate().filter(|(_, window)| *window == payload.as_bytes());
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        let flipped = directory.path().join(format!("flipped-{n}.db"));
        flip(&path, &flipped, &places);
        let store = SqliteStore::open(&flipped).await.unwrap();
        store.verify().await.unwrap(); // to SQLite and the store, all is well
        let found = tampered(verify(&store).await);
        assert_eq!(found, Tampered { position: Position::new(n), evidence: Evidence::Event });
        assert_eq!(tampered(verify_against(&store, [seal]).await), found);
    }
}

/// The same for any byte of the file. Whatever the flip has done (a name that many events share, the inside of SQLite's
/// own pages, nothing at all), the verdict is what reading the log tells: the first event that is not what it was.
#[tokio::test]
async fn whatever_byte_is_flipped_no_changed_event_passes_for_what_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let (_, events) = sealed(&path).await;
    let size = fs::metadata(&path).unwrap().len();
    let (mut changed, mut unharmed, mut unreadable) = (0, 0, 0);
    for nth in 0..400 {
        // Spread over the file, and over the bytes within its pages.
        let at = usize::try_from((nth * size / 400 + nth * 7919 % 97).min(size - 1)).unwrap();
        let flipped = directory.path().join("flipped.db");
        for suffix in ["", "-wal", "-shm", "-lock"] {
            let _ = fs::remove_file(format!("{}{suffix}", flipped.display()));
        }
        flip(&path, &flipped, &[at]);
        // A file that cannot be opened is found without us.
        let Ok(store) = SqliteStore::open(&flipped).await else { continue };
        let first = first_changed(&store, &events).await;
        match (first, verify(&store).await) {
            // Not even SQLite's own description of the tables is whole: nothing can be read, which is no verdict.
            (_, Err(VerifyError::Read(error))) => assert!(!matches!(error, ReadError::Corrupt(_)), "{error:?}"),
            (Some(first), Err(VerifyError::Tampered(found))) => {
                assert_eq!(found.position, first, "byte {at}");
                changed += 1;
                unreadable += u32::from(found.evidence == Evidence::Unreadable);
            }
            // The entries were hit, or nothing of either.
            (None, Err(VerifyError::Tampered(found))) => assert_eq!(found.evidence, Evidence::Entry, "byte {at}"),
            (None, Ok(_)) => unharmed += 1,
            (first, result) => panic!("byte {at}: {first:?} changed, {result:?}"),
        }
        store.close().await;
    }
    assert!(changed > 20 && unharmed > 20, "{changed} changed ({unreadable} unreadable), {unharmed} unharmed");
}

/// By comparison with what was there, event by event.
async fn first_changed(store: &SqliteStore, events: &[Recorded]) -> Option<Position> {
    for event in events {
        let before = Position::new(event.position.get() - 1);
        match store.read(before, &Query::all(), 1).await {
            Ok(page) if page.events.first() == Some(event) => {}
            Ok(_) | Err(_) => return Some(event.position),
        }
    }
    None
}

/// The end of the log is cut off, rows and all, and other events take the positions. The chain in the rows is gone with
/// them; the seal that is elsewhere is not.
#[tokio::test]
async fn a_log_whose_end_was_replaced_does_not_fit_the_seal_of_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let (kept, _) = sealed(&path).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(
        "DELETE FROM log_event WHERE position > 90; DELETE FROM log_tagged WHERE position > 90;
         DELETE FROM log_row WHERE space IN ('audit', 'audit-block');",
    )
    .unwrap();
    drop(file);
    let store = SqliteStore::open(&path).await.unwrap();
    verify(&store).await.unwrap();
    let found = tampered(verify_against(&store, [kept]).await);
    assert_eq!(found, Tampered { position: Position::new(91), evidence: Evidence::Missing });
    for _ in 91..=EVENTS {
        store.append(Append::new().events("s", Expected::Any, [NewEvent::new("E", "forged")])).await.unwrap();
    }
    seal(&store).await.unwrap();
    verify(&store).await.unwrap();
    let found = tampered(verify_against(&store, [kept]).await);
    assert_eq!(found.evidence, Evidence::Rewritten { through: kept.position() });
}
