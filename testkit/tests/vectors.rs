//! The runner of conformance cases, as whoever has a file of them runs it.
#![cfg(feature = "vectors")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The files in a folder of `testkit/vectors`.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|name| name == "json")).collect();
    files.sort();
    files
}

/// The exit code, and what was printed.
fn run(files: &[PathBuf]) -> (Option<i32>, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_vectors")).args(files).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "all that is to be said is said in lines");
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect();
    (output.status.code(), lines)
}

#[test]
fn the_projects_own_cases_pass() {
    let (code, lines) = run(&files(""));
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");
    assert!(lines[0].ends_with(" passed, 0 failed"), "{lines:?}");
}

#[test]
fn each_file_that_is_wrong_gets_one_line_and_fails_the_run() {
    let expected = [
        ("bad-json.json", "not JSON: EOF while parsing"),
        ("empty.json", "the file is empty"),
        ("huge-numbers.json", "window: setup: size is too large: 1e300"),
        ("missing-field.json", "bandwidth (bbr): step 1 (max_inflight): max_pass is missing"),
        ("negative-times.json", "late: step 1: at is negative: -5"),
        ("no-cases.json", "there are no cases"),
        (
            "no-end.json",
            "calls (quota_raw): step 1 (acquire): n must be from 0 to 10000000, and is 1000000000000000000",
        ),
        ("nothing-expected.json", "bandwidth: nothing is expected"),
        ("unknown-model.json", "bandwidth (crystal_ball): unknown model \"crystal_ball\""),
        ("unknown-operation.json", "bandwidth (bbr): step 1 (guess): unknown op \"guess\""),
        ("unknown-profile.json", "hystrix (breaker): unknown profile \"hystrix\""),
        ("wrong-figure.json", "bandwidth (bbr): step 1 (max_inflight): n: expected 11, got 10"),
    ];
    let wrong = files("wrong");
    let names: Vec<_> = wrong.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, expected.map(|(name, _)| name), "each file has its line here");
    for (path, (name, says)) in wrong.iter().zip(expected) {
        let (code, lines) = run(std::slice::from_ref(path));
        assert_eq!((code, lines.len()), (Some(1), 2), "{name}: {lines:?}");
        assert!(lines[0].starts_with("FAILED ") && lines[0].contains(says), "{name}: {lines:?}");
        assert_eq!(lines[1], "0 passed, 1 failed", "{name}");
    }
}

#[test]
fn files_that_are_wrong_hide_none_that_are_right() {
    let (right, wrong) = (files(""), files("wrong"));
    let passed = run(&right).1[0].split(' ').next().unwrap().to_owned();
    let (code, lines) = run(&[wrong.clone(), right].concat());
    assert_eq!(code, Some(1));
    assert_eq!(lines.last().unwrap(), &format!("{passed} passed, {} failed", wrong.len()));
    let (code, lines) = run(&["no/such/file.json".into()]);
    assert_eq!(code, Some(1));
    assert!(lines[0].starts_with("FAILED no/such/file.json: "), "{lines:?}");
    assert_eq!(run(&[]).0, Some(2), "nothing to run is no success");
}
