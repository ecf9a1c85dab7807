//! Event stores, each in a process of its own, in interleaved rounds, and checked afterwards.
//!
//! A process a sample because sqlx and rusqlite each link SQLite and cannot live in one program; so that this favours
//! nobody, every store gets one. After each sample of appends the store is opened afresh and asked for every event that was
//! acknowledged: a store that lost one gets no figure. So is a load that is not whole, and a projection with a wrong sum.

mod calm;
mod candidates;
mod catch_up;
mod child;
mod domain;
mod file;
mod loads;
mod ours;
mod redb;
mod report;
mod rusqlite_floor;
mod sample;
mod sqlite;
mod umadb;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use self::calm::{CALM, ForeignLoad};
use self::candidates::{APPENDS, CATCH_UP, Candidate, LOADS, ask, build_cqrs_es};
use self::catch_up::Caught;
pub use self::child::{Child, run_child};
use self::report::Tables;
use self::sample::{Held, Sample};

const TASKS: [u64; 3] = [1, 8, 64];

/// What the store tables are measured with.
#[derive(Debug, Parser)]
pub struct Stores {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds a sample.
    #[arg(long, default_value_t = 1_200)]
    sample: u64,
    /// Events in the log that projections catch up with.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How often a disturbed sample is taken at most; the calmest counts.
    #[arg(long, default_value_t = 3)]
    tries: usize,
    /// Seconds to wait for a calm moment before each sample, at most.
    #[arg(long, default_value_t = 10)]
    patience: u64,
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

/// Samples of one cell.
#[derive(Default)]
struct Row {
    samples: Vec<Sample>,
    lost: u64,
    checked: u64,
}

/// Measures every store and writes the tables.
pub fn stores(options: &Stores) -> Result<(), String> {
    let bench = Bench { options, cqrs_es: build_cqrs_es()? };
    let wanted = |all: &'static [Candidate]| -> Vec<&Candidate> {
        all.iter().filter(|candidate| candidate.name.contains(&options.only)).collect()
    };
    let (appending, loading) = (wanted(APPENDS), wanted(LOADS));
    let mut appends: Vec<Vec<Row>> = appending.iter().map(|_| TASKS.iter().map(|_| Row::default()).collect()).collect();
    let mut loads: Vec<Row> = loading.iter().map(|_| Row::default()).collect();
    let mut caught: Vec<(Vec<Caught>, f64)> = Vec::new();
    for round in 0..options.rounds {
        for (column, &tasks) in TASKS.iter().enumerate() {
            for index in 0..appending.len() {
                let index = (index + round) % appending.len();
                eprintln!("round {} of {}, {tasks} tasks: {}", round + 1, options.rounds, appending[index].name);
                bench.calmest(&mut appends[index][column], |row| bench.append(appending[index], tasks, row))?;
            }
        }
        for index in 0..loading.len() {
            let index = (index + round) % loading.len();
            eprintln!("round {} of {}, loading: {}", round + 1, options.rounds, loading[index].name);
            bench.calmest(&mut loads[index], |row| bench.load(loading[index], row))?;
        }
        if CATCH_UP.name.contains(&options.only) {
            eprintln!("round {} of {}, catching up", round + 1, options.rounds);
            caught.push(bench.catch_up()?);
        }
    }
    let tables = Tables { appending: &appending, appends: &appends, loading: &loading, loads: &loads, caught: &caught };
    let text = report::text(&tables, options);
    println!("{text}");
    if options.only.is_empty() { crate::write(&options.out, &text) } else { Ok(()) }
}

struct Bench<'o> {
    options: &'o Stores,
    cqrs_es: PathBuf,
}

impl Bench<'_> {
    /// Samples until one had the machine to itself, at most as often as is allowed; the calmest counts.
    fn calmest(&self, row: &mut Row, mut sample: impl FnMut(&mut Row) -> Result<(), String>) -> Result<(), String> {
        let mut tries = Row::default();
        for _ in 0..self.options.tries.max(1) {
            sample(&mut tries)?;
            if tries.samples.last().is_some_and(|sample| sample.foreign < CALM) {
                break;
            }
        }
        row.lost += tries.lost;
        row.checked += tries.checked;
        row.samples.extend(tries.samples.into_iter().min_by(|a, b| a.foreign.total_cmp(&b.foreign)));
        Ok(())
    }

    fn append(&self, candidate: &Candidate, tasks: u64, row: &mut Row) -> Result<(), String> {
        let dir = self.folder()?;
        let (tasks, millis) = (tasks.to_string(), self.options.sample.to_string());
        let sample = self.sample(candidate, dir.path(), &["--tasks", &tasks, "--millis", &millis])?;
        let held: Held = ask(candidate, &self.cqrs_es, dir.path(), &["--verify"])?;
        row.lost += held.missing(&sample);
        row.checked += sample.acknowledged.iter().sum::<u64>();
        row.samples.push(sample);
        Ok(())
    }

    fn load(&self, candidate: &Candidate, row: &mut Row) -> Result<(), String> {
        let dir = self.folder()?;
        let sample = self.sample(candidate, dir.path(), &["--millis", &self.options.sample.to_string()])?;
        row.lost += sample.refused;
        row.checked += sample.acknowledged.iter().sum::<u64>();
        row.samples.push(sample);
        Ok(())
    }

    fn sample(&self, candidate: &Candidate, dir: &Path, args: &[&str]) -> Result<Sample, String> {
        calm::wait(Duration::from_secs(self.options.patience));
        let foreign = ForeignLoad::begin();
        let mut sample: Sample = ask(candidate, &self.cqrs_es, dir, args)?;
        sample.foreign = foreign.share();
        Ok(sample)
    }

    fn catch_up(&self) -> Result<(Vec<Caught>, f64), String> {
        let dir = self.folder()?;
        calm::wait(Duration::from_secs(self.options.patience));
        let foreign = ForeignLoad::begin();
        let events = self.options.events.to_string();
        let caught = ask(&CATCH_UP, &self.cqrs_es, dir.path(), &["--events", &events])?;
        Ok((caught, foreign.share()))
    }

    fn folder(&self) -> Result<tempfile::TempDir, String> {
        let parent = &self.options.dir;
        let made = std::fs::create_dir_all(parent).and_then(|()| tempfile::tempdir_in(parent));
        made.map_err(|error| format!("no folder for the databases in {}: {error}", parent.display()))
    }
}
