//! The policy users hold.

use std::fmt;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::config::{Config, Rules};
use super::{Signal, SignalShedBuilder};
use crate::context::Criticality;
use crate::load_shed::Event;
use crate::load_shed::refusals::Refusals;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Timestamp;
use crate::{ConfigError, Name, Reason, Rejected};

/// Refuses as many calls as a signal asks for, the least critical first; the [module](super) explains it. Clones share its
/// state.
#[derive(Clone)]
pub struct SignalShed {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    rules: ArcSwap<Rules>,
    /// One more than how often the signal had been set when it was last seen to have been, and when that was. Zero: never
    /// looked at.
    seen: AtomicU64,
    seen_at: AtomicU64,
    refusals: Refusals,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The signal.
    pub signal: f64,
    /// The share of all calls that is refused.
    pub ratio: f64,
    /// Calls refused since the policy was built.
    pub rejected: u64,
    /// Calls that would have been, in dry runs.
    pub would_reject: u64,
}

impl SignalShed {
    /// Starts to set one up.
    pub fn builder() -> SignalShedBuilder {
        SignalShedBuilder::new()
    }

    pub(super) fn new(config: Config, rules: Rules) -> Self {
        let (seen, seen_at, refusals) = (AtomicU64::new(0), AtomicU64::new(0), Refusals::default());
        let rules = ArcSwap::from_pointee(rules);
        Self { shared: Arc::new(Shared { config, rules, seen, seen_at, refusals }) }
    }

    /// Asks to let in a call of the criticality in the context.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`], as often as the signal asks for.
    pub fn try_admit(&self) -> Result<(), Rejected> {
        let (config, rules) = (&self.shared.config, self.shared.rules.load());
        let Some(probability) = config.order.refuses(self.ratio(&rules), rules.cohort) else { return Ok(()) };
        self.shared.refusals.add_one(rules.dry_run);
        let event = || Event::new(rules.dry_run, Reason::Overloaded, probability);
        config.listeners.emit(&config.name, || config.timer.now(), event);
        if rules.dry_run {
            return Ok(());
        }
        Err(Rejected::new(config.name.clone(), Reason::Overloaded))
    }

    /// The policy as a layer.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::SignalShedLayer {
        self.clone().into()
    }

    /// Takes over all of `builder` while calls run but its name, signal, seed, clock and listeners.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    pub fn reconfigure(&self, builder: SignalShedBuilder) -> Result<(), ConfigError> {
        self.shared.rules.store(builder.checked()?.into());
        Ok(())
    }

    /// What it goes by.
    pub fn signal(&self) -> &Signal {
        &self.shared.config.signal
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The figures.
    pub fn snapshot(&self) -> Snapshot {
        let (signal, ratio) = (self.signal().get(), self.ratio(&self.shared.rules.load()));
        let refusals = &self.shared.refusals;
        Snapshot { signal, ratio, rejected: refusals.rejected(), would_reject: refusals.would_reject() }
    }

    /// How likely a call of a criticality is refused now.
    pub fn refusal(&self, criticality: Criticality) -> f64 {
        self.shared.config.order.refusal(self.ratio(&self.shared.rules.load()), criticality)
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

    /// The share to refuse. Reads the clock only if that is above zero.
    fn ratio(&self, rules: &Rules) -> f64 {
        let above = self.signal().get() - rules.from;
        if above <= 0.0 || !self.is_fresh(rules.fresh_for) {
            return 0.0;
        }
        rules.most * (above / (1.0 - rules.from)).min(1.0)
    }

    /// Whether the signal was set within the time it is believed for.
    fn is_fresh(&self, fresh_for: Duration) -> bool {
        let Shared { config, seen, seen_at, .. } = &*self.shared;
        if fresh_for == Duration::MAX {
            return true;
        }
        // Acquire pairs with the Release below: who sees the count sees a time no earlier than that of its first sight, and
        // reads a number of writes that is no lower.
        let before = seen.load(Ordering::Acquire);
        let (now, count) = (config.timer.now(), config.signal.writes().saturating_add(1));
        if before == count {
            return now.since(Timestamp::from_nanos(seen_at.load(Ordering::Relaxed))) <= fresh_for;
        }
        // Neither goes back: one that saw fewer writes and comes late would make an old one look new.
        seen_at.fetch_max(now.as_nanos(), Ordering::Relaxed);
        seen.fetch_max(count, Ordering::Release);
        true
    }
}

impl fmt::Debug for SignalShed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalShed").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
