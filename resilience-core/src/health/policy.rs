//! The health of a program, as users hold it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::flight::{Asking, Dependency};
use super::{Check, Checked, Probe, Report, Status};
use crate::ConfigError;
use crate::registry::Registry;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::SharedTimer;
use crate::timeout::Timeout;

/// Knows how a program is. Clones are one.
///
/// The [module](super) explains it.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    dependencies: Vec<Arc<Dependency>>,
    registry: Option<Registry>,
    draining: AtomicBool,
    timer: SharedTimer,
}

/// Sets up a [`Health`]; made by [`Health::builder`].
#[derive(Debug)]
#[must_use]
pub struct HealthBuilder {
    checks: Vec<Check>,
    registry: Option<Registry>,
    timer: Option<SharedTimer>,
}

impl HealthBuilder {
    /// Adds a check.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds the policies of a registry to readiness: one that is degraded degrades the report, and none takes the
    /// program out of service, since to serve less than everything is what they are for.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// The health.
    ///
    /// # Errors
    ///
    /// If two checks have one name, a check has no name or no time, or there is no `timer`.
    pub fn build(self) -> Result<Health, ConfigError> {
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let mut dependencies: Vec<Arc<Dependency>> = Vec::new();
        for check in self.checks {
            if check.name.is_empty() {
                return Err(ConfigError::new("check.name", "must not be empty"));
            }
            if dependencies.iter().any(|other| other.check.name == check.name) {
                return Err(ConfigError::new("check.name", "must not be given twice"));
            }
            let timeout = Timeout::builder().name(check.name.clone()).limit(check.timeout).timer(timer.clone()).build();
            let timeout = timeout.map_err(|error| ConfigError::new("check.timeout", error.rule()))?;
            dependencies.push(Arc::new(Dependency::new(check, timeout, timer.clone())));
        }
        let draining = AtomicBool::new(false);
        Ok(Health { shared: Arc::new(Shared { dependencies, registry: self.registry, draining, timer }) })
    }
}

impl Health {
    /// Starts to set it up.
    pub fn builder() -> HealthBuilder {
        HealthBuilder { checks: Vec::new(), registry: None, timer: SharedTimer::preset() }
    }

    /// Asks what has to be asked, all at once, and says how the program is.
    ///
    /// Takes no longer than the longest timeout of the checks that belong to `probe`. Dropped, it leaves the runs it has
    /// begun to others who wait for them, and ends them if there are none.
    pub fn report(&self, probe: Probe) -> Reporting {
        let asks = |dependency: &&Arc<Dependency>| {
            let own = dependency.check.probe;
            match probe {
                Probe::All => true,
                Probe::Readiness => matches!(own, Probe::Readiness | Probe::Startup),
                _ => own == probe,
            }
        };
        let asking = self.shared.dependencies.iter().filter(asks).map(|dependency| {
            // Startup is over for good once it is over.
            let is_done = dependency.check.probe == Probe::Startup && dependency.memory().was_good();
            (dependency.clone(), (!is_done).then(|| Asking::new(dependency.clone())))
        });
        Reporting { health: self.clone(), probe, asking: asking.collect() }
    }

    /// Says from now on that the program is not ready, so that no new work comes while it finishes what it has.
    ///
    /// ```
    /// use resilience_core::health::{Health, Probe, Status};
    ///
    /// # futures::executor::block_on(async {
    /// let health = Health::builder().build()?;
    /// health.drain(); // on SIGTERM, before the listener is closed
    /// assert_eq!(health.report(Probe::Readiness).await.status, Status::Down);
    /// assert_eq!(health.report(Probe::Liveness).await.status, Status::Up);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn drain(&self) {
        // Relaxed: a flag that guards nothing.
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// What is known now, for the checks that were asked.
    fn assemble(&self, probe: Probe, dependencies: impl Iterator<Item = Arc<Dependency>>) -> Report {
        let shared = &*self.shared;
        let now = shared.timer.now();
        let mut checks: Vec<Checked> = dependencies
            .map(|dependency| {
                let (check, memory) = (&dependency.check, dependency.memory());
                let mut checked = Checked::of(check.name.clone(), &memory, now, check.weight);
                if check.probe == Probe::Startup && memory.was_good() {
                    checked.status = Status::Up;
                }
                checked
            })
            .collect();
        if matches!(probe, Probe::Readiness | Probe::All) {
            for policy in shared.registry.iter().flat_map(Registry::policies) {
                let name = format!("{}/{}", policy.pattern(), policy.name());
                // A policy that serves less than everything still serves.
                checks.push(Checked::known(name, policy.status().min(Status::Degraded), false, None));
            }
            if shared.draining.load(Ordering::Relaxed) {
                let why = Some("the program is about to end".to_owned());
                checks.push(Checked::known("draining", Status::Down, true, why));
            }
        }
        Report::new(probe, checks, shared.timer.wall())
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.shared.dependencies.iter().map(|dependency| &dependency.check);
        f.debug_struct("Health").field("checks", &checks.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// A report to come; made by [`Health::report`].
#[must_use = "futures do nothing unless polled"]
pub struct Reporting {
    health: Health,
    probe: Probe,
    /// Each check, and the question that has not been answered yet.
    asking: Vec<(Arc<Dependency>, Option<Asking>)>,
}

impl Future for Reporting {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let mut pending = false;
        for (_, open) in &mut self.asking {
            if let Some(asking) = open {
                if asking.poll(cx).is_ready() {
                    *open = None;
                } else {
                    pending = true;
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        let dependencies = self.asking.iter().map(|(dependency, _)| dependency.clone());
        Poll::Ready(self.health.assemble(self.probe, dependencies))
    }
}

impl fmt::Debug for Reporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.asking.iter().filter(|(_, asking)| asking.is_some()).count();
        f.debug_struct("Reporting").field("probe", &self.probe).field("open", &open).finish_non_exhaustive()
    }
}
