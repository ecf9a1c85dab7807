//! The decisions of one call: try again, and when, or give up, and why. Pure: time, chance and the budget's answer
//! come in as values.

use std::time::Duration;

use crate::time::Timestamp;

use super::backoff::{Backoff, Series};
use super::event::Reason;

/// What a policy is configured with, as far as decisions need it.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) throttled: Option<Backoff>,
    pub(crate) hint: Hint,
    pub(crate) max_elapsed: Option<Duration>,
    /// Whether a call whose retry the budget forbids waits before it fails.
    pub(crate) long_poll: bool,
    /// Whether what another attempt was decided for is sent none.
    pub(crate) dry_run: bool,
}

/// What a retry does with the server's wish when to be called again, `t` being the delay of the backoff.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::Classification;
/// use resilience_core::retry::{Backoff, Hint, Jitter, Retry};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tomorrow = |answer: &Result<(), &str>| match answer {
///     Ok(()) => Classification::SUCCESS,
///     Err(_) => Classification::FAILURE.after(Duration::from_secs(86_400)),
/// };
/// let curve = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(20)).jitter(Jitter::None);
/// let mut waits = Vec::new();
/// for hint in [Hint::Clamped, Hint::Within(Duration::from_secs(5)), Hint::Ignored] {
///     let retry = Retry::builder().attempts(2).backoff(curve.clone()).hint(hint).build()?;
///     let start = tokio::time::Instant::now();
///     let _ = retry.run_with(tomorrow, async |_| Err("overloaded")).await;
///     waits.push(start.elapsed().as_secs());
/// }
/// assert_eq!(waits, [20, 6, 1]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// At least `t`, at most the backoff's cap. The default: a server may slow this client down, but neither hurry it
    /// nor put it to sleep for a day.
    #[default]
    Clamped,
    /// At least `t`, at most this long.
    UpTo(Duration),
    /// Between `t` and this much more, whatever the cap. The AWS SDKs since 2026: 5 s.
    Within(Duration),
    /// Exactly what the server says, and the backoff starts anew. gRPC's pushback; only for servers that are trusted.
    Exact,
    /// As if it had not been said.
    Ignored,
}

/// A failed attempt, as far as the decision needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) retryable: bool,
    /// When the server wants to be called again; its presence makes this a throttled failure.
    pub(crate) hint: Option<Duration>,
    /// Why there is no second copy of the request, if there is none.
    pub(crate) spent: Option<Reason>,
}

/// The time of a decision and the times that bound it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) now: Timestamp,
    pub(crate) started: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
}

/// One call: which attempt it is at, and where in its series of delays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    attempt: u32,
    series: Series,
}

impl Session {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { attempt: 1, series: Series::default() }
    }

    /// The attempt under way, or scheduled; the first is 1.
    #[inline]
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What forbids another attempt whatever the time and the budget. Asked first, so that a call which cannot be
    /// repeated costs neither a clock reading nor a token.
    pub(crate) fn forbidden(&self, rules: &Rules, failure: Failure) -> Option<Reason> {
        if !failure.retryable {
            Some(Reason::Permanent)
        } else if self.attempt >= rules.attempts {
            Some(Reason::Attempts)
        } else {
            failure.spent
        }
    }

    /// How long to wait before the next attempt, or why the wait would be in vain. Moves the series on; the attempt is
    /// counted by [`scheduled`](Self::scheduled), once the budget has agreed.
    pub(crate) fn wait(
        &mut self,
        rules: &Rules,
        failure: Failure,
        unit: f64,
        times: Times,
    ) -> Result<Duration, Reason> {
        let delay = self.delay(rules, failure.hint, unit);
        let until = times.now + delay;
        // A wait that ends exactly at the deadline leaves no time for an answer either.
        if times.deadline.is_some_and(|deadline| until >= deadline) {
            return Err(Reason::Deadline);
        }
        if rules.max_elapsed.is_some_and(|longest| until >= times.started + longest) {
            return Err(Reason::MaxElapsed);
        }
        Ok(delay)
    }

    /// Another attempt is on its way.
    pub(crate) fn scheduled(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    fn delay(&mut self, rules: &Rules, hint: Option<Duration>, unit: f64) -> Duration {
        let backoff = match (&rules.throttled, hint) {
            (Some(throttled), Some(_)) => throttled,
            _ => &rules.backoff,
        };
        let Some(hint) = hint else { return backoff.delay(&mut self.series, unit) };
        if rules.hint == Hint::Exact {
            self.series = Series::default();
            return hint;
        }
        let delay = backoff.delay(&mut self.series, unit);
        let longest = match rules.hint {
            Hint::Clamped => backoff.cap(),
            Hint::UpTo(longest) => longest,
            Hint::Within(more) => delay.saturating_add(more),
            Hint::Exact | Hint::Ignored => delay,
        };
        hint.min(longest).max(delay)
    }
}
