//! The timeout users hold.

use std::sync::Arc;
use std::time::Duration;

use super::machine::Allowance;
use super::{Event, ResponseFuture, TimeoutBuilder};
use crate::context::ambient::{self, Span, TimeLeft};
use crate::event::Listeners;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{SharedTimer, Sleep, Timestamp, saturating_nanos};
use crate::{ConfigError, Name, Reason, Rejected};

/// A limit on how long an answer may take. Cheap to clone; it has no state to share, unless it was built to be
/// [reconfigurable](TimeoutBuilder::reconfigurable).
///
/// ```
/// use std::time::Duration;
/// use resilience_core::context::Context;
/// use resilience_core::time::{ManualTimer, Timer};
/// use resilience_core::timeout::Timeout;
/// use resilience_core::{Error, Reason};
///
/// # futures::executor::block_on(async {
/// let timer = ManualTimer::new();
/// let timeout = Timeout::builder().limit(Duration::from_secs(2)).timer(timer.clone()).build()?;
/// let too_late = Context::new().with_deadline(timer.now()).scope(async {
///     timeout.call(async { Ok::<(), Error<()>>(unreachable!("is not sent")) }).await
/// });
/// let Err(Error::Rejected(refused)) = too_late.await else { unreachable!() };
/// assert_eq!(refused.reason(), Reason::Deadline);
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Timeout {
    name: Name,
    limit: Duration,
    rule: Rule,
    /// The limit in nanoseconds where it may change, shared by the clones. The rule's own is then not looked at.
    live: Option<Arc<AtomicU64>>,
}

/// What the future of a call needs, in two words: clones without touching a shared count, unless somebody listens or
/// the timer is not tokio's.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) limit: Span,
    /// What differs from the preset; nothing, mostly.
    special: Option<Arc<Special>>,
}

#[derive(Debug)]
struct Special {
    name: Name,
    timer: SharedTimer,
    listeners: Listeners,
    trial: Option<Counters>,
}

/// What a dry run has seen.
#[derive(Debug, Default)]
struct Counters {
    would_elapse: AtomicU64,
    would_reject: AtomicU64,
}

/// What a timeout would have done, had it not been a [dry run](TimeoutBuilder::dry_run).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trial {
    /// Calls it would have ended.
    pub would_elapse: u64,
    /// Calls it would have refused, since they came after their deadline.
    pub would_reject: u64,
}

impl Timeout {
    /// Starts to set up a timeout.
    pub fn builder() -> TimeoutBuilder {
        TimeoutBuilder::new()
    }

    pub(super) fn assemble(
        name: Name,
        limit: Duration,
        timer: SharedTimer,
        listeners: &Listeners,
        dry_run: bool,
    ) -> Self {
        let special = (!listeners.is_empty() || !timer.is_preset() || dry_run).then(|| {
            let trial = dry_run.then(Counters::default);
            Arc::new(Special { listeners: listeners.bound("timeout", &name), name: name.clone(), timer, trial })
        });
        Self { name, limit, rule: Rule { limit: limit.into(), special }, live: None }
    }

    /// The same timeout with a limit that its clones share and that may change.
    pub(super) fn shared(mut self) -> Self {
        self.live = Some(Arc::new(AtomicU64::new(saturating_nanos(self.limit))));
        self
    }

    /// Runs `future` with the limit, without tower.
    ///
    /// The future is not polled at all if the deadline in the context has passed. Dropping the answer drops `future`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Error;
    /// use resilience_core::timeout::Timeout;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let timeout = Timeout::builder().name("report").limit(Duration::from_secs(30)).build()?;
    /// let never = std::future::pending::<Result<(), Error<std::io::Error>>>();
    /// assert!(timeout.call(never).await.unwrap_err().is_elapsed());
    /// # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
    /// ```
    pub fn call<F: Future>(&self, future: F) -> ResponseFuture<F> {
        let limit = self.span();
        match self.begin(ambient::time(), limit) {
            Ok(allowance) => ResponseFuture::running(future, self.rule(limit), allowance),
            Err(rejected) => ResponseFuture::refused(rejected, self.rule(limit)),
        }
    }

    /// The timeout as a layer.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::TimeoutLayer {
        self.clone().into()
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it would have done, if it is a dry run.
    pub fn trial(&self) -> Option<Trial> {
        let counters = self.rule.special.as_ref()?.trial.as_ref()?;
        // Relaxed: figures to look at.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(Trial { would_elapse: read(&counters.would_elapse), would_reject: read(&counters.would_reject) })
    }

    #[inline(always)]
    pub(super) fn is_dry_run(&self) -> bool {
        self.rule.is_dry_run()
    }

    /// A call that is watched, and left alone: when it would have to be over.
    #[cold]
    #[inline(never)]
    fn try_out(&self, limit: Span) -> Allowance {
        let rule = self.rule(limit);
        // The time is asked only if there is a deadline.
        let is_late = Allowance::new(ambient::time(), limit, || rule.now()).is_err();
        if is_late {
            rule.would_reject();
        }
        Allowance::noted(if is_late { Timestamp::NEVER } else { limit.after(rule.now()) })
    }

    /// How long an answer may take.
    pub fn limit(&self) -> Duration {
        // The figure it was built with may be one that no count of nanoseconds holds.
        if self.live.is_some() { self.span().into() } else { self.limit }
    }

    /// Takes over the limit of `builder`, for calls that begin from now on; the rest of it is not looked at.
    ///
    /// # Errors
    ///
    /// If that limit is missing or zero, or this timeout was not built to be
    /// [reconfigurable](TimeoutBuilder::reconfigurable).
    pub fn reconfigure(&self, builder: TimeoutBuilder) -> Result<(), ConfigError> {
        let limit = builder.checked_limit()?;
        let live = self.live.as_ref().ok_or(ConfigError::new("limit", "cannot change: not built as reconfigurable"))?;
        // Relaxed as in `span`.
        live.store(saturating_nanos(limit), Ordering::Relaxed);
        Ok(())
    }

    /// A way to this timeout that does not keep its limit alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let shared =
            self.live.as_ref().ok_or(ConfigError::new("reconfigurable", "must be set to register a timeout"))?;
        let weak = Arc::downgrade(shared);
        let alone = Self { live: None, ..self.clone() };
        Ok(move || weak.upgrade().map(|live| Self { live: Some(live), ..alone.clone() }))
    }

    /// What a call that begins now is allowed, or its refusal if it comes too late.
    #[inline(always)]
    pub(super) fn begin(&self, outer: TimeLeft, limit: Span) -> Result<Allowance, Rejected> {
        if self.is_dry_run() {
            return Ok(self.try_out(limit));
        }
        Allowance::new(outer, limit, || self.rule.now()).map_err(|_late| self.refuse())
    }

    /// The limit of this moment. A call asks once.
    #[inline]
    pub(super) fn span(&self) -> Span {
        match &self.live {
            None => self.rule.limit,
            // Relaxed: a figure that guards nothing.
            Some(live) => Duration::from_nanos(live.load(Ordering::Relaxed)).into(),
        }
    }

    /// The rule for a call that was told `limit`.
    #[inline(always)]
    pub(super) fn rule(&self, limit: Span) -> Rule {
        Rule { limit, ..self.rule.clone() }
    }

    /// The clock.
    #[cfg(feature = "tower")]
    pub(super) fn timer(&self) -> SharedTimer {
        self.rule.special.as_ref().map_or_else(SharedTimer::own, |special| special.timer.clone())
    }

    #[cold]
    pub(super) fn refuse(&self) -> Rejected {
        self.rule.emit(|| Event::Rejected { reason: Reason::Deadline });
        Rejected::new(self.name.clone(), Reason::Deadline)
    }
}

impl Rule {
    /// The context for what is called or polled inside; a call that is only watched is not bounded.
    #[inline(always)]
    pub(super) fn narrow(&self, allowance: &Allowance, outer: TimeLeft) -> TimeLeft {
        if self.is_dry_run() { outer } else { allowance.narrow(outer) }
    }

    #[inline(always)]
    pub(super) fn is_dry_run(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.trial.is_some())
    }

    #[cold]
    pub(super) fn would_elapse(&self) {
        if let Some(counters) = self.special.as_ref().and_then(|special| special.trial.as_ref()) {
            counters.would_elapse.fetch_add(1, Ordering::Relaxed);
        }
        let limit = self.limit.into();
        self.emit(|| Event::WouldElapse { limit });
    }

    fn would_reject(&self) {
        if let Some(counters) = self.special.as_ref().and_then(|special| special.trial.as_ref()) {
            counters.would_reject.fetch_add(1, Ordering::Relaxed);
        }
        self.emit(|| Event::WouldReject { reason: Reason::Deadline });
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        if let Some(special) = &self.special {
            special.listeners.emit(&special.name, || special.timer.now(), event);
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        match &self.special {
            Some(special) => special.timer.now(),
            None => SharedTimer::own().now(),
        }
    }

    pub(super) fn sleep_until(&self, at: Timestamp) -> Sleep {
        match &self.special {
            Some(special) => special.timer.sleep_until(at),
            None => SharedTimer::own().sleep_until(at),
        }
    }
}
