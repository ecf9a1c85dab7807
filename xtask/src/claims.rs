//! What the overview documents claim to be there, looked up: files, links, and the tests that guard an invariant.
//!
//! A map that names a file which has moved is worse than none, and an invariant whose test was renamed is guarded by
//! nothing anybody can find.

use std::fs;
use std::path::Path;

/// The documents read, from the root.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md"];

/// A name in `code` with so many underscores is a test's: they are sentences, and nothing else here is.
const SENTENCE: usize = 3;

/// Looks up every claim; `sources` is all the code there is.
pub(crate) fn check(root: &Path, sources: &str) -> Result<(), String> {
    let mut false_claims = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).map_err(|error| format!("{document}: {error}"))?;
        for claim in claims(&text) {
            let holds = match &claim {
                Claim::Test(name) => is_a_test(name, sources),
                Claim::Link(path) => root.join(path).exists(),
                // `a/b` is a path only if it starts where paths here start.
                Claim::Path(path) => {
                    !path.split('/').next().is_some_and(|top| root.join(top).is_dir()) || root.join(path).exists()
                }
            };
            if !holds {
                false_claims.push(format!("{document}: {claim:?} is not there"));
            }
        }
    }
    if false_claims.is_empty() { Ok(()) } else { Err(false_claims.join("\n")) }
}

#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// A test's name; a `*` at its end stands for the rest.
    Test(String),
    /// Something in `code` that reads like a path.
    Path(String),
    /// The target of a link within the repository.
    Link(String),
}

fn claims(text: &str) -> Vec<Claim> {
    // Every second part is inside a fence, and there the code speaks for itself.
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2).filter_map(coded).chain(links(prose))).collect()
}

fn coded(code: &str) -> Option<Claim> {
    let name = code.strip_suffix('*').unwrap_or(code);
    if name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c)) {
        let last = code.rsplit("::").next().unwrap_or(code);
        return (last.matches('_').count() >= SENTENCE).then(|| Claim::Test(last.into()));
    }
    let is_path = code.contains('/') && !code.contains(['<', '*', ' ', '(']);
    is_path.then(|| Claim::Path(code.into()))
}

fn links(prose: &str) -> impl Iterator<Item = Claim> {
    prose.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#']).next().unwrap_or_default();
        (!target.is_empty() && !target.contains("://")).then(|| Claim::Link(target.into()))
    })
}

fn is_a_test(name: &str, sources: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => sources.contains(&format!("fn {beginning}")),
        None => sources.contains(&format!("fn {name}(")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_paths_and_links_are_told_from_other_code() {
        let text = "The `src/time/tokio.rs` file, guarded by `rate::the_window_counts_exactly` and `loom_a_late_answer_*`,\n\
                    not `resilience-core`, `a <- b`, `retry_if`, `src/<pattern>/`. [Map](ARCHITECTURE.md#the-map),\n\
                    [tower](https://docs.rs/tower).\n```rust\nlet `not_read_at_all` = 1;\n```\nand `docs/results`";
        let test = |name: &str| Claim::Test(name.into());
        let path = |path: &str| Claim::Path(path.into());
        let expected = [
            path("src/time/tokio.rs"),
            test("the_window_counts_exactly"),
            test("loom_a_late_answer_*"),
            Claim::Link("ARCHITECTURE.md".into()),
            path("docs/results"),
        ];
        assert_eq!(claims(text), expected);
    }

    #[test]
    fn a_test_that_was_renamed_is_missed() {
        let sources = "#[test]\nfn a_late_answer_is_stale() {}\n";
        assert!(is_a_test("a_late_answer_is_stale", sources) && is_a_test("a_late_answer_*", sources));
        assert!(!is_a_test("a_late_answer_is", sources) && !is_a_test("an_early_answer_*", sources));
    }
}
