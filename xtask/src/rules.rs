//! Who may name what: the import rules of the architecture, checked line by line.
//!
//! A compiler sees crates, and clippy sees functions; neither sees that a state machine took a lock, or that one
//! pattern reached into another. These rules are few and textual, so that a breach is one line with its reason.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::{claims, laws, pages, scenarios};

/// What code may not name, and where it may after all.
struct Rule {
    /// Files it binds: a path that starts with the first and ends with the second.
    binds: (&'static str, &'static str),
    /// Files, or folders, below which it does not.
    except: &'static [&'static str],
    /// The words that break it.
    forbids: &'static [&'static str],
    /// What holds instead.
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        binds: ("resilience-core/src/", ".rs"),
        except: &["resilience-core/src/time/"],
        forbids: &["tokio::"],
        because: "core meets its runtime in `time/` alone",
    },
    Rule {
        binds: ("resilience-core/src/", ".rs"),
        except: &["resilience-core/src/observe/"],
        forbids: &["tracing::", "metrics::"],
        because: "logs and metrics are sinks, in `observe/`",
    },
    Rule {
        binds: ("resilience-core/src/", ".rs"),
        // A test's clock, sinks, numbers dealt out to threads, and a lock that only its owner opens, to be `Sync`: none
        // of them is state that calls share.
        except: &[
            "resilience-core/src/sync.rs",
            "resilience-core/src/time/manual.rs",
            "resilience-core/src/observe/",
            "resilience-core/src/circuit_breaker/shards.rs",
            "resilience-core/src/lift.rs",
        ],
        forbids: &["std::sync::atomic", "std::sync::Mutex", "std::sync::RwLock", "std::sync::{"],
        because: "shared state comes from `crate::sync`, so that loom can model it",
    },
    Rule {
        binds: ("", "/machine.rs"),
        except: &[],
        forbids: &[
            "async ",
            ".await",
            "sync::",
            "Mutex",
            "Atomic",
            "tokio::",
            "tower",
            "Timer",
            "Listeners",
            "rusqlite",
        ],
        because: "a machine takes values and returns values",
    },
    Rule {
        binds: ("", ".rs"),
        except: &["xtask/src/rules.rs"],
        forbids: &["#[ignore", "TODO", "FIXME", "todo!(", "unimplemented!("],
        because: "what is not finished is not landed, and a test that does not run proves nothing",
    },
];

/// Patterns of core; they meet in a stack and through `Rejected`, never in each other's code.
const PATTERNS: &[&str] = &["bulkhead", "circuit_breaker", "retry", "timeout"];

/// A file longer than this is mentioned; an idea a file, and about so many lines for it.
const LONG: usize = 400;

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    line: usize,
    word: String,
    because: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.line, self.word, self.because)
    }
}

/// Reads every source file below `root`, and looks up what the documents claim and which layers were tried.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    collect(root, root, &mut files).map_err(|error| format!("the sources cannot be read: {error}"))?;
    files.sort();
    let mut broken = Vec::new();
    let mut sources = Vec::new();
    for path in &files {
        let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
        let lines = text.lines().count();
        if lines > LONG {
            println!("    {path} has {lines} lines; about {LONG} is the aim");
        }
        broken.extend(breaches(path, &text).iter().map(|breach| format!("{path}:{breach}")));
        sources.push((path.as_str(), text));
    }
    let each = sources.iter().map(|(path, text)| (*path, text.as_str()));
    broken.extend(claims::check(root, &each.clone().map(|(_, text)| text).collect::<String>()).err());
    broken.extend(laws::check(each).err());
    broken.extend(scenarios::check(root).err());
    broken.extend(pages::check(root).err());
    println!("    {} files read", files.len());
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let name = entry.to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(root, &path, files)?;
        } else if name.ends_with(".rs") {
            let below = path.strip_prefix(root).unwrap_or(&path);
            files.push(below.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

fn breaches(path: &str, text: &str) -> Vec<Breach> {
    let bound: Vec<&Rule> = RULES.iter().filter(|rule| rule.binds_file(path)).collect();
    let mut found = Vec::new();
    for (number, line) in code(text) {
        let mut breach = |word: &str, because: &str| {
            found.push(Breach { line: number, word: word.trim().into(), because: because.into() });
        };
        for rule in &bound {
            if let Some(word) = rule.forbids.iter().find(|word| line.contains(**word)) {
                breach(word, rule.because);
            }
        }
        if let Some(other) = other_pattern(path, line) {
            breach(other, "patterns do not know each other; they meet in a stack");
        }
    }
    found
}

impl Rule {
    fn binds_file(&self, path: &str) -> bool {
        let (start, end) = self.binds;
        // Tests may drive what they test with anything; only being unfinished or left out is forbidden them too.
        let exempt = is_test(path) && !start.is_empty();
        path.starts_with(start)
            && path.ends_with(end)
            && !exempt
            && !self.except.iter().any(|below| path.starts_with(below))
    }
}

fn other_pattern(path: &str, line: &str) -> Option<&'static str> {
    let own = path.strip_prefix("resilience-core/src/")?.split('/').next()?;
    if !PATTERNS.contains(&own) || is_test(path) {
        return None;
    }
    let names = |pattern: &&&str| **pattern != own && line.contains(&format!("crate::{pattern}"));
    PATTERNS.iter().find(names).copied()
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.ends_with("_test.rs") || path.contains("/tests/")
}

/// The lines that are code, with their numbers: no comments, and nothing after an inline module of tests begins.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut previous = "";
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered
        .take_while(move |(_, line)| {
            let tests_begin = previous.starts_with("#[cfg(") && previous.contains("test") && line.starts_with("mod ");
            previous = line;
            !(tests_begin && line.ends_with('{'))
        })
        .filter(|(_, line)| !line.starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &str, text: &str) -> Vec<String> {
        breaches(path, text).into_iter().map(|breach| breach.word).collect()
    }

    #[test]
    fn each_rule_finds_its_breach_and_only_where_it_binds() {
        let table = [
            ("resilience-core/src/retry/run.rs", "let sleep = tokio::time::sleep(wait);", "tokio::"),
            ("resilience-core/src/bulkhead/policy.rs", "tracing::warn!(\"full\");", "tracing::"),
            ("resilience-core/src/bulkhead/policy.rs", "use std::sync::atomic::AtomicU64;", "std::sync::atomic"),
            ("resilience-saga/src/machine.rs", "lock: Mutex<State>,", "Mutex"),
            ("resilience-core/src/retry/policy.rs", "use crate::circuit_breaker::State;", "circuit_breaker"),
            ("examples/shop/src/main.rs", "#[ignore = \"slow\"]", "#[ignore"),
        ];
        for (path, line, word) in table {
            assert_eq!(words(path, line), [word], "{path}: {line}");
            assert_eq!(words(path, &format!("// {line}")), [""; 0], "comments may name anything");
        }
        let tokio = "use tokio::time::Sleep;";
        assert_eq!(words("resilience-core/src/time/tokio.rs", tokio), [""; 0]);
        assert_eq!(words("resilience-cqrs/src/runner.rs", tokio), [""; 0]);
        assert_eq!(words("resilience-core/src/retry/tests.rs", tokio), [""; 0]);
        assert_eq!(words("resilience-core/src/retry/mod.rs", "use crate::retry::Backoff;"), [""; 0]);
    }

    #[test]
    fn an_inline_module_of_tests_ends_the_code() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use tokio::time;\n}\n";
        assert_eq!(words("resilience-core/src/name.rs", text), [""; 0]);
        let elsewhere = "#[cfg(test)]\nmod tests;\nuse tokio::time;\n";
        assert_eq!(words("resilience-core/src/name.rs", elsewhere), ["tokio::"]);
    }
}
