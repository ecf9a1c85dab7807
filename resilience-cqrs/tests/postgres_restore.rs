//! A log that comes back from a backup is a log: whole up to some append, and everything that reads it goes on.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
use resilience_cqrs::{BoxError, EventStore, Expected, Position, PostgresStore, Query, Recorded};
use testkit::postgres::Postgres;

use self::postgres_common::{all_events, open, runtime, to};

const PATIENCE: Duration = Duration::from_secs(60);

/// How many events there are, as a read model.
struct Census;

impl Projection for Census {
    fn name(&self) -> &str {
        "census@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, _: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let count = rows.get("census", "n").await?.map_or(0, |n| String::from_utf8_lossy(&n).parse().unwrap_or(0));
        rows.put("census", "n", (count + 1_u64).to_string());
        Ok(())
    }
}

/// Runs the census until it has seen everything, and what it says then.
async fn counted(store: &PostgresStore) -> u64 {
    let running = ProjectionRunner::builder(store.clone(), Census).start();
    running.at_least(store.head(), PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    let count = store.row("census", b"n").await.unwrap().unwrap();
    String::from_utf8_lossy(&count).parse().unwrap()
}

/// `pg_basebackup` while appends go on: the copy has everything that was acknowledged before it was begun, and is the log up
/// to some later append, not to half of one.
#[test]
fn a_base_backup_under_load_restores_to_a_whole_log_that_goes_on() {
    let server = Postgres::start().expect("a private server starts");
    let store = open(&server.url(), "log");
    let stop = AtomicBool::new(false);
    let backup = std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                scope.spawn(move || {
                    runtime().block_on(async {
                        while !stop.load(Ordering::SeqCst) {
                            let both = to(&format!("a-{writer}"), Expected::Any, "half").events(
                                format!("b-{writer}"),
                                Expected::Any,
                                [postgres_common::event("other half")],
                            );
                            store.append(both).await.unwrap();
                        }
                    });
                })
            })
            .collect();
        runtime().block_on(store.wait_past(Position::new(100)));
        let before = store.head();
        let backup = server.backup();
        stop.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        (backup.unwrap(), before)
    });
    let (backup, before) = backup;
    let restored = backup.restore().unwrap();
    let again = open(&restored.url(), "log");
    runtime().block_on(async {
        let (first, second) = (all_events(&store).await, all_events(&again).await);
        assert!(second.len() as u64 >= before.get(), "what was acknowledged before is in it");
        assert_eq!(second.len() % 2, 0, "no append is in it by half");
        assert_eq!(second, first[..second.len()], "it is the same log, up to there");
        let done = again.append(to("a-0", Expected::Any, "after")).await.unwrap();
        assert_eq!(done.first.get(), second.len() as u64 + 1);
        assert_eq!(counted(&again).await, done.first.get());
    });
}

/// ES16: dumped as SQL and read into another cluster, whose transaction ids have nothing to do with those of the
/// first. Positions mean the same there, so a projection goes on at its checkpoint: nothing is lost, nothing repeated.
#[test]
fn a_dump_read_into_another_cluster_goes_on_where_it_was() {
    let (from, into) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    let store = open(&from.url(), "log");
    runtime().block_on(async {
        for nth in 0..50 {
            store.append(to("a", Expected::Any, nth).command_id(format!("c{nth}"))).await.unwrap();
        }
        assert_eq!(counted(&store).await, 50);
        for nth in 50..60 {
            store.append(to("a", Expected::Any, nth)).await.unwrap();
        }
    });
    let dump = from.client("pg_dump").args(["--schema", "log", "postgres"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let mut restore = into.client("psql");
    restore.args(["-q", "-v", "ON_ERROR_STOP=1", "postgres"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut restoring = restore.spawn().unwrap();
    restoring.stdin.take().unwrap().write_all(&dump.stdout).unwrap();
    assert!(restoring.wait().unwrap().success());

    let again = open(&into.url(), "log");
    runtime().block_on(async {
        assert_eq!(all_events(&again).await, all_events(&store).await);
        assert_eq!(counted(&again).await, 60, "each was counted once, from the checkpoint on");
        let repeated = again.append(to("a", Expected::Any, 7).command_id("c7")).await.unwrap();
        assert!(repeated.already_committed, "commands are remembered");
        let done = again.append(to("a", Expected::Any, 60)).await.unwrap();
        assert_eq!(done.first, Position::new(61));
    });
}
