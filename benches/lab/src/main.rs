//! `cargo run --release -p lab -- SCENARIO.toml`: runs an experiment, prints its table, writes its page and charts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use lab::measure::Runs;
use lab::report::Report;
use lab::scenario::{Scenario, Time, Variant, read};
use lab::sim::run;
use lab::stack::Problem;

/// Deterministic experiments in virtual time: layers against simulated servers.
///
/// A scenario describes servers (workers, a line, service times, faults), callers (an open loop), the variants of the
/// stack between the two, and the goals. All variants meet the same callers. `benches/lab/scenarios/` has the scenarios
/// that ship; `benches/lab/README.md` says what may be in one.
///
/// Exit status: 0 if every goal is met, 1 if one is not, 2 if the scenario cannot be run.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    /// The scenario, a TOML file.
    #[arg(value_name = "SCENARIO.toml", required = true)]
    scenarios: Vec<PathBuf>,
    /// Where the page and the charts go.
    #[arg(long, default_value = "docs/results", value_name = "DIRECTORY")]
    out: PathBuf,
    /// Write no files.
    #[arg(long)]
    dry_run: bool,
    /// Another seed than the scenario's to begin with.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Leave out variants that live by the real clock, and take as long as they say.
    #[arg(long)]
    skip_wall: bool,
}

fn main() -> ExitCode {
    match experiments(&Arguments::parse()) {
        Ok(met) => ExitCode::from(u8::from(!met)),
        Err(problem) => {
            eprintln!("lab: {problem}");
            ExitCode::from(2)
        }
    }
}

fn experiments(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    // A mistake in the last file is told before minutes are spent on the first.
    let scenarios: Vec<_> = arguments.scenarios.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let mut missed = Vec::new();
    for (path, scenario) in arguments.scenarios.iter().zip(scenarios) {
        if !experiment(arguments, path, scenario)? {
            missed.push(path.display().to_string());
        }
    }
    if !missed.is_empty() {
        eprintln!("lab: goals are not met: {}", missed.join(", "));
    }
    Ok(missed.is_empty())
}

fn experiment(arguments: &Arguments, path: &Path, mut scenario: Scenario) -> Result<bool, Box<dyn std::error::Error>> {
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    println!("{}\n", scenario.title);
    let mut seeds = vec![runs(&scenario, arguments.skip_wall)?];
    for seed in 1..scenario.seeds {
        seeds.push(more(&Scenario { seed: scenario.seed.wrapping_add(seed), ..scenario.clone() })?);
    }
    let mut command = format!("cargo run --release -p lab -- {}", path.display());
    if let Some(seed) = arguments.seed {
        command.push_str(&format!(" --seed {seed}"));
    }
    if arguments.skip_wall {
        command.push_str(" --skip-wall");
    }
    let report = Report { scenario: &scenario, seeds: &seeds, command: &command };
    println!("{}\n{}", report.variants().terminal(), report.goals().terminal());
    if !arguments.dry_run {
        let files = report.write(&arguments.out)?;
        println!("written: {}, {}", files[0].display(), files[1].display());
    }
    Ok(report.is_met())
}

/// By another seed: what goals are about, as far as it takes no real time.
fn more(scenario: &Scenario) -> Result<Runs, Problem> {
    let judged = |variant: &Variant| {
        let name = Some(&variant.name);
        scenario.goal.iter().any(|goal| Some(&goal.variant) == name || goal.of.as_ref() == name)
    };
    let wanted = |variant: &&Variant| variant.time == Time::Virtual && judged(variant);
    let run = |variant: &Variant| Some(variant).filter(wanted).map(|variant| run(scenario, variant)).transpose();
    scenario.variant.iter().map(run).collect()
}

/// Those of the real clock at the same time, each on a thread of its own; the others meanwhile, one after the other.
fn runs(scenario: &Scenario, skip_wall: bool) -> Result<Runs, Problem> {
    std::thread::scope(|scope| {
        let started: Vec<_> = scenario
            .variant
            .iter()
            .map(|variant| {
                (variant.time == Time::Wall && !skip_wall).then(|| scope.spawn(move || run(scenario, variant)))
            })
            .collect();
        let mut done = Vec::new();
        for (variant, thread) in scenario.variant.iter().zip(started) {
            done.push(match thread {
                Some(thread) => {
                    eprintln!("waiting for {}, by the real clock", variant.name);
                    let run = thread.join().map_err(|_| Problem::new(&variant.name, "panicked"))??;
                    Some(run)
                }
                None if variant.time == Time::Wall => None,
                None => Some(run(scenario, variant)?),
            });
        }
        Ok(done)
    })
}
