//! Runs the program as its users do, and reads the report it leaves.

use std::process::Command;

/// The lines of the last report that belong to one instrument.
fn instrument<'a>(report: &'a str, name: &str) -> Vec<&'a str> {
    let is_name =
        |line: &str| line.split("Name").nth(1).is_some_and(|rest| rest.trim_start_matches([' ', ':']).trim() == name);
    let lines = report.lines().skip_while(|line| !is_name(line)).skip(1);
    lines.take_while(|line| !line.contains("Metric #")).collect()
}

#[test]
fn an_outage_shows_in_the_metrics_from_the_first_retry_to_the_recovery() {
    let run =
        Command::new(env!("CARGO_BIN_EXE_telemetry")).args(["--calls", "400", "--every", "3600"]).output().unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{report}{}", String::from_utf8_lossy(&run.stderr));
    for name in [
        "resilience.retry.retrying",
        "resilience.circuit_breaker.opened",
        "resilience.circuit_breaker.rejected",
        "resilience.circuit_breaker.closed",
        "resilience.bulkhead.admitted",
        "resilience.bulkhead.permit.held",
    ] {
        assert!(!instrument(&report, name).is_empty(), "{name} is not in\n{report}");
    }
    let refused = instrument(&report, "resilience.circuit_breaker.rejected").join("\n");
    assert!(refused.contains("reason") && refused.contains("open"), "{refused}");
    // One-hot, and closed again at the end.
    let state = instrument(&report, "resilience.circuit_breaker.state");
    let values: Vec<_> = state.iter().filter(|line| line.contains("Value")).collect();
    assert_eq!(values.iter().filter(|line| line.trim_end().ends_with('1')).count(), 1, "{state:#?}");
}
