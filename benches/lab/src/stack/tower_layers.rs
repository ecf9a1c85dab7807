//! tower's own layers.

use std::sync::Arc;

use resilience_core::rng::SharedRng;
use tower::buffer::Buffer;
use tower::hedge::{self, Hedge};
use tower::limit::{self, RateLimit};
use tower::retry::backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _};
use tower::retry::budget::{Budget as _, TpsBudget};
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Layer, ServiceExt};

use super::{Parts, Stack};
use crate::scenario::{Limit, Rate, Slots, TowerHedge, TowerRetry};
use crate::sim::{Answer, Call, Failure};

/// Longer than any line here.
const PLACES: usize = 10_000;

impl Parts {
    pub(super) fn tower_timeout(config: Limit, inner: Stack) -> Stack {
        Stack::new(TimeoutLayer::new(config.limit.0).layer(inner).map_err(named))
    }

    pub(super) fn tower_retry(&mut self, config: &TowerRetry, inner: Stack) -> Result<Stack, String> {
        let seeded = Seeded(Arc::new(SharedRng::seeded(self.rng.next_u64())));
        let mut maker = ExponentialBackoffMaker::new(config.base.0, config.cap.0, 1.0, seeded)
            .map_err(|error| error.to_string())?;
        let budget = config.budget.map(|it| Arc::new(TpsBudget::new(it.ttl.0, it.min_per_second, it.ratio)));
        let policy = Attempts { left: config.attempts.saturating_sub(1), backoff: maker.make_backoff(), budget };
        Ok(Stack::new(RetryLayer::new(policy).layer(inner)))
    }

    pub(super) fn tower_concurrency_limit(config: Slots, inner: Stack) -> Stack {
        Stack::new(limit::ConcurrencyLimit::new(inner, config.limit))
    }

    pub(super) fn tower_rate_limit(config: Rate, inner: Stack) -> Stack {
        let limit = RateLimit::new(inner, limit::rate::Rate::new(u64::from(config.calls), config.per.0));
        Stack::new(Buffer::new(limit, PLACES).map_err(named))
    }

    pub(super) fn tower_hedge(config: &TowerHedge, inner: Stack) -> Stack {
        let hedge = Hedge::new(inner, Always, config.samples, config.quantile, config.period.0);
        Stack::new(Buffer::new(hedge, PLACES).map_err(named))
    }

    pub(super) fn tower_load_shed(inner: Stack) -> Stack {
        Stack::new(tower::load_shed::LoadShed::new(inner).map_err(named))
    }
}

/// Every call may be repeated.
#[derive(Clone, Copy, Debug)]
struct Always;

impl hedge::Policy<Call> for Always {
    fn clone_request(&self, call: &Call) -> Option<Call> {
        Some(call.clone())
    }

    fn can_retry(&self, _: &Call) -> bool {
        true
    }
}

/// tower boxes errors; what is in the box is known.
fn named(error: BoxError) -> Failure {
    if error.is::<tower::timeout::error::Elapsed>() {
        Failure::TimedOut("tower")
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        Failure::Refused("tower")
    } else {
        match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(other) => Failure::Other(other.to_string().into()),
        }
    }
}

/// The policy tower's documentation builds from its own parts.
#[derive(Clone, Debug)]
struct Attempts {
    left: u32,
    backoff: ExponentialBackoff<Seeded>,
    budget: Option<Arc<TpsBudget>>,
}

impl Policy<Call, Answer, Failure> for Attempts {
    type Future = <ExponentialBackoff<Seeded> as tower::retry::backoff::Backoff>::Future;

    fn retry(&mut self, _: &mut Call, answer: &mut Result<Answer, Failure>) -> Option<Self::Future> {
        if answer.is_ok() {
            if let Some(budget) = &self.budget {
                budget.deposit();
            }
            return None;
        }
        if self.left == 0 || !self.budget.as_ref().is_none_or(|budget| budget.withdraw()) {
            return None;
        }
        self.left -= 1;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, call: &Call) -> Option<Call> {
        Some(call.clone())
    }
}

/// Our generator as tower's, shared by all calls.
///
/// tower clones the policy for every call, and with its own `HasherRng` the generator too, so that all calls wait equally
/// long. This shows it as it would be with jitter that spreads.
#[derive(Clone, Debug)]
struct Seeded(Arc<SharedRng>);

impl tower::util::rng::Rng for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
