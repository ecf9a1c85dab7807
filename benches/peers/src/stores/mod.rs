//! Appends a second, each store in a process of its own, in interleaved rounds, and checked afterwards.
//!
//! A process a sample because sqlx and rusqlite each link SQLite and cannot live in one program; so that this favours
//! nobody, every store gets one. After each sample the store is opened afresh and asked for every event that was
//! acknowledged: a store that lost one gets no figure.

mod child;
mod file;
mod ours;
mod rusqlite_floor;
mod sample;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;

pub use self::child::{Child, run_child};
use self::sample::{Held, Sample};
use crate::harness::{Header, Table, figure, run_delay_share, versions};

const TASKS: [u64; 3] = [1, 8, 64];
/// A sample is calm if others used less than this share of the processors.
const CALM: f64 = 0.1;
/// How often a disturbed sample is repeated.
const TRIES: usize = 3;

/// What the store tables are measured with.
#[derive(Debug, Parser)]
pub struct Stores {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds a sample.
    #[arg(long, default_value_t = 1_200)]
    sample: u64,
    /// Only the stores whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the databases go: a folder on the disk that is to be measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/stores"))]
    dir: PathBuf,
    /// Where to write; nothing is written when only a part is measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/results/peers-stores.md"))]
    out: PathBuf,
}

struct Candidate {
    name: &'static str,
    program: Program,
    ours: bool,
}

enum Program {
    /// This program, with this `--store`.
    Own(&'static str),
    /// The program of cqrs-es, with these arguments.
    CqrsEs(&'static [&'static str]),
}

const CANDIDATES: [Candidate; 6] = [
    Candidate { name: "floor: file, one writer, group commit, fdatasync", program: Program::Own("file"), ours: false },
    Candidate {
        name: "floor: rusqlite, one writer, group commit, WAL, FULL",
        program: Program::Own("rusqlite"),
        ours: false,
    },
    Candidate { name: "SqliteStore, append with expected version", program: Program::Own("ours-append"), ours: true },
    Candidate {
        name: "SqliteStore, command: read stream, then append",
        program: Program::Own("ours-command"),
        ours: true,
    },
    Candidate { name: "cqrs-es + sqlite-es, command, synchronous=FULL", program: Program::CqrsEs(&[]), ours: false },
    Candidate {
        name: "cqrs-es + sqlite-es, command, its default NORMAL (not durable)",
        program: Program::CqrsEs(&["--normal"]),
        ours: false,
    },
];

#[derive(Default)]
struct Row {
    samples: Vec<Sample>,
    lost: u64,
    checked: u64,
}

/// Measures every store and writes the table.
pub fn stores(options: &Stores) -> Result<(), String> {
    let cqrs_es = build_cqrs_es()?;
    let candidates: Vec<_> = CANDIDATES.iter().filter(|candidate| candidate.name.contains(&options.only)).collect();
    let mut rows: Vec<Vec<Row>> = candidates.iter().map(|_| TASKS.iter().map(|_| Row::default()).collect()).collect();
    for round in 0..options.rounds {
        for (column, &tasks) in TASKS.iter().enumerate() {
            for index in 0..candidates.len() {
                let index = (index + round) % candidates.len();
                eprintln!("round {} of {}, {tasks} tasks: {}", round + 1, options.rounds, candidates[index].name);
                let row = &mut rows[index][column];
                calmest(options, candidates[index], &cqrs_es, tasks, row)?;
            }
        }
    }
    let text = report(&candidates, &rows, options);
    println!("{text}");
    if options.only.is_empty() { crate::write(&options.out, &text) } else { Ok(()) }
}

/// Samples until one had the machine to itself, at most [`TRIES`] times; the calmest counts.
fn calmest(options: &Stores, candidate: &Candidate, cqrs_es: &Path, tasks: u64, row: &mut Row) -> Result<(), String> {
    let mut tries = Row::default();
    for _ in 0..TRIES {
        sample(options, candidate, cqrs_es, tasks, &mut tries)?;
        if tries.samples.last().is_some_and(|sample| sample.foreign < CALM) {
            break;
        }
    }
    row.lost += tries.lost;
    row.checked += tries.checked;
    row.samples.extend(tries.samples.into_iter().min_by(|a, b| a.foreign.total_cmp(&b.foreign)));
    Ok(())
}

fn sample(options: &Stores, candidate: &Candidate, cqrs_es: &Path, tasks: u64, row: &mut Row) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("no folder for the databases in {}: {error}", options.dir.display());
    std::fs::create_dir_all(&options.dir).map_err(fail)?;
    let dir = tempfile::tempdir_in(&options.dir).map_err(fail)?;
    wait_for_calm();
    let (tasks, millis) = (tasks.to_string(), options.sample.to_string());
    let foreign = ForeignLoad::begin();
    let mut sample: Sample = ask(candidate, cqrs_es, dir.path(), &["--tasks", &tasks, "--millis", &millis])?;
    sample.foreign = foreign.share();
    let held: Held = ask(candidate, cqrs_es, dir.path(), &["--verify"])?;
    row.lost += held.missing(&sample);
    row.checked += sample.acknowledged.iter().sum::<u64>();
    row.samples.push(sample);
    Ok(())
}

fn ask<T: serde::de::DeserializeOwned>(
    candidate: &Candidate,
    cqrs_es: &Path,
    dir: &Path,
    args: &[&str],
) -> Result<T, String> {
    let mut command = match candidate.program {
        Program::Own(store) => {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(own);
            command.args(["store", "--store", store]);
            command
        }
        Program::CqrsEs(args) => {
            let mut command = Command::new(cqrs_es);
            command.args(args);
            command
        }
    };
    let output = command.arg("--dir").arg(dir).args(args).output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{}: {error}; {}", candidate.name, String::from_utf8_lossy(&output.stderr)))
}

/// Builds the rival's program, into this workspace's target folder.
fn build_cqrs_es() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("target");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--locked"])
        .current_dir(here.join("cqrs-es"))
        .env("CARGO_TARGET_DIR", &target)
        .status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release/peer-cqrs-es")),
        Ok(status) => Err(format!("cargo could not build benches/peers/cqrs-es: {status}")),
        Err(error) => Err(format!("cargo did not start: {error}")),
    }
}

/// Waits until a thread of ours would not wait, for at most ten seconds.
fn wait_for_calm() {
    let start = Instant::now();
    while run_delay_share(Duration::from_millis(20)) > 0.02 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn report(candidates: &[&Candidate], rows: &[Vec<Row>], options: &Stores) -> String {
    let own = ["resilience-cqrs", "rusqlite", "libsqlite3-sys", "tokio"];
    let theirs = ["cqrs-es", "sqlite-es", "sqlx-sqlite", "libsqlite3-sys", "tokio"];
    let shares: Vec<f64> =
        rows.iter().flatten().flat_map(|row| row.samples.iter().map(|sample| sample.foreign)).collect();
    let calm = shares.iter().filter(|&&share| share < CALM).count();
    let worst = shares.iter().copied().fold(0.0, f64::max);
    let header = Header {
        command: "cd benches/peers && cargo run --release -- stores",
        versions: format!(
            "{}; in a program of its own: {}",
            versions(include_str!("../../Cargo.lock"), &own),
            versions(include_str!("../../cqrs-es/Cargo.lock"), &theirs)
        ),
        noise: format!(
            "{} rounds of {} ms; in {calm} of {} samples others used less than 10 % of the processors (`/proc/stat`), in the \
             worst {:.0} %; a disturbed sample was repeated up to twice and the calmest kept",
            options.rounds,
            options.sample,
            shares.len(),
            100.0 * worst
        ),
    };
    let mut table = Table::new(&[
        "store",
        "c=1 /s",
        "c=8 /s",
        "c=64 /s",
        "best c=64",
        "c=64: x cqrs-es FULL",
        "c=64: x rusqlite floor",
        "p50 us 1 / 8 / 64",
        "p99 us 1 / 8 / 64",
        "checked",
        "lost",
    ]);
    let at_64 = |name: &str| {
        let index = candidates.iter().position(|candidate| candidate.name.contains(name))?;
        median(&rates(&rows[index][2]))
    };
    let (rival, floor) = (at_64("FULL").and(at_64("sqlite-es, command, synchronous=FULL")), at_64("floor: rusqlite"));
    for (candidate, row) in candidates.iter().zip(rows) {
        table.row(&cells(candidate, row, rival, floor));
    }
    format!("# Stores beside their rivals\n\n{header}\n{NOTES}\n{}", table.into_text())
}

const NOTES: &str = "\
A sample is a fresh process and a fresh database. Each of `c` tasks appends one event of about 100 bytes at a time to
aggregates of its own, ten events to each; a command also loads the aggregate first (0 to 9 events). All stores but the one
that says otherwise are durable when they acknowledge. After every sample the store is opened afresh and every acknowledged
event is looked for: `checked` events, `lost` of them missing; a store that loses any gets no figure. Medians of the rounds.
";

fn cells(candidate: &Candidate, row: &[Row], rival: Option<f64>, floor: Option<f64>) -> Vec<String> {
    let name = if candidate.ours { format!("**{}**", candidate.name) } else { candidate.name.to_owned() };
    let (checked, lost) = (row.iter().map(|row| row.checked).sum::<u64>(), row.iter().map(|row| row.lost).sum::<u64>());
    if lost > 0 {
        let mut cells = vec![name];
        cells.resize(9, "-".into());
        cells.extend([checked.to_string(), lost.to_string()]);
        return cells;
    }
    let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    let rates: Vec<_> = row.iter().map(rates).collect();
    let ratio =
        |to: Option<f64>| median(&rates[2]).zip(to).map(|(own, to)| format!("{:.2}x", own / to)).unwrap_or("-".into());
    let waits = |of: fn(&Sample) -> f64| {
        let each = row.iter().map(|row| {
            let mut values: Vec<_> = row.samples.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            or_dash(median(&values))
        });
        each.collect::<Vec<_>>().join(" / ")
    };
    vec![
        name,
        or_dash(median(&rates[0])),
        or_dash(median(&rates[1])),
        or_dash(median(&rates[2])),
        or_dash(rates[2].last().copied()),
        ratio(rival),
        ratio(floor),
        waits(|sample| sample.p50),
        waits(|sample| sample.p99),
        figure(checked as f64),
        lost.to_string(),
    ]
}

fn rates(row: &Row) -> Vec<f64> {
    let rate = |sample: &Sample| sample.acknowledged.iter().sum::<u64>() as f64 / sample.seconds;
    let mut rates: Vec<_> = row.samples.iter().map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

/// What other programs use of the processors: a commit waits for the kernel's threads too, and they wait behind a build.
struct ForeignLoad {
    busy: f64,
    own: f64,
    start: Instant,
}

impl ForeignLoad {
    fn begin() -> Self {
        Self { busy: busy(), own: own(), start: Instant::now() }
    }

    /// The share since `begin`.
    fn share(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let foreign = (busy() - self.busy) - (own() - self.own);
        (foreign / (cores * self.start.elapsed().as_secs_f64())).max(0.0)
    }
}

/// Seconds that all processors together were not idle.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = stat.lines().next() else { return 0.0 };
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    ticks.iter().take(8).enumerate().filter(|(field, _)| !matches!(field, 3 | 4)).map(|(_, ticks)| ticks).sum::<f64>()
        / 100.0
}

/// Seconds that this process and the samples it waited for have used.
fn own() -> f64 {
    // user, system, and both again of the children that ended: fields 14 to 17, counted from the one after the name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
