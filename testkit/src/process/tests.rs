use std::fs;
use std::os::unix::process::ExitStatusExt;

use super::*;

const SOON: Duration = Duration::from_secs(60);

/// Whether a process runs; a zombie does not.
#[cfg(target_os = "linux")]
fn runs(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| !"ZX".contains(state))
}

fn shell(script: &str, directory: &Path) -> Process {
    Process::new("sh", directory.join("log")).args(["-c", script])
}

#[test]
fn a_killed_process_is_gone_and_comes_back_with_the_same_arguments() {
    let directory = scratch_dir().unwrap();
    let mut server = shell("echo up >> \"$DATA\"; exec sleep 600", directory.path())
        .env("DATA", directory.path().join("data"))
        .start()
        .unwrap();
    let starts = || fs::read_to_string(directory.path().join("data")).unwrap_or_default().lines().count();
    server.wait_until(SOON, || starts() == 1).unwrap();
    assert_eq!(server.kill().unwrap().signal(), Some(libc::SIGKILL));
    assert!(!server.is_running().unwrap());
    assert!(server.kill().is_ok(), "killing the dead is no error");
    server.restart().unwrap();
    server.wait_until(SOON, || starts() == 2).unwrap();
    assert!(server.is_running().unwrap());
    assert_eq!(server.stop(SOON).unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn a_process_that_ends_before_it_is_ready_shows_its_log() {
    let directory = scratch_dir().unwrap();
    let mut server = shell("echo cannot bind; exit 3", directory.path()).start().unwrap();
    let error = server.wait_until(SOON, || false).unwrap_err().to_string();
    assert!(error.contains("ended before it was ready") && error.contains("cannot bind"), "{error}");
    assert_eq!(server.wait().unwrap().code(), Some(3));
}

#[cfg(target_os = "linux")]
#[test]
fn a_kill_takes_the_children_too() {
    let directory = scratch_dir().unwrap();
    let mut server = shell("sleep 600 & echo $!; wait", directory.path()).start().unwrap();
    server
        .wait_until(SOON, || fs::read_to_string(directory.path().join("log")).is_ok_and(|log| log.ends_with('\n')))
        .unwrap();
    let child: u32 = server.log().unwrap().trim().parse().unwrap();
    assert!(runs(child));
    drop(server);
    poll(SOON, || Ok(!runs(child))).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_paused_stands_still_until_it_is_resumed() {
    let directory = scratch_dir().unwrap();
    let mut server = shell("exec sleep 600", directory.path()).start().unwrap();
    let state = |id: u32| fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    server.pause().unwrap();
    poll(SOON, || Ok(state(server.id()).contains(") T "))).unwrap();
    server.resume().unwrap();
    poll(SOON, || Ok(!state(server.id()).contains(") T "))).unwrap();
    assert!(server.is_running().unwrap());
}

/// A test runner that loses patience kills the test, not its servers; they must go by themselves.
///
/// This very test, run again as a process of its own, plays the test that is killed.
#[cfg(target_os = "linux")]
#[test]
fn a_test_that_is_killed_takes_its_processes_along() {
    const PLAYED: &str = "TESTKIT_PLAYS_THE_KILLED_TEST";
    if let Some(directory) = std::env::var_os(PLAYED) {
        let server = shell("exec sleep 600", Path::new(&directory)).start().unwrap();
        println!("server={}", server.id());
        let _ = poll(SOON, || Ok(false));
        return;
    }
    let directory = scratch_dir().unwrap();
    let name = "process::tests::a_test_that_is_killed_takes_its_processes_along";
    let mut test = Process::new(std::env::current_exe().unwrap(), directory.path().join("test"))
        .args(["--exact", name, "--nocapture"])
        .env(PLAYED, directory.path())
        .start()
        .unwrap();
    let mut server = None;
    let find = |log: &str| log.lines().find_map(|line| line.split_once("server=")?.1.trim().parse::<u32>().ok());
    let log = directory.path().join("test");
    test.wait_until(SOON, || {
        server = fs::read_to_string(&log).ok().filter(|log| log.ends_with('\n')).and_then(|log| find(&log));
        server.is_some()
    })
    .unwrap();
    let server = server.unwrap();
    assert!(runs(server));
    // Only the test itself: its server is in a group of its own and must not need this signal.
    test.kill().unwrap();
    poll(SOON, || Ok(!runs(server))).unwrap();
}
