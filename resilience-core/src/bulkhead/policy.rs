//! The bulkhead users hold.

use std::fmt;

use super::config::{Config, checked_limit};
use super::shared::Shared;
use super::{Acquire, BulkheadBuilder, Call, Discipline, Event};
use crate::held::Held;
use crate::sync::Arc;
use crate::time::Timestamp;
use crate::{ConfigError, Name, Rejected};

/// A limit on the calls that run at once. Clones share it.
///
/// ```
/// use resilience_core::Reason;
/// use resilience_core::bulkhead::Bulkhead;
///
/// let reads = Bulkhead::builder().name("stock").limit(1).build()?;
/// let writes = reads.clone();
/// let permit = reads.try_acquire().unwrap();
/// let refused = writes.try_acquire().unwrap_err(); // one limit, whoever holds the clones
/// assert_eq!(refused.reason(), Reason::Full { limit: 1, queued: 0 });
/// drop(permit);
/// assert!(writes.try_acquire().is_ok());
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    pub(super) shared: Arc<Shared>,
}

/// What a bulkhead looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that may run at once.
    pub limit: u32,
    /// Permits that are held. Above `limit` only after it was lowered, and in a dry run.
    pub in_flight: u32,
    /// Calls that may wait.
    pub queue: u32,
    /// Calls that wait.
    pub queued: u32,
    /// Who of them is next.
    pub discipline: Discipline,
    /// What happened since the bulkhead was built.
    pub totals: Totals,
}

/// Counts since the bulkhead was built.
///
/// Admissions are not among them: counting them would be a second shared write on the path of every call. A listener
/// that pays for them hears of each.
///
/// ```
/// use resilience_core::bulkhead::Bulkhead;
///
/// let bulkhead = Bulkhead::builder().limit(1).build()?;
/// let _running = bulkhead.try_acquire();
/// assert!(bulkhead.try_acquire().is_err());
/// let seen = bulkhead.snapshot();
/// assert_eq!((seen.in_flight, seen.totals.full, seen.totals.queued), (1, 1, 0));
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Calls that had to wait.
    pub queued: u64,
    /// Refusals because slots and queue were full.
    pub full: u64,
    /// Refusals after the longest wait.
    pub queue_timeout: u64,
    /// Refusals of waiting calls because their deadline had come.
    pub deadline: u64,
    /// Refusals of waiting calls because the queue had stood for too long; see [`Discipline::codel`].
    pub queue_delay: u64,
    /// Refusals of waiting calls for the sake of more critical ones; see [`Discipline::priority`].
    pub displaced: u64,
    /// Calls that would have waited, in a [dry run](BulkheadBuilder::dry_run).
    pub would_queue: u64,
    /// Calls that would have been refused, in a dry run.
    pub would_reject: u64,
}

impl Bulkhead {
    /// Starts to set up a bulkhead.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder::new()
    }

    pub(super) fn new(config: Config) -> Self {
        Self { shared: Arc::new(Shared::new(config)) }
    }

    /// Takes a slot that is free now. Never waits.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`](crate::Reason::Full) if there is none. A slot for which somebody waits is not free.
    ///
    /// ```
    /// use futures::FutureExt;
    /// use resilience_core::bulkhead::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::builder().limit(1).queue(1).build()?;
    /// let running = bulkhead.try_acquire().unwrap();
    /// let mut waiting = Box::pin(bulkhead.acquire());
    /// assert!(waiting.as_mut().now_or_never().is_none());
    /// drop(running);
    /// assert!(bulkhead.try_acquire().is_err()); // the slot is free, but it has been promised
    /// assert!(waiting.now_or_never().unwrap().is_ok());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        match self.shared.try_take() {
            Ok(()) => Ok(self.permit(None)),
            Err(_) if self.shared.overfill() => Ok(self.permit(None)),
            Err(word) => Err(self.shared.refuse_full(word)),
        }
    }

    /// Takes a slot, or waits for one in the order of the [discipline](BulkheadBuilder::discipline).
    ///
    /// The future takes its place when it is first polled. It may be dropped at any time: its place is given up, and a
    /// slot it was already given passes on to the next. It fails with [`Reason::Full`](crate::Reason::Full) if there is neither slot nor
    /// place, with
    /// [`Reason::QueueTimeout`](crate::Reason::QueueTimeout) after the longest wait, and with [`Reason::Deadline`](crate::Reason::Deadline) when the deadline in
    /// the context comes first; under some disciplines with [`Reason::QueueDelay`](crate::Reason::QueueDelay) or
    /// [`Reason::Displaced`](crate::Reason::Displaced), too.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    ///
    /// # futures::executor::block_on(async {
    /// let exports = Bulkhead::builder().name("exports").limit(2).queue(100).build()?;
    /// let permit = exports.acquire().await.unwrap();
    /// assert_eq!(exports.snapshot().in_flight, 1);
    /// drop(permit);
    /// assert_eq!(exports.snapshot().in_flight, 0);
    /// # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
    /// ```
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.clone())
    }

    /// Runs `future` with a permit, without tower; waits for one as [`acquire`](Self::acquire) does.
    ///
    /// `future` is not polled before it has its permit, and is dropped before the permit is given back.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    /// use resilience_core::Error;
    ///
    /// # futures::executor::block_on(async {
    /// let bulkhead = Bulkhead::builder().limit(1).build()?;
    /// let outer = bulkhead.call(async {
    ///     assert_eq!(bulkhead.snapshot().in_flight, 1);
    ///     bulkhead.call(async { Ok::<_, Error<()>>("never sent") }).await
    /// });
    /// assert!(outer.await.unwrap_err().is_rejected()); // a call inside a call needs a second slot
    /// assert_eq!(bulkhead.snapshot().in_flight, 0);
    /// # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
    /// ```
    pub fn call<F: Future>(&self, future: F) -> Call<F> {
        Call::new(future, self.acquire())
    }

    /// The bulkhead as a layer. All services it makes share this bulkhead.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::BulkheadLayer {
        self.clone().into()
    }

    /// Changes the limit while calls run and wait.
    ///
    /// Raised, it admits as many waiters as fit, in their order. Lowered, it takes nothing from calls that run: nobody
    /// is admitted until they are fewer than the new limit.
    ///
    /// # Errors
    ///
    /// If `limit` is zero or above 4,194,303, as in the builder.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::builder().limit(2).build()?;
    /// let (first, second) = (bulkhead.try_acquire().unwrap(), bulkhead.try_acquire().unwrap());
    /// bulkhead.resize(1)?; // both go on
    /// assert_eq!((bulkhead.snapshot().in_flight, bulkhead.snapshot().limit), (2, 1));
    /// drop(first);
    /// assert!(bulkhead.try_acquire().is_err());
    /// drop(second);
    /// assert!(bulkhead.try_acquire().is_ok());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn resize(&self, limit: u32) -> Result<(), ConfigError> {
        self.shared.resize(checked_limit(limit)?);
        self.shared.emit(|| Event::Resized { limit });
        Ok(())
    }

    /// Takes over limit, queue, longest wait, discipline and dry run of `builder` while calls run and wait; the rest of it is
    /// not looked at.
    ///
    /// The limit changes as [`resize`](Self::resize) says. Who already waits keeps its place and the wait it was told; under
    /// a new discipline, it counts as critical, without a deadline, and as if it had come at the change.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::builder().limit(2).build()?;
    /// let _running = bulkhead.try_acquire();
    /// bulkhead.reconfigure(Bulkhead::builder().limit(8).queue(100))?;
    /// let seen = bulkhead.snapshot();
    /// assert_eq!((seen.limit, seen.queue, seen.in_flight), (8, 100, 1));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: BulkheadBuilder) -> Result<(), ConfigError> {
        let checked = builder.checked()?;
        let limit = checked.limit;
        let (calls, is_resized) = self.shared.set(checked, builder.is_dry_run());
        calls.make();
        if is_resized {
            self.shared.emit(|| Event::Resized { limit });
        }
        Ok(())
    }

    /// How it looks now: limit, calls that run and calls that wait are of one moment, the rest of about that moment.
    pub fn snapshot(&self) -> Snapshot {
        let word = self.shared.word();
        Snapshot {
            limit: word.limit(),
            in_flight: word.in_flight(),
            queue: self.shared.queue(),
            queued: word.waiting(),
            discipline: self.shared.discipline(),
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

    /// A permit for the slot the caller has just got; `queued_at` if it waited and somebody listens.
    #[inline(always)]
    pub(super) fn permit(&self, queued_at: Option<Timestamp>) -> Permit {
        let mut permit = Permit { shared: Held::of(&self.shared), since: Timestamp::ORIGIN };
        if self.shared.is_watched() {
            // The permit is there before anybody is told: a listener that panics must not cost the slot.
            permit.since = self.shared.tell_admitted(queued_at);
        }
        permit
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}

/// A slot in a [`Bulkhead`]. Dropping it gives the slot back.
///
/// ```
/// use resilience_core::bulkhead::Bulkhead;
///
/// let bulkhead = Bulkhead::builder().limit(1).build()?;
/// let permit = bulkhead.try_acquire().unwrap(); // owned, not borrowed: it may move to the thread that does the work
/// std::thread::spawn(move || drop(permit)).join().unwrap();
/// assert_eq!(bulkhead.snapshot().in_flight, 0);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    shared: Held<Shared>,
    /// When it was given; the origin if nobody listens.
    since: Timestamp,
}

#[cfg(feature = "tower")]
impl Permit {
    /// For a slot that was taken when `since` says.
    #[inline(always)]
    pub(super) fn of(shared: &Arc<Shared>, since: Timestamp) -> Self {
        Self { shared: Held::of(shared), since }
    }
}

impl Drop for Permit {
    #[inline(always)]
    fn drop(&mut self) {
        let shared = &*self.shared;
        shared.release();
        if shared.is_watched() {
            shared.tell_released(self.since);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("bulkhead", &self.shared.config().name).finish_non_exhaustive()
    }
}
