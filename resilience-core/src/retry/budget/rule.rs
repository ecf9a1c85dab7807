//! The rules of a budget whose state is one word: word and input in, word out. No clock, no atomics.

use crate::ConfigError;

use super::leaky::Leaky;

/// Tokens are counted in millionths, so that a ratio such as 0.6 adds up to exactly 60 over 100 deposits.
pub(super) const TOKEN: u64 = 1_000_000;

/// What a retry is paid for with: the mode of a [`RetryBudget`](super::RetryBudget).
///
/// | rule | deposits | a retry needs | comes back | from |
/// |---|---|---|---|---|
/// | [`Ratio`] | each request | one token | | Google SRE, chapter 21; the default |
/// | [`Costs`] | each success at the first attempt | its cost | the last cost, on success | AWS SDKs |
/// | [`Throttle`] | each success; each failure takes one | more than half of the tokens | | gRFC A6 |
/// | [`Share`] | | retries in flight below a share of the requests in flight | when it ends | Envoy, failsafe-go |
/// | [`Leaky`] | each request, for a while | one token | | Finagle |
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// Requests pay in a fraction of a retry each.
    Ratio(Ratio),
    /// Retries have prices, successes have rewards.
    Costs(Costs),
    /// Retries stop while too many calls fail.
    Throttle(Throttle),
    /// Retries in flight are bounded by requests in flight.
    Share(Share),
    /// Requests pay in, and what they paid expires.
    Leaky(Leaky),
}

/// Each request pays in `ratio` of a retry; the bucket holds `reserve`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Retries per request, in the long run. 0.2: what Finagle, Envoy and failsafe-go agree on.
    pub ratio: f64,
    /// Retries saved up when the bucket is full. 100: what the AWS SDKs (500 / 5) and Finagle (10/s for 10 s) come to.
    pub reserve: u32,
    /// Retries saved up in the beginning; `None` for a full bucket.
    pub start: Option<u32>,
}

impl Default for Ratio {
    fn default() -> Self {
        Self { ratio: 0.2, reserve: 100, start: None }
    }
}

/// Each retry costs tokens by the kind of failure; what the last one cost comes back if it succeeds.
///
/// ```
/// use resilience_core::retry::budget::{Costs, RetryBudget, Rule};
///
/// let budget = RetryBudget::builder().rule(Rule::Costs(Costs { capacity: 30, ..Costs::AWS_2_1 })).build()?;
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Tokens when full; the bucket starts full.
    pub capacity: u32,
    /// The price of a retry after an ordinary failure.
    pub failure: u32,
    /// The price of a retry after the server asked for less.
    pub throttled: u32,
    /// The price of a retry after no answer came in time.
    pub timed_out: u32,
    /// What a success at the first attempt pays in.
    pub reward: f64,
    /// Whether the price of the last retry comes back when it succeeds; otherwise it pays in the reward.
    pub gives_back: bool,
}

impl Costs {
    /// The standard mode of the AWS SDKs until 2025.
    pub const AWS_2_0: Self =
        Self { capacity: 500, failure: 5, throttled: 5, timed_out: 10, reward: 1.0, gives_back: true };
    /// The standard mode of the AWS SDKs since 2026.
    pub const AWS_2_1: Self = Self { failure: 14, throttled: 5, timed_out: 14, ..Self::AWS_2_0 };
    /// A tenth of a retry for each success (Brooker, "Fixing retries with token buckets and circuit breakers", 2022).
    pub const BROOKER: Self =
        Self { capacity: 100, failure: 1, throttled: 1, timed_out: 1, reward: 0.1, gives_back: false };
}

/// Retries are sent only while more than half of the tokens are left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Tokens in the beginning and at most. gRPC allows 1 to 1,000.
    pub max_tokens: u32,
    /// What a success pays in; a failure takes one.
    pub ratio: f64,
}

/// Retries in flight, from scheduling to answer, are at most `ratio` of the requests in flight, or `floor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The share, 0.2 in Envoy and failsafe-go.
    pub ratio: f64,
    /// Retries that may be in flight whatever the share, 3 in both.
    pub floor: u32,
    /// Whether the retry that asks counts itself. Envoy does; failsafe-go does not, and may exceed the share by one.
    pub counts_itself: bool,
}

impl Share {
    /// Envoy's retry budget.
    pub const ENVOY: Self = Self { ratio: 0.2, floor: 3, counts_itself: true };
    /// failsafe-go's budget.
    pub const FAILSAFE: Self = Self { counts_itself: false, ..Self::ENVOY };
}

/// What a retry follows, and so what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The service failed.
    #[default]
    Failure,
    /// The service asked for less: its answer says when to come back.
    Throttled,
    /// No answer came in time.
    TimedOut,
}

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
