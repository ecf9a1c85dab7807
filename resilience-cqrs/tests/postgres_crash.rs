//! Between a commit and the disk: what a crash of the server takes back, nobody was told of and nobody was shown.
//!
//! The servers here write their log to the disk only when they are asked to, so a crash takes everything with it that no
//! barrier has covered. `POSTGRES_KILLS` says how often they are killed; a few times by default, 1,000 for a release.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use resilience_cqrs::{AppendError, EventStore, Expected, Position, PostgresStore, Query, RowChange, Version};
use testkit::postgres::Postgres;
use tokio::sync::watch;

use self::postgres_common::{all_events, open, payload, runtime, to};

/// What somebody outside has learnt: a payload, and at which position, if it said.
type Learnt = BTreeSet<(Option<u64>, String)>;

fn kills(default: u32) -> u32 {
    std::env::var("POSTGRES_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(default)
}

/// A server whose log reaches the disk by nobody's hand but ours.
fn reluctant_server() -> Postgres {
    let settings = [("wal_writer_delay", "10s"), ("wal_writer_flush_after", "0"), ("wal_buffers", "16MB")];
    Postgres::start_with(&settings).expect("a private server starts")
}

/// ES8 and ES13 on a server that crashes. Writers of two processes append as fast as they can, so that most of
/// their commits go ahead of the disk; readers of both, of a process that only reads, by position, by stream and of a
/// row, note down what they are shown. After the crash all of that must be in the log, at the same place.
#[test]
fn what_a_crash_takes_back_was_neither_acknowledged_nor_shown() {
    let mut server = reluctant_server();
    for kill in 0..kills(3) {
        let schema = format!("log {kill}");
        let stores: Vec<PostgresStore> = (0..3).map(|_| open(&server.url(), &schema)).collect();
        let (crash, crashed) = watch::channel(false);
        let learnt: Vec<Learnt> = std::thread::scope(|scope| {
            let crashed = &crashed;
            let mut watching = Vec::new();
            for (nth, store) in stores.iter().enumerate() {
                for writer in 0..if nth < 2 { 8 } else { 0 } {
                    watching.push(scope.spawn(move || runtime().block_on(write(store, &format!("{nth}-{writer}")))));
                }
                watching.push(scope.spawn(move || runtime().block_on(read_log(store, crashed.clone()))));
                watching.push(scope.spawn(move || runtime().block_on(read_stream(store, crashed.clone()))));
                watching.push(scope.spawn(move || runtime().block_on(read_row(store, crashed.clone()))));
            }
            runtime().block_on(stores[0].wait_past(Position::new(u64::from(200 + kill * 37 % 300))));
            server.kill().unwrap();
            crash.send_replace(true);
            watching.into_iter().map(|watching| watching.join().unwrap()).collect()
        });
        server.restart().unwrap();
        let again = open(&server.url(), &schema);
        let events = runtime().block_on(all_events(&again));
        let stored: BTreeMap<String, u64> = events.iter().map(|event| (payload(event), event.position.get())).collect();
        let learnt: Learnt = learnt.into_iter().flatten().collect();
        // Not of the last ones that each store has: the server was killed before somebody could be told.
        assert!(learnt.len() > 100, "somebody must have learnt something: {}", learnt.len());
        for (position, payload) in learnt {
            let found = stored.get(&payload).copied();
            let is_there = found.is_some() && (position.is_none() || position == found);
            assert!(is_there, "kill {kill}: {payload} was told of at {position:?}, and is at {found:?}");
        }
    }
}

/// With nobody else, nothing goes ahead of the disk: neither the first append of a connection, which is the function's, nor
/// the next ones, which are statements.
#[test]
fn what_is_acknowledged_to_one_who_is_alone_survives_a_crash_right_after() {
    let mut server = reluctant_server();
    for appends in 1..=3 {
        let schema = format!("log {appends}");
        let store = open(&server.url(), &schema);
        for nth in 0..appends {
            runtime().block_on(store.append(to("a", Expected::Any, nth))).unwrap();
        }
        server.kill().unwrap();
        server.restart().unwrap();
        let again = open(&server.url(), &schema);
        assert_eq!(runtime().block_on(all_events(&again)).len(), appends);
    }
}

async fn write(store: &PostgresStore, name: &str) -> Learnt {
    let mut acknowledged = Learnt::new();
    for nth in 0_u64.. {
        let payload = format!("{name}-{nth}");
        let append =
            to("shared", Expected::Any, &payload).row(RowChange::put("last", name.to_owned(), payload.clone()));
        match store.append(append).await {
            Ok(appended) => acknowledged.insert((Some(appended.last.get()), payload)),
            Err(AppendError::Unavailable(_)) => break,
            Err(other) => panic!("{other:?}"),
        };
    }
    acknowledged
}

async fn read_log(store: &PostgresStore, mut crashed: watch::Receiver<bool>) -> Learnt {
    let (mut shown, mut at) = (Learnt::new(), Position::ORIGIN);
    while let Some(page) = unless(&mut crashed, store.read(at, &Query::all(), 100)).await {
        assert!(page.head >= page.next, "a page goes beyond its head");
        at = page.next;
        shown.extend(page.events.iter().map(|event| (Some(event.position.get()), payload(event))));
    }
    shown
}

async fn read_stream(store: &PostgresStore, mut crashed: watch::Receiver<bool>) -> Learnt {
    let (mut shown, mut at) = (Learnt::new(), Version::EMPTY);
    let stream = "shared".into();
    while let Some(events) = unless(&mut crashed, store.read_stream(&stream, at, 100)).await {
        at = events.last().map_or(at, |event| event.version);
        shown.extend(events.iter().map(|event| (Some(event.position.get()), payload(event))));
    }
    shown
}

/// Each row says which event was written with it.
async fn read_row(store: &PostgresStore, mut crashed: watch::Receiver<bool>) -> Learnt {
    let mut shown = Learnt::new();
    while let Some(rows) = unless(&mut crashed, store.rows("last", None, 100)).await {
        shown.extend(rows.iter().map(|(_, value)| (None, String::from_utf8_lossy(value).into_owned())));
    }
    shown
}

/// What a read shows, unless it fails or the server has crashed: then it would wait for it to come back.
async fn unless<T, E>(crashed: &mut watch::Receiver<bool>, read: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::select! {
        shown = read => shown.ok(),
        _ = crashed.wait_for(|crashed| *crashed) => None,
    }
}
