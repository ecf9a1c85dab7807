//! The rate limiter users hold.

use std::fmt;
use std::time::Duration;

use super::config::Config;
use super::machine::{self, Rule};
use super::shared::Shared;
use super::{Acquire, Event, RateLimiterBuilder, Reservation, ResponseFuture};
use crate::sync::Arc;
use crate::{ConfigError, Name, Reason, Rejected};

/// A limit on the calls in a time. Clones share it.
#[derive(Clone)]
pub struct RateLimiter {
    pub(super) shared: Arc<Shared>,
}

/// What a rate limiter looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Permits that may be had at once.
    pub burst: u32,
    /// The time one permit takes to come back, rounded up to a nanosecond.
    pub interval: Duration,
    /// Permits that can be had now. Below zero while callers wait: then it is what they wait for.
    pub available: i64,
    /// How long the next caller would have to wait for one permit.
    pub wait: Duration,
    /// What happened since the limiter was built.
    pub totals: Totals,
}

/// Counts since the limiter was built.
///
/// Admissions are not among them: counting them would be a second shared write on the path of every call. A listener
/// that pays for them hears of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Calls that had to wait.
    pub queued: u64,
    /// Refusals because there were no permits, or not soon enough.
    pub rate_limited: u64,
    /// Refusals because there would have been no permits before the deadline.
    pub deadline: u64,
    /// Calls that left before they used what they had reserved.
    pub cancelled: u64,
    /// Calls that would have waited, in a [dry run](RateLimiterBuilder::dry_run).
    pub would_queue: u64,
    /// Calls that would have been refused, in a dry run.
    pub would_reject: u64,
}

impl RateLimiter {
    /// Starts to set up a limiter.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::new()
    }

    pub(super) fn new(config: Config) -> Self {
        Self { shared: Arc::new(Shared::new(config)) }
    }

    /// Takes a permit if there is one now. Never waits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::RateLimiter;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let logins = RateLimiter::builder().quota(10, Duration::from_secs(1)).burst(1).timer(timer.clone()).build()?;
    /// assert!(logins.try_acquire().is_ok());
    /// let refused = logins.try_acquire().unwrap_err();
    /// assert_eq!(refused.retry_after(), Some(Duration::from_millis(100)));
    /// timer.advance(Duration::from_millis(100));
    /// assert!(logins.try_acquire().is_ok());
    /// # Ok::<_, resilience_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::RateLimited`] if there is none, with the exact time after which there is one unless others come first.
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Rejected> {
        self.try_acquire_n(1)
    }

    /// Takes `permits` at once, or none: for calls that cost more than others, or bytes. None of none always succeeds.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire). Without `retry_after` if `permits` is more than the burst: there never
    /// will be as many.
    #[inline]
    pub fn try_acquire_n(&self, permits: u32) -> Result<(), Rejected> {
        match self.shared.take(self.shared.now(), permits, 0) {
            Ok(_) => {
                self.shared.note_admitted(permits, Duration::ZERO);
                Ok(())
            }
            Err(denied) => self.shared.deny(denied, permits, Reason::RateLimited),
        }
    }

    /// Sets `permits` apart for the caller, now or within the longest wait, without waiting itself.
    ///
    /// For callers that can do something else meanwhile, or have a scheduler of their own. The reservation says when it
    /// is due; dropped before it is spent, it gives the permits back.
    ///
    /// # Errors
    ///
    /// As [`acquire_n`](Self::acquire_n).
    pub fn reserve(&self, permits: u32) -> Result<Reservation, Rejected> {
        let now = self.shared.now();
        let (patience, reason) = self.shared.patience(now);
        match self.shared.take(now, permits, patience) {
            Ok(granted) => {
                Ok(Reservation::new(self.clone(), self.shared.at_once_if_dry(granted, permits, now), permits, now))
            }
            Err(denied) => {
                self.shared.deny(denied, permits, reason)?;
                Ok(Reservation::free(self.clone(), permits, now))
            }
        }
    }

    /// Takes a permit, or waits for its own in the order of arrival.
    ///
    /// The future takes its place in the line when it is first polled, knows then how long it is going to wait, and
    /// sets one timer. It may be dropped at any time: the permit of a caller that waits is given back, if nobody has a
    /// place behind it.
    ///
    /// It fails at once, and takes nothing, with [`Reason::RateLimited`] if the wait would be longer than `max_wait`,
    /// and with [`Reason::Deadline`] if it would not end before the deadline in the context. Both say when there would
    /// have been a permit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::RateLimiter;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mails = RateLimiter::builder()
    ///     .quota(2, Duration::from_secs(1))
    ///     .burst(1)
    ///     .max_wait(Duration::from_secs(10))
    ///     .build()?;
    /// for _ in 0..3 {
    ///     mails.acquire().await?; // at once, after half a second, after a second
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire(&self) -> Acquire {
        self.acquire_n(1)
    }

    /// Takes `permits` at once, or waits for them as [`acquire`](Self::acquire) does.
    ///
    /// Refused at once, without `retry_after`, if `permits` is more than the burst.
    pub fn acquire_n(&self, permits: u32) -> Acquire {
        Acquire::new(self.clone(), permits)
    }

    /// Runs `future` once there is a permit, without tower; waits for one as [`acquire`](Self::acquire) does.
    ///
    /// `future` is not polled before that.
    pub fn call<F: Future>(&self, future: F) -> ResponseFuture<F> {
        ResponseFuture::acquiring(future, self.acquire())
    }

    /// The limiter as a layer. All services it makes share this quota.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::RateLimiterLayer {
        self.clone().into()
    }

    /// Changes quota and burst while calls come and wait.
    ///
    /// What was taken stays taken: if 8 permits of a burst of 10 were out, 8 are out of the new one. Callers that wait
    /// keep the time they were told.
    ///
    /// # Errors
    ///
    /// As in the builder.
    pub fn set_quota(&self, permits: u32, per: Duration, burst: u32) -> Result<(), ConfigError> {
        self.shared.set_rule(Rule::new(permits, per, burst)?);
        self.shared.emit(|| Event::QuotaChanged { permits, per, burst });
        Ok(())
    }

    /// Takes over quota, burst, longest wait and dry run of `builder` while calls come and wait; the rest of it is not looked at.
    ///
    /// The quota changes as [`set_quota`](Self::set_quota) says. Whether calls wait at all is decided when services are
    /// made, so a longest wait can become another one, but neither come nor go.
    ///
    /// # Errors
    ///
    /// As the builder's, and if a longest wait is given where there was none or the other way round. Nothing has
    /// changed then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::RateLimiter;
    ///
    /// let limiter = RateLimiter::builder().quota(10, Duration::from_secs(1)).build()?;
    /// limiter.try_acquire_n(8).unwrap();
    /// limiter.reconfigure(RateLimiter::builder().quota(100, Duration::from_secs(1)).burst(20))?;
    /// assert_eq!(limiter.snapshot().available, 12); // what was taken stays taken
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: RateLimiterBuilder) -> Result<(), ConfigError> {
        let (permits, per, burst) = builder.checked_quota()?;
        let max_wait = builder.longest_wait();
        if max_wait.is_zero() != self.shared.max_wait().is_zero() {
            return Err(ConfigError::new("max_wait", "cannot come or go while running, only change"));
        }
        let rule = Rule::new(permits, per, burst)?;
        if self.shared.reconfigure(rule, max_wait, builder.is_dry_run()) {
            self.shared.emit(|| Event::QuotaChanged { permits, per, burst });
        }
        Ok(())
    }

    /// How it looks now: all but the totals are of one moment.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.shared.now();
        let (word, rule) = self.shared.look();
        let wait = rule.place(word.full_at(), now, 1).map_or(0, |place| place.due.saturating_sub(now));
        Snapshot {
            burst: rule.burst(),
            interval: machine::duration(rule.interval),
            available: rule.available(word.full_at(), now),
            wait: machine::duration(wait),
            totals: self.shared.totals(),
        }
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config().name
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// Whether one permit could be had at `seen` or, if that cannot be said, now; the refusal if not. Takes nothing.
    ///
    /// What could be had at an earlier time can be had now, so a caller that has lately seen the clock seldom asks it.
    #[cfg(feature = "tower")]
    #[inline]
    pub(super) fn would_refuse(&self, seen: u64) -> Option<Rejected> {
        if self.shared.admits_one(seen) { None } else { self.would_refuse_now() }
    }

    #[cfg(feature = "tower")]
    #[cold]
    fn would_refuse_now(&self) -> Option<Rejected> {
        if self.shared.is_dry_run() {
            return None;
        }
        match self.shared.wait_for_one(self.shared.now()) {
            0 => None,
            wait => Some(self.shared.refusal(super::shared::Denied::Wait(wait), Reason::RateLimited)),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
