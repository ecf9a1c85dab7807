//! What a timeout can be told.

use std::time::Duration;

use super::Timeout;
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`Timeout`]; made by [`Timeout::builder`].
///
/// ```
/// use std::time::Duration;
/// use resilience_core::timeout::Timeout;
///
/// assert_eq!(Timeout::builder().build().unwrap_err().to_string(), "limit must be set");
/// assert!(Timeout::builder().limit(Duration::ZERO).build().is_err());
/// assert!(Timeout::builder().limit(Duration::MAX).build().is_ok()); // for ever, but it still heeds a deadline
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TimeoutBuilder {
    name: Name,
    limit: Option<Duration>,
    reconfigurable: bool,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl TimeoutBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("timeout"),
            limit: None,
            reconfigurable: false,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `timeout`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// How long an answer may take. Has no default; `Duration::MAX` means for ever.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lets the limit be changed while calls run, by [`Timeout::reconfigure`]. Off by default, and then it costs
    /// nothing.
    ///
    /// Clones share the limit, and each call reads it once: one atomic load. What a call was allowed it keeps.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::timeout::Timeout;
    ///
    /// let limit = |millis| Timeout::builder().limit(Duration::from_millis(millis));
    /// let timeout = limit(250).reconfigurable().build()?;
    /// timeout.clone().reconfigure(limit(900))?;
    /// assert_eq!(timeout.limit(), Duration::from_millis(900));
    /// assert_eq!(limit(250).build()?.reconfigure(limit(900)).unwrap_err().field(), "limit"); // it was not asked for
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigurable(mut self) -> Self {
        self.reconfigurable = true;
        self
    }

    /// Tries the limit out: tells and counts which calls it would end, and ends none. Default: off.
    ///
    /// What is inside sees neither limit nor deadline of this timeout. A wait for readiness is not judged.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Error;
    /// use resilience_core::time::SharedTimer;
    /// use resilience_core::timeout::Timeout;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let timeout = Timeout::builder().limit(Duration::from_secs(1)).dry_run(true).build()?;
    /// let slow = async { Ok::<_, Error<()>>(SharedTimer::default().sleep(Duration::from_secs(3)).await) };
    /// assert!(timeout.call(slow).await.is_ok());
    /// assert_eq!(timeout.trial().unwrap().would_elapse, 1);
    /// # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
    /// ```
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The timeout.
    ///
    /// # Errors
    ///
    /// If `limit` is missing or zero, or there is no `timer`.
    pub fn build(self) -> Result<Timeout, ConfigError> {
        let limit = self.checked_limit()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let timeout = Timeout::assemble(self.name, limit, timer, &self.listeners, self.dry_run);
        Ok(if self.reconfigurable { timeout.shared() } else { timeout })
    }

    pub(super) fn checked_limit(&self) -> Result<Duration, ConfigError> {
        match self.limit {
            None => Err(ConfigError::new("limit", "must be set")),
            Some(Duration::ZERO) => Err(ConfigError::new("limit", "must be above zero")),
            Some(limit) => Ok(limit),
        }
    }
}
