//! Runs conformance cases of other projects against this family:
//! `cargo run -p testkit --bin vectors -- FILE...`
//!
//! A file holds cases in the schema of `case.rs`. Each case names a model (`breaker`, `backoff`, ...), a set-up and
//! steps with what must be observed after them. A failing case is one line; the last line is `N passed, M failed`.
//!
//! Nothing is skipped: a file, model, profile or operation that is not known is a failure, as is a case that expects
//! nothing, one that panics, and one that does not end.

mod case;
mod check;
mod models;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use crate::case::{Case, File};

/// Cases take microseconds; this is for those that would never end.
const LONGEST: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() || files.iter().any(|file| file == "--help" || file == "-h") {
        println!("usage: vectors FILE...\n\nRuns the conformance cases in the files. Models known:");
        for model in models::KNOWN {
            println!("  {}", model.name);
        }
        return if files.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    // A case that panics is a line among the others.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let cases = match File::read(Path::new(file)) {
            Ok(File { cases }) => cases,
            Err(why) => vec![Err(why)],
        };
        for case in cases {
            let result = case.map_err(|why| format!("{file}: {why}")).and_then(|case| {
                let name = format!("{} ({})", case.id, case.model);
                guarded(case).map_err(|why| format!("{name}: {why}"))
            });
            match result {
                Ok(()) => passed += 1,
                Err(why) => {
                    failed += 1;
                    println!("FAILED {}", why.replace('\n', " "));
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case on a thread of its own, so that it can be given up.
fn guarded(case: Case) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let attempt = move || {
        let result = catch_unwind(AssertUnwindSafe(|| run(&case))).unwrap_or_else(|panic| Err(panicked(&*panic)));
        // Nobody listens any more when it took too long.
        let _ = sender.send(result);
    };
    std::thread::Builder::new().spawn(attempt).map_err(|error| error.to_string())?;
    receiver.recv_timeout(LONGEST).unwrap_or_else(|_| Err(format!("does not end within {LONGEST:?}")))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a word"))
}

fn run(case: &Case) -> Result<(), String> {
    let known = models::KNOWN.iter().find(|model| model.name == case.model);
    let mut model = known.ok_or_else(|| format!("unknown model {:?}", case.model))?.make(&case.setup)?;
    for (number, step) in case.steps.iter().enumerate() {
        let at = || format!("step {} ({})", number + 1, step.op());
        let observed = model.step(step).map_err(|why| format!("{}: {why}", at()))?;
        check::expected(step, &observed).map_err(|why| format!("{}: {why}", at()))?;
    }
    Ok(())
}
