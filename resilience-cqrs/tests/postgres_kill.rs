//! A writer process is killed, for real and in full flight, again and again: what it acknowledged is there, nothing is
//! there by half, and there is no hole.
//!
//! The test starts itself as the child, one of two writers in the log; the other lives on, so that the log never rests. It
//! kills after a drawn number of acknowledgements, so that a run can be repeated with `CRASH_SEED` (printed).
//! `POSTGRES_KILLS` sets how often: 10 by default, 1,000 for a release. ES8.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use resilience_core::rng::Rng;
use resilience_cqrs::{Append, EventStore, Expected, NewEvent, PostgresStore, RowChange};
use testkit::postgres::Postgres;

use self::postgres_common::{all_events, open, payload, runtime};

const CHILD: &str = "CQRS_POSTGRES_CHILD";
const TASKS: u64 = 8;
/// The most acknowledgements before a kill. A child has enough to do for that, and no more: where the one who kills is
/// slow, the log would grow as long.
const MOST: u64 = 300;
/// Kills of one log before a new one is begun, so that checking it stays cheap.
const KILLS_A_LOG: u64 = 20;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_killed_writer_loses_nothing_it_acknowledged_and_leaves_nothing_by_half() {
    let (seed, kills) = (from_env("CRASH_SEED", 1), from_env("POSTGRES_KILLS", 10));
    println!("CRASH_SEED={seed} POSTGRES_KILLS={kills}");
    let server = Postgres::start().expect("a private server starts");
    let mut rng = Rng::seeded(seed);
    let mut total = 0;
    for log in 0..kills.div_ceil(KILLS_A_LOG) {
        let schema = format!("log {log}");
        let store = open(&server.url(), &schema);
        let stop = AtomicBool::new(false);
        let acknowledged: BTreeMap<String, u64> = std::thread::scope(|scope| {
            let (store, stop) = (&store, &stop);
            let beside: Vec<_> =
                (0..2).map(|task| scope.spawn(move || runtime().block_on(survive(store, task, stop)))).collect();
            let mut acknowledged = BTreeMap::new();
            for _ in 0..KILLS_A_LOG.min(kills - log * KILLS_A_LOG) {
                let lines = killed_after(child(&server.url(), &schema), rng.below(MOST));
                acknowledged.extend(lines.iter().map(|line| {
                    let (unit, first) = line.split_once(' ').expect("an acknowledgement is a unit and a position");
                    (unit.to_owned(), first.parse().unwrap())
                }));
            }
            stop.store(true, Ordering::SeqCst);
            acknowledged.extend(beside.into_iter().flat_map(|task| task.join().unwrap()));
            acknowledged
        });
        runtime().block_on(check(&store, &acknowledged));
        runtime().block_on(store.close());
        total += acknowledged.len();
    }
    println!("{kills} kills, {total} appends acknowledged, none lost");
}

/// Every acknowledged unit is there, where it was said to be; every unit is there as a whole, once; the rows go with it.
async fn check(store: &PostgresStore, acknowledged: &BTreeMap<String, u64>) {
    let events = all_events(store).await; // Which sees a hole.
    let mut units = BTreeMap::new();
    for unit in events.chunks(3) {
        let names: Vec<String> = unit.iter().map(payload).collect();
        assert!(names.len() == 3 && names.iter().all(|name| *name == names[0]), "half an append: {names:?}");
        assert_eq!(units.insert(names[0].clone(), unit[0].position.get()), None, "{} is there twice", names[0]);
    }
    for (unit, first) in acknowledged {
        assert_eq!(units.get(unit), Some(first), "{unit} was acknowledged");
    }
    let mut last = BTreeMap::new();
    for event in &events {
        let unit = payload(event);
        last.insert(unit.rsplit_once('-').unwrap().0.to_owned(), unit);
    }
    for (task, unit) in last {
        let row = store.row("last", task.as_bytes()).await.unwrap();
        assert_eq!(row.as_deref(), Some(unit.as_bytes()), "the row of {task} goes with its events");
    }
}

/// Units of three events in two streams, and a row.
fn unit(task: &str, name: &str) -> Append {
    let event = |kind| NewEvent::new(kind, name.to_owned());
    Append::new()
        .events(format!("own-{task}"), Expected::Any, [event("Counted"), event("Noted")])
        .events("shared", Expected::Any, [event("Counted")])
        .row(RowChange::put("last", task.to_owned(), name.to_owned()))
}

/// The process that is not killed.
async fn survive(store: &PostgresStore, task: u64, stop: &AtomicBool) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    for nth in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (task, name) = (format!("beside-{task}"), format!("beside-{task}-{nth}"));
        let done = store.append(unit(&task, &name)).await.unwrap();
        acknowledged.insert(name, done.first.get());
    }
    acknowledged
}

fn child(url: &str, schema: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child", "--nocapture"]).env(CHILD, format!("{schema}\n{url}"));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What the child acknowledged: `after` lines and whatever was on its way when SIGKILL arrived.
fn killed_after(mut child: Child, after: u64) -> Vec<String> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    // Whole lines that are the child's own, and not the test harness's. A line cut by the kill was never acknowledged.
    let mut lines = std::iter::from_fn(move || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.ends_with('\n').then(|| line.trim_end().to_owned())
    })
    .filter_map(|line| line.strip_prefix("> ").map(str::to_owned));
    let mut seen: Vec<String> = lines.by_ref().take(after as usize + 1).collect();
    child.kill().unwrap();
    seen.extend(lines);
    child.wait().unwrap();
    seen
}

/// Not a test of its own: what the test above starts and kills.
#[test]
fn the_child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (schema, url) = told.split_once('\n').unwrap();
    let store = open(url, schema);
    runtime().block_on(async {
        let tasks = (0..TASKS).map(|task| {
            let (store, task) = (store.clone(), format!("{}-{task}", std::process::id()));
            tokio::spawn(async move {
                for nth in 0..MOST / TASKS + 5 {
                    let name = format!("{task}-{nth}");
                    let done = store.append(unit(&task, &name)).await.unwrap();
                    say(&format!("{name} {}", done.first));
                }
                std::future::pending::<()>().await;
            })
        });
        futures::future::join_all(tasks).await;
    });
}

/// One line, past the test harness, in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("> {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
