//! The other commands: each hands over to one tool, and says which when it is not there.

use std::fs;
use std::path::Path;

use crate::needs;
use crate::run::{Cargo, root};

/// The crates whose public API is a reviewed list.
const PUBLISHED: &[&str] =
    &["resilience-core", "resilience-discovery", "resilience-cqrs", "resilience-cqrs-derive", "resilience-saga"];

pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    Cargo::new("bench -p benches").args(args).run()
}

pub(crate) fn peers(args: &[String]) -> Result<(), String> {
    Cargo::new("run --release --manifest-path benches/peers/Cargo.toml --").args(args).run()
}

/// All scenarios that ship, unless files are named.
pub(crate) fn lab(args: &[String]) -> Result<(), String> {
    let run = Cargo::new("run --release -p lab --").args(args.to_vec());
    let is_file = |arg: &String| Path::new(arg).extension().is_some_and(|kind| kind == "toml");
    if args.iter().any(is_file) { run.run() } else { run.args(scenarios()?).run() }
}

/// Relative to the root, in which cargo is run, and which the pages then name.
fn scenarios() -> Result<Vec<String>, String> {
    let directory = "benches/lab/scenarios";
    let files = fs::read_dir(root().join(directory)).map_err(|error| format!("{directory}: {error}"))?;
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut paths: Vec<_> =
        names.filter(|name| name.ends_with(".toml")).map(|name| format!("{directory}/{name}")).collect();
    paths.sort();
    Ok(paths)
}

pub(crate) fn fuzz(targets: &[String], seconds: u32) -> Result<(), String> {
    require("cargo-fuzz")?;
    // Not `+nightly`: only rustup's own cargo knows that, and this one may be started by another.
    let fuzz = |command: &str| Cargo::new("fuzz").args(command.split(' ')).env("RUSTUP_TOOLCHAIN", "nightly");
    let listed;
    let targets = if targets.is_empty() {
        listed = fuzz("list").output()?;
        listed.lines().map(String::from).collect()
    } else {
        targets.to_vec()
    };
    for target in targets {
        fuzz("run").args([target, "--".into(), format!("-max_total_time={seconds}")]).run()?;
    }
    Ok(())
}

/// Each suite by its package, test and variable.
const KILLS: [(&str, &str, &str); 4] = [
    ("resilience-cqrs", "crash", "CRASH_KILLS"),
    ("resilience-cqrs", "postgres", "POSTGRES_KILLS"),
    ("resilience-cqrs", "postgres_kill", "POSTGRES_KILLS"),
    ("resilience-saga", "kill", "RESILIENCE_SAGA_KILLS"),
];

pub(crate) fn kills(count: u32, seed: u64) -> Result<(), String> {
    for (package, test, variable) in KILLS {
        let run = Cargo::new("test --release --all-features").args([
            "-p",
            package,
            "--test",
            test,
            "kill",
            "--",
            "--nocapture",
        ]);
        run.env(variable, &count.to_string()).env("CRASH_SEED", &seed.to_string()).run()?;
    }
    Ok(())
}

pub(crate) fn polls(seconds: u32) -> Result<(), String> {
    for (test, variable) in [("polled", "POLL_SECONDS"), ("postgres_order", "POSTGRES_SECONDS")] {
        let run = Cargo::new("test --release --all-features -p resilience-cqrs --test").args([
            test,
            "poll",
            "--",
            "--nocapture",
            // Each has the machine to itself.
            "--test-threads=1",
        ]);
        run.env(variable, &seconds.to_string()).run()?;
    }
    Ok(())
}

pub(crate) fn deny() -> Result<(), String> {
    require("cargo-deny")?;
    // Advisories are left to whoever has the database at hand: it is a repository of its own, fetched with git.
    Cargo::new("deny --all-features check bans licenses sources").run()
}

pub(crate) fn api(check: bool) -> Result<(), String> {
    require("cargo-public-api")?;
    let directory = root().join("docs").join("api");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut differ = Vec::new();
    for package in PUBLISHED {
        let public = Cargo::new("public-api --all-features --simplified").args(["-p", package]);
        println!("    {public}");
        let (now, file) = (public.output()?, directory.join(format!("{package}.txt")));
        if check {
            if fs::read_to_string(&file).unwrap_or_default() != now {
                differ.push(*package);
            }
        } else {
            fs::write(&file, now).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    match differ[..] {
        [] => Ok(()),
        _ => Err(format!(
            "the public API is not the written one in {}: run `cargo xtask api` and review the diff",
            differ.join(", ")
        )),
    }
}

pub(crate) fn require(tool: &str) -> Result<(), String> {
    match needs::find(tool) {
        Some(_) => Ok(()),
        None => Err(format!("`{tool}` is not installed: `cargo install --locked {tool}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_experiments_that_ship_are_found_in_their_order() {
        let found = scenarios().unwrap();
        assert!(found.len() >= 6 && found.is_sorted(), "{found:?}");
        assert!(found.iter().all(|path| root().join(path).is_file()), "{found:?}");
    }
}
