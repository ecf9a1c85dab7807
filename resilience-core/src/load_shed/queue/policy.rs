//! The policy users hold.

use std::fmt;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::QueueShedBuilder;
use super::config::{Config, Rules};
use super::machine::Machine;
use crate::context::{Criticality, ambient};
use crate::load_shed::refusals::Refusals;
use crate::load_shed::{Event, class};
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;
use crate::{ConfigError, Name, Reason, Rejected};

/// Refuses calls that waited too long in a queue that stands; the [module](super) explains it. Clones share its state.
#[derive(Clone)]
pub struct QueueShed {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    rules: ArcSwap<Rules>,
    machine: Mutex<Machine>,
    refusals: Refusals,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The shortest wait of the last interval.
    pub wait: Duration,
    /// The share of all calls that is refused.
    pub ratio: f64,
    /// Calls refused since the policy was built.
    pub rejected: u64,
    /// Calls that would have been, in dry runs.
    pub would_reject: u64,
}

impl QueueShed {
    /// Starts to set one up.
    pub fn builder() -> QueueShedBuilder {
        QueueShedBuilder::new()
    }

    pub(super) fn new(config: Config, rules: Rules) -> Self {
        let machine = Mutex::new(Machine::new(rules.target, rules.interval));
        let rules = ArcSwap::from_pointee(rules);
        Self { shared: Arc::new(Shared { config, rules, machine, refusals: Refusals::default() }) }
    }

    /// A call of the criticality in the context is taken up now, after it has waited for so long.
    ///
    /// For queues of your own: measure from when the call came to when its work would begin, and ask then.
    ///
    /// # Errors
    ///
    /// [`Reason::QueueDelay`], with a hint to come back after the interval, when the verdict is another.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Reason;
    /// use resilience_core::context::{Context, Criticality};
    /// use resilience_core::load_shed::QueueShed;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let shed = QueueShed::builder().timer(timer.clone()).build()?;
    /// let waited = Duration::from_millis(50); // each call, for longer than an interval: a queue that stands
    /// for _ in 0..30 {
    ///     timer.advance(Duration::from_millis(10));
    ///     let _ = shed.try_admit(waited);
    /// }
    /// let crawler = Context::new().with_criticality(Criticality::Sheddable);
    /// assert_eq!(crawler.run(|| shed.try_admit(waited)).unwrap_err().reason(), Reason::QueueDelay);
    /// assert!(crawler.run(|| shed.try_admit(Duration::ZERO)).is_ok());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn try_admit(&self, waited: Duration) -> Result<(), Rejected> {
        self.admit_at(waited, self.shared.config.timer.now())
    }

    pub(super) fn admit_at(&self, waited: Duration, now: Timestamp) -> Result<(), Rejected> {
        let (config, rules) = (&self.shared.config, self.shared.rules.load());
        let verdict = lock(&self.shared.machine).take_up(waited, now);
        // Who did not wait stands in no queue, and refusing it would make none shorter; it counts among all the same.
        let ratio = if waited == Duration::ZERO { 0.0 } else { verdict.ratio };
        let drawn = config.order.refuses(ratio, rules.cohort);
        let is_late = verdict.is_late && waited > rules.longest[class(ambient::get().criticality)];
        let Some(probability) = (if is_late { Some(1.0) } else { drawn }) else { return Ok(()) };
        self.shared.refusals.add_one(rules.dry_run);
        let event = || Event::new(rules.dry_run, Reason::QueueDelay, probability);
        config.listeners.emit(&config.name, || now, event);
        if rules.dry_run {
            return Ok(());
        }
        Err(Rejected::new(config.name.clone(), Reason::QueueDelay).with_retry_after(rules.interval))
    }

    /// The policy as a layer, which measures how long calls wait for the inner service to be ready.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::QueueShedLayer {
        self.clone().into()
    }

    /// Takes over all of `builder` while calls run but its name, seed, clock and listeners. What the policy has found stays.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    pub fn reconfigure(&self, builder: QueueShedBuilder) -> Result<(), ConfigError> {
        let rules = builder.checked()?;
        // Held until both have changed: of two changes at once, one is what all read in the end.
        let mut machine = lock(&self.shared.machine);
        machine.set(rules.target, rules.interval);
        self.shared.rules.store(rules.into());
        drop(machine);
        Ok(())
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// The figures.
    pub fn snapshot(&self) -> Snapshot {
        let machine = *lock(&self.shared.machine);
        let refusals = &self.shared.refusals;
        let (rejected, would_reject) = (refusals.rejected(), refusals.would_reject());
        Snapshot { wait: machine.wait(), ratio: machine.ratio(), rejected, would_reject }
    }

    /// How likely a call of a criticality that waited is refused now.
    pub fn refusal(&self, criticality: Criticality) -> f64 {
        self.shared.config.order.refusal(self.snapshot().ratio, criticality)
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

    /// Target and interval, as the rules have them and as the machine does.
    #[cfg(all(test, loom))]
    pub(in crate::load_shed) fn goes_by(&self) -> [(Duration, Duration); 2] {
        let rules = self.shared.rules.load();
        [(rules.target, rules.interval), lock(&self.shared.machine).goes_by()]
    }

    #[cfg(feature = "tower")]
    pub(super) fn now(&self) -> Timestamp {
        self.shared.config.timer.now()
    }
}

impl fmt::Debug for QueueShed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueShed").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
