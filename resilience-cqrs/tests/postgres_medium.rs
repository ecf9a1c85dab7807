//! The disk under PostgreSQL breaks or is full, under load: what was acknowledged is there and is what is delivered, what
//! was refused is not there, and the store goes on by itself.
//!
//! The server runs on a medium (`medium/medium.c`) that fails while it is told to. Eight writers in two stores append; half
//! of them repeat each command under its id until it is acknowledged, the others try each once and believe what they are
//! told. A reader in a third store looks every 2 ms. `POSTGRES_FAULTS` says how often it fails: twice by default.
#![cfg(all(feature = "postgres", target_os = "linux"))]

mod postgres_common;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use resilience_cqrs::{AppendError, EventStore, Expected, Position, PostgresStore, Query, ReadError};
use sqlx::{Connection, PgConnection};
use testkit::medium::Medium;
use testkit::postgres::Postgres;
use testkit::process::poll;

use self::postgres_common::{all_events, open, payload, runtime, to};

const WRITERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(180);

/// A disk that fails, and what follows.
struct Fault {
    /// What the medium is told.
    how: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// How large events are.
    padding: usize,
    /// Whether the failing calls are those of a checkpoint.
    at_checkpoint: bool,
    /// Whether the server gives up what it has in memory and begins anew.
    ends_server: bool,
}

/// ES9. The server's log cannot be synced: it panics in the middle of commits and recovers; nobody knows which of them are
/// on the disk.
#[test]
fn a_log_that_cannot_be_synced_costs_nothing_acknowledged() {
    endures(&Fault { how: "EIO /pg_wal/", settings: &[], padding: 0, at_checkpoint: false, ends_server: true });
}

/// Tables that cannot be synced: the server panics at its checkpoint, and has the log to make them anew.
#[test]
fn tables_that_cannot_be_synced_cost_nothing_acknowledged() {
    endures(&Fault { how: "EIO /base/", settings: &[], padding: 0, at_checkpoint: true, ends_server: true });
}

/// No room for tables is an error of one transaction, which is said as that.
#[test]
fn tables_that_cannot_grow_refuse_appends_and_lose_none_until_there_is_room() {
    endures(&Fault { how: "ENOSPC /base/", settings: &[], padding: 0, at_checkpoint: false, ends_server: false });
}

/// No room for the server's log: it panics, again and again until there is some. The error has the number of a full disk
/// and yet says nothing about the commit that met it, which may have been in the log before.
#[test]
fn a_log_that_cannot_grow_costs_nothing_acknowledged() {
    let settings = &[("wal_recycle", "off"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
    endures(&Fault { how: "ENOSPC /pg_wal/", settings, padding: 20_000, at_checkpoint: false, ends_server: true });
}

fn faults() -> u32 {
    std::env::var("POSTGRES_FAULTS").map_or(2, |faults| faults.parse().expect("POSTGRES_FAULTS is a number"))
}

fn endures(fault: &Fault) {
    let medium = Medium::build(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/medium/medium.c"));
    let medium = medium.expect("the compiler that SQLite was built with");
    let mut server = Postgres::start_on(&medium, fault.settings).expect("a private server starts");
    let stores: Vec<PostgresStore> = (0..3).map(|_| open(&server.url(), "log")).collect();
    let (stop, failures) = (AtomicBool::new(false), AtomicU64::new(0));
    let (said, delivered) = std::thread::scope(|scope| {
        let (stores, stop, failures) = (&stores, &stop, &failures);
        // Whatever goes wrong below, the writers end, and the test with them.
        let stopping = StopAtEnd(stop);
        let writers: Vec<_> = (0..WRITERS)
            .map(|nth| {
                let writer = Writer { nth, store: &stores[nth % 2], padding: fault.padding, stop, failures };
                scope.spawn(move || runtime().block_on(writer.run()))
            })
            .collect();
        let reader = scope.spawn(move || runtime().block_on(deliver(&stores[2], stop)));
        let goes_on = |server: &mut Postgres| {
            let goal = stores[0].head().plus(20);
            // It starts anew by itself; on a disk that fails in its recovery, too, it gives up.
            poll(PATIENCE, || Ok(!fault.ends_server || server.revive().is_ok()).map(|_| stores[0].head() >= goal))
        };
        for _ in 0..faults() {
            goes_on(&mut server).expect("appends go on");
            let before = failures.load(Ordering::SeqCst);
            medium.fail(fault.how).expect("the switch can be written");
            if fault.at_checkpoint {
                runtime().block_on(checkpoint(&server.url()));
            }
            poll(PATIENCE, || Ok(failures.load(Ordering::SeqCst) > before)).expect("appends fail");
            if !fault.ends_server {
                let page = runtime().block_on(stores[2].read(Position::ORIGIN, &Query::all(), 10));
                assert_eq!(page.expect("what is there can be read").events.len(), 10);
            }
            medium.mend().expect("the switch is there");
        }
        goes_on(&mut server).expect("appends go on");
        drop(stopping);
        let said: Vec<Said> = writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect();
        (said, reader.join().expect("the reader ends"))
    });
    check(fault, &stores[2], said, &delivered);
    let panicked = server.log().expect("its log can be read").contains("PANIC");
    assert_eq!(panicked, fault.ends_server, "this is not what was to be tried");
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The checkpoint fails, or its connection does.
async fn checkpoint(url: &str) {
    let mut conn = PgConnection::connect(url).await.expect("the server is up");
    sqlx::raw_sql("CHECKPOINT").execute(&mut conn).await.expect_err("the disk fails");
}

/// What a writer was told.
#[derive(Default)]
struct Said {
    acknowledged: BTreeMap<String, u64>,
    not_written: BTreeSet<String>,
    perhaps: BTreeSet<String>,
    errors: Vec<AppendError>,
}

struct Writer<'a> {
    nth: usize,
    store: &'a PostgresStore,
    padding: usize,
    stop: &'a AtomicBool,
    failures: &'a AtomicU64,
}

impl Writer<'_> {
    async fn run(self) -> Said {
        let (mut said, insists) = (Said::default(), self.nth.is_multiple_of(2));
        let (mut attempts, mut rng) = (0, Rng::seeded(self.nth as u64));
        while !self.stop.load(Ordering::SeqCst) {
            let name = format!("{}-{attempts}", self.nth);
            attempts += 1;
            // Of two streams, and it is there as a whole or not at all. Nothing that the server could make smaller.
            let padding: String = (0..self.padding).map(|_| char::from(rng.below(94) as u8 + b'!')).collect();
            let text = format!("{name} {padding}");
            let append = to("shared", Expected::Any, &text).events(
                format!("own-{}", self.nth),
                Expected::Any,
                [postgres_common::event(&text)],
            );
            let append = if insists { append.command_id(name.as_str()) } else { append };
            loop {
                let error = match self.store.append(append.clone()).await {
                    Ok(appended) => {
                        said.acknowledged.insert(name, appended.first.get());
                        break;
                    }
                    Err(error) => error,
                };
                assert!(error.is_retryable(), "{error:?}");
                let may_be_there = error.may_have_committed();
                said.errors.push(error);
                self.failures.fetch_add(1, Ordering::SeqCst);
                SharedTimer::default().sleep(Duration::from_millis(5)).await;
                if !insists {
                    if may_be_there { &mut said.perhaps } else { &mut said.not_written }.insert(name);
                    break;
                }
            }
        }
        said
    }
}

/// Looks, every 2 ms and whatever happens, until it has found nothing new after the end.
async fn deliver(store: &PostgresStore, stop: &AtomicBool) -> Vec<(u64, String)> {
    let (mut at, mut delivered) = (Position::ORIGIN, Vec::new());
    loop {
        let has_ended = stop.load(Ordering::SeqCst);
        match store.read(at, &Query::all(), 500).await {
            Ok(page) => {
                at = page.next;
                delivered.extend(page.events.iter().map(|event| (event.position.get(), name(&payload(event)))));
                if has_ended && page.is_last() && is_at_the_end(store, at).await {
                    return delivered;
                }
            }
            Err(ReadError::Unavailable(unavailable)) => assert!(unavailable.retryable, "{unavailable:?}"),
            Err(other) => panic!("{other:?}"),
        }
        SharedTimer::default().sleep(Duration::from_millis(2)).await;
    }
}

/// An append comes after whatever was committed, told of or not.
async fn is_at_the_end(store: &PostgresStore, at: Position) -> bool {
    let end = store.append(to("end", Expected::Any, "end")).await;
    end.is_ok_and(|end| end.first == at.next())
}

fn name(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Holds what was said and delivered against the log.
fn check(fault: &Fault, store: &PostgresStore, said: Vec<Said>, delivered: &[(u64, String)]) {
    let log = runtime().block_on(all_events(store)); // Which sees a hole.
    let log: Vec<(u64, String)> = log.iter().map(|event| (event.position.get(), name(&payload(event)))).collect();
    assert_eq!(log[..delivered.len()], *delivered, "delivered is what is there, in order and once");
    assert!(log[delivered.len()..].iter().all(|(_, name)| name == "end"), "and all of it");
    let mut there = BTreeMap::new();
    for unit in log.iter().filter(|(_, name)| name != "end").collect::<Vec<_>>().chunks(2) {
        assert!(unit.len() == 2 && unit[0].1 == unit[1].1, "half an append: {unit:?}");
        assert_eq!(there.insert(unit[0].1.clone(), unit[0].0), None, "{} is there twice", unit[0].1);
    }
    let (mut acknowledged, mut perhaps, mut texts) = (0, 0, BTreeSet::new());
    for writer in said {
        acknowledged += writer.acknowledged.len();
        for (name, first) in writer.acknowledged {
            assert_eq!(there.remove(&name), Some(first), "{name} was acknowledged");
        }
        for name in writer.not_written {
            assert_eq!(there.remove(&name), None, "{name} was refused");
        }
        perhaps += writer.perhaps.iter().filter(|name| there.remove(*name).is_some()).count();
        texts.extend(writer.errors.iter().map(aloud));
        for error in &writer.errors {
            assert_eq!(matches!(error, AppendError::Full), !fault.ends_server, "{}: {}", fault.how, aloud(error));
        }
    }
    assert!(there.is_empty(), "nobody has appended {there:?}");
    println!("{}: {acknowledged} acknowledged, {perhaps} that nobody knew of; told:", fault.how);
    texts.iter().for_each(|text| println!("  {text}"));
}

/// An error as a program's log has it.
fn aloud(error: &AppendError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
