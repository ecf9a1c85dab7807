//! The throttle users hold.

use std::fmt;

use arc_swap::ArcSwap;

use super::class;
use super::config::{ClientThrottleBuilder, Config, Rules};
use super::event::Event;
use super::order::CLASSES;
use super::refusals::Refusals;
use crate::circuit_breaker::shards;
use crate::circuit_breaker::window::{Record, TimeWindow};
use crate::context::{Criticality, ambient};
use crate::sync::Arc;
use crate::{Class, ConfigError, Name, Reason, Rejected};

/// Refuses in proportion to what the backend does not accept; the [module](super) explains it. Clones share the figures.
#[derive(Clone)]
pub struct ClientThrottle {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    rules: ArcSwap<Rules>,
    /// One for each criticality. A request that was accepted is a success, any other a failure.
    windows: [TimeWindow; CLASSES],
    refusals: Refusals,
}

/// A throttle's figures at one moment, for one criticality.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls in the window, those refused here included.
    pub requests: u64,
    /// Those of them that the backend accepted.
    pub accepts: u64,
    /// How likely the next one is refused.
    pub probability: f64,
    /// Calls refused since the throttle was built, of every criticality.
    pub rejected: u64,
    /// Calls that would have been, in dry runs.
    pub would_reject: u64,
}

impl ClientThrottle {
    /// Starts to set up a throttle.
    pub fn builder() -> ClientThrottleBuilder {
        ClientThrottleBuilder::new()
    }

    pub(super) fn new(config: Config, rules: Rules) -> Self {
        let windows = std::array::from_fn(|_| TimeWindow::new(config.window, shards::count()));
        let rules = ArcSwap::from_pointee(rules);
        Self { shared: Arc::new(Shared { config, rules, windows, refusals: Refusals::default() }) }
    }

    /// Asks to make a call of the criticality in the context.
    ///
    /// # Errors
    ///
    /// [`Reason::Throttled`], as often as the backend refuses.
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        let (config, criticality) = (&self.shared.config, ambient::get().criticality);
        // Loaded once: a call is decided by one set of rules, whatever changes meanwhile.
        let (rules, (requests, accepts)) = (self.shared.rules.load(), self.counts(criticality));
        let (probability, dry_run) = (rules.rule.refusal(requests, accepts), rules.dry_run);
        if probability > 0.0 && config.rng.unit() < probability {
            self.shared.refusals.add_one(dry_run);
            let event = || Event::new(dry_run, Reason::Throttled, probability);
            config.listeners.emit(&config.name, || config.timer.now(), event);
            if !dry_run {
                // What is refused here was asked for all the same.
                self.record(criticality, Record::Failure);
                return Err(Rejected::new(config.name.clone(), Reason::Throttled));
            }
        }
        Ok(Permit { throttle: self.clone(), criticality })
    }

    /// The throttle as a layer, with answers judged as results.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::ClientThrottleLayer {
        self.clone().into()
    }

    /// Takes over rule and dry run of `builder` while calls run; its name, seed, clock and listeners are not looked at.
    ///
    /// # Errors
    ///
    /// As the builder's, and if the window is another. Nothing has changed then.
    pub fn reconfigure(&self, builder: ClientThrottleBuilder) -> Result<(), ConfigError> {
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

    /// The figures of one criticality.
    pub fn snapshot(&self, criticality: Criticality) -> Snapshot {
        let (requests, accepts) = self.counts(criticality);
        Snapshot {
            requests,
            accepts,
            probability: self.shared.rules.load().rule.refusal(requests, accepts),
            rejected: self.shared.refusals.rejected(),
            would_reject: self.shared.refusals.would_reject(),
        }
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

    /// Calls in the window, and those of them that the backend accepted.
    fn counts(&self, criticality: Criticality) -> (u64, u64) {
        let counts = self.shared.windows[class(criticality)].counts(0, self.shared.config.timer.now());
        (counts.calls, counts.calls.saturating_sub(counts.failures))
    }

    fn record(&self, criticality: Criticality, record: Record) {
        let now = self.shared.config.timer.now();
        self.shared.windows[class(criticality)].record(shards::mine(), 0, now, record);
    }
}

impl fmt::Debug for ClientThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.snapshot(Criticality::Critical);
        f.debug_struct("ClientThrottle").field("name", self.name()).field("critical", &seen).finish_non_exhaustive()
    }
}

/// Leave to make one call. Dropped unsettled, the call is not counted.
#[derive(Debug)]
#[must_use = "a call is counted when its permit is settled"]
pub struct Permit {
    throttle: ClientThrottle,
    criticality: Criticality,
}

impl Permit {
    /// Reports what the answer meant: a success or a slow answer was accepted, a failure was not.
    pub fn settle(self, class: Class) {
        match class {
            Class::Success | Class::Slow => self.throttle.record(self.criticality, Record::Success),
            Class::Failure => self.throttle.record(self.criticality, Record::Failure),
            Class::Ignore => {}
        }
    }
}
