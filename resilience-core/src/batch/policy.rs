//! The policy users hold.

use std::fmt;

use super::call::Batched;
use super::config::{BatchBuilder, Config, Settings};
use super::dispatch::{Alike, Dispatch, GroupBy, Together, Weigh};
use super::event::Event;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::{ConfigError, Name, Reason, Rejected};

/// Makes one call of many; the [module](super) explains it. Clones share limits and figures.
///
/// Calls share a batch when they go to the same destination: through one [`Batched`], or one service and its clones.
#[derive(Clone)]
pub struct Batch {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: Config,
    settings: Mutex<Settings>,
    waiting: AtomicU32,
    calls: AtomicU64,
    batches: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    would_reject: AtomicU64,
}

/// A batch's figures at about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that wait, for their batch to be sent or to be answered.
    pub waiting: u32,
    /// How many may.
    pub limit: u32,
    /// Calls sent.
    pub calls: u64,
    /// Batches in which they were sent.
    pub batches: u64,
    /// Batches that failed as a whole, or without answers.
    pub failed: u64,
    /// Calls refused.
    pub rejected: u64,
    /// Calls that would have been, in a dry run.
    pub would_reject: u64,
}

impl Batch {
    /// Starts to set up a batch.
    pub fn builder() -> BatchBuilder {
        BatchBuilder::new()
    }

    pub(super) fn new(config: Config, settings: Settings) -> Self {
        let zero = || AtomicU64::new(0);
        let (calls, batches, failed, rejected, would_reject) = (zero(), zero(), zero(), zero(), zero());
        let (waiting, settings) = (AtomicU32::new(0), Mutex::new(settings));
        Self { shared: Arc::new(Shared { config, settings, waiting, calls, batches, failed, rejected, would_reject }) }
    }

    /// Batches calls to one destination, without tower.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::batch::{Batch, Unanswered};
    ///
    /// # #[derive(Clone, Debug, PartialEq)] enum Failed { Gone, Unanswered(Unanswered) }
    /// # impl From<Unanswered> for Failed { fn from(error: Unanswered) -> Self { Self::Unanswered(error) } }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let squares = Batch::builder().size(3).build()?.over(async |numbers: Vec<u32>| {
    ///     Ok::<_, Error<Failed>>(numbers.into_iter().map(|number| Ok(number * number)).collect())
    /// });
    /// let answers = futures::join!(squares.call(1), squares.call(2), squares.call(3));
    /// assert_eq!(answers, (Ok(1), Ok(4), Ok(9)));
    /// assert_eq!(squares.batch().snapshot().batches, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn over<Req, D: Dispatch<Req>>(&self, dispatch: D) -> Batched<Req, D> {
        self.over_groups(dispatch, Together, Alike)
    }

    /// As [`over`](Self::over), of calls that may go together by `group_by`, with weights by `weigh`.
    pub fn over_groups<Req, D, G, W>(&self, dispatch: D, group_by: G, weigh: W) -> Batched<Req, D, G, W>
    where
        D: Dispatch<Req>,
        G: GroupBy<Req>,
        W: Weigh<Req>,
    {
        Batched::new(self.clone(), dispatch, group_by, weigh)
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// Takes over a builder's size, weight, delay, keys, limit and dry run, for calls that come from now on. A batch that is
    /// open keeps its time; the next call finds it full if it is, by the new limits. The builder's name, timer and
    /// listeners are not looked at.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::batch::Batch;
    ///
    /// let batch = Batch::builder().limit(100).build()?;
    /// batch.reconfigure(Batch::builder().limit(200))?;
    /// assert_eq!(batch.snapshot().limit, 200);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: BatchBuilder) -> Result<(), ConfigError> {
        *lock(&self.shared.settings) = builder.check()?;
        Ok(())
    }

    /// The figures.
    pub fn snapshot(&self) -> Snapshot {
        // Relaxed, here and below: statistics, and a count whose changes order nothing else.
        let shared = &*self.shared;
        Snapshot {
            waiting: shared.waiting.load(Ordering::Relaxed),
            limit: self.settings().limit,
            calls: shared.calls.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
            rejected: shared.rejected.load(Ordering::Relaxed),
            would_reject: shared.would_reject.load(Ordering::Relaxed),
        }
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    pub(super) fn settings(&self) -> Settings {
        *lock(&self.shared.settings)
    }

    /// One more that waits, unless too many do.
    pub(super) fn admit(&self, settings: &Settings) -> Result<Admitted, Rejected> {
        let Shared { config, waiting, rejected, would_reject, .. } = &*self.shared;
        let Settings { limit, dry_run, .. } = *settings;
        let admit = |waits: u32| (waits < limit || dry_run).then(|| waits.saturating_add(1));
        match waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit) {
            Ok(before) => {
                if before >= limit {
                    would_reject.fetch_add(1, Ordering::Relaxed);
                    self.emit(|| Event::WouldReject);
                }
                Ok(Admitted { batch: self.clone() })
            }
            Err(queued) => {
                rejected.fetch_add(1, Ordering::Relaxed);
                self.emit(|| Event::Rejected);
                Err(Rejected::new(config.name.clone(), Reason::Full { limit, queued }))
            }
        }
    }

    pub(super) fn note_sent(&self, calls: usize) {
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.shared.calls.fetch_add(calls as u64, Ordering::Relaxed);
    }

    pub(super) fn note_failed(&self) {
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        let Config { name, listeners, timer, .. } = &self.shared.config;
        listeners.emit(name, || timer.now(), event);
    }
}

/// A call that counts as waiting.
pub(super) struct Admitted {
    batch: Batch,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.batch.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("name", self.name()).field("seen", &self.snapshot()).finish()
    }
}
