//! Settings of a node's limiter, checked before anything is built.

use std::time::Duration;

use super::super::machine::Rule;
use super::policy::{DistributedRateLimiter, Shared};
use super::store::{PermitStore, Quota};
use crate::bulkhead::Bulkhead;
use crate::event::{Listeners, Sink};
use crate::sync::Arc;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Calls that may wait for one answer of the store. More are refused: the store is not what they wait for any more.
const MOST_WAITING: u32 = 65_535;

/// What becomes of calls while the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenUnavailable {
    /// They pass.
    #[default]
    Admit,
    /// They are refused.
    Refuse,
}

/// What can change while it is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) quota: Quota,
    pub(super) handful: u32,
    pub(super) keep_for: Duration,
    pub(super) patience: Duration,
    pub(super) when_unavailable: WhenUnavailable,
    pub(super) dry_run: bool,
}

/// Sets up a [`DistributedRateLimiter`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct DistributedRateLimiterBuilder<S> {
    store: S,
    name: Name,
    quota: Option<(u32, Duration)>,
    burst: Option<u32>,
    handful: Option<u32>,
    keep_for: Option<Duration>,
    patience: Duration,
    when_unavailable: WhenUnavailable,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl<S: PermitStore> DistributedRateLimiterBuilder<S> {
    /// The name in refusals and events, and of the limit in the store: nodes with the same name share it. Default:
    /// `rate_limit`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// `permits` in each `per`, for all nodes together. Has no default.
    pub fn quota(mut self, permits: u32, per: Duration) -> Self {
        self.quota = Some((permits, per));
        self
    }

    /// Permits that may be had at once by nodes that have taken none for a while. Default: as many as the quota's.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Permits to ask the store for at a time. Default: a hundredth of the burst, at least 1.
    pub fn handful(mut self, permits: u32) -> Self {
        self.handful = Some(permits);
        self
    }

    /// How long permits at hand may be spent. Default: the quota's time.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// How long the store may take to answer. Default: 50 ms.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// What becomes of calls while the store does not answer. Default: [`WhenUnavailable::Admit`].
    pub fn when_unavailable(mut self, rule: WhenUnavailable) -> Self {
        self.when_unavailable = rule;
        self
    }

    /// Asks, spends, counts and tells, and refuses nobody. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock to live by. Default: tokio's.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener; see [`Event`](super::Event).
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The node's limiter.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a quota that is missing or cannot be kept, a handful of zero or above the burst, a time of zero,
    /// or no timer (without the feature `tokio`).
    pub fn build(self) -> Result<DistributedRateLimiter<S>, ConfigError> {
        let settings = self.checked()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let asking =
            Bulkhead::builder().name(self.name.clone()).limit(1).queue(MOST_WAITING).timer(timer.clone()).build()?;
        let listeners = self.listeners.bound("rate_limit", &self.name);
        let shared = Shared::new(self.store, settings, self.name, timer, listeners, asking);
        Ok(DistributedRateLimiter { shared: Arc::new(shared) })
    }
}

impl<S> DistributedRateLimiterBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store,
            name: Name::from_static("rate_limit"),
            quota: None,
            burst: None,
            handful: None,
            keep_for: None,
            patience: Duration::from_millis(50),
            when_unavailable: WhenUnavailable::default(),
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// All that can be changed later.
    pub(super) fn checked(&self) -> Result<Settings, ConfigError> {
        let (permits, per) = self.quota.ok_or(ConfigError::new("quota", "must be set"))?;
        let burst = self.burst.unwrap_or(permits);
        Rule::new(permits, per, burst)?;
        let handful = self.handful.unwrap_or((burst / 100).max(1));
        if handful == 0 || handful > burst {
            return Err(ConfigError::new("handful", "must be above zero and at most the burst"));
        }
        let keep_for = self.keep_for.unwrap_or(per);
        if keep_for.is_zero() {
            return Err(ConfigError::new("keep_for", "must be above zero"));
        }
        if self.patience.is_zero() {
            return Err(ConfigError::new("patience", "must be above zero"));
        }
        let quota = Quota { permits, per, burst };
        let Self { patience, when_unavailable, dry_run, .. } = *self;
        Ok(Settings { quota, handful, keep_for, patience, when_unavailable, dry_run })
    }

    /// Whether it could be built, given a timer.
    #[cfg(all(feature = "serde", not(loom)))]
    pub(crate) fn can_work(&self) -> Result<(), ConfigError> {
        self.checked().map(drop)
    }
}
