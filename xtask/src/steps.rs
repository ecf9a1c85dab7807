//! The steps of `cargo xtask test`, in their order.
//!
//! They share one target directory and, wherever cargo allows it, one set of features (`--workspace --all-features`),
//! so that no dependency is built twice: clippy, docs and the pure builds share checked metadata, tests and doc tests
//! share compiled code. Only the loom models, whose `--cfg loom` reaches every crate, are built apart, in the directory
//! of their profile.

use std::time::Instant;

use clap::ValueEnum;

use crate::needs;
use crate::rules;
use crate::run::{Cargo, root};
use crate::tally::Tally;

/// A step of the test command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting is rustfmt's.
    Fmt,
    /// Code names only what is its to name, and documents only what is there.
    Rules,
    /// Clippy has nothing to say, in all targets with all features.
    Clippy,
    /// The tests of all crates pass with all features.
    Tests,
    /// The examples in the documentation pass.
    Doctests,
    /// The documentation builds without a broken link.
    Docs,
    /// The machines build without tokio and tower.
    Pure,
    /// The loom models hold.
    Loom,
}

/// Feature sets that must build by themselves, each free of the warnings a build with everything cannot show.
const PURE: &[(&str, &str)] = &[
    ("resilience-core", ""),
    ("resilience-core", "--features tower"),
    ("resilience-core", "--features tokio"),
    ("resilience-core", "--features http"),
    ("resilience-core", "--features serde"),
    ("resilience-core", "--features cache"),
    ("resilience-discovery", ""),
    ("resilience-discovery", "--features tokio"),
    ("resilience-cqrs", ""),
];

/// The crates whose machines stand alone.
const ALONE: &[&str] = &["resilience-core", "resilience-discovery"];

/// What the machines must not depend on, whatever depends on them.
const IMPURE: &[&str] = &["tokio", "tower", "tower-layer", "tower-service"];

/// Runs the named steps, or all, and prints how each went and how many tests passed.
pub(crate) fn test(only: &[Step], keep_going: bool) -> Result<(), String> {
    let began = now();
    needs::meet()?;
    let mut total = Tally::default();
    let mut lines = Vec::new();
    let mut failures = Vec::new();
    for &step in Step::value_variants().iter().filter(|step| only.is_empty() || only.contains(step)) {
        println!("==> {}: {}", step.name(), step.about());
        let start = now();
        let outcome = step.run(&mut total);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        let line = format!("{:<9} {verdict:<6} {:>7.1} s", step.name(), start.elapsed().as_secs_f64());
        println!("==> {line}\n");
        lines.push(line);
        if let Err(problem) = outcome {
            failures.push(format!("{}: {problem}\nto repeat: cargo xtask test {}", step.name(), step.name()));
            if !keep_going {
                break;
            }
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    println!("{:<16} {:>7.1} s", "all", began.elapsed().as_secs_f64());
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.again > 0 {
        println!("{} of them failed at first (FLAKY above): mend them", total.again);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

/// Runs the loom models whose path contains `filter`.
pub(crate) fn loom(filter: &str) -> Result<(), String> {
    let start = now();
    let outcome = models(filter).run_tests(&mut Tally::default());
    println!("{:.1} s", start.elapsed().as_secs_f64());
    outcome
}

impl Step {
    fn run(self, total: &mut Tally) -> Result<(), String> {
        match self {
            Self::Fmt => Cargo::new("fmt --all --check").run(),
            Self::Rules => rules::check(&root()),
            Self::Clippy => lean("clippy --workspace --all-targets --all-features -- -D warnings").run(),
            Self::Tests if needs::find("cargo-nextest").is_some() => {
                lean("nextest run --workspace --all-features --no-fail-fast").run_tests(total)
            }
            Self::Tests => lean("test --workspace --all-features --lib --bins --tests --no-fail-fast").run_tests(total),
            Self::Doctests => lean("test --workspace --all-features --doc --no-fail-fast").run_tests(total),
            Self::Docs => {
                lean("doc --workspace --all-features --no-deps").default_env("RUSTDOCFLAGS", "-D warnings").run()
            }
            Self::Pure => pure(),
            Self::Loom => models("loom").run_tests(total),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn about(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .map_or_else(String::new, |help| help.to_lowercase())
    }
}

/// Incremental state would cost a clean run time and disk, and help nobody: each crate is built once.
fn lean(args: &str) -> Cargo {
    Cargo::new(args).default_env("CARGO_INCREMENTAL", "0")
}

/// Every interleaving with at most three preemptions: "2 or 3 is enough to catch most bugs" (loom's documentation).
fn models(filter: &str) -> Cargo {
    lean("test --profile loom -p resilience-core -p resilience-discovery --lib --")
        .args([filter])
        .env("RUSTFLAGS", "--cfg loom")
        .default_env("LOOM_MAX_PREEMPTIONS", "3")
}

fn pure() -> Result<(), String> {
    for (package, features) in PURE {
        lean(&format!("clippy -p {package} --no-default-features {features} -- -D warnings")).run()?;
    }
    for package in ALONE {
        let tree = Cargo::new(&format!("tree -p {package} --no-default-features --edges normal --prefix none"));
        println!("    {tree}");
        let graph = tree.output()?;
        let found = impurities(&graph);
        if !found.is_empty() {
            return Err(format!("the machines of {package} depend on {}: {tree}", found.join(", ")));
        }
    }
    Ok(())
}

fn impurities(tree: &str) -> Vec<&str> {
    let packages = tree.lines().filter_map(|line| line.split_whitespace().next());
    packages.filter(|package| IMPURE.contains(package)).collect()
}

#[allow(clippy::disallowed_methods)] // Says how long a build took; no policy decides by it.
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_in_the_graph_of_the_machines_is_noticed() {
        let tree = "resilience-core v0.1.0 (/somewhere/tokio)\npin-project-lite v0.2.16\nthiserror v2.0.12\n";
        assert_eq!(impurities(tree), Vec::<&str>::new());
        assert_eq!(impurities(&format!("{tree}tokio v1.54.0\n")), ["tokio"]);
    }

    #[test]
    fn each_step_says_what_holds_when_it_passes() {
        for step in Step::value_variants() {
            assert!(!step.name().is_empty() && !step.about().is_empty(), "{step:?}");
        }
    }
}
