//! The project's own commands: `cargo xtask test` is the one that decides whether a change is good.
//!
//! `cargo xtask --help` lists the others. They are thin: each prints the command it runs, so that whoever wants to run
//! a part by hand knows how.

mod claims;
mod laws;
mod mutants;
mod needs;
mod pages;
mod rules;
mod run;
mod scenarios;
mod steps;
mod tally;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::Step;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks everything a change must pass: the one test command, and all that CI runs.
    ///
    /// Brings what the tests need on Debian as root, and says what is missing elsewhere; then runs the steps in the
    /// order below, stops at the first that fails, and says how to repeat it. Uses cargo-nextest when it is installed
    /// and `cargo test` otherwise.
    Test {
        /// Only these steps; all of them when none is named.
        steps: Vec<Step>,
        /// Go on after a failed step, and fail at the end.
        #[arg(long)]
        keep_going: bool,
    },
    /// Runs the loom models: every interleaving of the lock-free parts, within a bound on preemptions.
    ///
    /// `LOOM_MAX_PREEMPTIONS` sets the bound (default here: 3); loom's own variables work as usual.
    Loom {
        /// Only models whose path contains this.
        #[arg(default_value = "loom")]
        filter: String,
    },
    /// Measures what our own layers, picks and appends cost (criterion).
    Bench {
        /// Passed on to `cargo bench`, such as `--bench layers -- --quick`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measures the rivals beside us; a workspace of its own, so that nothing else builds them.
    Peers {
        /// Passed on to the program in `benches/peers`; `--help` lists what it measures.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs the experiments in virtual time and writes `docs/results/lab-*`; some ten minutes, and fails if a goal is missed.
    Lab {
        /// Passed on to the program in `benches/lab`: other scenarios than those that ship, or options such as `--skip-wall`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Breaks the rules of each pattern on purpose and looks whether its tests notice (needs cargo-mutants).
    Mutants {
        /// Only these patterns, such as `circuit_breaker`; all when none is named. What begins with a dash, and whatever
        /// follows, is passed on to `cargo mutants`: `--list`, `--shard 0/4`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Throws random settings and histories at the policies, for so long each (needs cargo-fuzz and a nightly).
    Fuzz {
        /// Only these targets of `fuzz/`; all of them when none is named.
        targets: Vec<String>,
        /// How long, for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Kills processes that append, run sagas and serve the log, for real and often (a release's share of what each test run
    /// does a few times), and holds what is there against what was acknowledged.
    Kills {
        /// How often, in each of the suites.
        #[arg(long, default_value_t = 1_000)]
        count: u32,
        /// Where the randomness of the kills starts.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Lets eight writers and a reader that looks every 2 ms at each engine, for so long, and holds what was delivered against
    /// what was acknowledged.
    Polls {
        /// How long, on each engine.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Checks licences, sources and duplicates of the dependencies (needs cargo-deny).
    Deny,
    /// Writes the public API of each crate to `docs/api/`, for review as a diff (needs cargo-public-api and a nightly).
    Api {
        /// Write nothing; fail where the files differ from the code.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Test { steps, keep_going } => steps::test(&steps, keep_going),
        Command::Loom { filter } => steps::loom(&filter),
        Command::Bench { args } => tools::bench(&args),
        Command::Peers { args } => tools::peers(&args),
        Command::Lab { args } => tools::lab(&args),
        Command::Mutants { args } => mutants::mutants(&args),
        Command::Fuzz { targets, seconds } => tools::fuzz(&targets, seconds),
        Command::Kills { count, seed } => tools::kills(count, seed),
        Command::Polls { seconds } => tools::polls(seconds),
        Command::Deny => tools::deny(),
        Command::Api { check } => tools::api(check),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\n{problem}");
            ExitCode::FAILURE
        }
    }
}
