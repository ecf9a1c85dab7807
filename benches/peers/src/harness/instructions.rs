//! Instructions a call, by callgrind: the figure that does not depend on who else uses the machine.
//!
//! Each case runs twice in a process of its own, with few and with many calls; the difference is free of start-up.
//! The kernel is not counted, and a clock read is undercounted (valgrind answers it itself).

use std::env;
use std::process::Command;

use super::{Figures, Runtimes, Spec};

const FEW: u64 = 1_000;
const MANY: u64 = 6_000;
const WARM_UP: u64 = 1_000;

/// Adds the count to every figure; leaves them as they are, with one line on stderr, where valgrind is missing.
pub fn count_all(figures: &mut [Figures]) {
    for figure in figures {
        if figure.wrong.is_some() || figure.one.last().is_some_and(|&ns| ns > 100_000.0) {
            continue;
        }
        let (few, again, many) = (collected(figure, FEW), collected(figure, FEW), collected(figure, MANY));
        let (Some(few), Some(many)) = (few, many) else {
            eprintln!("no instruction count for {} / {}: is valgrind installed?", figure.group, figure.name);
            continue;
        };
        // Building ten thousand endpoints never costs the same twice, since hashes are seeded by chance: where that drowns
        // the calls there is no figure.
        let drift = again.map_or(f64::INFINITY, |again| (again as f64 - few as f64).abs());
        let calls = many as f64 - few as f64;
        figure.instructions = (drift < 0.05 * calls).then(|| calls / ((MANY - FEW) * figure.each) as f64);
    }
}

/// The other side: builds one case and calls it.
pub fn run_one(specs: Vec<Spec>, runtimes: &Runtimes, group: &str, name: &str, calls: u64) -> Result<(), String> {
    let spec = specs.into_iter().find(|spec| spec.group == group && spec.name == name);
    let spec = spec.ok_or_else(|| format!("no case {group} / {name}"))?;
    let mut case = (spec.make)(runtimes);
    // What runs beside the first calls, a balancer's driver that meets its endpoints say, is over before the counted ones.
    case.one(WARM_UP);
    case.one(calls);
    Ok(())
}

fn collected(figure: &Figures, calls: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .args(["one", "--group", figure.group, "--name", &figure.name, "--calls", &calls.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}
