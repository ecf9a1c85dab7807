//! How fast something moves, smoothed.

use std::time::Duration;

use resilience_core::time::Timestamp;

/// What was seen this long ago counts for a third as much.
const MEMORY: Duration = Duration::from_secs(10);

/// Events a second, as an exponentially weighted mean over time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    at: Timestamp,
    count: f64,
    rate: Option<f64>,
}

impl Meter {
    pub(super) const fn new(at: Timestamp, count: f64) -> Self {
        Self { at, count, rate: None }
    }

    /// So many in all by now.
    pub(super) fn observe(&mut self, now: Timestamp, count: f64) {
        let passed = now.since(self.at).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let latest = (count - self.count).max(0.0) / passed;
        let weight = 1.0 - (-passed / MEMORY.as_secs_f64()).exp();
        self.rate = Some(self.rate.map_or(latest, |rate| rate + weight * (latest - rate)));
        (self.at, self.count) = (now, count);
    }

    /// Events a second; 0 as long as nothing is known.
    pub(super) fn rate(&self) -> f64 {
        self.rate.unwrap_or(0.0)
    }
}

/// How long a distance may not shrink before that is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a distance gets less, told by its least value so far: rates of batches and of bursts say little about that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trend {
    least: u64,
    /// When it was so little.
    since: Timestamp,
    outpaced: bool,
}

impl Trend {
    pub(super) const fn new(at: Timestamp) -> Self {
        Self { least: u64::MAX, since: at, outpaced: false }
    }

    /// So much by now. Whether this is the moment from which on it has not shrunk for too long.
    pub(super) fn observe(&mut self, now: Timestamp, distance: u64) -> bool {
        if distance < self.least || distance == 0 {
            *self = Self { least: distance, since: now, outpaced: false };
            return false;
        }
        let is_new = !self.outpaced && now.since(self.since) >= PATIENCE;
        self.outpaced |= is_new;
        is_new
    }

    /// Whether it has not shrunk for too long.
    pub(super) const fn is_outpaced(&self) -> bool {
        self.outpaced
    }
}

/// When one that is `behind` by so much has caught up with what moves on at the second rate. `None` if never, or not
/// within a century.
pub(super) fn eta(behind: f64, rate: f64, head_rate: f64) -> Option<Duration> {
    if behind <= 0.0 {
        return Some(Duration::ZERO);
    }
    let gain = rate - head_rate;
    let seconds = (gain > 0.0).then(|| behind / gain)?;
    (seconds < 3.2e9).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use resilience_core::time::{ManualTimer, Timer as _};

    use super::*;

    #[test]
    fn a_rate_follows_what_is_seen_and_survives_a_clock_that_stands_still() {
        let timer = ManualTimer::new();
        let mut meter = Meter::new(timer.now(), 0.0);
        meter.observe(timer.now(), 100.0);
        assert_eq!(meter.rate(), 0.0, "no time has passed");
        for second in 1..=60 {
            timer.advance(Duration::from_secs(1));
            meter.observe(timer.now(), f64::from(second) * 500.0);
        }
        assert!((meter.rate() - 500.0).abs() < 1.0, "{}", meter.rate());
        for second in 1..=30 {
            timer.advance(Duration::from_secs(1));
            meter.observe(timer.now(), 30_000.0 + f64::from(second) * 1000.0);
        }
        assert!((970.0..1000.0).contains(&meter.rate()), "{}", meter.rate());
    }

    #[test]
    fn a_distance_that_stays_is_told_once_and_a_new_low_ends_it() {
        let timer = ManualTimer::new();
        let mut trend = Trend::new(timer.now());
        let mut told = |distance, seconds| {
            timer.advance(Duration::from_secs(seconds));
            let is_new = trend.observe(timer.now(), distance);
            (is_new, trend.is_outpaced())
        };
        assert_eq!(told(100, 0), (false, false));
        assert_eq!(told(150, 29), (false, false));
        assert_eq!(told(99, 0), (false, false), "it has shrunk");
        assert_eq!(told(99, 29), (false, false));
        assert_eq!(told(120, 1), (true, true));
        assert_eq!(told(500, 60), (false, true), "told already");
        assert_eq!(told(98, 60), (false, false));
        assert_eq!(told(0, 60), (false, false));
        assert_eq!(told(0, 60), (false, false), "there is nothing less than nothing");
    }

    #[test]
    fn an_eta_counts_what_comes_meanwhile_and_does_not_promise_what_never_ends() {
        assert_eq!(eta(9_000.0, 1_000.0, 100.0), Some(Duration::from_secs(10)));
        assert_eq!(eta(9_000.0, 1_000.0, 1_000.0), None);
        assert_eq!(eta(0.0, 0.0, 1_000.0), Some(Duration::ZERO));
        assert_eq!(eta(1e18, 1.0, 0.0), None);
        assert_eq!(eta(f64::NAN, 1.0, 0.0), None);
    }
}
