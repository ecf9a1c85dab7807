//! What a bulkhead can be told.

use std::time::Duration;

use super::machine::{MAX_LIMIT, MAX_QUEUE};
use super::{Bulkhead, Discipline};
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`Bulkhead`]; made by [`Bulkhead::builder`].
///
/// ```
/// use std::time::Duration;
/// use resilience_core::bulkhead::Bulkhead;
///
/// let error = Bulkhead::builder().limit(8).max_wait(Duration::from_secs(1)).build().unwrap_err();
/// assert_eq!(error.to_string(), "max_wait needs a queue to wait in");
/// assert_eq!(Bulkhead::builder().build().unwrap_err().to_string(), "limit must be set");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BulkheadBuilder {
    name: Name,
    limit: Option<u32>,
    queue: u32,
    max_wait: Option<Duration>,
    discipline: Discipline,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) limit: u32,
    pub(super) queue: u32,
    pub(super) max_wait: Option<Duration>,
    pub(super) discipline: Discipline,
    pub(super) dry_run: bool,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that may change while calls run and wait.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) limit: u32,
    pub(super) queue: u32,
    pub(super) max_wait: Option<Duration>,
    pub(super) discipline: Discipline,
}

impl BulkheadBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("bulkhead"),
            limit: None,
            queue: 0,
            max_wait: None,
            discipline: Discipline::default(),
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `bulkhead`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Calls that may run at once, from 1 to 4,194,303. Has no default.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Calls that may wait, at most 1,048,575. Default: 0, who finds no slot is refused at once.
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// How long a call may wait. Default: until its deadline, and without one for as long as it takes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures::FutureExt;
    /// use resilience_core::Reason;
    /// use resilience_core::bulkhead::Bulkhead;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let bulkhead = Bulkhead::builder().limit(1).queue(8).max_wait(Duration::from_millis(50));
    /// let bulkhead = bulkhead.timer(timer.clone()).build()?;
    /// let _running = bulkhead.try_acquire();
    /// let mut waiting = Box::pin(bulkhead.acquire());
    /// assert!(waiting.as_mut().now_or_never().is_none());
    /// timer.advance(Duration::from_millis(50));
    /// let refused = waiting.now_or_never().unwrap().unwrap_err();
    /// assert_eq!(refused.reason(), Reason::QueueTimeout);
    /// assert_eq!(bulkhead.snapshot().queued, 0); // its place is free again
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// Who of those who wait is next, and who is given up. Default: [first come, first served](Discipline::fifo).
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::bulkhead::{Bulkhead, Discipline};
    ///
    /// let (target, interval) = (Duration::from_millis(5), Duration::from_millis(100));
    /// let bulkhead = Bulkhead::builder().limit(8).queue(64).discipline(Discipline::codel(target, interval)).build()?;
    /// assert_eq!(bulkhead.snapshot().discipline.label(), "codel");
    /// let wrong = Bulkhead::builder().limit(8).discipline(Discipline::priority()).build().unwrap_err();
    /// assert_eq!(wrong.to_string(), "discipline needs a queue to order");
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// Tries the limit out: decides, counts and tells what it would do, and lets every call pass. Default: off.
    ///
    /// Nobody waits, so what would queue or be refused is judged by the calls that run: those beyond the limit would have
    /// waited, those beyond limit and queue would have been refused. What the discipline would have done with those who
    /// waited is not known.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::builder().limit(1).queue(1).dry_run(true).build()?;
    /// let running: Vec<_> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
    /// let seen = bulkhead.snapshot();
    /// assert_eq!((seen.in_flight, seen.totals.would_queue, seen.totals.would_reject), (3, 1, 1));
    /// # drop(running);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on. Read only for calls that wait, and for listeners.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The bulkhead.
    ///
    /// # Errors
    ///
    /// If `limit` is missing, zero or too high, `queue` is too long, `max_wait` is zero or given without a queue,
    /// `discipline` has times that cannot work or is given without a queue, or there is no `timer`.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let Checked { limit, queue, max_wait, discipline } = self.checked()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("bulkhead", &self.name);
        let (name, dry_run) = (self.name, self.dry_run);
        Ok(Bulkhead::new(Config { name, limit, queue, max_wait, discipline, dry_run, timer, listeners }))
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// What may change while calls run and wait, if it goes together.
    pub(super) fn checked(&self) -> Result<Checked, ConfigError> {
        let limit = checked_limit(self.limit.ok_or(ConfigError::new("limit", "must be set"))?)?;
        if self.queue > MAX_QUEUE {
            return Err(ConfigError::new("queue", "must be at most 1048575"));
        }
        match self.max_wait {
            Some(Duration::ZERO) => return Err(ConfigError::new("max_wait", "must be above zero")),
            Some(_) if self.queue == 0 => return Err(ConfigError::new("max_wait", "needs a queue to wait in")),
            _ => {}
        }
        let discipline = self.discipline.checked(self.queue)?;
        Ok(Checked { limit, queue: self.queue, max_wait: self.max_wait, discipline })
    }
}

pub(super) fn checked_limit(limit: u32) -> Result<u32, ConfigError> {
    match limit {
        0 => Err(ConfigError::new("limit", "must be above zero")),
        1..=MAX_LIMIT => Ok(limit),
        _ => Err(ConfigError::new("limit", "must be at most 4194303")),
    }
}
