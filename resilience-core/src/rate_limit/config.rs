//! What a rate limiter can be told.

use std::time::Duration;

use super::machine::Rule;
use super::{KeyedRateLimiter, RateLimiter};
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`RateLimiter`] or a [`KeyedRateLimiter`]; made by [`RateLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimiterBuilder {
    name: Name,
    quota: Option<(u32, Duration)>,
    burst: Option<u32>,
    max_wait: Duration,
    max_keys: usize,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) rule: Rule,
    pub(super) max_wait: Duration,
    pub(super) max_keys: usize,
    pub(super) dry_run: bool,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// Keys a keyed limiter remembers unless told otherwise: some tens of megabytes, and more than most services have users
/// within one refill.
const MAX_KEYS: usize = 1 << 20;

impl RateLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("rate_limit"),
            quota: None,
            burst: None,
            max_wait: Duration::ZERO,
            max_keys: MAX_KEYS,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `rate_limit`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// `permits` in each `per`, handed out evenly: one each `per / permits`. Has no default.
    pub fn quota(mut self, permits: u32, per: Duration) -> Self {
        self.quota = Some((permits, per));
        self
    }

    /// Permits that may be had at once by who has taken none for a while. Default: as many as the quota's.
    ///
    /// With 1, calls are spaced evenly, at least `per / permits` apart.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(burst);
        self
    }

    /// How long a call may wait for its permits. Default: zero, who finds none is refused at once.
    ///
    /// A call that would have to wait longer is refused at once too. `Duration::MAX` bounds the wait by the deadline in
    /// the context alone, if there is one.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// For [`build_keyed`](Self::build_keyed): keys that may be remembered at once. Default: 1,048,576.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Tries the limit out: decides, counts and tells what it would do, and lets every call pass. Default: off.
    ///
    /// Nobody waits. Calls that would have waited take their permits all the same, calls that would have been refused
    /// take none: so the next one meets what it would have met.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::RateLimiter;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let limiter = RateLimiter::builder().quota(1, Duration::from_secs(1)).dry_run(true).timer(ManualTimer::new()).build()?;
    /// assert!((0..3).all(|_| limiter.try_acquire().is_ok()));
    /// assert_eq!(limiter.snapshot().totals.would_reject, 2);
    /// # Ok::<(), resilience_core::ConfigError>(())
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

    /// The limiter.
    ///
    /// # Errors
    ///
    /// If `quota` is missing, zero, per no time or above 8 permits a nanosecond, `burst` is zero or takes more than four
    /// years to come back, or there is no `timer`.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        Ok(RateLimiter::new(self.checked()?))
    }

    /// A limiter that gives each key a quota of its own.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); and if `max_keys` is zero, or a `max_wait` is given: a keyed limiter does not wait.
    pub fn build_keyed<K>(self) -> Result<KeyedRateLimiter<K>, ConfigError> {
        self.checked_max_keys()?;
        Ok(KeyedRateLimiter::new(self.checked()?))
    }

    /// How many keys a keyed limiter may have, if this can be one.
    pub(super) fn checked_max_keys(&self) -> Result<usize, ConfigError> {
        if self.max_keys == 0 {
            return Err(ConfigError::new("max_keys", "must be above zero"));
        }
        if !self.max_wait.is_zero() {
            return Err(ConfigError::new("max_wait", "must be zero for a keyed limiter"));
        }
        Ok(self.max_keys)
    }

    fn checked(self) -> Result<Config, ConfigError> {
        let (permits, per, burst) = self.checked_quota()?;
        let rule = Rule::new(permits, per, burst)?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("rate_limit", &self.name);
        let Self { name, max_wait, max_keys, dry_run, .. } = self;
        Ok(Config { name, rule, max_wait, max_keys, dry_run, timer, listeners })
    }

    /// Permits, time and burst; the figures themselves are checked by the rule.
    pub(super) fn checked_quota(&self) -> Result<(u32, Duration, u32), ConfigError> {
        let (permits, per) = self.quota.ok_or(ConfigError::new("quota", "must be set"))?;
        Ok((permits, per, self.burst.unwrap_or(permits)))
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.max_wait
    }
}
