//! How many retries a client may add to its traffic, whatever fails.
//!
//! # Why
//!
//! Three attempts per request are harmless while one request in a hundred fails, and triple the load on a service that
//! is down: the retries keep it down after the cause is gone. A budget bounds what all requests together may add, and
//! the bound is the same object for everything that repeats calls, retry and hedge alike: clones share.
//!
//! # Example
//!
//! ```
//! use resilience_core::retry::budget::{Kind, RetryBudget};
//!
//! let budget = RetryBudget::builder().ratio(0.1).reserve(1).build()?;
//! let mut permit = budget.withdraw(Kind::Failure).expect("the reserve is full");
//! assert!(budget.withdraw(Kind::Failure).is_none());
//! drop(permit); // not spent: the retry never went out
//! assert!(budget.withdraw(Kind::Failure).is_some());
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! # Behaviour
//!
//! ```text
//!  request ──── pays in `ratio` ───►┌─────────┐
//!                                   │ bucket: │── withdraw ──► permit ── spent: the retry was sent
//!  each second, if empty: `floor` ─►│ reserve │                  │
//!                                   └────▲────┘                  └─ dropped unspent ──┐
//!                                        └───────────────── refunded ◄────────────────┘
//! ```
//!
//! A withdrawal is a [`Permit`] and counts from the moment the retry is scheduled, not from when it is sent: a thousand
//! retries that wait in their backoff are a thousand retries (envoyproxy/envoy#30205). Dropped unspent, it is refunded.
//!
//! The default rule writes nothing while the bucket is full, which is its steady state: requests then share one cache
//! line that all may read. Other rules are in [`Rule`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`ratio`](RetryBudgetBuilder::ratio) | 0.1 | Google's (SRE book, chapter 21); see [`Ratio::ratio`] |
//! | [`reserve`](RetryBudgetBuilder::reserve) | 100 | what the AWS SDKs and Finagle come to |
//! | [`start`](RetryBudgetBuilder::start) | full | a client's first minute is not worse than the rest of its life |
//! | [`floor`](RetryBudgetBuilder::floor) | 0 a second | with a reserve, only a client that fails for long without traffic needs one |
//! | [`rule`](RetryBudgetBuilder::rule) | [`Ratio`] | it is explained in one sentence, and writes nothing while all is well |
//!
//! # Events and errors
//!
//! A budget has no events of its own: a refusal shows as [`GaveUp`](super::Event::GaveUp) with the reason `budget`, or as a
//! hedge's [`Withheld`](crate::hedge::Event::Withheld), and in the [`Snapshot`]. Nor has it errors, but for those of a wrong
//! configuration: who gets no permit sends no retry, and passes on the failure it has.
//!
//! # Interplay
//!
//! One budget for everything in a process that repeats calls to one service: retries and [hedges](crate::hedge). A request
//! pays in once, however many layers hold the budget. A circuit breaker is no substitute, nor the other way round: the
//! breaker stops all calls when most fail, the budget the repetitions when some do.
//!
//! # Do and don't
//!
//! - Do share it, by cloning it into each policy of one destination.
//! - Do count [`Snapshot::refused`]: it says how much an outage would have been made worse.
//! - Don't give each retry in front of one service a budget of its own: together they allow as many times the reserve.
//! - Don't set a `floor` to be safe: it is what is added when nothing succeeds any more.
//!
//! # Limits
//!
//! It bounds one process; a fleet of a hundred clients has a hundred budgets. A ratio is kept to a millionth.

mod builder;
mod leaky;
mod permit;
mod rule;
mod word;

use std::fmt;
use std::num::NonZeroUsize;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;
use crate::{Name, time::Timestamp};

pub use self::builder::RetryBudgetBuilder;
pub use self::leaky::Leaky;
pub use self::permit::{Permit, Request};
pub use self::rule::{Costs, Kind, Ratio, Rule, Share, Throttle};

use self::leaky::Slices;
use self::permit::{Account, Purse};
use self::word::{Floor, Input, Word};

/// A bound on retries that everything which repeats calls can share. Clones are one budget.
///
/// The [module](self) explains it.
///
/// ```
/// use resilience_core::retry::budget::{Kind, RetryBudget};
///
/// let budget = RetryBudget::builder().ratio(0.5).reserve(10).start(0).build()?;
/// assert!(!budget.may_withdraw());
/// drop(budget.request());
/// drop(budget.request()); // two requests pay in half a retry each
/// assert!(budget.withdraw(Kind::Failure).is_some());
/// assert_eq!(budget.snapshot().withdrawn, 1);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    /// The state of a rule of one word.
    word: AtomicU64,
    /// The word that no deposit changes: a full bucket. Compared before the rule is asked.
    full: u64,
    ledger: Ledger,
    floor: Option<Reserved>,
    name: Name,
    /// None where no rule needs the time.
    timer: Option<SharedTimer>,
    /// Written when a retry is asked for, never on the way of a request that succeeds.
    withdrawn: AtomicU64,
    refused: AtomicU64,
}

enum Ledger {
    Word(Word),
    Slices(Mutex<Slices>),
}

struct Reserved {
    rule: Floor,
    arrival: AtomicU64,
}

impl RetryBudget {
    /// A builder; its defaults allow one retry for ten requests and a hundred beyond that.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::new()
    }

    /// Tells the budget that a request is sent for the first time. Retries are not requests: what is sent as a further
    /// attempt of an outer layer, as the [context](crate::context::attempt) tells, is not counted, nor is one that an
    /// outer layer with the same budget has counted already.
    ///
    /// The request is in flight until what this returns is dropped, which only [`Rule::Share`] heeds.
    #[inline]
    pub fn request(&self) -> Request {
        if self.is_full() { Request::default() } else { self.deposit() }
    }

    fn deposit(&self) -> Request {
        let account = self.account();
        if permit::is_counted(account) {
            return Request::default();
        }
        self.apply(Input::Request);
        let is_in_flight = matches!(self.shared.ledger, Ledger::Word(Word::InFlight(_)));
        Request::new(is_in_flight.then(|| self.clone()), account)
    }

    /// Where the shared state lies, which is somewhere, and not where another's does.
    fn account(&self) -> Account {
        Account(NonZeroUsize::new(&raw const *self.shared as usize).unwrap_or(NonZeroUsize::MIN))
    }

    /// Asks for one retry or hedge; `None` if the budget has none to give.
    pub fn withdraw(&self, kind: Kind) -> Option<Permit> {
        let purse = if self.apply(Input::Withdraw(kind)) {
            Some(Purse::Ledger(kind))
        } else {
            self.take_from_floor().then_some(Purse::Floor)
        };
        // Relaxed: a statistic.
        let counter = if purse.is_some() { &self.shared.withdrawn } else { &self.shared.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        purse.map(|purse| Permit::new(self.clone(), purse))
    }

    /// Whether a withdrawal of the cheapest kind could be granted. A hint: it reserves nothing and reads no clock, and
    /// where the answer may change while a request is under way it is yes.
    #[inline]
    pub fn may_withdraw(&self) -> bool {
        self.shared.floor.is_some()
            || match &self.shared.ledger {
                // Relaxed: a hint, as the whole answer is.
                Ledger::Word(rule) => rule.may_grant(self.shared.word.load(Ordering::Relaxed)),
                Ledger::Slices(_) => true,
            }
    }

    /// Tells the budget that a request succeeded at its first attempt. What a retry achieves is told to its [`Permit`].
    #[inline]
    pub fn succeeded(&self) {
        if !self.is_full() {
            self.apply(Input::Success);
        }
    }

    /// Tells the budget that an attempt failed in a way that may pass, whether or not it is repeated.
    pub fn failed(&self) {
        self.apply(Input::Failure);
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// What the budget holds and has given.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        let available = match &shared.ledger {
            Ledger::Word(rule) => rule.available(shared.word.load(Ordering::Relaxed)),
            Ledger::Slices(slices) => lock(slices).available(self.now()),
        };
        Snapshot {
            available,
            withdrawn: shared.withdrawn.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, crate::ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// Whether a deposit would change nothing.
    #[inline]
    fn is_full(&self) -> bool {
        // Relaxed: a deposit that just misses a withdrawal came before it.
        self.shared.word.load(Ordering::Relaxed) == self.shared.full
    }

    /// Applies the rule; false if a withdrawal is refused. An input that changes nothing writes nothing.
    fn apply(&self, input: Input) -> bool {
        match &self.shared.ledger {
            Ledger::Word(rule) => update(&self.shared.word, |word| rule.step(word, input)),
            Ledger::Slices(slices) => lock(slices).step(self.now(), input),
        }
    }

    fn take_from_floor(&self) -> bool {
        let Some(floor) = &self.shared.floor else { return false };
        let now = self.now().as_nanos();
        update(&floor.arrival, |arrival| floor.rule.take(arrival, now))
    }

    fn refund_floor(&self) {
        if let Some(floor) = &self.shared.floor {
            update(&floor.arrival, |arrival| Some(floor.rule.refund(arrival)));
        }
    }

    fn now(&self) -> Timestamp {
        // The builder sees to it that whatever needs the time has a timer.
        self.shared.timer.as_ref().map_or(Timestamp::ORIGIN, SharedTimer::now)
    }
}

/// Moves a word by a pure rule; false if the rule refuses. Reads only, if the rule leaves the word as it is.
fn update(word: &AtomicU64, rule: impl Fn(u64) -> Option<u64>) -> bool {
    // Relaxed throughout: the word guards no other memory. That no token is spent twice follows from the exchange.
    let mut now = word.load(Ordering::Relaxed);
    loop {
        match rule(now) {
            None => return false,
            Some(next) if next == now => return true,
            Some(next) => match word.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => now = other,
            },
        }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget").field("name", &self.shared.name).field("snapshot", &self.snapshot()).finish()
    }
}

/// A budget at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The balance: retries for [`Rule::Ratio`], [`Rule::Leaky`] and [`Rule::Share`], tokens for the rest. A floor per
    /// second comes on top.
    pub available: f64,
    /// Withdrawals granted so far, refunded ones included.
    pub withdrawn: u64,
    /// Withdrawals refused so far.
    pub refused: u64,
}

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom)))]
mod tests;
