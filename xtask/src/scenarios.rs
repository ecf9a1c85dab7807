//! The scenarios the patterns must hold, looked up: `docs/scenarios.md` says which test holds which.
//!
//! A list of requirements is believed for as long as somebody can check it. Here no id may be left out or made up, each
//! test must be where the page says, and the file must name the id, so that whoever reads the test finds the page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/scenarios.md";

/// How many there are, by prefix; each list counts from 1 and has no gaps.
const SCENARIOS: &[(&str, u32)] = &[
    ("CB", 30),
    ("RT", 16),
    ("BH", 6),
    ("TO", 5),
    ("RL", 10),
    ("HG", 8),
    ("FB", 1),
    ("AD", 6),
    ("LS", 2),
    ("CC", 7),
    ("OD", 2),
    ("RC", 1),
    ("CH", 1),
    ("CP", 8),
    ("ES", 60),
];

/// Looks up every row of the page.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let text = fs::read_to_string(root.join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let wrong = wrong(&text, |path| fs::read_to_string(root.join(path)).ok());
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What is wrong with the page, given the files it names.
fn wrong(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let all: Vec<String> =
        SCENARIOS.iter().flat_map(|(prefix, last)| (1..=*last).map(move |nth| format!("{prefix}{nth}"))).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in page.lines().filter_map(row) {
        let mut say = |what: &str| wrong.push(format!("{PAGE}: {}: {what}", row.id));
        if !all.iter().any(|id| id == row.id) {
            say("there is no such scenario");
        }
        if !seen.insert(row.id) {
            say("has a second row");
        }
        if row.required.is_empty() {
            say("requires nothing");
        }
        if row.tests.is_empty() {
            say("is held by no test");
        }
        for test in row.tests {
            let Some((path, name)) = test.rsplit_once("::") else {
                say(&format!("`{test}` is no `path::name`"));
                continue;
            };
            match read(path) {
                None => say(&format!("there is no {path}")),
                Some(source) if !source.contains(&format!("fn {name}(")) => say(&format!("{path} has no `{name}`")),
                Some(source) if !names(&source, row.id) => say(&format!("{path} does not name it")),
                Some(_) => {}
            }
        }
    }
    wrong.extend(all.iter().filter(|id| !seen.contains(id.as_str())).map(|id| format!("{PAGE}: {id} has no row")));
    wrong
}

struct Row<'a> {
    id: &'a str,
    required: &'a str,
    tests: Vec<&'a str>,
}

/// A row of one of the tables; their heads are none.
fn row(line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let (id, required, held) = (cells.next()?.trim(), cells.next()?.trim(), cells.next()?);
    let is_id =
        id.starts_with(|first: char| first.is_ascii_uppercase()) && id.ends_with(|last: char| last.is_ascii_digit());
    is_id.then(|| Row { id, required, tests: held.split('`').skip(1).step_by(2).collect() })
}

/// Whether a text has this id, and not only one that begins or ends with it.
fn names(text: &str, id: &str) -> bool {
    let is_word = |neighbour: Option<char>| {
        neighbour.is_some_and(|neighbour| neighbour.is_ascii_alphanumeric() || neighbour == '_')
    };
    text.match_indices(id)
        .any(|(at, _)| !is_word(text[..at].chars().next_back()) && !is_word(text[at + id.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page on which every scenario is held by one test.
    fn page() -> String {
        let ids = SCENARIOS.iter().flat_map(|(prefix, last)| (1..=*last).map(move |nth| format!("{prefix}{nth}")));
        let rows: Vec<_> = ids.map(|id| format!("| {id} | something | `a.rs::it_is_so_{id}` |")).collect();
        format!("| id | required | held by |\n|---|---|---|\n{}\n", rows.join("\n"))
    }

    /// The file all of its tests are in.
    fn sources(path: &str) -> Option<String> {
        let ids = SCENARIOS.iter().flat_map(|(prefix, last)| (1..=*last).map(move |nth| format!("{prefix}{nth}")));
        (path == "a.rs").then(|| ids.map(|id| format!("// {id}.\nfn it_is_so_{id}() {{}}\n")).collect())
    }

    #[test]
    fn a_page_with_a_row_for_each_is_right() {
        assert_eq!(wrong(&page(), sources), [""; 0]);
    }

    #[test]
    fn what_is_left_out_doubled_made_up_or_renamed_is_found() {
        let table = [
            ("| CP8 |", "| CP9 |", "CP9: there is no such scenario"),
            ("| CP8 |", "| CP7 |", "CP7: has a second row"),
            ("| CP8 |", "|", "CP8 has no row"),
            ("| CB7 | something |", "| CB7 |  |", "CB7: requires nothing"),
            ("`a.rs::it_is_so_CB7`", "", "CB7: is held by no test"),
            ("`a.rs::it_is_so_CB7`", "`it_is_so_CB7`", "CB7: `it_is_so_CB7` is no `path::name`"),
            ("`a.rs::it_is_so_CB7`", "`b.rs::it_is_so_CB7`", "CB7: there is no b.rs"),
            ("`a.rs::it_is_so_CB7`", "`a.rs::it_is_so_CB`", "CB7: a.rs has no `it_is_so_CB`"),
        ];
        for (from, to, expected) in table {
            let wrong = wrong(&page().replacen(from, to, 1), sources);
            assert!(wrong.iter().any(|said| said.ends_with(expected)), "{expected}: {wrong:?}");
        }
    }

    #[test]
    fn a_test_that_does_not_name_its_scenario_is_found() {
        let silent = |path: &str| sources(path).map(|text| text.replace("// CB1.\n", "// CB11.\n"));
        assert_eq!(wrong(&page(), silent), ["docs/scenarios.md: CB1: a.rs does not name it"]);
    }
}
