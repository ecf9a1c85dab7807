//! The rules of a budget whose state is one word: word and input in, word out. No clock, no atomics.

use crate::ConfigError;

use super::rule::{Costs, Kind, Ratio, Share, Throttle};

/// Tokens are counted in millionths, so that a ratio such as 0.6 adds up to exactly 60 over 100 deposits.
pub(super) const TOKEN: u64 = 1_000_000;

/// What happens to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A request is sent for the first time.
    Request,
    /// A request is answered for good, or abandoned.
    Done,
    /// A first attempt succeeded.
    Success,
    /// An attempt failed in a way that may pass.
    Failure,
    /// A retry is scheduled.
    Withdraw(Kind),
    /// A scheduled retry was not sent.
    Refund(Kind),
    /// A retry succeeded.
    Recovered(Kind),
    /// A retry that was sent is over.
    Finished,
}

/// A rule over one word, compiled from a [`Rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The word is a balance in millionths.
    Tokens(Tokens),
    /// The word is `[requests in flight: 32 | retries in flight: 32]`.
    InFlight(InFlight),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    capacity: u64,
    start: u64,
    per_request: u64,
    per_success: u64,
    per_failure: u64,
    costs: [u64; 3],
    cheapest: u64,
    /// A retry needs a balance above this.
    above: Option<u64>,
    gives_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    ratio: u64,
    floor: u64,
    counts_itself: bool,
}

impl Word {
    pub(super) fn ratio(rule: &Ratio) -> Result<Self, ConfigError> {
        let start = rule.start.unwrap_or(rule.reserve);
        if start > rule.reserve {
            return Err(ConfigError::new("start", "must not exceed the reserve"));
        }
        Ok(Self::Tokens(Tokens {
            capacity: tokens(rule.reserve),
            start: tokens(start),
            per_request: millionths("ratio", rule.ratio)?,
            per_success: 0,
            per_failure: 0,
            costs: [TOKEN; 3],
            cheapest: TOKEN,
            above: None,
            gives_back: false,
        }))
    }

    pub(super) fn costs(rule: &Costs) -> Result<Self, ConfigError> {
        if rule.failure == 0 || rule.throttled == 0 || rule.timed_out == 0 {
            return Err(ConfigError::new("costs", "must be above zero"));
        }
        Ok(Self::Tokens(Tokens {
            capacity: tokens(rule.capacity),
            start: tokens(rule.capacity),
            per_request: 0,
            per_success: millionths("reward", rule.reward)?,
            per_failure: 0,
            costs: [rule.failure, rule.throttled, rule.timed_out].map(tokens),
            cheapest: tokens(rule.failure.min(rule.throttled).min(rule.timed_out)),
            above: None,
            gives_back: rule.gives_back,
        }))
    }

    pub(super) fn throttle(rule: &Throttle) -> Result<Self, ConfigError> {
        if rule.max_tokens == 0 {
            return Err(ConfigError::new("max_tokens", "must be above zero"));
        }
        Ok(Self::Tokens(Tokens {
            capacity: tokens(rule.max_tokens),
            start: tokens(rule.max_tokens),
            per_request: 0,
            per_success: millionths("ratio", rule.ratio)?,
            per_failure: TOKEN,
            costs: [0; 3],
            cheapest: 0,
            above: Some(tokens(rule.max_tokens) / 2),
            gives_back: false,
        }))
    }

    pub(super) fn share(rule: &Share) -> Result<Self, ConfigError> {
        Ok(Self::InFlight(InFlight {
            ratio: millionths("ratio", rule.ratio)?,
            floor: u64::from(rule.floor),
            counts_itself: rule.counts_itself,
        }))
    }

    pub(super) fn start(&self) -> u64 {
        match self {
            Self::Tokens(tokens) => tokens.start,
            Self::InFlight(_) => 0,
        }
    }

    /// The word that no deposit changes; one that is never reached if there is none.
    pub(super) fn full(&self) -> u64 {
        match self {
            Self::Tokens(tokens) => tokens.capacity,
            Self::InFlight(_) => u64::MAX,
        }
    }

    /// The word after `input`, or `None` if a withdrawal is refused. The same word means: nothing to write.
    pub(super) fn step(&self, word: u64, input: Input) -> Option<u64> {
        match self {
            Self::Tokens(tokens) => tokens.step(word, input),
            Self::InFlight(share) => share.step(word, input),
        }
    }

    /// Whether a retry of the cheapest kind has a chance.
    #[inline]
    pub(super) fn may_grant(&self, word: u64) -> bool {
        match self {
            Self::Tokens(tokens) => word >= tokens.cheapest && tokens.above.is_none_or(|above| word > above),
            // How much is in flight when a request fails is not known when it is sent.
            Self::InFlight(_) => true,
        }
    }

    /// What is left, in the unit of the rule.
    pub(super) fn available(&self, word: u64) -> f64 {
        match self {
            Self::Tokens(_) => word as f64 / TOKEN as f64,
            Self::InFlight(share) => {
                let (requests, retries) = split(word);
                share.limit(requests).saturating_sub(retries) as f64
            }
        }
    }
}

impl Tokens {
    fn step(&self, balance: u64, input: Input) -> Option<u64> {
        let deposit = match input {
            Input::Request => self.per_request,
            Input::Success => self.per_success,
            Input::Recovered(kind) if self.gives_back => self.cost(kind),
            Input::Recovered(_) => self.per_success,
            Input::Refund(kind) => self.cost(kind),
            Input::Failure => return Some(balance.saturating_sub(self.per_failure)),
            Input::Withdraw(kind) => {
                let enough = self.above.is_none_or(|above| balance > above);
                return balance.checked_sub(self.cost(kind)).filter(|_| enough);
            }
            Input::Done | Input::Finished => 0,
        };
        Some((balance + deposit).min(self.capacity))
    }

    fn cost(&self, kind: Kind) -> u64 {
        self.costs[kind as usize]
    }
}

impl InFlight {
    fn step(&self, word: u64, input: Input) -> Option<u64> {
        let (requests, retries) = split(word);
        match input {
            Input::Request => Some(join(requests + 1, retries)),
            Input::Done => Some(join(requests.saturating_sub(1), retries)),
            Input::Withdraw(_) => (retries < self.limit(requests)).then(|| join(requests, retries + 1)),
            Input::Refund(_) | Input::Finished => Some(join(requests, retries.saturating_sub(1))),
            Input::Success | Input::Failure | Input::Recovered(_) => Some(word),
        }
    }

    /// How many retries may be in flight beside this many requests.
    fn limit(&self, requests: u64) -> u64 {
        let share = requests * self.ratio / TOKEN;
        share.saturating_add(u64::from(!self.counts_itself)).max(self.floor)
    }
}

fn split(word: u64) -> (u64, u64) {
    (word >> 32, word & u64::from(u32::MAX))
}

/// Counts stop at 2^32 - 1 each instead of running into one another.
fn join(requests: u64, retries: u64) -> u64 {
    let most = u64::from(u32::MAX);
    (requests.min(most) << 32) | retries.min(most)
}

fn tokens(count: u32) -> u64 {
    u64::from(count) * TOKEN
}

pub(super) fn millionths(field: &'static str, ratio: f64) -> Result<u64, ConfigError> {
    // NaN is in no range.
    if (0.0..=1000.0).contains(&ratio) {
        Ok((ratio * TOKEN as f64).round() as u64)
    } else {
        Err(ConfigError::new(field, "must be a number between 0 and 1000"))
    }
}

/// A floor of retries per second beside the bucket: the generic cell rate algorithm over one word, the theoretical
/// arrival time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    interval: u64,
    burst: u64,
}

impl Floor {
    /// `per_second` retries a second, a second's worth of them at once.
    pub(super) fn new(per_second: u32) -> Option<Self> {
        let beyond_one = u64::from(per_second.checked_sub(1)?);
        let interval = 1_000_000_000 / (beyond_one + 1);
        Some(Self { interval, burst: interval * beyond_one })
    }

    pub(super) fn take(&self, arrival: u64, now: u64) -> Option<u64> {
        let arrival = arrival.max(now);
        (arrival - now <= self.burst).then(|| arrival.saturating_add(self.interval))
    }

    pub(super) fn refund(&self, arrival: u64) -> u64 {
        arrival.saturating_sub(self.interval)
    }
}
