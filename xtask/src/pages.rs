//! What the page of each pattern must say, looked up in its module's documentation.
//!
//! Somebody who has read one page knows where to look on all others, and a pattern without its failure modes, its limits
//! or the reasons of its defaults is only half documented. Whether the text is true no machine knows; that it is there,
//! and its examples compiled, one does.

use std::fs;
use std::path::Path;

/// The pages, below `resilience-core/src/`.
const PAGES: &[&str] = &[
    "adaptive_limit/mod.rs",
    "batch/mod.rs",
    "bulkhead/mod.rs",
    "bulkhead/partitioned/mod.rs",
    "cache/mod.rs",
    "chaos/mod.rs",
    "circuit_breaker/mod.rs",
    "config/mod.rs",
    "context/mod.rs",
    "fallback/mod.rs",
    "grpc/mod.rs",
    "health/mod.rs",
    "hedge/mod.rs",
    "http/mod.rs",
    "lease/mod.rs",
    "lint/mod.rs",
    "load_shed/admission/mod.rs",
    "load_shed/mod.rs",
    "load_shed/queue/mod.rs",
    "load_shed/signal/mod.rs",
    "observe/mod.rs",
    "rate_limit/client/mod.rs",
    "rate_limit/distributed/mod.rs",
    "rate_limit/mod.rs",
    "registry/mod.rs",
    "retry/budget/mod.rs",
    "retry/mod.rs",
    "timeout/mod.rs",
];

/// Folders of core that are not patterns, and so have no page.
const NO_PAGES: &[&str] = &["control", "flight", "time"];

/// What each page has, in whatever order its story needs.
const SECTIONS: &[&str] =
    &["Why", "Behaviour", "Example", "Defaults", "Events", "Errors", "Interplay", "Do and don't", "Limits"];

/// One heading for two of them, where both are short.
const BOTH: (&str, [&str; 2]) = ("Events and errors", ["Events", "Errors"]);

/// Reads every page below `root`.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let core = root.join("resilience-core/src");
    let mut missing = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(core.join(page)).map_err(|error| format!("{page}: {error}"))?;
        missing.extend(gaps(&text).into_iter().map(|gap| format!("resilience-core/src/{page}: {gap}")));
    }
    let folders = fs::read_dir(&core).map_err(|error| format!("the patterns cannot be listed: {error}"))?;
    for folder in folders.flatten().filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().to_string_lossy().into_owned();
        let has_page = PAGES.iter().any(|page| page.split('/').next() == Some(&name));
        if !has_page && !NO_PAGES.contains(&&*name) {
            missing.push(format!("resilience-core/src/{name}: its page is not among those of `xtask/src/pages.rs`"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
}

/// What a page lacks.
fn gaps(text: &str) -> Vec<String> {
    let sections = sections(text);
    let find = |name: &str| {
        let found = |(title, _): &&(&str, String)| *title == name || *title == BOTH.0 && BOTH.1.contains(&name);
        sections.iter().find(found).map(|(_, body)| body.trim())
    };
    let mut gaps: Vec<String> = SECTIONS
        .iter()
        .filter(|name| find(name).is_none_or(str::is_empty))
        .map(|name| format!("there is nothing under `# {name}`"))
        .collect();
    if find("Behaviour").is_some_and(|body| !body.contains("```text\n")) {
        gaps.push("its behaviour is not drawn".into());
    }
    if find("Example").is_some_and(|body| !body.contains("```\n")) {
        gaps.push("its example is not compiled and run".into());
    }
    if text.lines().any(|line| line.starts_with("//! ```ignore") || line.starts_with("//! ```no_run")) {
        gaps.push("an example is shown that is not run".into());
    }
    gaps
}

/// The sections of a module's documentation, each with its text. What is in fences belongs to its section.
fn sections(text: &str) -> Vec<(&str, String)> {
    let mut sections: Vec<(&str, String)> = Vec::new();
    let mut is_code = false;
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        is_code ^= line.starts_with("```");
        match line.strip_prefix("# ") {
            Some(title) if !is_code => sections.push((title, String::new())),
            _ => {
                if let Some((_, body)) = sections.last_mut() {
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        let mut page = String::from("//! A pattern.\n//!\n");
        for section in SECTIONS {
            let body = match *section {
                "Behaviour" => "```text\n//! a ──► b\n//! ```",
                "Example" => "```\n//! # hidden();\n//! ```",
                _ => "Something.",
            };
            page.push_str(&format!("//! # {section}\n//!\n//! {body}\n//!\n"));
        }
        page
    }

    #[test]
    fn a_section_that_is_missing_or_empty_is_told() {
        assert_eq!(gaps(&page()), [""; 0]);
        for section in SECTIONS {
            let gone = page().replace(&format!("# {section}\n"), "# Else\n");
            assert_eq!(gaps(&gone), [format!("there is nothing under `# {section}`")]);
        }
        let empty = page().replace("//! # Limits\n//!\n//! Something.\n", "//! # Limits\n");
        assert_eq!(gaps(&empty), ["there is nothing under `# Limits`"]);
        let both = page().replace("# Events\n", "# Events and errors\n").replace("# Errors\n", "# Else\n");
        assert_eq!(gaps(&both), [""; 0]);
    }

    #[test]
    fn a_diagram_and_an_example_that_runs_are_asked_for() {
        assert_eq!(gaps(&page().replace("```text", "```rust")), ["its behaviour is not drawn"]);
        let shown = page().replace("//! ```\n//! # hidden", "//! ```ignore\n//! # hidden");
        assert!(gaps(&shown).contains(&"an example is shown that is not run".to_owned()));
    }

    #[test]
    fn a_hidden_line_of_an_example_is_no_heading() {
        assert!(sections(&page()).iter().all(|(title, _)| *title != "hidden();"));
    }
}
