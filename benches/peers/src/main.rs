//! `cargo run --release` measures our layers, picks and stores beside their rivals and rewrites `docs/results/peers-*.md`.
#![allow(clippy::disallowed_methods)] // A measuring program reads the real clock; that is its whole work.
#![warn(missing_docs, missing_debug_implementations, unsafe_code)]

mod adapt;
mod cases;
mod echo;
mod harness;
mod stores;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::harness::{
    CountingAllocator, Header, Plan, Runtimes, count_all, layers_table, measure, run_delay_share, run_one, versions,
};
use crate::stores::Stores;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Rivals side by side.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Layers, stacks and balancers: nanoseconds, instructions and allocations a call.
    Layers(Layers),
    /// Event stores: durable appends a second.
    Stores(Stores),
    /// One sample of one store, for `stores`.
    Store(stores::Child),
    /// One case, for valgrind and perf.
    One {
        #[arg(long)]
        group: String,
        #[arg(long)]
        name: String,
        #[arg(long, default_value_t = 10_000_000)]
        calls: u64,
    },
}

#[derive(Debug, Parser)]
struct Layers {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Milliseconds a sample.
    #[arg(long, default_value_t = 4)]
    sample: u64,
    /// Leave out the instruction counts (they need valgrind).
    #[arg(long)]
    no_instructions: bool,
    /// Only the groups whose title contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Where to write; nothing is written when only a part is measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/results/peers-layers.md"))]
    out: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => layers(&Layers::parse_from(["layers"])).and_then(|()| stores::stores(&Stores::parse_from(["stores"]))),
        Some(Command::Stores(options)) => stores::stores(&options),
        Some(Command::Store(child)) => stores::run_child(&child),
        Some(Command::Layers(options)) => layers(&options),
        Some(Command::One { group, name, calls }) => one(&group, &name, calls),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn one(group: &str, name: &str, calls: u64) -> Result<(), String> {
    let runtimes = Runtimes::new().map_err(|error| error.to_string())?;
    run_one(cases::all(), &runtimes, group, name, calls)
}

fn layers(options: &Layers) -> Result<(), String> {
    let runtimes = Runtimes::new().map_err(|error| error.to_string())?;
    let specs: Vec<_> = cases::all().into_iter().filter(|spec| spec.group.contains(&options.only)).collect();
    let plan = Plan { rounds: options.rounds, sample: Duration::from_millis(options.sample), tries: 40 };
    eprintln!("a thread of ours would wait {:.1} % of the time", 100.0 * run_delay_share(Duration::from_millis(200)));
    let (mut figures, noise) = measure(specs, &runtimes, plan);
    if !options.no_instructions {
        count_all(&mut figures);
    }
    let crates = ["tower", "tokio", "failsafe", "recloser", "governor", "moka", "quick_cache", "resilience-"];
    let header = Header {
        command: "cd benches/peers && cargo run --release -- layers",
        versions: versions(include_str!("../Cargo.lock"), &crates),
        noise: noise.to_string(),
    };
    let text = format!("# Layers beside their rivals\n\n{header}\n{NOTES}\n{}", layers_table(&figures));
    println!("{text}");
    if options.only.is_empty() {
        write(&options.out, &text)?;
    }
    Ok(())
}

/// How to read the tables.
const NOTES: &str = "\
**Bold** rows are ours. All candidates are measured in the same interleaved rounds of one process; compare within one file
only. The machine was shared with builds while it was measured: medians carry some of that load, `min` carries least, and
`instr/call` (callgrind, one thread, kernel not counted; left out where it does not repeat) none. `own cost` is the median
less that of the group's floor.

- 1T: one task on one thread. 2T: eight tasks on two workers, all calling clones of one service and doing nothing else, the
  worst case of contention; its ns/call equals 1T if nothing is shared, and the ratio of throughputs is then 2x. The floor
  that is pending once wakes through another executor at 2T, hence its ratio.
- Look first at the floors of the machine: what a shared atomic and a clock read cost bounds every row that has one. A
  call that owns its future holds a share in its policy: two atomic operations, unless its thread has kept one.
- recloser and failsafe are not tower layers; thin adaptors make them so. tower's balancers are not `Clone` and need a
  `Buffer` to be shared. tower-resilience's time window costs in proportion to the calls it holds: here only those of one
  sample.
- Every case is checked before and after: a call that answers otherwise than its row says voids the row, and so does an
  allocation in a row of ours that is not of batches.
";

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    std::fs::write(path, text).map_err(fail)
}
