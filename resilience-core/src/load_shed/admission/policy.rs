//! The policy users hold.

use std::fmt;

use arc_swap::ArcSwap;

use super::AdmissionControlBuilder;
use super::config::{Config, Rules};
use crate::circuit_breaker::shards;
use crate::circuit_breaker::window::{Record, TimeWindow};
use crate::context::Criticality;
use crate::load_shed::Event;
use crate::load_shed::refusals::Refusals;
use crate::sync::Arc;
use crate::{Class, ConfigError, Name, Reason, Rejected};

/// Refuses as many calls as fail; the [module](super) explains it. Clones share the figures.
#[derive(Clone)]
pub struct AdmissionControl {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    rules: ArcSwap<Rules>,
    window: TimeWindow,
    refusals: Refusals,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls in the window that were sent and have ended.
    pub calls: u64,
    /// Those of them that succeeded.
    pub successes: u64,
    /// The share of all calls that is refused.
    pub ratio: f64,
    /// Calls refused since the policy was built.
    pub rejected: u64,
    /// Calls that would have been, in dry runs.
    pub would_reject: u64,
}

impl AdmissionControl {
    /// Starts to set one up.
    pub fn builder() -> AdmissionControlBuilder {
        AdmissionControlBuilder::new()
    }

    pub(super) fn new(config: Config, rules: Rules) -> Self {
        let window = TimeWindow::new(config.window, shards::count());
        let rules = ArcSwap::from_pointee(rules);
        Self { shared: Arc::new(Shared { config, rules, window, refusals: Refusals::default() }) }
    }

    /// Asks to make a call of the criticality in the context.
    ///
    /// # Errors
    ///
    /// [`Reason::Throttled`], as often as calls fail.
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.decide().map(|()| self.permit())
    }

    /// Decides about a call, and counts and tells a refusal.
    pub(super) fn decide(&self) -> Result<(), Rejected> {
        let (config, rules) = (&self.shared.config, self.shared.rules.load());
        if let Some(probability) = config.order.refuses(self.ratio(&rules).2, rules.cohort) {
            self.shared.refusals.add_one(rules.dry_run);
            let event = || Event::new(rules.dry_run, Reason::Throttled, probability);
            config.listeners.emit(&config.name, || config.timer.now(), event);
            if !rules.dry_run {
                return Err(Rejected::new(config.name.clone(), Reason::Throttled));
            }
        }
        Ok(())
    }

    /// A permit for a call that was let in.
    pub(super) fn permit(&self) -> Permit {
        Permit { policy: Some(self.clone()) }
    }

    /// The policy as a layer, with answers judged as results.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::AdmissionControlLayer {
        self.clone().into()
    }

    /// Takes over all of `builder` while calls run but its name, window, seed, clock and listeners.
    ///
    /// # Errors
    ///
    /// As the builder's, and if the window is another. Nothing has changed then.
    pub fn reconfigure(&self, builder: AdmissionControlBuilder) -> Result<(), ConfigError> {
        let (window, rules) = builder.checked()?;
        if window != self.shared.config.window {
            return Err(ConfigError::new("window", "cannot change while running"));
        }
        self.shared.rules.store(rules.into());
        Ok(())
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The figures.
    pub fn snapshot(&self) -> Snapshot {
        let (calls, successes, ratio) = self.ratio(&self.shared.rules.load());
        let refusals = &self.shared.refusals;
        let (rejected, would_reject) = (refusals.rejected(), refusals.would_reject());
        Snapshot { calls, successes, ratio, rejected, would_reject }
    }

    /// How likely a call of a criticality is refused now.
    pub fn refusal(&self, criticality: Criticality) -> f64 {
        self.shared.config.order.refusal(self.ratio(&self.shared.rules.load()).2, criticality)
    }

    /// Whether it refuses nothing.
    #[cfg(not(loom))]
    pub(crate) fn is_dry_run(&self) -> bool {
        self.shared.rules.load().dry_run
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// Calls, successes, and the share to refuse.
    fn ratio(&self, rules: &Rules) -> (u64, u64, f64) {
        let config = &self.shared.config;
        let counts = self.shared.window.counts(0, config.timer.now());
        let successes = counts.calls.saturating_sub(counts.failures);
        let is_enough = counts.calls as f64 >= rules.min_calls;
        (counts.calls, successes, if is_enough { rules.rule.refusal(counts.calls, successes) } else { 0.0 })
    }

    fn record(&self, record: Record) {
        self.shared.window.record(shards::mine(), 0, self.shared.config.timer.now(), record);
    }
}

impl fmt::Debug for AdmissionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionControl").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}

/// Leave to make one call. Dropped unsettled, the call counts as failed, unless the thread is panicking: a service whose
/// callers give up is not well.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a failed call"]
pub struct Permit {
    policy: Option<AdmissionControl>,
}

impl Permit {
    /// Reports what the answer meant: a success or a slow answer is one, a failure is not, and the rest is not counted.
    pub fn settle(mut self, class: Class) {
        let Some(policy) = self.policy.take() else { return };
        match class {
            Class::Success | Class::Slow => policy.record(Record::Success),
            Class::Failure => policy.record(Record::Failure),
            Class::Ignore => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(policy) = self.policy.take()
            && !std::thread::panicking()
        {
            policy.record(Record::Failure);
        }
    }
}
