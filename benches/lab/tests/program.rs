//! The program: what it says, and its exit status.

use std::path::Path;
use std::process::{Command, Output};

fn lab(directory: &Path, scenario: &str) -> Output {
    let file = directory.join("tiny.toml");
    std::fs::write(&file, scenario).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lab")).arg(&file).arg("--out").arg(directory).output().unwrap()
}

const TINY: &str = r#"
name = "tiny"
title = "A tiny experiment"
about = "One server."
seed = 1
seeds = 3
duration = "2s"

[[station]]
name = "server"
workers = 2
service = { constant = "10ms" }

[[load]]
name = "callers"
station = "server"
rate = 20.0
patience = "1s"

[[variant]]
name = "bare"

[[goal]]
say = "nobody is lost"
variant = "bare"
measure = { lost = {} }
at_most = 0
"#;

#[test]
fn a_goal_that_is_met_writes_the_page_and_ends_well() {
    let directory = tempfile::tempdir().unwrap();
    let output = lab(directory.path(), TINY);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = std::fs::read_to_string(directory.path().join("lab-tiny.md")).unwrap();
    assert!(page.contains("| nobody is lost | bare | ≤ 0 | 0 | 0 | met |"), "{page}");
    assert!(page.contains("seed 1."));
    assert!(std::fs::read_to_string(directory.path().join("lab-tiny.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn a_goal_that_is_missed_is_the_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let output = lab(directory.path(), &TINY.replace("measure = { lost = {} }", "measure = { sent = {} }"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("not met"));
}

#[test]
fn a_bad_scenario_is_one_sentence_with_line_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let output = lab(directory.path(), &TINY.replace("workers = 2", "workers = -2"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("tiny.toml, line 11: station[0].workers: "), "{said}");

    // What a layer's own crate refuses is told with the variant and the place of the layer.
    let layers = "name = \"bare\"\nlayers = [{ timeout = { limit = \"1s\" } }, { bulkhead = { limit = 0 } }]";
    let output = lab(directory.path(), &TINY.replacen("name = \"bare\"", layers, 1));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), "lab: bare: layers[1]: limit must be above zero");
}

#[test]
fn the_scenario_of_the_readme_runs_and_meets_its_goals() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, from) = readme.split_once("```toml\n").unwrap();
    let (text, _) = from.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let output = lab(directory.path(), text);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_mistake_in_the_last_file_is_told_before_the_first_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["good.toml", "bad.toml"].map(|name| directory.path().join(name));
    std::fs::write(&files[0], TINY).unwrap();
    std::fs::write(&files[1], TINY.replace("seed = 1", "sead = 1")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(&files).arg("--dry-run").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad.toml, line 5: sead: unknown field"), "{output:?}");
}

#[test]
fn help_says_what_the_exit_status_means() {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("--help").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Exit status: 0 if every goal is met"));
}
