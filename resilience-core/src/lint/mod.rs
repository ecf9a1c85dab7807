//! Whether the layers of a stack are in an order that works.
//!
//! # Why
//!
//! Each policy is right by itself, and a stack of them can still do harm: a bulkhead outside of a retry holds its slot
//! through every backoff, a retry inside a retry makes nine calls of three, a breaker outside of the retry sees one
//! failure where there were three. None of it shows while all is well. The linter knows these orders and says, before
//! the first outage does, what is wrong, why, and what to do.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::lint::{Lint, Stack};
//! use resilience_core::retry::Retry;
//! use resilience_core::timeout::Timeout;
//!
//! let limit = |seconds| Timeout::builder().limit(Duration::from_secs(seconds)).build();
//! let (total, attempt) = (limit(3)?, limit(1)?);
//! let bulkhead = Bulkhead::builder().name("payments").limit(8).build()?;
//! let retry = Retry::builder().name("again").build()?;
//!
//! // From the outside in, as a `ServiceBuilder` lists them.
//! let found = Stack::new("payments").layer(&total).layer(&bulkhead).layer(&retry).layer(&attempt).findings();
//! assert_eq!(found.len(), 1);
//! assert_eq!(found[0].lint, Lint::BulkheadOutsideRetry);
//! assert_eq!(
//!     found[0].to_string(),
//!     "payments: bulkhead-outside-retry: `payments` is outside of `again`: \
//!      a call holds its slot while it waits for its next attempt; put the bulkhead inside the retry",
//! );
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! A configuration is linted, too: `config::Config::lint` gives the findings, and those of lints that
//! `[lints]` says are denied are errors.
//!
//! # Behaviour
//!
//! ```text
//!  Stack: outermost ─ ... ─ innermost ──► each pair, each retry and each hedge ──► findings, each of a lint
//!  Config: pipelines as listed ─────────►                                          │ level of the lint
//!                                                      allow: left out ◄───────────┼──► deny: an error
//!                                                                                  └──► warn: told
//! ```
//!
//! # Lints
//!
//! | lint | what is wrong | what to do |
//! |---|---|---|
//! | `no-total-timeout` | attempts and the waits between them add up, and the caller waits for all of them | put a timeout outside of the retry |
//! | `no-attempt-timeout` | an attempt that hangs uses up the time of all the others, and is never repeated | put a timeout inside the retry |
//! | `attempt-timeout-too-long` | the outer timeout ends the call before the inner one can | make the inner limit smaller than the outer one |
//! | `attempts-do-not-fit` | if attempts end by their timeout, the last of them are never made | allow more time in all, or less for each attempt, or fewer attempts |
//! | `retry-without-budget` | when everything fails, everything is sent again, and what is down stays down | give the retry a budget |
//! | `hedge-without-budget` | when everything is slow, everything is sent twice, and stays slow | give the hedge a budget, the one of the retry |
//! | `nested-retries` | attempts multiply: three of three are nine | retry in one place, nearest to what fails |
//! | `retry-inside-hedge` | each hedge is retried, and attempts multiply | put the hedge inside the retry |
//! | `breaker-outside-retry` | the breaker sees one failure for many attempts, and cannot stop the retries once it is open | put the breaker inside the retry |
//! | `breaker-inside-hedge` | losers that are dropped count as given up, and one call takes several probes | put the breaker outside of the hedge |
//! | `breaker-inside-bulkhead` | calls that an open circuit will refuse take slots and places in the queue | put the breaker outside of the bulkhead |
//! | `bulkhead-outside-retry` | a call holds its slot while it waits for its next attempt | put the bulkhead inside the retry |
//! | `throttle-outside-retry` | the throttle sees one failure for many attempts, and does not stop the retries of what it would refuse | put the throttle inside the retry |
//! | `shed-inside-bulkhead` | calls that will be shed take slots and places in the queue | put what sheds load outermost |
//! | `queue-inside-attempt-timeout` | the time of the attempt passes in the queue | put the timeout inside the bulkhead, and give the queue a longest wait |
//! | `fallback-inside` | what the fallback answers looks like success, so nothing is retried and no circuit opens | put the fallback outermost |
//! | `cache-inside-retry` | each hit goes through the retry, and what misses together is repeated by each who waits | put the cache outside of the retry |
//! | `cache-inside-breaker` | what is in the cache cannot be had while the circuit is open | put the cache outside of the breaker |
//! | `cache-inside-limit` | a hit takes a slot or a permit that it does not need | put the cache outside of the limit |
//! | `chaos-is-on` | calls fail on purpose | switch it off outside of tests and rehearsals |
//! | `chaos-outside` | its faults do not meet the policies inside of it, which are not tried out | put the chaos innermost |
//!
//! # Defaults
//!
//! All warn unless told otherwise: each of these orders may be meant by somebody who knows why.
//!
//! # Events and errors
//!
//! It runs when a program is built or tested, not when it calls; nothing is emitted. A [`Finding`] is a value, and displays
//! as one line. In a configuration, findings of denied lints are errors of `Config::check` and `Config::build`.
//!
//! # Interplay
//!
//! The order it holds to is that of the [crate](crate#order). A layer that no policy stands for can be told it by
//! [`Layer::new`], so that what lies around it is judged all the same.
//!
//! # Do and don't
//!
//! - Do lint the stack in a test, next to the code that builds it.
//! - Do allow a lint by name, with a comment that says why, where an order is meant.
//! - Don't take silence for proof: it knows these orders and no others.
//!
//! # Limits
//!
//! A stack is what it is told: layers of other crates are not seen, nor is what another process adds. It knows limits and
//! attempts as they are when it is asked, not what they are changed to later.

mod rules;
mod stack;

pub use self::stack::{Describe, Layer, Stack};

use std::fmt;

/// A kind of mistake in the order of layers; see the [table](self#lints).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// `no-total-timeout`
    NoTotalTimeout,
    /// `no-attempt-timeout`
    NoAttemptTimeout,
    /// `attempt-timeout-too-long`
    AttemptTimeoutTooLong,
    /// `attempts-do-not-fit`
    AttemptsDoNotFit,
    /// `retry-without-budget`
    RetryWithoutBudget,
    /// `hedge-without-budget`
    HedgeWithoutBudget,
    /// `nested-retries`
    NestedRetries,
    /// `retry-inside-hedge`
    RetryInsideHedge,
    /// `breaker-outside-retry`
    BreakerOutsideRetry,
    /// `breaker-inside-hedge`
    BreakerInsideHedge,
    /// `breaker-inside-bulkhead`
    BreakerInsideBulkhead,
    /// `bulkhead-outside-retry`
    BulkheadOutsideRetry,
    /// `throttle-outside-retry`
    ThrottleOutsideRetry,
    /// `shed-inside-bulkhead`
    ShedInsideBulkhead,
    /// `queue-inside-attempt-timeout`
    QueueInsideAttemptTimeout,
    /// `fallback-inside`
    FallbackInside,
    /// `cache-inside-retry`
    CacheInsideRetry,
    /// `cache-inside-breaker`
    CacheInsideBreaker,
    /// `cache-inside-limit`
    CacheInsideLimit,
    /// `chaos-is-on`
    ChaosIsOn,
    /// `chaos-outside`
    ChaosOutside,
}

/// What is done about a lint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Level {
    /// Nothing.
    Allow,
    /// It is told.
    #[default]
    Warn,
    /// It is an error.
    Deny,
}

impl Lint {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 21] = [
        Self::NoTotalTimeout,
        Self::NoAttemptTimeout,
        Self::AttemptTimeoutTooLong,
        Self::AttemptsDoNotFit,
        Self::RetryWithoutBudget,
        Self::HedgeWithoutBudget,
        Self::NestedRetries,
        Self::RetryInsideHedge,
        Self::BreakerOutsideRetry,
        Self::BreakerInsideHedge,
        Self::BreakerInsideBulkhead,
        Self::BulkheadOutsideRetry,
        Self::ThrottleOutsideRetry,
        Self::ShedInsideBulkhead,
        Self::QueueInsideAttemptTimeout,
        Self::FallbackInside,
        Self::CacheInsideRetry,
        Self::CacheInsideBreaker,
        Self::CacheInsideLimit,
        Self::ChaosIsOn,
        Self::ChaosOutside,
    ];

    /// What it is called where it is allowed or denied.
    pub const fn name(self) -> &'static str {
        self.texts().0
    }

    /// Why it is a mistake, as a clause.
    pub const fn reason(self) -> &'static str {
        self.texts().1
    }

    /// What to do about it, as a clause.
    pub const fn fix(self) -> &'static str {
        self.texts().2
    }

    /// The lint called `name`.
    ///
    /// ```
    /// use resilience_core::lint::Lint;
    ///
    /// assert_eq!(Lint::named("nested-retries"), Some(Lint::NestedRetries));
    /// assert_eq!(Lint::NestedRetries.reason(), "attempts multiply: three of three are nine");
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lint| lint.name() == name)
    }

    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoTotalTimeout => (
                "no-total-timeout",
                "attempts and the waits between them add up, and the caller waits for all of them",
                "put a timeout outside of the retry",
            ),
            Self::NoAttemptTimeout => (
                "no-attempt-timeout",
                "an attempt that hangs uses up the time of all the others, and is never repeated",
                "put a timeout inside the retry",
            ),
            Self::AttemptTimeoutTooLong => (
                "attempt-timeout-too-long",
                "the outer timeout ends the call before the inner one can",
                "make the inner limit smaller than the outer one",
            ),
            Self::AttemptsDoNotFit => (
                "attempts-do-not-fit",
                "if attempts end by their timeout, the last of them are never made",
                "allow more time in all, or less for each attempt, or fewer attempts",
            ),
            Self::RetryWithoutBudget => (
                "retry-without-budget",
                "when everything fails, everything is sent again, and what is down stays down",
                "give the retry a budget",
            ),
            Self::HedgeWithoutBudget => (
                "hedge-without-budget",
                "when everything is slow, everything is sent twice, and stays slow",
                "give the hedge a budget, the one of the retry",
            ),
            Self::NestedRetries => (
                "nested-retries",
                "attempts multiply: three of three are nine",
                "retry in one place, nearest to what fails",
            ),
            Self::RetryInsideHedge => {
                ("retry-inside-hedge", "each hedge is retried, and attempts multiply", "put the hedge inside the retry")
            }
            Self::BreakerOutsideRetry => (
                "breaker-outside-retry",
                "the breaker sees one failure for many attempts, and cannot stop the retries once it is open",
                "put the breaker inside the retry",
            ),
            Self::BreakerInsideHedge => (
                "breaker-inside-hedge",
                "losers that are dropped count as given up, and one call takes several probes",
                "put the breaker outside of the hedge",
            ),
            Self::BreakerInsideBulkhead => (
                "breaker-inside-bulkhead",
                "calls that an open circuit will refuse take slots and places in the queue",
                "put the breaker outside of the bulkhead",
            ),
            Self::BulkheadOutsideRetry => (
                "bulkhead-outside-retry",
                "a call holds its slot while it waits for its next attempt",
                "put the bulkhead inside the retry",
            ),
            Self::ThrottleOutsideRetry => (
                "throttle-outside-retry",
                "the throttle sees one failure for many attempts, and does not stop the retries of what it would refuse",
                "put the throttle inside the retry",
            ),
            Self::ShedInsideBulkhead => (
                "shed-inside-bulkhead",
                "calls that will be shed take slots and places in the queue",
                "put what sheds load outermost",
            ),
            Self::QueueInsideAttemptTimeout => (
                "queue-inside-attempt-timeout",
                "the time of the attempt passes in the queue",
                "put the timeout inside the bulkhead, and give the queue a longest wait",
            ),
            Self::FallbackInside => (
                "fallback-inside",
                "what the fallback answers looks like success, so nothing is retried and no circuit opens",
                "put the fallback outermost",
            ),
            Self::CacheInsideRetry => (
                "cache-inside-retry",
                "each hit goes through the retry, and what misses together is repeated by each who waits",
                "put the cache outside of the retry",
            ),
            Self::CacheInsideBreaker => (
                "cache-inside-breaker",
                "what is in the cache cannot be had while the circuit is open",
                "put the cache outside of the breaker",
            ),
            Self::CacheInsideLimit => (
                "cache-inside-limit",
                "a hit takes a slot or a permit that it does not need",
                "put the cache outside of the limit",
            ),
            Self::ChaosIsOn => {
                ("chaos-is-on", "calls fail on purpose", "switch it off outside of tests and rehearsals")
            }
            Self::ChaosOutside => (
                "chaos-outside",
                "its faults do not meet the policies inside of it, which are not tried out",
                "put the chaos innermost",
            ),
        }
    }
}

/// One mistake found in one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The stack.
    pub stack: String,
    /// What is wrong.
    pub lint: Lint,
    /// Of two layers that are in the wrong order, the outer one; or the one that lacks something.
    pub outer: String,
    /// The inner one, if it takes two.
    pub inner: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: `{}`", self.stack, self.lint.name(), self.outer)?;
        if let Some(inner) = &self.inner {
            write!(f, " is outside of `{inner}`")?;
        }
        write!(f, ": {}; {}", self.lint.reason(), self.lint.fix())
    }
}

#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
