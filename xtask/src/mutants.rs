//! Breaks the rules of a pattern on purpose, and looks whether its own tests notice.
//!
//! A mutant costs a build and a test run, so both are kept short: no debug information, only the features the rules need,
//! only the pattern's tests, few cases of each property test and no shrinking of what they find. What so few cases notice,
//! the full number notices too.

use crate::run::{Cargo, root};
use crate::tools;

/// The files of each pattern that hold rules, below `resilience-core/src`. What names none has its own folder's machine.
const RULES: &[(&str, &[&str])] = &[
    ("adaptive_limit", &["machine", "window", "rule", "overload"]),
    ("batch", &["machine"]),
    ("bulkhead", &["machine"]),
    ("cache", &["machine", "ttl"]),
    ("chaos", &["machine"]),
    (
        "circuit_breaker",
        &["machine", "word", "ring", "wait", "slow", "state", "window", "exact/machine", "exact/window"],
    ),
    ("fallback", &["machine"]),
    ("health", &["machine"]),
    ("hedge", &["machine", "latency"]),
    ("lease", &["machine"]),
    ("load_shed", &["queue/machine", "order"]),
    ("rate_limit", &["machine"]),
    ("retry", &["machine"]),
    ("timeout", &["machine"]),
];

/// A mutant that does not end counts as found after so many seconds; the slowest pattern's tests take a quarter of it.
const TIMEOUT: &str = "20";

/// Takes as long as all of its pattern's other tests together, and finds nothing about rules that they do not.
const SLOW: &str = "a_million_keys";

/// `cargo mutants` for each of `patterns`, or for all of them; what begins with a dash is passed on to it.
pub(crate) fn mutants(args: &[String]) -> Result<(), String> {
    tools::require("cargo-mutants")?;
    let named = args.iter().take_while(|arg| !arg.starts_with('-')).count();
    let (patterns, more) = args.split_at(named);
    let known = |name: &String| RULES.iter().find(|(pattern, _)| pattern == name).ok_or_else(|| unknown(name));
    let chosen = patterns.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    // cargo-mutants makes the last folder of its output and no more.
    let output = root().join("target/mutants");
    std::fs::create_dir_all(&output).map_err(|why| format!("cannot make {}: {why}", output.display()))?;
    let mut failed = Vec::new();
    for (pattern, files) in if chosen.is_empty() { RULES.iter().collect() } else { chosen } {
        if let Err(problem) = command(pattern, files, more).run() {
            failed.push(problem);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn command(pattern: &str, files: &[&str], more: &[String]) -> Cargo {
    let files = files.iter().map(|file| format!("--file=resilience-core/src/{pattern}/{file}.rs"));
    let mutants = Cargo::new("mutants -p resilience-core --no-default-features --features tokio,tower,cache");
    mutants
        .args(files)
        .args(["--baseline=skip", "--timeout", TIMEOUT, "--output"])
        .args([format!("target/mutants/{pattern}")])
        .args(more)
        .args(["--", "--lib", pattern, "--", "--skip", SLOW])
        .default_env("CARGO_INCREMENTAL", "1")
        .default_env("CARGO_PROFILE_DEV_DEBUG", "0")
        .default_env("CARGO_PROFILE_TEST_DEBUG", "0")
        .default_env("PROPTEST_CASES", "64")
        .default_env("PROPTEST_MAX_SHRINK_ITERS", "0")
        // A case that one mutant failed is no test of the next.
        .default_env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = RULES.iter().map(|(pattern, _)| *pattern).collect();
    format!("no rules are known of {name}: one of {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::root;

    #[test]
    fn a_file_that_was_renamed_does_not_drop_out_of_the_score() {
        for (pattern, files) in RULES {
            for file in *files {
                let path = root().join(format!("resilience-core/src/{pattern}/{file}.rs"));
                assert!(path.is_file(), "{}", path.display());
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_what_is_for_the_tool_is_passed_on() {
        assert!(RULES.iter().all(|(pattern, _)| !unknown("x").is_empty() && unknown("x").contains(pattern)));
        let shown = command("retry", &["machine"], &["--shard".into(), "0/2".into()]).to_string();
        assert!(shown.contains("--file=resilience-core/src/retry/machine.rs"), "{shown}");
        assert!(shown.contains("--shard 0/2 -- --lib retry --"), "{shown}");
    }
}
