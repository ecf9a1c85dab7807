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
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl TimeoutBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("timeout"),
            limit: None,
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
        let limit = self.limit.ok_or(ConfigError::new("limit", "must be set"))?;
        if limit.is_zero() {
            return Err(ConfigError::new("limit", "must be above zero"));
        }
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        Ok(Timeout::assemble(self.name, limit, timer, &self.listeners))
    }
}
