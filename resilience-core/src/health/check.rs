//! One question to one dependency.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use super::Probe;
use super::machine::Weight;
use crate::Name;

/// How a check is asked: made anew for each run.
pub(super) type Ask = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A question to a dependency: is it there, does it work?
///
/// ```
/// use std::time::Duration;
/// use resilience_core::health::Check;
///
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// let database = Check::new("database", || ping()).timeout(Duration::from_millis(500));
/// let search = Check::new("search", || ping()).degrading(); // without it the shop still sells
/// # let _ = (database, search);
/// ```
#[must_use = "a check does nothing until it is added to a `Health`"]
pub struct Check {
    pub(super) name: Name,
    pub(super) ask: Ask,
    pub(super) weight: Weight,
    pub(super) timeout: Duration,
    pub(super) min_interval: Duration,
    /// Which probe it belongs to.
    pub(super) probe: Probe,
}

/// How long a check may take, the time Kubernetes gives a whole probe unless told otherwise: a dependency that takes a
/// second to say that it is there is not much use.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How old an answer may be to be given again: probes come every ten seconds from each prober, and there may be many.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

impl Check {
    /// A check called `name` that runs what `ask` makes. It is critical and belongs to readiness.
    ///
    /// Keep the question cheap and end it on this side of the dependency's own dependencies: ask a database for a
    /// connection, not a service for the health of all it needs.
    pub fn new<Fut, E>(name: impl Into<Name>, ask: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let ask: Ask = Box::new(move || {
            let answer = ask();
            Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
        });
        let weight = Weight { critical: true, grace: Duration::ZERO };
        Self { name: name.into(), ask, weight, timeout: TIMEOUT, min_interval: MIN_INTERVAL, probe: Probe::Readiness }
    }

    /// Its failure means less, not nothing: the report says degraded, and the program stays in service.
    pub fn degrading(mut self) -> Self {
        self.weight.critical = false;
        self
    }

    /// It belongs to liveness instead of readiness: its failure asks for the process to be restarted.
    ///
    /// Only for what a restart repairs, such as a worker that hangs. A dependency that is down does not come back by
    /// restarting those that need it.
    pub fn liveness(mut self) -> Self {
        self.probe = Probe::Liveness;
        self
    }

    /// It belongs to startup instead of readiness, and is asked until it has been good once: migrations, warm caches.
    pub fn startup(mut self) -> Self {
        self.probe = Probe::Startup;
        self
    }

    /// How long an answer may take. Default: 1 s. Who takes longer has failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an answer is given again, good or bad, before the question is asked anew. Default: 1 s.
    ///
    /// However many probers ask, and however often: the dependency is asked once in this time, and one question at a
    /// time.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval;
        self
    }

    /// How long after its last good answer a failing check only degrades. Default: zero.
    ///
    /// For dependencies that fail now and then for a moment, in which taking the program out of service helps nobody.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.weight.grace = grace;
        self
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("probe", &self.probe)
            .field("critical", &self.weight.critical)
            .field("grace", &self.weight.grace)
            .field("timeout", &self.timeout)
            .field("min_interval", &self.min_interval)
            .finish_non_exhaustive()
    }
}
