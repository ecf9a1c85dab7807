//! The limiter users hold.

use std::fmt;
use std::time::Duration;

use super::event::Event;
use super::future::Acquire;
use crate::context;
use crate::control::ClientRate;
use crate::event::{Listeners, Sink};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{SharedTimer, Timestamp};
use crate::{ConfigError, Name, Reason, Rejected};

/// Limits the rate of a client to what the server does not throttle. Clones are one limiter.
///
/// See the [module documentation](super).
#[derive(Clone)]
pub struct ClientRateLimiter {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    rule: Mutex<Rule>,
    /// How often the rate was cut. What was sent before the last time says nothing about the rate since.
    cuts: AtomicU32,
    epoch: Timestamp,
    settings: Mutex<Settings>,
    name: Name,
    pub(super) timer: SharedTimer,
    listeners: Listeners,
    queued: AtomicU64,
    throttled: AtomicU64,
    rejected: AtomicU64,
    would_queue: AtomicU64,
    would_reject: AtomicU64,
}

/// What can change while it is in use; asked for by who finds no token.
#[derive(Clone, Copy, Debug)]
struct Settings {
    max_wait: Duration,
    dry_run: bool,
}

struct Rule {
    rate: ClientRate,
    /// When the rate was cut, in seconds since the epoch.
    cut: Option<f64>,
}

/// Rates are measured over half seconds: before one is over, what was measured is still the rate from before the cut, and
/// would be cut again for the same reason.
const MEASURED: f64 = 0.5;

/// What a client's limiter has found and done.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls a second it allows; `None` before the first throttled answer.
    pub rate: Option<f64>,
    /// Answers a second as measured.
    pub measured: f64,
    /// Answers the server throttled.
    pub throttled: u64,
    /// Calls that waited.
    pub queued: u64,
    /// Calls that were refused.
    pub rejected: u64,
    /// Calls that would have waited, in a dry run.
    pub would_queue: u64,
    /// Calls that would have been refused, in a dry run.
    pub would_reject: u64,
}

impl ClientRateLimiter {
    /// Starts a configuration; see the [defaults](super#defaults).
    pub fn builder() -> ClientRateLimiterBuilder {
        ClientRateLimiterBuilder {
            name: Name::from_static("rate_limit"),
            settings: Settings { max_wait: Duration::from_secs(20), dry_run: false },
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// Takes a token for one attempt, waiting for it if need be.
    ///
    /// Nothing is taken before the first poll, and nothing is lost when it is dropped while it waits.
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.clone())
    }

    /// Says how an attempt was answered: throttled by the server, or not.
    ///
    /// Of the throttled answers of half a second, the first lowers the rate: the others are the same news.
    pub fn answered(&self, throttled: bool) {
        self.answer(throttled, self.cuts());
    }

    /// How often the rate was cut: to be asked when an attempt is sent, and told with its answer.
    pub(super) fn cuts(&self) -> u32 {
        // Relaxed: a call that is sent while the rate is cut may count to either side.
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// As [`answered`](Self::answered), of an attempt that was sent after so many cuts.
    pub(super) fn answer(&self, throttled: bool, cuts: u32) {
        let shared = &*self.shared;
        let rate = {
            let mut rule = lock(&shared.rule);
            let now = shared.seconds();
            let is_measured = rule.cut.is_none_or(|cut| now - cut >= MEASURED);
            let is_news = throttled && is_measured && cuts == self.cuts();
            if is_news {
                rule.cut = Some(now);
                shared.cuts.fetch_add(1, Ordering::Relaxed);
            }
            rule.rate.answered(is_news, now);
            rule.rate.bucket().fill()
        };
        if throttled {
            // Relaxed, as all counts here.
            shared.throttled.fetch_add(1, Ordering::Relaxed);
            shared.tell(Event::Throttled { rate });
        }
    }

    /// Calls a second it allows now; `None` before the first throttled answer.
    pub fn rate(&self) -> Option<f64> {
        self.snapshot().rate
    }

    /// What it has found and done.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        let (rate, measured) = {
            let rule = lock(&shared.rule);
            (rule.rate.bucket().fill(), rule.rate.measured())
        };
        let throttled = shared.throttled.load(Ordering::Relaxed);
        Snapshot {
            rate: (throttled > 0).then_some(rate),
            measured,
            throttled,
            queued: shared.queued.load(Ordering::Relaxed),
            rejected: shared.rejected.load(Ordering::Relaxed),
            would_queue: shared.would_queue.load(Ordering::Relaxed),
            would_reject: shared.would_reject.load(Ordering::Relaxed),
        }
    }

    /// Takes over longest wait and dry run of `builder` while calls run; its name, clock and listeners are not looked at. Who
    /// waits is judged by the new wait when there might be a token.
    ///
    /// # Errors
    ///
    /// None as things are: any wait will do.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::client::ClientRateLimiter;
    ///
    /// let limiter = ClientRateLimiter::builder().build()?;
    /// limiter.reconfigure(ClientRateLimiter::builder().max_wait(Duration::from_secs(1)))?;
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: ClientRateLimiterBuilder) -> Result<(), ConfigError> {
        *lock(&self.shared.settings) = builder.settings;
        Ok(())
    }

    /// Whether calls may wait in it.
    pub(crate) fn waits(&self) -> bool {
        !lock(&self.shared.settings).max_wait.is_zero()
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }
}

impl Shared {
    fn seconds(&self) -> f64 {
        (self.timer.now() - self.epoch).as_secs_f64()
    }

    /// Takes a token, or says when to ask again. `since` is when the call began to wait.
    pub(super) fn take(&self, since: Option<Timestamp>) -> Result<(), Result<Timestamp, Rejected>> {
        let missing = match lock(&self.rule).rate.acquire(1.0, self.seconds()) {
            Ok(()) => return Ok(()),
            Err(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        };
        let Settings { max_wait, dry_run } = *lock(&self.settings);
        let now = self.timer.now();
        // At least a little: a wait rounded down to nothing would be asked about over and over.
        let due = now + missing.max(Duration::from_micros(1));
        let (is_new, since) = (since.is_none(), since.unwrap_or(now));
        let latest = context::deadline(&self.timer).map_or(Timestamp::NEVER, |deadline| deadline.timestamp());
        let reason = if due > since + max_wait {
            Reason::RateLimited
        } else if due >= latest {
            Reason::Deadline
        } else {
            if dry_run {
                self.would_queue.fetch_add(1, Ordering::Relaxed);
                self.tell(Event::WouldQueue { wait: missing });
                return Ok(());
            }
            if is_new {
                self.queued.fetch_add(1, Ordering::Relaxed);
                self.tell(Event::Queued { wait: missing });
            }
            return Err(Ok(due));
        };
        if dry_run {
            self.would_reject.fetch_add(1, Ordering::Relaxed);
            self.tell(Event::WouldReject { reason });
            return Ok(());
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.tell(Event::Rejected { reason });
        Err(Err(Rejected::new(self.name.clone(), reason).with_retry_after(missing)))
    }

    fn tell(&self, event: Event) {
        self.listeners.emit(&self.name, || self.timer.now(), || event);
    }
}

impl fmt::Debug for ClientRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRateLimiter").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}

/// Sets up a [`ClientRateLimiter`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientRateLimiterBuilder {
    name: Name,
    settings: Settings,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl ClientRateLimiterBuilder {
    /// The name in refusals and events. Default: `rate_limit`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a call may wait for its token, all in all. Default: 20 s. Zero refuses whoever finds none.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.settings.max_wait = max_wait;
        self
    }

    /// Finds the rate, counts and tells who would wait or be refused, and lets everybody pass at once. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.settings.dry_run = dry_run;
        self
    }

    /// The clock to live by. Default: tokio's.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener; see [`Event`].
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The limiter, that limits nothing yet.
    ///
    /// # Errors
    ///
    /// Without a timer (without the feature `tokio`).
    pub fn build(self) -> Result<ClientRateLimiter, ConfigError> {
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("rate_limit", &self.name);
        let shared = Shared {
            rule: Mutex::new(Rule { rate: ClientRate::new(0.0), cut: None }),
            cuts: AtomicU32::new(0),
            epoch: timer.now(),
            settings: Mutex::new(self.settings),
            name: self.name,
            timer,
            listeners,
            queued: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            would_queue: AtomicU64::new(0),
            would_reject: AtomicU64::new(0),
        };
        Ok(ClientRateLimiter { shared: Arc::new(shared) })
    }
}
