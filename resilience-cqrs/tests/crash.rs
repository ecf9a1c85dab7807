//! A writer process is killed, for real and in full flight, again and again: what it acknowledged is there, nothing is
//! there by half, and the read models are what the log makes them.
//!
//! The test starts itself as the child. It kills after a drawn number of acknowledgements, so that a run can be repeated
//! with `CRASH_SEED` (printed) and no clock is needed. `CRASH_KILLS` sets how often; 25 by default, 1,000 for a release.
//!
//! Each engine that keeps a file is an address, and goes through the same.
#![cfg(all(unix, feature = "sqlite"))]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use resilience_core::rng::Rng;
use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows, SqlProjection};
use resilience_cqrs::{
    AnyStore, Append, AppendError, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded, RowChange, Tag,
    Version,
};
use rusqlite::Transaction;

const CHILD: &str = "CQRS_CRASH_CHILD";
/// How many units each task of the child writes before it waits for its kill; without it, it writes until it cannot.
const UNITS: &str = "CQRS_CRASH_UNITS";
const TASKS: u64 = 8;
/// The most acknowledgements before a kill.
const MOST: u64 = 300;
/// Kills of one file before a new one is begun, so that checking it stays cheap.
const KILLS_A_FILE: u64 = 10;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// ES8.
/// ES8 and ES21.
#[test]
fn a_killed_writer_loses_nothing_it_acknowledged_and_leaves_nothing_by_half() {
    killed_again_and_again("sqlite");
}

/// ES8, on redb.
#[cfg(feature = "redb")]
#[test]
fn a_killed_writer_loses_nothing_it_acknowledged_on_redb_either() {
    killed_again_and_again("redb");
}

fn killed_again_and_again(engine: &str) {
    let seed = from_env("CRASH_SEED", 1);
    let kills = from_env("CRASH_KILLS", 25);
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let mut rng = Rng::seeded(seed);
    let mut directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for kill in 0..kills {
        if kill % KILLS_A_FILE == 0 {
            directory = tempfile::tempdir().unwrap();
            acknowledged.clear();
        }
        let log = log(engine, directory.path());
        let after = rng.below(MOST);
        for line in killed_after(child(&log), after) {
            let (unit, first) = line.split_once(' ').expect("an acknowledgement is a unit and a position");
            acknowledged.insert(unit.to_owned(), first.parse::<u64>().unwrap());
        }
        check(&log, &acknowledged);
    }
}

/// The address of a log in this directory.
fn log(engine: &str, directory: &Path) -> String {
    format!("{engine}:{}", directory.join("log").display())
}

#[test]
fn a_medium_that_fails_ends_writing_and_what_was_acknowledged_before_is_there() {
    limited("sqlite", 2_000);
}

#[cfg(feature = "redb")]
#[test]
fn a_medium_that_fails_ends_writing_on_redb_and_what_was_acknowledged_before_is_there() {
    limited("redb", 12_000); // its file begins with some megabytes
}

/// On a file system that takes files of so many blocks.
fn limited(engine: &str, blocks: u32) {
    // The file size limit makes writes fail with an error of the system (EFBIG), which engines report as an I/O error.
    let directory = tempfile::tempdir().unwrap();
    let log = log(engine, directory.path());
    let mut limited = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    limited.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
    let child = as_child(limited, &log).spawn().unwrap();
    let lines = finish(child);
    let failures: Vec<_> = lines.iter().filter(|line| line.starts_with('!')).collect();
    assert_eq!(failures, ["!failed", "!refused, not written"], "the first failure, and every append after it");
    check(&log, &acknowledged(&lines));
}

/// ES9. What a failed sync has lost nobody knows, and the next one may succeed all the same (Rebello et al., "Can
/// Applications Recover from fsync Failures?", 2020): nothing is acknowledged any more until the file is opened again.
#[cfg(target_os = "linux")]
#[test]
fn after_a_sync_that_failed_nothing_is_acknowledged_though_the_next_would_succeed() {
    one_sync_fails("sqlite");
}

#[cfg(all(target_os = "linux", feature = "redb"))]
#[test]
fn after_a_sync_that_failed_nothing_is_acknowledged_on_redb_either() {
    one_sync_fails("redb");
}

#[cfg(target_os = "linux")]
fn one_sync_fails(engine: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (log, switch) = (log(engine, directory.path()), directory.path().join("switch"));
    let mut child = on_a_medium(directory.path(), &switch, &log);
    let mut lines = acknowledgements(&mut child);
    let mut seen: Vec<String> = lines.by_ref().take(50).collect();
    std::fs::write(&switch, "EIO").unwrap();
    while !seen.last().unwrap().starts_with('!') {
        seen.push(lines.next().expect("it fails"));
    }
    std::fs::remove_file(&switch).unwrap();
    seen.extend(lines);
    child.wait().unwrap();
    let first = seen.iter().position(|line| line.starts_with('!')).unwrap();
    assert_eq!(seen[first..], ["!failed", "!refused, not written"]);
    check(&log, &acknowledged(&seen));
}

/// A disk that is full refuses appends as that, and takes them once there is room again.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_refuses_appends_and_loses_none_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let (log, switch) = (log("sqlite", directory.path()), directory.path().join("switch"));
    let mut child = on_a_medium(directory.path(), &switch, &log);
    let mut lines = acknowledgements(&mut child);
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..3 {
        seen.extend(lines.by_ref().filter(|line| !line.starts_with('!')).take(50));
        std::fs::write(&switch, "ENOSPC").unwrap();
        seen.extend(lines.by_ref().take_while(|line| line != "!full"));
        std::fs::remove_file(&switch).unwrap();
    }
    seen.extend(lines.by_ref().filter(|line| !line.starts_with('!')).take(50));
    child.kill().unwrap();
    seen.extend(lines);
    child.wait().unwrap();
    assert!(!seen.iter().any(|line| line == "!failed"), "a full disk is no broken one");
    check(&log, &acknowledged(&seen));
}

/// The child, on a medium that fails while `switch` is there.
#[cfg(target_os = "linux")]
fn on_a_medium(directory: &Path, switch: &Path, log: &str) -> Child {
    let library = directory.join("medium.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/medium/medium.c");
    // The compiler that SQLite was built with.
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]).status();
    assert!(built.unwrap().success());
    let mut child = as_child(Command::new(std::env::current_exe().unwrap()), log);
    child.env("LD_PRELOAD", &library).env("MEDIUM_SWITCH", switch).spawn().unwrap()
}

/// The units that were acknowledged, with their first positions.
fn acknowledged(lines: &[String]) -> BTreeMap<String, u64> {
    let units = lines.iter().filter(|line| !line.starts_with('!')).map(|line| line.split_once(' ').unwrap());
    units.map(|(unit, first)| (unit.to_owned(), first.parse().unwrap())).collect()
}

/// One that is to be killed. It has enough to do for that, and no more: where the one who kills is slow, the file would
/// grow as long.
fn child(log: &str) -> Child {
    let mut child = as_child(Command::new(std::env::current_exe().unwrap()), log);
    child.env(UNITS, (MOST / TASKS + 5).to_string()).spawn().unwrap()
}

fn as_child(mut command: Command, log: &str) -> Command {
    command.args(["--exact", "the_child", "--nocapture"]).env(CHILD, log).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What the child acknowledged: `after` lines and whatever was on its way when SIGKILL arrived.
fn killed_after(mut child: Child, after: u64) -> Vec<String> {
    let mut lines = acknowledgements(&mut child);
    let mut seen: Vec<String> = lines.by_ref().take(after as usize + 1).collect();
    child.kill().unwrap();
    seen.extend(lines);
    child.wait().unwrap();
    seen
}

fn finish(mut child: Child) -> Vec<String> {
    let lines = acknowledgements(&mut child).collect();
    child.wait().unwrap();
    lines
}

/// Whole lines that are the child's own, and not the test harness's. A line cut by the kill was never acknowledged.
fn acknowledgements(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(move || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.ends_with('\n').then(|| line.trim_end().to_owned())
    })
    .filter_map(|line| line.strip_prefix("> ").map(str::to_owned))
}

/// Opens what the child left, and holds it against what it had said.
fn check(log: &str, acknowledged: &BTreeMap<String, u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(log).await.unwrap();
        match &store {
            AnyStore::Sqlite(store) => store.verify().await.unwrap(),
            #[cfg(feature = "redb")]
            AnyStore::Redb(store) => store.verify().await.unwrap(),
            other => panic!("{other:?} has no file"),
        }
        let mut events = Vec::new();
        while events.len() < store.head().get() as usize {
            let after = Position::new(events.len() as u64);
            events.extend(store.read(after, &Query::all(), 8192).await.unwrap().events);
        }
        let units = units(&events);
        for (unit, first) in acknowledged {
            assert_eq!(units.get(unit), Some(first), "{unit} was acknowledged");
        }
        for (space, key, value) in last_units(&events) {
            let row = store.row(space, key.as_bytes()).await.unwrap();
            assert_eq!(row.as_deref(), Some(value.as_bytes()), "the row {key} goes with its events");
        }
        check_indexes(&store, &events).await;
        check_models(&store, &events).await;
        store.close().await;
    });
}

/// Each unit of three events with the position of its first. They were one append: all three are there, together.
fn units(events: &[Recorded]) -> BTreeMap<String, u64> {
    let mut units = BTreeMap::new();
    for unit in events.chunks(3) {
        let names: Vec<_> = unit.iter().map(|event| std::str::from_utf8(&event.payload).unwrap()).collect();
        assert!(names.len() == 3 && names.iter().all(|name| *name == names[0]), "half an append: {names:?}");
        assert_eq!(units.insert(names[0].to_owned(), unit[0].position.get()), None, "{} is there once", names[0]);
    }
    units
}

fn last_units(events: &[Recorded]) -> Vec<(&'static str, String, String)> {
    let mut last = BTreeMap::new();
    for event in events {
        let unit = std::str::from_utf8(&event.payload).unwrap();
        let (task, _) = unit.rsplit_once('-').unwrap();
        last.insert(task.rsplit_once('-').unwrap().1.to_owned(), unit.to_owned());
    }
    last.into_iter().map(|(task, unit)| ("last", task, unit)).collect()
}

/// What the kill left out of the indexes is in them again.
async fn check_indexes(store: &AnyStore, events: &[Recorded]) {
    let shared: Vec<_> = events.iter().filter(|event| event.stream == "shared").cloned().collect();
    assert_eq!(store.read_stream(&"shared".into(), Version::EMPTY, usize::MAX).await.unwrap(), shared);
    for task in 0..TASKS {
        let tag = Tag::from(format!("task:{task}"));
        let last: Vec<_> = events.iter().filter(|event| event.tags.contains(&tag)).cloned().collect();
        let after = last.len().checked_sub(100).map_or(Position::ORIGIN, |n| last[n].position);
        let found = store.read(after, &Query::tags([tag]), 1000).await.unwrap().events;
        assert_eq!(found[..], last[last.len() - found.len()..]);
        assert!(found.len() == last.len() || found.len() == 99);
    }
}

/// Each model is the fold of the events up to its own checkpoint, wherever the kill left that.
async fn check_models(store: &AnyStore, events: &[Recorded]) {
    for name in ["sql", "rows"] {
        let Some(checkpoint) = store.row("projection", name.as_bytes()).await.unwrap() else { continue };
        let position = u64::from_be_bytes(checkpoint[..8].try_into().unwrap());
        let expected = events.iter().filter(|event| event.position.get() <= position && event.kind == "Counted");
        let expected = expected.count() as i64;
        let counted = if let (AnyStore::Sqlite(store), "sql") = (store, name) {
            store
                .read_sql(|db| db.query_row("SELECT coalesce(sum(n), 0) FROM counted", [], |row| row.get(0)))
                .await
                .unwrap()
        } else {
            store.row("counted", b"n").await.unwrap().map_or(0, |n| std::str::from_utf8(&n).unwrap().parse().unwrap())
        };
        assert_eq!(counted, expected, "{name} at {position}");
    }
}

/// Not a test of its own: what the tests above start and kill.
#[test]
fn the_child() {
    let Ok(log) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(&log).await.unwrap();
        let _sql = match &store {
            AnyStore::Sqlite(store) => Some(ProjectionRunner::sql(store.clone(), CountedSql).start()),
            _ => None,
        };
        let _rows = ProjectionRunner::builder(store.clone(), CountedRows).start();
        let run = format!("{}-{}", std::process::id(), store.head());
        let tasks = (0..TASKS).map(|task| tokio::spawn(write(store.clone(), run.clone(), task)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        // Only a failed medium gets here. It stays failed.
        say("!failed");
        let mut refusals = Vec::new();
        for _ in 0..50 {
            let refused = store.append(Append::new().row(RowChange::put("r", "k", "v"))).await;
            refusals.push(matches!(&refused, Err(error @ AppendError::Unavailable(_)) if !error.may_have_committed()));
        }
        if refusals.iter().all(|refused| *refused) {
            say("!refused, not written");
        }
    });
    std::process::exit(0);
}

/// Appends units until the store fails: three events in two streams, a row, and now and then a command id.
async fn write(store: AnyStore, run: String, task: u64) {
    for n in 0..from_env(UNITS, u64::MAX) {
        let unit = format!("{run}-{task}-{n}");
        let event = |kind| NewEvent::new(kind, unit.clone()).tag(format!("task:{task}"));
        let mut append = Append::new()
            .events(format!("own-{task}"), Expected::Any, [event("Counted"), event("Noted")])
            .events("shared", Expected::Any, [event("Counted")])
            .row(RowChange::put("last", task.to_string(), unit.clone()));
        if n % 4 == 0 {
            append = append.command_id(unit.as_str());
        }
        loop {
            match store.append(append.clone()).await {
                Ok(appended) => break say(&format!("{unit} {}", appended.first)),
                Err(AppendError::Full) => say("!full"),
                Err(AppendError::Unavailable(_)) => return,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    std::future::pending::<()>().await;
}

/// One line, past the test harness, in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("> {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

struct CountedSql;

impl SqlProjection for CountedSql {
    fn name(&self) -> &str {
        "sql"
    }

    fn query(&self) -> Query {
        Query::types(["Counted"])
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS counted (stream TEXT PRIMARY KEY, n INTEGER NOT NULL)")?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let mut count = tx.prepare_cached("INSERT INTO counted VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1")?;
        count.execute([event.stream.as_str()])?;
        Ok(())
    }
}

struct CountedRows;

impl Projection for CountedRows {
    fn name(&self) -> &str {
        "rows"
    }

    fn query(&self) -> Query {
        Query::types(["Counted"])
    }

    async fn apply(&self, _: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let n: u64 = match rows.get("counted", "n").await? {
            Some(n) => std::str::from_utf8(&n)?.parse()?,
            None => 0,
        };
        rows.put("counted", "n", (n + 1).to_string());
        Ok(())
    }
}
