//! Retry when nothing fails: the price of being ready to.

use std::sync::Arc;
use std::time::Duration;

use resilience_core::retry::{Backoff, RetryBudget, RetryBuilder};
use tower::Layer;
use tower::retry::backoff::{Backoff as TowerBackoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, Retry};
use tower::util::rng::HasherRng;
use tower_resilience_retry::{RetryBudgetBuilder, RetryConfigBuilder, RetryLayer};

use crate::echo::{Broken, Echo, Failure};
use crate::harness::{Answer, Kind, Spec, group, service};

/// The first wait of every backoff here.
pub const BASE: Duration = Duration::from_millis(50);
/// What must hold of every configuration here.
pub const VALID: &str = "the configuration is valid";
/// The longest.
pub const CAP: Duration = Duration::from_secs(2);

/// The retry group.
pub fn specs() -> Vec<Spec> {
    let peer = Kind::Peer;
    group(
        "c retry, first attempt succeeds",
        vec![
            service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
            service("retry, unlimited", Kind::Ours, Answer::Ok, || {
                ours().unlimited().build().expect(VALID).layer().layer(Echo::<Failure>::new())
            }),
            service("retry with budget", Kind::Ours, Answer::Ok, || {
                with_budget().layer().layer(Echo::<Failure>::new())
            }),
            service("tower Retry, exponential backoff", peer, Answer::Ok, || {
                Retry::new(Attempts::new(None), Echo::<Broken>::new())
            }),
            service("tower Retry, exponential backoff and TpsBudget", peer, Answer::Ok, || {
                Retry::new(Attempts::new(Some(budget())), Echo::<Broken>::new())
            }),
            service("tower-resilience-retry", peer, Answer::Ok, || resilience::<Broken>().build().layer(Echo::new())),
            service("tower-resilience-retry with token bucket", peer, Answer::Ok, || {
                resilience::<Broken>().budget(resilience_budget()).build().layer(Echo::new())
            }),
        ],
    )
}

/// Our retry: three attempts, exponential backoff.
fn ours() -> RetryBuilder {
    resilience_core::retry::Retry::builder().name("bench").attempts(3).backoff(Backoff::exponential(BASE, CAP))
}

/// Our retry with a budget of a tenth of the requests.
pub fn with_budget() -> resilience_core::retry::Retry {
    let budget = RetryBudget::builder().ratio(0.1).reserve(100).build().expect(VALID);
    ours().budget(budget).build().expect(VALID)
}

/// tower's budget: a tenth of the calls of ten seconds, and ten a second.
pub fn budget() -> Arc<TpsBudget> {
    Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.1))
}

/// tower-resilience's retry: three attempts, exponential backoff.
pub fn resilience<E: 'static>() -> RetryConfigBuilder<u64, u64, E> {
    RetryLayer::<u64, u64, E>::builder().name("bench").max_attempts(3).exponential_backoff(BASE)
}

/// tower-resilience's token bucket.
pub fn resilience_budget() -> Arc<dyn tower_resilience_retry::RetryBudget> {
    let bucket = RetryBudgetBuilder::new().token_bucket().tokens_per_second(10.0).max_tokens(100).initial_tokens(100);
    bucket.build().expect(VALID)
}

/// The policy tower's documentation builds from its own parts: attempts, backoff, budget.
#[derive(Clone, Debug)]
pub struct Attempts {
    left: u32,
    backoff: ExponentialBackoff<HasherRng>,
    budget: Option<Arc<TpsBudget>>,
}

impl Attempts {
    /// Three attempts, with or without a budget.
    pub fn new(budget: Option<Arc<TpsBudget>>) -> Self {
        let maker = ExponentialBackoffMaker::new(BASE, CAP, 1.0, HasherRng::default());
        Self { left: 2, backoff: maker.expect(VALID).make_backoff(), budget }
    }
}

impl<E> Policy<u64, u64, E> for Attempts {
    type Future = <ExponentialBackoff<HasherRng> as TowerBackoff>::Future;

    fn retry(&mut self, _: &mut u64, answer: &mut Result<u64, E>) -> Option<Self::Future> {
        if answer.is_ok() {
            if let Some(budget) = &self.budget {
                budget.deposit();
            }
            return None;
        }
        let allowed = self.budget.as_ref().is_none_or(|budget| budget.withdraw());
        if self.left == 0 || !allowed {
            return None;
        }
        self.left -= 1;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}
