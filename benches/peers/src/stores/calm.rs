//! Whether the machine was ours: a commit waits for the kernel's threads too, and they wait behind a build.

use std::time::{Duration, Instant};

use crate::harness::run_delay_share;

/// A sample is calm if others used less than this share of the processors.
pub const CALM: f64 = 0.1;

/// Waits until a thread of ours would not wait, for at most `patience`.
pub fn wait(patience: Duration) {
    let start = Instant::now();
    while run_delay_share(Duration::from_millis(20)) > 0.02 && start.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What other programs use of the processors.
pub struct ForeignLoad {
    busy: f64,
    own: f64,
    start: Instant,
}

impl ForeignLoad {
    pub fn begin() -> Self {
        Self { busy: busy(), own: own(), start: Instant::now() }
    }

    /// The share since `begin`.
    pub fn share(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let foreign = (busy() - self.busy) - (own() - self.own);
        (foreign / (cores * self.start.elapsed().as_secs_f64())).max(0.0)
    }
}

/// Seconds that all processors together were not idle.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = stat.lines().next() else { return 0.0 };
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    ticks.iter().take(8).enumerate().filter(|(field, _)| !matches!(field, 3 | 4)).map(|(_, ticks)| ticks).sum::<f64>()
        / 100.0
}

/// Seconds that this process and the samples it waited for have used.
fn own() -> f64 {
    // user, system, and both again of the children that ended: fields 14 to 17, counted from the one after the name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
