//! What a reader needs to place the figures: command, machine, compiler, noise.

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// The lines above a table.
#[derive(Debug)]
pub struct Header {
    /// The command that writes the file.
    pub command: &'static str,
    /// Crates and versions, as in the lock file.
    pub versions: String,
    /// What the noise filter saw.
    pub noise: String,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        writeln!(f, "- Command: `{}`", self.command)?;
        writeln!(f, "- Machine: {cores} cores, {}, Linux {}", processor(), kernel())?;
        writeln!(f, "- Compiler: {}, release, one codegen unit, no LTO, system allocator", rustc())?;
        writeln!(f, "- Versions: {}", self.versions)?;
        writeln!(f, "- Noise: {}", self.noise)
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?")
            .to_owned()
    };
    format!("{} (model {}, {} MHz)", field("model name"), field("model\t"), field("cpu MHz"))
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "?".into(), |release| release.split(['-', '+']).next().unwrap_or("?").trim().to_owned())
}

fn rustc() -> String {
    let answer = Command::new("rustc").arg("--version").output();
    answer
        .ok()
        .and_then(|out| String::from_utf8(out.stdout).ok())
        .map_or_else(|| "rustc ?".into(), |v| v.trim().to_owned())
}

/// The share of the next moments that a thread of ours would wait for a processor: spins for `probe` and looks.
pub fn run_delay_share(probe: Duration) -> f64 {
    let before = super::RunDelay::now();
    let start = Instant::now();
    while start.elapsed() < probe {
        std::hint::spin_loop();
    }
    let wall = start.elapsed();
    super::RunDelay::now().since(before).as_secs_f64() / wall.as_secs_f64()
}

/// `name version` of the crates in a lock file whose name starts with one of `prefixes`.
pub fn versions(lock: &str, prefixes: &[&str]) -> String {
    let mut found = Vec::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(rest) = line.strip_prefix("name = \"") {
            name = rest.trim_end_matches('"');
        } else if let Some(version) = line.strip_prefix("version = \"")
            && prefixes.iter().any(|prefix| name.starts_with(prefix))
        {
            found.push(format!("{name} {}", version.trim_end_matches('"')));
        }
    }
    found.join(", ")
}
