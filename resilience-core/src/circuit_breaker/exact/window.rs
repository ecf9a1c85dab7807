//! What happened lately, exactly.

use std::collections::VecDeque;
use std::time::Duration;

use super::options::Window;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it failed; `None` if it is neither good nor bad.
    pub failed: Option<bool>,
    /// Whether it was slow.
    pub slow: bool,
    /// How long it took.
    pub duration: Duration,
}

impl Outcome {
    /// A good answer.
    pub const SUCCESS: Self = Self { failed: Some(false), slow: false, duration: Duration::ZERO };
    /// A failure.
    pub const FAILURE: Self = Self { failed: Some(true), slow: false, duration: Duration::ZERO };
    /// Neither.
    pub const IGNORED: Self = Self { failed: None, slow: false, duration: Duration::ZERO };

    /// The same after so long.
    #[must_use]
    pub const fn after(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// The same, and slow.
    #[must_use]
    pub const fn slowly(mut self) -> Self {
        self.slow = true;
        self
    }
}

/// Sums over some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls that were admitted; only what counts admissions has it.
    pub requests: u64,
    /// Good answers, slow ones included.
    pub success: u64,
    /// Failures, slow ones included.
    pub failed: u64,
    /// Good answers that were slow.
    pub slow_success: u64,
    /// Failures that were slow.
    pub slow_failed: u64,
    /// Answers that are neither good nor bad.
    pub excluded: u64,
    /// How long they took together.
    pub duration: Duration,
}

impl Sums {
    /// Good answers and failures.
    pub fn total(&self) -> u64 {
        self.success + self.failed
    }

    /// Slow answers, good or not.
    pub fn slow(&self) -> u64 {
        self.slow_success + self.slow_failed
    }

    /// The share of failures; 0 of nothing.
    pub fn failure_rate(&self) -> f64 {
        share(self.failed, self.total())
    }

    /// The share of slow answers; 0 of nothing.
    pub fn slow_rate(&self) -> f64 {
        share(self.slow(), self.total())
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        match outcome.failed {
            Some(true) => self.failed += 1,
            Some(false) => self.success += 1,
            None => {
                self.excluded += 1;
                return;
            }
        }
        match (outcome.failed, outcome.slow) {
            (Some(true), true) => self.slow_failed += 1,
            (_, true) => self.slow_success += 1,
            (_, false) => {}
        }
        self.duration = self.duration.saturating_add(outcome.duration);
    }

    fn take(&mut self, outcome: Outcome) {
        match outcome.failed {
            Some(true) => self.failed -= 1,
            _ => self.success -= 1,
        }
        match (outcome.failed, outcome.slow) {
            (Some(true), true) => self.slow_failed -= 1,
            (_, true) => self.slow_success -= 1,
            (_, false) => {}
        }
        self.duration = self.duration.saturating_sub(outcome.duration);
    }

    fn plus(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.success += other.success;
        self.failed += other.failed;
        self.slow_success += other.slow_success;
        self.slow_failed += other.slow_failed;
        self.excluded += other.excluded;
        self.duration = self.duration.saturating_add(other.duration);
        self
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A window and what is in it.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::circuit_breaker::exact::{Outcome, Stats, Window};
///
/// let mut last_two = Stats::new(Window::Count(2), Duration::ZERO);
/// for outcome in [Outcome::FAILURE, Outcome::SUCCESS, Outcome::SUCCESS] {
///     last_two.record(outcome, Duration::ZERO, Duration::ZERO);
/// }
/// assert_eq!(last_two.sums(Duration::ZERO).failed, 0); // the failure is the third last
/// ```
#[derive(Clone, Debug)]
pub struct Stats {
    window: Window,
    began: Duration,
    /// Of a count window: each call, the oldest first.
    calls: VecDeque<Outcome>,
    /// Of other windows: the parts, each with its number or its beginning.
    parts: VecDeque<(u128, Sums)>,
    /// Of a count window and of one without end.
    all: Sums,
}

/// Calls or parts that are made room for at once.
const FIRST_PIECE: u32 = 1024;

impl Stats {
    /// An empty window that begins at `now`.
    pub fn new(window: Window, now: Duration) -> Self {
        // What is held at most is made room for now and not call by call; of a huge window, a first piece.
        let (calls, parts) = match window {
            Window::Count(calls) => (calls.min(FIRST_PIECE), 0),
            Window::Aligned { parts, .. } | Window::Rolling { parts, .. } | Window::FirstTouch { parts, .. } => {
                (0, parts.min(FIRST_PIECE))
            }
            Window::Unbounded => (0, 0),
        };
        let (calls, parts) = (VecDeque::with_capacity(calls as usize), VecDeque::with_capacity(parts as usize));
        Self { window, began: now, calls, parts, all: Sums::default() }
    }

    /// A call was admitted.
    pub fn admitted(&mut self, now: Duration) {
        if let Some(sums) = self.part(now, now) {
            sums.requests += 1;
        }
    }

    /// A call that began at `started` ended.
    pub fn record(&mut self, outcome: Outcome, started: Duration, now: Duration) {
        if let Window::Count(size) = self.window {
            if outcome.failed.is_some() {
                if self.calls.len() >= size.max(1) as usize
                    && let Some(oldest) = self.calls.pop_front()
                {
                    self.all.take(oldest);
                }
                self.calls.push_back(outcome);
            }
            self.all.add(outcome);
        } else if let Some(sums) = self.part(started, now) {
            sums.add(outcome);
        }
    }

    /// The sums at `now`. Where parts begin at the first touch, this is one.
    pub fn sums(&mut self, now: Duration) -> Sums {
        match self.window {
            Window::Count(_) | Window::Unbounded => self.all,
            _ => {
                self.part(now, now);
                self.parts.iter().fold(Sums::default(), |sum, (_, part)| sum.plus(part))
            }
        }
    }

    /// The part of the window that a moment belongs to, seen from `now`; `None` if it is gone.
    fn part(&mut self, moment: Duration, now: Duration) -> Option<&mut Sums> {
        let nanos = |time: Duration| time.as_nanos();
        let (number, of_now, kept) = match self.window {
            Window::Count(_) | Window::Unbounded => return Some(&mut self.all),
            Window::Aligned { part, parts } => {
                let length = nanos(part).max(1);
                (nanos(moment) / length, nanos(now) / length, u128::from(parts.max(1)))
            }
            Window::Rolling { part, parts } => {
                let length = nanos(part).max(1);
                let since = |time: Duration| nanos(time.saturating_sub(self.began)) / length;
                (since(moment), since(now), u128::from(parts.max(1)))
            }
            Window::FirstTouch { length, parts } => return Some(self.touched(length, parts, now)),
        };
        while self.parts.front().is_some_and(|(first, _)| first + kept <= of_now) {
            self.parts.pop_front();
        }
        if number + kept <= of_now {
            return None;
        }
        let at = match self.parts.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                self.parts.insert(at, (number, Sums::default()));
                at
            }
        };
        self.parts.get_mut(at).map(|(_, sums)| sums)
    }

    /// The part that is under way, begun now if the last one is over.
    fn touched(&mut self, length: Duration, parts: u32, now: Duration) -> &mut Sums {
        let (now, length) = (now.as_nanos(), length.as_nanos().max(1));
        let part = length / u128::from(parts.max(1));
        if self.parts.back().is_none_or(|(began, _)| now.saturating_sub(*began) >= part) {
            self.parts.push_back((now, Sums::default()));
        }
        while self.parts.len() > 1 && self.parts.front().is_some_and(|(began, _)| now.saturating_sub(*began) >= length)
        {
            self.parts.pop_front();
        }
        match self.parts.back_mut() {
            Some((_, sums)) => sums,
            None => &mut self.all,
        }
    }
}
