//! Calls of a while, as one sample.

use std::time::Duration;

use crate::ConfigError;
use crate::control::percentile;
use crate::rng::Rng;
use crate::time::{Timestamp, saturating_nanos};

/// Round trips kept of one window, for its percentile: beyond, a fair choice of as many.
const MOST: usize = 256;

/// What stands for the round trips of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Figure {
    /// Their mean: moves with every call, with a single long one too.
    Mean,
    /// The round trip that this share of them does not exceed, above 0 and at most 1.
    Percentile(f64),
}

/// When a window is over, and what it is reduced to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// It lasts twice the least round trip of the one before, within these bounds.
    pub(super) least: Duration,
    pub(super) most: Duration,
    /// It holds at least so many calls.
    pub(super) samples: u32,
    pub(super) figure: Figure,
}

impl Shape {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.figure {
            // Written so that NaN is refused too.
            Figure::Percentile(share) if !(share > 0.0 && share <= 1.0) => {
                Err(ConfigError::new("figure", "must be a percentile above 0 and at most 1"))
            }
            _ if self.least > self.most => Err(ConfigError::new("window", "must not be shorter at most than at least")),
            _ if self.samples == 0 => Err(ConfigError::new("samples", "must be above zero")),
            _ => Ok(()),
        }
    }
}

/// What a window has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The figure of the calls that were answered; `None` if none was.
    pub(super) answered: Option<Duration>,
    /// The longest of the calls that were lost; `None` if none was.
    pub(super) lost: Option<Duration>,
    /// The most calls in flight.
    pub(super) busiest: u32,
}

/// The window in progress. It begins with its first call, so that an idle while is part of none.
#[derive(Debug)]
pub(super) struct Window {
    shape: Shape,
    length: Duration,
    ends: Timestamp,
    count: u32,
    sum: u128,
    least: u64,
    lost: Option<Duration>,
    busiest: u32,
    kept: Vec<u64>,
}

impl Window {
    pub(super) fn new(shape: Shape) -> Self {
        // All there will ever be: a call that ends allocates nothing.
        let kept = Vec::with_capacity(if shape.figure == Figure::Mean { 0 } else { MOST });
        let (ends, length) = (Timestamp::ORIGIN, shape.least);
        Self { shape, length, ends, count: 0, sum: 0, least: u64::MAX, lost: None, busiest: 0, kept }
    }

    /// A call was answered.
    pub(super) fn add(&mut self, rtt: Duration, in_flight: u32, now: Timestamp, rng: &mut Rng) {
        if self.count == 0 {
            self.ends = now + self.length;
        }
        let nanos = saturating_nanos(rtt);
        self.busiest = self.busiest.max(in_flight);
        self.least = self.least.min(nanos);
        self.sum += u128::from(nanos);
        self.count = self.count.saturating_add(1);
        if self.shape.figure == Figure::Mean {
            return;
        }
        if self.kept.len() < MOST {
            self.kept.push(nanos);
        } else {
            // Each call of the window is as likely to be kept (Vitter, "Random sampling with a reservoir", 1985).
            let place = usize::try_from(rng.below(self.count.into())).unwrap_or(MOST);
            if let Some(kept) = self.kept.get_mut(place) {
                *kept = nanos;
            }
        }
    }

    /// A call was lost.
    pub(super) fn lose(&mut self, rtt: Duration, in_flight: u32) {
        self.busiest = self.busiest.max(in_flight);
        self.lost = self.lost.max(Some(rtt));
    }

    /// Calls answered in it.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn samples(&self) -> u32 {
        self.shape.samples
    }

    /// Whether it has lasted long enough and holds enough.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.count >= self.shape.samples && now >= self.ends
    }

    /// What it has shown; the next one begins with the next call.
    pub(super) fn take(&mut self) -> Shown {
        let answered = (self.count > 0).then(|| Duration::from_nanos(self.figure()));
        let shown = Shown { answered, lost: self.lost, busiest: self.busiest };
        if self.count > 0 {
            let twice = Duration::from_nanos(self.least.saturating_mul(2));
            self.length = twice.clamp(self.shape.least, self.shape.most);
        }
        self.clear();
        shown
    }

    /// Forgets what it holds.
    pub(super) fn clear(&mut self) {
        (self.count, self.sum, self.least, self.lost, self.busiest) = (0, 0, u64::MAX, None, 0);
        self.kept.clear();
    }

    /// Goes on with another shape, from the next window on.
    pub(super) fn reshape(&mut self, shape: Shape) {
        if self.shape != shape {
            *self = Self::new(shape);
        }
    }

    fn figure(&mut self) -> u64 {
        let mean = || u64::try_from(self.sum / u128::from(self.count.max(1))).unwrap_or(u64::MAX);
        match self.shape.figure {
            Figure::Mean => mean(),
            Figure::Percentile(share) => {
                self.kept.sort_unstable();
                percentile(&self.kept, share).unwrap_or_else(mean)
            }
        }
    }
}
