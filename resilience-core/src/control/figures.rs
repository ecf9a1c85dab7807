//! Figures made of many: averages and percentiles.

/// An exponential average that begins as a plain one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MovingAverage {
    factor: f64,
    warmup: u32,
    count: u32,
    sum: f64,
    value: f64,
}

impl MovingAverage {
    /// Over about `window` values, and the mean of the first `warmup`.
    pub fn new(window: u32, warmup: u32) -> Self {
        Self { factor: 2.0 / (f64::from(window) + 1.0), warmup, count: 0, sum: 0.0, value: 0.0 }
    }

    /// Adds a value; the average.
    pub fn add(&mut self, value: f64) -> f64 {
        if self.count < self.warmup {
            self.count += 1;
            self.sum += value;
            self.value = self.sum / f64::from(self.count);
        } else {
            self.value = self.value * (1.0 - self.factor) + value * self.factor;
        }
        self.value
    }

    /// The average.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Brings the average down to a share of itself, faster than small values would.
    pub fn shrink(&mut self, to: f64) {
        self.value *= to;
    }
}

/// The value at a share of a sorted list, by nearest rank; `None` of nothing.
///
/// ```
/// use resilience_core::control::percentile;
///
/// assert_eq!(percentile(&[1, 2, 3, 4, 5], 0.5), Some(3));
/// ```
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (sorted.len() as f64 * share).round() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied()
}
