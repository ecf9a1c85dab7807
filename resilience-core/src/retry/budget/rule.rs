//! What a budget can be told: the rules, by whom they are used, and their figures.

use super::leaky::Leaky;

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
///
/// ```
/// use resilience_core::retry::budget::{Kind, RetryBudget};
///
/// let budget = RetryBudget::builder().ratio(0.2).reserve(1).build()?;
/// (0..1000).for_each(|_| drop(budget.request())); // a quiet day saves up no more than the reserve
/// assert_eq!(budget.snapshot().available, 1.0);
/// let mut retry = budget.withdraw(Kind::Failure).unwrap();
/// retry.spend();
/// (0..4).for_each(|_| drop(budget.request()));
/// assert!(budget.withdraw(Kind::Failure).is_none()); // the fifth request pays for it
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Retries per request, in the long run. 0.1, Google's (SRE book, chapter 21). Finagle, Envoy and failsafe-go allow 0.2,
    /// which makes of a service at 80 % of its capacity one at 96 %: what it has left to work off the line that an outage
    /// leaves behind is so little that the outage may last for ten seconds longer than its cause.
    pub ratio: f64,
    /// Retries saved up when the bucket is full. 100: what the AWS SDKs (500 / 5) and Finagle (10/s for 10 s) come to.
    pub reserve: u32,
    /// Retries saved up in the beginning; `None` for a full bucket.
    pub start: Option<u32>,
}

impl Default for Ratio {
    fn default() -> Self {
        Self { ratio: 0.1, reserve: 100, start: None }
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
///
/// ```
/// use resilience_core::retry::budget::{Kind, RetryBudget, Rule, Throttle};
///
/// let budget = RetryBudget::builder().rule(Rule::Throttle(Throttle { max_tokens: 10, ratio: 0.1 })).build()?;
/// (0..4).for_each(|_| budget.failed());
/// assert!(budget.withdraw(Kind::Failure).is_some()); // 6 of 10, and a retry costs nothing
/// budget.failed();
/// assert!(budget.withdraw(Kind::Failure).is_none()); // 5 is not more than half
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Tokens in the beginning and at most. gRPC allows 1 to 1,000.
    pub max_tokens: u32,
    /// What a success pays in; a failure takes one.
    pub ratio: f64,
}

/// Retries in flight, from scheduling to answer, are at most `ratio` of the requests in flight, or `floor`.
///
/// ```
/// use resilience_core::retry::budget::{Kind, RetryBudget, Rule, Share};
///
/// let budget = RetryBudget::builder().rule(Rule::Share(Share::ENVOY)).build()?;
/// let retries: Vec<_> = (0..4).map_while(|_| budget.withdraw(Kind::Failure)).collect();
/// assert_eq!(retries.len(), 3); // the floor: a client with little traffic may retry, too
/// drop(retries);
/// assert_eq!(budget.snapshot().available, 3.0);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
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
///
/// ```
/// use resilience_core::retry::budget::{Costs, Kind, RetryBudget, Rule};
///
/// let budget = RetryBudget::builder().rule(Rule::Costs(Costs { capacity: 10, ..Costs::AWS_2_1 })).build()?;
/// assert!(budget.withdraw(Kind::Failure).is_none()); // costs 14
/// assert!(budget.withdraw(Kind::Throttled).is_some()); // costs 5
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The service failed.
    #[default]
    Failure,
    /// The service asked for less: its answer says when to come back.
    Throttled,
    /// No answer came in time: [`Classification::TIMED_OUT`](crate::Classification::TIMED_OUT).
    TimedOut,
}
