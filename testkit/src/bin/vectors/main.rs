//! Runs conformance cases of other projects against this family:
//! `cargo run -p testkit --bin vectors -- FILE...`
//!
//! A file holds cases in the schema of `case.rs`. Each case names a model (`breaker`, `backoff`, ...), a set-up and
//! steps with what must be observed after them. A failing case is one line; the last line is `N passed, M failed`. An
//! unknown model is a failure, never a skip.

mod case;
mod check;
mod models;

use std::path::Path;
use std::process::ExitCode;

use crate::case::{Case, File};

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() || files.iter().any(|file| file == "--help" || file == "-h") {
        println!("usage: vectors FILE...\n\nRuns the conformance cases in the files. Models known:");
        for (name, _) in models::KNOWN {
            println!("  {name}");
        }
        return if files.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        match File::read(Path::new(file)) {
            Ok(File { cases }) => {
                for case in &cases {
                    match run(case) {
                        Ok(()) => passed += 1,
                        Err(why) => {
                            failed += 1;
                            println!("FAILED {} ({}): {why}", case.id, case.model);
                        }
                    }
                }
            }
            Err(why) => {
                failed += 1;
                println!("FAILED {file}: {why}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(case: &Case) -> Result<(), String> {
    let make = models::KNOWN
        .iter()
        .find_map(|(name, make)| (*name == case.model).then_some(make))
        .ok_or_else(|| format!("unknown model {:?}", case.model))?;
    let mut model = make(&case.setup)?;
    for (number, step) in case.steps.iter().enumerate() {
        let at = || format!("step {} ({})", number + 1, step.op());
        let observed = model.step(step).map_err(|why| format!("{}: {why}", at()))?;
        check::expected(step, &observed).map_err(|why| format!("{}: {why}", at()))?;
    }
    Ok(())
}
