//! What distinguishes one breaker from another.

use std::time::Duration;

use super::window::Sums;

/// Which calls are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last so many.
    Count(u32),
    /// All since the window was made.
    Unbounded,
    /// Parts of equal length, counted from the origin of time; the newest so many. One part is a tumbling window.
    Aligned {
        /// The length of a part.
        part: Duration,
        /// How many.
        parts: u32,
    },
    /// The same, counted from when the window was made.
    Rolling {
        /// The length of a part.
        part: Duration,
        /// How many.
        parts: u32,
    },
    /// Parts that begin when something happens and the last one is over.
    FirstTouch {
        /// The length of the whole window.
        length: Duration,
        /// How many parts it has.
        parts: u32,
    },
}

/// Whether the threshold itself is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compare {
    /// It is.
    AtLeast,
    /// It is not.
    Above,
    /// It is not, unless it is 1, above which there is nothing. Sentinel's slow ratio.
    AboveOrAll,
}

/// A share that is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The threshold, between 0 and 1.
    pub share: f64,
    /// Whether it is too much itself.
    pub compare: Compare,
}

impl Limit {
    /// Too much from this share on.
    pub const fn at_least(share: f64) -> Self {
        Self { share, compare: Compare::AtLeast }
    }

    fn is_reached(&self, share: f64) -> bool {
        match self.compare {
            Compare::AtLeast => share >= self.share,
            Compare::Above => share > self.share,
            Compare::AboveOrAll => share > self.share || (share == self.share && self.share >= 1.0),
        }
    }
}

/// What opens a closed circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Trip {
    /// A share of failures or of slow answers, of at least so many calls.
    Rates {
        /// The share of failures.
        failures: Option<Limit>,
        /// The share of slow answers.
        slow: Option<Limit>,
        /// The least number of calls.
        minimum: u64,
        /// Shares are rounded to so many decimals before they are compared.
        round: Option<u32>,
        /// Whether the share is of calls admitted and not of answers.
        of_requests: bool,
    },
    /// So many failures among the calls looked at, of at least so many calls.
    Failures {
        /// How many.
        count: u64,
        /// Whether it takes more than that.
        above: bool,
        /// The least number of calls.
        minimum: u64,
    },
    /// More than so many failures in a row.
    InARowAbove(u64),
}

impl Trip {
    /// Whether these calls are too bad, with so many failures in a row. `None` if there are too few of them.
    pub fn is_reached(&self, sums: &Sums, in_a_row: u64) -> Option<bool> {
        match self {
            Self::Rates { failures, slow, minimum, round, of_requests } => {
                let calls = if *of_requests { sums.requests } else { sums.total() };
                if calls < *minimum || calls == 0 {
                    return None;
                }
                let share = |part: u64| rounded(part as f64 / calls as f64, *round);
                let is_reached =
                    |limit: &Option<Limit>, part: u64| limit.is_some_and(|limit| limit.is_reached(share(part)));
                Some(is_reached(failures, sums.failed) || is_reached(slow, sums.slow()))
            }
            Self::Failures { count, above, minimum } => {
                (sums.total() >= *minimum).then_some(if *above { sums.failed > *count } else { sums.failed >= *count })
            }
            Self::InARowAbove(limit) => Some(in_a_row > *limit),
        }
    }
}

/// Half up, at so many decimals.
pub(super) fn rounded(share: f64, decimals: Option<u32>) -> f64 {
    match decimals {
        Some(decimals) => {
            let scale = 10_f64.powi(i32::try_from(decimals).unwrap_or(15));
            (share * scale).round() / scale
        }
        None => share,
    }
}

/// After which results the circuit is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluate {
    /// Failures only.
    Failures,
    /// All: a success may open it, when it makes the calls enough.
    Everything,
}

/// When the open state is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// At its end.
    At,
    /// After its end.
    After,
}

/// How many calls a half-open circuit admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slots {
    /// So many in all; only those given back or ignored are admitted again.
    Once(u32),
    /// So many at a time.
    AtATime(u32),
}

/// What closes a half-open circuit, or opens it again.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The first result.
    First,
    /// So many results, judged as in the closed state.
    Rates {
        /// How many.
        after: u64,
    },
    /// So many successes, or more failures than leave room for them among `of`.
    Successes {
        /// How many.
        count: u64,
        /// Among how many.
        of: u64,
    },
    /// So many failures, or more successes than leave room for them among `of`.
    Failures {
        /// How many.
        count: u64,
        /// Among how many.
        of: u64,
    },
    /// So many successes in a row; the first failure opens.
    InARow(u64),
}

/// How a circuit finds out whether it may close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfOpen {
    /// How many calls it admits.
    pub slots: Slots,
    /// What decides.
    pub verdict: Verdict,
    /// How long it may take; for ever without.
    pub longest: Option<Duration>,
    /// What follows if it takes longer.
    pub then: Target,
}

/// Where a half-open circuit goes when its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It opens.
    Open,
    /// It closes.
    Closed,
}

/// What a result counts as that is neither good nor bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Nothing; its slot is free again.
    Neutral,
    /// A success.
    Success,
}

/// What becomes of results from before the last change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// They count in the state there is now.
    Count,
    /// They are dropped.
    Dropped,
}

/// All that distinguishes one breaker from another; the [table](super) says who has what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The calls a closed circuit looks at.
    pub window: Window,
    /// Whether a result counts when its call began, and not when it ended.
    pub counts_at_start: bool,
    /// What opens it.
    pub trip: Trip,
    /// After which results.
    pub evaluate: Evaluate,
    /// A call that takes longer is slow.
    pub slow_above: Option<Duration>,
    /// Whether being slow is failing, where one result decides.
    pub slow_fails: bool,
    /// How long it stays open.
    pub open_for: Duration,
    /// By how much longer each time, without closing in between.
    pub open_factor: f64,
    /// When that is over.
    pub ends: Ends,
    /// What happens then.
    pub half_open: HalfOpen,
    /// What an ignored result counts as.
    pub ignored: Ignored,
    /// What becomes of late results.
    pub late: Late,
}

impl Options {
    /// Polly v8: a failure ratio of 10 % of 100 calls in 30 s opens for 5 s; one probe.
    pub fn polly() -> Self {
        Self {
            window: Window::FirstTouch { length: Duration::from_secs(30), parts: 10 },
            counts_at_start: false,
            trip: rates(0.1, 100),
            evaluate: Evaluate::Failures,
            slow_above: None,
            slow_fails: false,
            open_for: Duration::from_secs(5),
            open_factor: 1.0,
            ends: Ends::At,
            half_open: one_probe(),
            ignored: Ignored::Success,
            late: Late::Count,
        }
    }

    /// Resilience4j: half of the last 100 calls failed, or all were slower than a minute, opens for a minute; ten probes.
    pub fn resilience4j() -> Self {
        Self {
            window: Window::Count(100),
            trip: Trip::Rates {
                failures: Some(Limit::at_least(0.5)),
                slow: Some(Limit::at_least(1.0)),
                minimum: 100,
                round: None,
                of_requests: false,
            },
            evaluate: Evaluate::Everything,
            slow_above: Some(Duration::from_secs(60)),
            open_for: Duration::from_secs(60),
            ends: Ends::After,
            half_open: HalfOpen { slots: Slots::Once(10), verdict: Verdict::Rates { after: 10 }, ..one_probe() },
            ignored: Ignored::Neutral,
            ..Self::polly()
        }
    }

    /// failsafe-go and Failsafe: one failure opens for a minute; one success closes.
    pub fn failsafe() -> Self {
        Self {
            window: Window::Count(1),
            trip: Trip::Failures { count: 1, above: false, minimum: 0 },
            evaluate: Evaluate::Everything,
            open_for: Duration::from_secs(60),
            half_open: HalfOpen {
                slots: Slots::AtATime(1),
                verdict: Verdict::Failures { count: 1, of: 1 },
                ..one_probe()
            },
            ..Self::polly()
        }
    }

    /// gobreaker v2: more than five failures in a row open for a minute; one success closes.
    pub fn gobreaker() -> Self {
        Self {
            window: Window::Unbounded,
            counts_at_start: true,
            trip: Trip::InARowAbove(5),
            open_for: Duration::from_secs(60),
            ends: Ends::After,
            half_open: HalfOpen { slots: Slots::Once(1), verdict: Verdict::InARow(1), ..one_probe() },
            ignored: Ignored::Neutral,
            late: Late::Dropped,
            ..Self::polly()
        }
    }

    /// Sentinel: a share of errors above the threshold, of at least five calls in a second, opens for 10 s; one probe.
    pub fn sentinel() -> Self {
        Self {
            window: Window::Aligned { part: Duration::from_secs(1), parts: 1 },
            trip: Trip::Rates {
                failures: Some(Limit { share: 0.5, compare: Compare::Above }),
                slow: None,
                minimum: 5,
                round: None,
                of_requests: false,
            },
            evaluate: Evaluate::Everything,
            open_for: Duration::from_secs(10),
            ..Self::polly()
        }
    }
}

fn rates(share: f64, minimum: u64) -> Trip {
    Trip::Rates { failures: Some(Limit::at_least(share)), slow: None, minimum, round: None, of_requests: false }
}

fn one_probe() -> HalfOpen {
    HalfOpen { slots: Slots::Once(1), verdict: Verdict::First, longest: None, then: Target::Open }
}
