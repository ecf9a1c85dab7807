//! What a budget hands out: given back by dropping.

use super::RetryBudget;
use super::rule::Kind;
use super::word::Input;

/// One retry or hedge, paid for from the moment it is scheduled.
///
/// Dropped before [`spend`](Self::spend), it is refunded: the backoff was cancelled, the deadline came first, the
/// service never got ready. Spent, it is gone, whatever comes of it, except that [`succeeded`](Self::succeeded) pays
/// back what the budget's rule gives for a recovery.
///
/// ```
/// use resilience_core::retry::budget::{Costs, Kind, RetryBudget, Rule};
///
/// let budget = RetryBudget::builder().rule(Rule::Costs(Costs::AWS_2_0)).build()?;
/// let left = || budget.snapshot().available;
/// let mut failed = budget.withdraw(Kind::TimedOut).unwrap();
/// failed.spend();
/// drop(failed);
/// assert_eq!(left(), 490.0); // sent: gone
/// budget.withdraw(Kind::Failure).unwrap().succeeded();
/// assert_eq!(left(), 490.0); // succeeded: its price of 5 is back
/// drop(budget.withdraw(Kind::Failure));
/// assert_eq!(left(), 490.0); // never sent: refunded
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "an unused permit is refunded when dropped"]
pub struct Permit {
    budget: RetryBudget,
    purse: Purse,
    spent: bool,
}

/// Where a permit was paid from, and so where a refund goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purse {
    Ledger(Kind),
    Floor,
}

impl Permit {
    pub(super) fn new(budget: RetryBudget, purse: Purse) -> Self {
        Self { budget, purse, spent: false }
    }

    /// The retry is sent now.
    pub fn spend(&mut self) {
        self.spent = true;
    }

    /// The retry was sent and succeeded.
    pub fn succeeded(mut self) {
        self.spent = true;
        if let Purse::Ledger(kind) = self.purse {
            self.budget.apply(Input::Recovered(kind));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.purse {
            Purse::Ledger(_) if self.spent => {
                self.budget.apply(Input::Finished);
            }
            Purse::Ledger(kind) => {
                self.budget.apply(Input::Refund(kind));
            }
            Purse::Floor if self.spent => {}
            Purse::Floor => self.budget.refund_floor(),
        }
    }
}

/// A request in flight; made by [`RetryBudget::request`], over when dropped.
///
/// ```
/// use resilience_core::retry::budget::{Kind, RetryBudget, Rule, Share};
///
/// let share = Share { ratio: 0.5, floor: 0, counts_itself: true };
/// let budget = RetryBudget::builder().rule(Rule::Share(share)).build()?;
/// let in_flight = [budget.request(), budget.request()];
/// assert!(budget.withdraw(Kind::Failure).is_some());
/// drop(in_flight);
/// assert!(budget.withdraw(Kind::Failure).is_none()); // half of nothing
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "the request counts as in flight until this is dropped"]
pub struct Request {
    /// None where the rule does not count requests in flight.
    budget: Option<RetryBudget>,
}

impl Request {
    pub(super) fn new(budget: Option<RetryBudget>) -> Self {
        Self { budget }
    }
}

impl Drop for Request {
    #[inline]
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.apply(Input::Done);
        }
    }
}
