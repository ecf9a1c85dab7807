//! Building a fallback.

use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

use super::machine::Rules;
use super::policy::Fallback;

/// Builds a [`Fallback`]. The defaults and their reasons are in the [module's table](super#defaults).
///
/// What a fallback answers with is not said here but where it is put to use, by [`Fallback::value`],
/// [`Fallback::service`] and the like: so there is none that has nothing to say.
///
/// ```
/// use resilience_core::fallback::Fallback;
///
/// let error = Fallback::builder().refusals(false).timeouts(false).failures(false).build().unwrap_err();
/// assert_eq!(error.to_string(), "failures must be replaced, or timeouts or refusals");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FallbackBuilder {
    name: Name,
    rules: Rules,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl FallbackBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("fallback"),
            rules: Rules { refusals: true, timeouts: true, failures: true, dry_run: false },
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in events and metrics.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether refusals of the own stack are replaced: a circuit is open, a bulkhead full. On unless set.
    pub fn refusals(mut self, replace: bool) -> Self {
        self.rules.refusals = replace;
        self
    }

    /// Whether a timeout is replaced. On unless set; switch it off where a second service must not do what the first
    /// may have done.
    pub fn timeouts(mut self, replace: bool) -> Self {
        self.rules.timeouts = replace;
        self
    }

    /// Whether other failures are replaced. On unless set.
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    /// use resilience_core::{Error, Reason, Rejected};
    ///
    /// # futures::executor::block_on(async {
    /// let refused_only = Fallback::builder().timeouts(false).failures(false).build()?;
    /// let refused = async { Err(Rejected::new("stock", Reason::Open).into()) };
    /// assert_eq!(refused_only.run_or(refused, 0).await, Ok::<_, Error<&str>>(0));
    /// let failed = async { Err(Error::Service("out of paper")) };
    /// assert_eq!(refused_only.run_or(failed, 0).await, Err(Error::Service("out of paper")));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn failures(mut self, replace: bool) -> Self {
        self.rules.failures = replace;
        self
    }

    /// Decides, counts and tells, and replaces nothing; off unless set.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.rules.dry_run = dry_run;
        self
    }

    /// The clock by which events are stamped; tokio's unless set.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener to the policy's [events](super::Event).
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// If nothing is to be replaced, or there is no timer in a build without the feature `tokio`.
    pub fn build(self) -> Result<Fallback, ConfigError> {
        let rules = self.checked()?;
        let Self { name, timer, listeners, .. } = self;
        let timer = timer.ok_or(ConfigError::new("timer", "must be given without the feature `tokio`"))?;
        let listeners = listeners.bound("fallback", &name);
        Ok(Fallback::new(name, rules, timer, listeners))
    }

    /// The rules, if they can work.
    pub(super) fn checked(&self) -> Result<Rules, ConfigError> {
        let Rules { refusals, timeouts, failures, .. } = self.rules;
        if !(refusals || timeouts || failures) {
            return Err(ConfigError::new("failures", "must be replaced, or timeouts or refusals"));
        }
        Ok(self.rules)
    }
}
