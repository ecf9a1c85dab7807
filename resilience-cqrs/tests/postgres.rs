//! The PostgreSQL engine keeps every law, and loses nothing when its server or its writer dies.
//!
//! One private server for all tests, a schema each; tests that kill have a server of their own.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use resilience_cqrs::conformance::Engine;
use resilience_cqrs::postgres::OpenError;
use resilience_cqrs::{AppendError, EventStore, Expected, Position, PostgresStore, Query, ReadError, Version, Written};
use sqlx::{Connection as _, PgConnection};
use testkit::postgres::Postgres;

use self::postgres_common::{everything, new_schema, open, runtime, shared_server, to};

struct Server;

impl Engine for Server {
    type Store = PostgresStore;

    fn fresh(&self) -> PostgresStore {
        open(shared_server(), &new_schema())
    }
}

mod laws {
    resilience_cqrs::conformance_tests!(super::Server);
}

#[test]
fn a_store_of_another_process_sees_commits_and_conflicts_with_them() {
    // Two stores of one log, as two processes have: neither knows of the other but through the server.
    let schema = new_schema();
    let (here, there) = (open(shared_server(), &schema), open(shared_server(), &schema));
    runtime().block_on(async {
        here.append(to("a", Expected::NoStream, 1)).await.unwrap();
        let conflict = there.append(to("a", Expected::NoStream, 2)).await.unwrap_err();
        assert!(conflict.as_conflict().is_some(), "{conflict}");
        let woken = there.wait_past(Position::new(1));
        here.append(to("a", Expected::Exact(Version::new(1)), 3)).await.unwrap();
        assert_eq!(woken.await, Position::new(2), "nobody appended there, and yet it wakes up");
        assert_eq!(everything(&there).await, ["1", "3"]);
    });
}

/// A deployment starts all its programs at the same moment, in front of an empty database. `CREATE SCHEMA IF NOT EXISTS`
/// lets two see that there is none, and refuses one of them.
#[test]
fn programs_that_start_at_once_all_find_their_tables() {
    for _ in 0..5 {
        let schema = new_schema();
        runtime().block_on(async {
            let opening = (0..8).map(|_| PostgresStore::builder().schema(schema.as_str()).open(shared_server()));
            for opened in futures::future::join_all(opening).await {
                opened.expect("the store opens").close().await;
            }
        });
    }
}

#[test]
fn writers_in_many_stores_leave_no_hole_and_lose_no_increment() {
    const STORES: u64 = 4;
    const EACH: u64 = 60;
    let schema = new_schema();
    let stores: Vec<PostgresStore> = (0..STORES).map(|_| open(shared_server(), &schema)).collect();
    let done = runtime().block_on(async {
        let writers = stores.iter().map(|store| async move {
            for _ in 0..EACH {
                // Read, decide, append: again on a conflict, which says what was missed.
                let mut version = Version::EMPTY;
                while let Err(error) = store.append(to("counter", expect(version), version.next())).await {
                    let conflict = error.as_conflict().expect("nothing else goes wrong");
                    assert!(conflict.of_stream("counter").is_some());
                    version = store.read_stream(&"counter".into(), Version::EMPTY, 10_000).await.unwrap().len_version();
                }
            }
        });
        futures::future::join_all(writers).await;
        everything(&stores[0]).await
    });
    assert_eq!(done, (1..=STORES * EACH).map(|nth| nth.to_string()).collect::<Vec<_>>());
}

fn expect(version: Version) -> Expected {
    if version == Version::EMPTY { Expected::NoStream } else { Expected::Exact(version) }
}

trait LenVersion {
    fn len_version(&self) -> Version;
}

impl<T> LenVersion for Vec<T> {
    fn len_version(&self) -> Version {
        Version::new(self.len() as u64)
    }
}

#[test]
fn an_append_in_a_callers_transaction_shares_its_fate() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        for commits in [false, true] {
            let mut conn = store.connection().await.unwrap();
            let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
            sqlx::raw_sql("CREATE TABLE IF NOT EXISTS balance (cents bigint)").execute(&mut *tx).await.unwrap();
            sqlx::raw_sql("INSERT INTO balance VALUES (5)").execute(&mut *tx).await.unwrap();
            let appended = store.append_in(&mut tx, to("a", Expected::NoStream, "opened")).await.unwrap();
            assert_eq!(appended.first, Position::new(1));
            if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
        }
        assert_eq!(everything(&store).await, ["opened"]);
        let mut conn = store.connection().await.unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM balance").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(rows, 1);
        let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
        let conflict = store.append_in(&mut tx, to("a", Expected::NoStream, "again")).await.unwrap_err();
        assert!(conflict.as_conflict().is_some());
        sqlx::raw_sql("INSERT INTO balance VALUES (6)").execute(&mut *tx).await.expect("a conflict voids nothing");
    });
}

#[test]
fn another_layout_and_no_server_are_said_in_one_sentence() {
    let schema = new_schema();
    let store = open(shared_server(), &schema);
    runtime().block_on(async {
        let mut conn = store.connection().await.unwrap();
        sqlx::raw_sql("UPDATE log_meta SET value = 7").execute(&mut *conn).await.unwrap();
        drop(conn);
        let again = PostgresStore::builder().schema(&schema).open(shared_server()).await.unwrap_err();
        assert_eq!(again.to_string(), "the log has layout version 7, this program knows 2");
        let nowhere = PostgresStore::open("postgres://postgres@127.0.0.1:1/postgres").await.unwrap_err();
        assert!(matches!(nowhere, OpenError::Database(_)), "{nowhere}");
        let nonsense = PostgresStore::open("mysql:host").await.unwrap_err();
        assert!(matches!(nonsense, OpenError::Url(_)), "{nonsense}");
    });
}

/// The server cuts names at 63 bytes and says so to nobody: two long names would be one log. And it reads `$user` in a search
/// path as whoever is connected.
#[test]
fn a_schema_that_the_server_would_call_otherwise_is_refused() {
    let long = "l".repeat(63);
    open(shared_server(), &long);
    runtime().block_on(async {
        for wrong in [format!("{long}1"), "é".repeat(32), "$user".into(), "a\0b".into(), String::new()] {
            let error = PostgresStore::builder().schema(wrong.as_str()).open(shared_server()).await.unwrap_err();
            let said = error.to_string();
            assert!(said.starts_with("a schema's name has 1 to 63 bytes"), "{wrong}: {said}");
        }
    });
}

/// A server may keep to itself what it tells of its timelines, and a user need not be its owner: the head has to do then.
#[test]
fn a_user_who_may_not_ask_for_timelines_has_a_store_all_the_same() {
    let server = Postgres::start().expect("a private server starts");
    drop(open(&server.url(), "log"));
    let url = server.url().replace("postgres@", "plain@");
    let allow =
        "CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA log TO plain; GRANT ALL ON ALL TABLES IN SCHEMA log TO plain;
        GRANT CREATE ON DATABASE postgres TO plain; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC";
    runtime().block_on(async {
        let mut conn = PgConnection::connect(&server.url()).await.unwrap();
        sqlx::raw_sql(allow).execute(&mut conn).await.unwrap();
    });
    let store = open(&url, "log");
    runtime().block_on(async {
        store.append(to("a", Expected::NoStream, 1)).await.unwrap();
        assert_eq!(everything(&store).await, ["1"]);
        store.connection().await.unwrap();
    });
}

/// A caller's session settings, temporary tables and open transactions end with the loan: nothing of the store's runs with
/// them, and neither does whoever borrows next.
#[test]
fn what_a_caller_leaves_in_a_connection_reaches_nobody_else() {
    // One at once, so that who asks next has waited until it is clean.
    let builder = PostgresStore::builder().schema(new_schema()).readers(NonZeroU32::MIN).lent(NonZeroU32::MIN);
    let store = runtime().block_on(builder.open(shared_server())).unwrap();
    let left = "SET synchronous_commit = off; SET search_path = pg_catalog; SET default_transaction_read_only = on;
        CREATE TEMP TABLE log_head (position bigint); SELECT pg_try_advisory_lock(4711); LISTEN gossip; BEGIN";
    runtime().block_on(async {
        store.append(to("a", Expected::NoStream, 1)).await.unwrap();
        let ask = async |question: &'static str| {
            let mut conn = store.connection().await.unwrap();
            sqlx::query_scalar::<_, String>(question).fetch_one(&mut *conn).await.unwrap()
        };
        let before = ask("SELECT current_setting('search_path') || current_setting('synchronous_commit')").await;
        for _ in 0..3 {
            let mut conn = store.connection().await.unwrap();
            sqlx::raw_sql(left).execute(&mut *conn).await.unwrap();
            drop(conn);
            assert_eq!(everything(&store).await, ["1"], "the store reads as before");
        }
        assert_eq!(ask("SELECT current_setting('search_path') || current_setting('synchronous_commit')").await, before);
        assert_eq!(ask("SELECT count(*)::text FROM log_event").await, "1");
        assert_eq!(ask("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711").await, "0");
        let mut conn = store.connection().await.unwrap();
        let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
        store.append_in(&mut tx, to("a", Expected::Any, 2)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(everything(&store).await, ["1", "2"]);
    });
}

#[test]
fn programs_that_start_at_once_make_the_tables_once() {
    let schema = new_schema();
    runtime().block_on(async {
        let opening = (0..8).map(|_| PostgresStore::builder().schema(&schema).open(shared_server()));
        for (nth, opened) in futures::future::join_all(opening).await.into_iter().enumerate() {
            opened.unwrap().append(to("a", Expected::Any, nth)).await.unwrap();
        }
    });
}

#[test]
fn a_closed_store_refuses_and_what_it_took_is_there() {
    let schema = new_schema();
    let store = open(shared_server(), &schema);
    runtime().block_on(async {
        store.append(to("a", Expected::Any, 1)).await.unwrap();
        store.close().await;
        assert!(matches!(store.append(to("a", Expected::Any, 2)).await, Err(AppendError::Closed)));
        assert!(matches!(store.read(Position::ORIGIN, &Query::all(), 1).await, Err(ReadError::Closed)));
    });
    assert_eq!(runtime().block_on(everything(&open(shared_server(), &schema))), ["1"]);
}

/// How often the server is killed; `POSTGRES_KILLS` says otherwise.
fn kills() -> u32 {
    std::env::var("POSTGRES_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8)
}

#[test]
fn a_server_killed_under_load_costs_no_acknowledged_event_and_doubles_none() {
    // Scenario: database restarts under load. Each writer repeats its command until it is acknowledged, under one id, so
    // a lost acknowledgement is found out and not repeated.
    const WRITERS: u32 = 8;
    let mut server = Postgres::start().expect("a private server starts");
    let store = open(&server.url(), "log");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stop = &stop;
    let acknowledged: Vec<Vec<String>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = store.clone();
                scope.spawn(move || {
                    let mut done = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let payload = format!("{writer}-{}", done.len());
                        runtime().block_on(until_acknowledged(&store, &payload));
                        done.push(payload);
                    }
                    done
                })
            })
            .collect();
        // Whatever goes wrong below, the writers end, and the test with them.
        let stopping = StopAtEnd(stop);
        for nth in 0..kills() {
            // So many commits, not so much time: the machine may be busy.
            let before = store.head();
            runtime().block_on(store.wait_past(before.plus(20 + u64::from(nth * 7 % 50))));
            server.kill().unwrap();
            server.restart().unwrap();
        }
        let before = store.head();
        runtime().block_on(store.wait_past(before.plus(20)));
        drop(stopping);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut stored = runtime().block_on(everything(&store));
    for (writer, done) in acknowledged.iter().enumerate() {
        let prefix = format!("{writer}-");
        let of_writer: Vec<&String> = stored.iter().filter(|payload| payload.starts_with(&prefix)).collect();
        assert_eq!(of_writer, done.iter().collect::<Vec<_>>(), "writer {writer}: acknowledged and stored differ");
    }
    stored.sort();
    stored.dedup();
    assert_eq!(stored.len(), acknowledged.iter().map(Vec::len).sum::<usize>());
}

struct StopAtEnd<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn until_acknowledged(store: &PostgresStore, payload: &str) {
    loop {
        let append = to("orders", Expected::Any, payload).command_id(payload.to_owned());
        match store.append(append).await {
            Ok(_) => return,
            // Written or not, the id tells at the next attempt.
            Err(AppendError::Unavailable(unavailable)) => {
                assert!(unavailable.retryable, "{unavailable:?}");
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_hangs_delays_and_does_not_lose() {
    let mut server = Postgres::start().expect("a private server starts");
    let store = open(&server.url(), "log");
    server.pause().unwrap();
    let waiting = runtime().spawn({
        let store = store.clone();
        async move { store.append(to("a", Expected::NoStream, 1)).await }
    });
    assert!(!waiting.is_finished());
    server.resume().unwrap();
    runtime().block_on(waiting).unwrap().unwrap();
    assert_eq!(runtime().block_on(everything(&store)), ["1"]);
}

#[test]
fn what_is_lost_with_the_connection_at_the_commit_is_unknown_and_before_it_is_not() {
    let mut server = Postgres::start().expect("a private server starts");
    let store = open(&server.url(), "log");
    runtime().block_on(store.append(to("a", Expected::NoStream, 1))).unwrap();
    server.kill().unwrap();
    // The server is down before anything is sent: certainly not written.
    match runtime().block_on(store.append(to("a", Expected::Any, 2))) {
        Err(AppendError::Unavailable(unavailable)) => {
            assert_eq!((unavailable.written, unavailable.retryable), (Written::No, true));
        }
        other => panic!("{other:?}"),
    }
    server.restart().unwrap();
    let appended = runtime().block_on(store.append(to("a", Expected::Any, 3))).expect("it connects again");
    assert_eq!(appended.first, Position::new(2));
}
