//! The example, run as one would run it.

use std::process::Command;

fn run(file: &std::path::Path) -> Vec<String> {
    let done = Command::new(env!("CARGO_BIN_EXE_bank")).arg(file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_second_run_on_the_same_file_opens_nothing_twice_and_goes_on_with_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bank.db");
    let first = run(&file);
    assert!(first[0].ends_with("at version 1"), "{first:?}");
    assert!(first[3].ends_with("Some(Insufficient)"), "{first:?}");
    for line in [4, 6] {
        assert!(first[line].contains("7000"), "both tables: {first:?}");
    }
    let second = run(&file);
    for line in [4, 6] {
        assert!(second[line].contains("14000"), "both tables: {second:?}");
    }
}
