//! Deposits that expire: a sliding sum in ten slices, after Finagle's `RetryBudget` and its leaky token bucket.

use std::time::Duration;

use crate::ConfigError;
use crate::time::Timestamp;

use super::word::{Input, TOKEN, millionths};

const SLICES: usize = 10;

/// Each request pays in `ratio` of a retry, which expires after `ttl`; so does the price of a retry.
///
/// The only rule that needs a lock and a clock reading for each request: prefer [`Ratio`](super::Ratio) unless deposits
/// must not be saved for a worse day.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::retry::budget::{Leaky, RetryBudget, Rule};
/// use resilience_core::time::ManualTimer;
///
/// let timer = ManualTimer::new();
/// let rule = Leaky { min_per_second: 0, ratio: 0.5, ..Leaky::default() };
/// let budget = RetryBudget::builder().rule(Rule::Leaky(rule)).timer(timer.clone()).build()?;
/// (0..4).for_each(|_| drop(budget.request()));
/// assert_eq!(budget.snapshot().available, 2.0);
/// timer.advance(Duration::from_secs(10));
/// assert_eq!(budget.snapshot().available, 0.0); // not to be saved for a worse day
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaky {
    /// How long a deposit counts; a second to a minute.
    pub ttl: Duration,
    /// Retries per second that need no deposit.
    pub min_per_second: u32,
    /// Retries per request.
    pub ratio: f64,
}

impl Default for Leaky {
    /// Finagle's: 10 s, 10/s, 0.2.
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), min_per_second: 10, ratio: 0.2 }
    }
}

/// The sliding sum. Withdrawals are negative deposits, and expire alike: that is how the reserve grows back.
#[derive(Clone, Debug)]
pub(super) struct Slices {
    slice: u64,
    reserve: i64,
    per_request: i64,
    sums: [i64; SLICES],
    /// The number of the newest slice since the clock's origin.
    newest: u64,
}

impl Slices {
    pub(super) fn new(rule: &Leaky) -> Result<Self, ConfigError> {
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&rule.ttl) {
            return Err(ConfigError::new("ttl", "must be between 1 s and 60 s"));
        }
        let ttl = (Timestamp::ORIGIN + rule.ttl).as_nanos();
        let millis = ttl / 1_000_000;
        // At most u32::MAX * 60,000 * 1,000: far from the end of an i64.
        let reserve = u64::from(rule.min_per_second) * millis * (TOKEN / 1000);
        Ok(Self {
            slice: ttl / SLICES as u64,
            reserve: reserve as i64,
            per_request: millionths("ratio", rule.ratio)? as i64,
            sums: [0; SLICES],
            newest: 0,
        })
    }

    /// Whether `input` is granted at `now`.
    pub(super) fn step(&mut self, now: Timestamp, input: Input) -> bool {
        let change = match input {
            Input::Request => self.per_request,
            Input::Withdraw(_) => -(TOKEN as i64),
            Input::Refund(_) => TOKEN as i64,
            Input::Done | Input::Success | Input::Failure | Input::Recovered(_) | Input::Finished => return true,
        };
        self.roll(now);
        if matches!(input, Input::Withdraw(_)) && self.balance() < TOKEN as i64 {
            return false;
        }
        let at = (self.newest % SLICES as u64) as usize;
        self.sums[at] = self.sums[at].saturating_add(change);
        true
    }

    /// Retries that could be made at `now`.
    pub(super) fn available(&mut self, now: Timestamp) -> f64 {
        self.roll(now);
        self.balance() as f64 / TOKEN as f64
    }

    /// Forgets the slices that `now` has passed. A clock that stands still or goes back forgets none.
    fn roll(&mut self, now: Timestamp) {
        let number = now.as_nanos() / self.slice;
        let passed = number.saturating_sub(self.newest).min(SLICES as u64);
        for _ in 0..passed {
            self.newest += 1;
            self.sums[(self.newest % SLICES as u64) as usize] = 0;
        }
        self.newest = self.newest.max(number);
    }

    fn balance(&self) -> i64 {
        self.sums.iter().fold(self.reserve, |sum, slice| sum.saturating_add(*slice))
    }
}
