//! What a budget hands out: given back by dropping.

use std::cell::Cell;
use std::num::NonZeroUsize;

use super::RetryBudget;
use super::rule::Kind;
use super::word::Input;
use crate::context::ambient;

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
    /// The budget it paid into, if it did.
    counted: Option<Account>,
}

/// Which budget, for as long as somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account(pub(super) NonZeroUsize);

thread_local! {
    /// The budget that the request in progress has paid into.
    static COUNTED: Cell<Option<Account>> = const { Cell::new(None) };
}

impl Request {
    pub(super) fn new(budget: Option<RetryBudget>, counted: Account) -> Self {
        Self { budget, counted: Some(counted) }
    }

    /// The request, field by field.
    #[inline(always)]
    pub(crate) fn moved(&mut self) -> Self {
        Self { budget: self.budget.take(), counted: self.counted.take() }
    }

    /// Runs `work` so that no layer inside which shares the budget counts the request again.
    #[inline(always)]
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        // While the budget is full nothing is paid in, and nothing need be noted. `work` is called in one place, as in
        // `ambient::attempting`.
        let _outer = self.counted.is_some().then(|| Outer(COUNTED.replace(self.counted)));
        work()
    }
}

/// What was noted outside; put back when this is dropped, by a panic too.
struct Outer(Option<Account>);

impl Drop for Outer {
    fn drop(&mut self) {
        COUNTED.set(self.0);
    }
}

/// Whether what is about to be sent for the first time here was counted before: by an outer layer that shares the
/// budget, or as the retry or hedge of an outer layer, which is no request.
pub(super) fn is_counted(account: Account) -> bool {
    let attempt = ambient::get().attempt;
    // With the number with which the request being served came, the client counts its own.
    let is_repeated = attempt > 1 && attempt & ambient::RECEIVED == 0;
    is_repeated || COUNTED.get() == Some(account)
}

impl Drop for Request {
    #[inline]
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.apply(Input::Done);
        }
    }
}
