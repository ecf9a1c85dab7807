//! `cargo run --release` measures stores on PostgreSQL beside each other and rewrites `docs/results/peers-postgres.md`.
//!
//! One private server with its default settings: it waits for the disk. Each sample has a database of its own, and after
//! it every acknowledged event is looked for over a fresh connection: a store that lost one gets no figure.
#![allow(clippy::disallowed_methods)] // A measuring program reads the real clock.

mod floors;
mod ours;
mod rivals;
#[path = "../../src/stores/sample.rs"]
mod sample;

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Parser;
use futures::future::BoxFuture;
use testkit::postgres::Postgres;

use self::sample::{Held, Load, Sample};

type Failure = Box<dyn Error + Send + Sync>;

/// What is measured with.
#[derive(Debug, Parser)]
struct Options {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds a sample.
    #[arg(long, default_value_t = 1_500)]
    sample: u64,
    /// Only the stores whose name contains this; nothing is written then.
    #[arg(long, default_value = "")]
    only: String,
    /// Where to write.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/results/peers-postgres.md"))]
    out: PathBuf,
}

/// What a store did in a sample.
struct Ran {
    sample: Sample,
    /// What a fresh connection finds; `None` if nothing was to be kept.
    held: Option<Held>,
    /// Appends that had to be tried again.
    conflicts: u64,
}

type Candidate = (&'static str, fn(String, Load) -> BoxFuture<'static, Result<Ran, Failure>>);

const CANDIDATES: [Candidate; 10] = [
    ("floor: a round trip (`SELECT 1`)", |url, load| Box::pin(floors::round_trip(url, load))),
    ("floor: a durable commit a task, one row, no order", |url, load| Box::pin(floors::raw(url, load))),
    ("floor: one writer, group commit, one table", |url, load| Box::pin(floors::grouped(url, load, floors::ONE_TABLE))),
    ("floor: the same, the log's columns and indexes", |url, load| {
        Box::pin(floors::grouped(url, load, floors::LOGS_TABLE))
    }),
    ("**PostgresStore, append with expected version**", |url, load| Box::pin(ours::append(url, load))),
    ("**PostgresStore, command, states kept**", |url, load| Box::pin(ours::command(url, load, true))),
    ("**PostgresStore, command, stream read each time**", |url, load| Box::pin(ours::command(url, load, false))),
    ("**PostgresStore, append on condition, a tag a task**", |url, load| Box::pin(ours::condition(url, load))),
    ("postgres-es, command", |url, load| Box::pin(rivals::postgres_es(url, load))),
    ("disintegrate-postgres, decision", |url, load| Box::pin(rivals::disintegrate(url, load))),
];

const TASKS: [u64; 3] = [1, 8, 64];

#[derive(Default)]
struct Cell {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    acknowledged: u64,
    lost: u64,
    refused: u64,
    conflicts: u64,
    /// Why it could not be run.
    failure: Option<String>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    // On this thread, because the server ends with the thread that started it.
    let server = Postgres::start_with(&[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let candidates: Vec<_> = CANDIDATES.iter().filter(|(name, _)| name.contains(&options.only)).collect();
    let mut cells: Vec<Vec<Cell>> = candidates.iter().map(|_| TASKS.map(|_| Cell::default()).into()).collect();
    for round in 0..options.rounds {
        for (column, tasks) in TASKS.into_iter().enumerate() {
            for nth in 0..candidates.len() {
                let nth = (nth + round) % candidates.len();
                let (name, run) = candidates[nth];
                let url = floors::new_database(&runtime, &server, &format!("sample_{round}_{tasks}_{nth}"))?;
                let load = Load { tasks, millis: options.sample };
                let cell = &mut cells[nth][column];
                let ran = match runtime.block_on(run(url, load)) {
                    Ok(ran) => ran,
                    Err(failure) => {
                        eprintln!("{name}: {failure}");
                        cell.failure = Some(failure.to_string());
                        continue;
                    }
                };
                let acknowledged = ran.sample.acknowledged.iter().sum::<u64>();
                let rate = acknowledged as f64 / ran.sample.seconds;
                eprintln!("round {} of {}, {tasks} tasks, {name}: {rate:.0}/s", round + 1, options.rounds);
                cell.rates.push(rate);
                cell.p50.push(ran.sample.p50);
                cell.p99.push(ran.sample.p99);
                cell.acknowledged += acknowledged;
                cell.lost += ran.held.map_or(0, |held| held.missing(&ran.sample));
                cell.refused += ran.sample.refused;
                cell.conflicts += ran.conflicts;
            }
        }
    }
    let text = report(&candidates, &mut cells, &options)?;
    println!("{text}");
    if options.only.is_empty() {
        std::fs::write(&options.out, text)?;
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(candidates: &[&Candidate], cells: &mut [Vec<Cell>], options: &Options) -> Result<String, Failure> {
    let mut text = format!(
        "# Stores on PostgreSQL beside their rivals\n\n\
         - Command: `cd benches/peers/postgres && cargo run --release`\n- Machine: {}\n- Server: {}\n- Versions: {}\n\
         - Rounds: {} of {} ms\n\n{NOTES}\n",
        machine(),
        said("postgres", &["--version"]).or_else(|| said("psql", &["--version"])).unwrap_or_default(),
        versions(),
        options.rounds,
        options.sample,
    );
    text.push_str("| store | c=1 /s | c=8 /s | c=64 /s | best c=64 | p50 us 1 / 8 / 64 | p99 us 1 / 8 / 64 | tried again | checked | lost |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    let mut at = |nth: usize, column: usize, of: fn(&mut Cell) -> &mut Vec<f64>| {
        cells.get_mut(nth).map_or(f64::NAN, |row| median(of(&mut row[column])))
    };
    let place = |name: &str| candidates.iter().position(|(candidate, _)| candidate.contains(name)).unwrap_or(usize::MAX);
    let (trip, commit) = (place("a round trip"), place("a durable commit"));
    let (append, kept, condition, rival) =
        (place("expected version"), place("states kept"), place("on condition"), place("postgres-es"));
    let ratios = format!(
        "\n- c=1: an append with expected version takes {:.2} times a durable commit and a round trip together.\n\
         - c=64: a command with states kept is {:.1} times as fast as with postgres-es.\n\
         - c=64: an append on condition is {:.2} times as fast as a plain one.\n",
        at(append, 0, |cell| &mut cell.p50) / (at(trip, 0, |cell| &mut cell.p50) + at(commit, 0, |cell| &mut cell.p50)),
        at(kept, 2, |cell| &mut cell.rates) / at(rival, 2, |cell| &mut cell.rates),
        at(condition, 2, |cell| &mut cell.rates) / at(append, 2, |cell| &mut cell.rates),
    );
    for ((name, _), row) in candidates.iter().zip(cells) {
        if let Some(failure) = row.iter().find_map(|cell| cell.failure.as_ref()) {
            let failure = failure.lines().next().unwrap_or_default().replace('|', "/");
            writeln!(text, "| {name}: does not run here ({failure}) | - | - | - | - | - | - | - | - | - |")?;
            continue;
        }
        let lost: u64 = row.iter().map(|cell| cell.lost + cell.refused).sum();
        let mut each = |of: fn(&mut Cell) -> &mut Vec<f64>| -> Vec<String> {
            row.iter_mut().map(|cell| if lost > 0 { "-".into() } else { format!("{:.0}", median(of(cell))) }).collect()
        };
        let (rates, p50, p99) =
            (each(|cell| &mut cell.rates), each(|cell| &mut cell.p50).join(" / "), each(|cell| &mut cell.p99).join(" / "));
        let best = if lost > 0 { "-".into() } else { format!("{:.0}", row[2].rates.last().copied().unwrap_or(f64::NAN)) };
        let (conflicts, checked): (u64, u64) =
            row.iter().fold((0, 0), |(a, b), cell| (a + cell.conflicts, b + cell.acknowledged));
        writeln!(text, "| {name} | {} | {best} | {p50} | {p99} | {conflicts} | {checked} | {lost} |", rates.join(" | "))?;
    }
    text.push_str(&ratios);
    Ok(text)
}

const NOTES: &str = "\
All on one private server with its own settings (`fsync` and `synchronous_commit` are on). Each of `c` tasks appends one
event of about 100 bytes at a time to aggregates of its own, ten events to each; a command also loads the aggregate first
(0 to 9 events), or has it from its last command. An append on condition requires that no event with the task's tag was
added since its last; a decision of disintegrate queries the events of its account (of its SQL one number is written in
decimal, because in hexadecimal it needs PostgreSQL 16; versions 2 to 4 have it). What conflicts is tried again, and
counted. After every sample each acknowledged event is looked for over a fresh connection: `checked` events, `lost` of
them missing or refused for another reason; a store that loses any gets no figure. Medians of the rounds; the rounds of all
stores are interleaved. The processors are shared by the server and the program.
";

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} cores, {}; load average at the end {load}", name.unwrap_or("?"))
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let answer = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

fn versions() -> String {
    let lock = include_str!("../Cargo.lock");
    let names = ["cqrs-es", "disintegrate", "disintegrate-postgres", "postgres-es", "resilience-cqrs", "sqlx", "tokio"];
    let mut found = Vec::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("name = ").map(|name| name.trim_matches('"'));
        if let Some(name) = name.filter(|name| names.contains(name)) {
            let version = lines.next().and_then(|line| line.strip_prefix("version = ")).unwrap_or("?");
            found.push(format!("{name} {}", version.trim_matches('"')));
        }
    }
    found.join(", ")
}
