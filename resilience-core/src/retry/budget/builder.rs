//! Building a budget.

use super::*;
use crate::ConfigError;

/// Builds a [`RetryBudget`].
///
/// The defaults and their reasons are in the [module documentation](super#defaults).
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryBudgetBuilder {
    name: Name,
    ratio: Option<f64>,
    reserve: Option<u32>,
    start: Option<u32>,
    floor: u32,
    rule: Option<Rule>,
    timer: Option<SharedTimer>,
}

impl RetryBudgetBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("retry_budget"),
            ratio: None,
            reserve: None,
            start: None,
            floor: 0,
            rule: None,
            timer: SharedTimer::preset(),
        }
    }

    /// The name in snapshots.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Retries per request in the long run, from 0 to 1000; kept to a millionth.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// Retries saved up when the bucket is full: the largest burst beyond the ratio.
    pub fn reserve(mut self, retries: u32) -> Self {
        self.reserve = Some(retries);
        self
    }

    /// Retries in the bucket in the beginning, at most the reserve.
    pub fn start(mut self, retries: u32) -> Self {
        self.start = Some(retries);
        self
    }

    /// Retries per second that are granted even when the bucket is empty. Reads the clock only then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::retry::budget::{Kind, RetryBudget};
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let budget = RetryBudget::builder().reserve(0).floor(1).timer(timer.clone()).build()?;
    /// let retry = || budget.withdraw(Kind::Failure).map(|mut permit| permit.spend()).is_some();
    /// assert_eq!([retry(), retry()], [true, false]);
    /// timer.advance(Duration::from_secs(1));
    /// assert_eq!([retry(), retry()], [true, false]);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn floor(mut self, retries_per_second: u32) -> Self {
        self.floor = retries_per_second;
        self
    }

    /// Another rule than [`Rule::Ratio`]; not together with `ratio`, `reserve` or `start`.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// The clock of the floor and of [`Rule::Leaky`]; tokio's unless set.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// The budget.
    ///
    /// # Errors
    ///
    /// A ratio or reward that is not a number between 0 and 1000, a start above the reserve, a price of zero, a `ttl`
    /// outside of 1 s to 60 s, a rule together with the settings of another, or no timer where one is needed.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let Self { name, ratio, reserve, start, floor, rule, timer } = self;
        if rule.is_some() && (ratio.is_some() || reserve.is_some() || start.is_some()) {
            return Err(ConfigError::new("rule", "must not be combined with ratio, reserve or start"));
        }
        let preset = Ratio::default();
        let rule = rule.unwrap_or(Rule::Ratio(Ratio {
            ratio: ratio.unwrap_or(preset.ratio),
            reserve: reserve.unwrap_or(preset.reserve),
            start,
        }));
        let ledger = match &rule {
            Rule::Ratio(rule) => Ledger::Word(Word::ratio(rule)?),
            Rule::Costs(rule) => Ledger::Word(Word::costs(rule)?),
            Rule::Throttle(rule) => Ledger::Word(Word::throttle(rule)?),
            Rule::Share(rule) => Ledger::Word(Word::share(rule)?),
            Rule::Leaky(rule) => Ledger::Slices(Mutex::new(Slices::new(rule)?)),
        };
        let floor = Floor::new(floor).map(|rule| Reserved { rule, arrival: AtomicU64::new(0) });
        if timer.is_none() && (floor.is_some() || matches!(ledger, Ledger::Slices(_))) {
            return Err(ConfigError::new("timer", "must be given without the feature `tokio`"));
        }
        let (start, full) = match &ledger {
            Ledger::Word(rule) => (rule.start(), rule.full()),
            Ledger::Slices(_) => (0, u64::MAX),
        };
        let (word, withdrawn, refused) = (AtomicU64::new(start), AtomicU64::new(0), AtomicU64::new(0));
        Ok(RetryBudget { shared: Arc::new(Shared { word, full, ledger, floor, name, timer, withdrawn, refused }) })
    }
}
