//! Foreign load, as the kernel saw it: how long our threads were ready to run and did not.

use std::fs;
use std::time::Duration;

/// Time all threads of this process have waited for a processor, from `/proc/self/task/*/schedstat`.
#[derive(Clone, Copy, Debug)]
pub struct RunDelay(Duration);

impl RunDelay {
    /// The total up to now; zero where the kernel does not tell, and then no sample is ever discarded.
    pub fn now() -> Self {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else {
            return Self(Duration::ZERO);
        };
        let total = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum();
        Self(Duration::from_nanos(total))
    }

    /// The delay since `earlier`.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
