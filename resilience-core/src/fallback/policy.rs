//! The policy object: what calls of one kind share.

use std::fmt;

use crate::event::Listeners;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::time::SharedTimer;
use crate::{AsRejected, ByResult, Classification, Classify, ConfigError, Name};

use super::config::FallbackBuilder;
use super::event::{Event, Reason};
use super::join::{Join, Joined, Merge};
use super::machine::Rules;
use super::run::{Run, RunOr};

/// Answers in a failing service's place. Clones are one policy.
///
/// The [module](super) explains it.
///
/// ```
/// use resilience_core::Error;
/// use resilience_core::fallback::Fallback;
///
/// # futures::executor::block_on(async {
/// let fallback = Fallback::builder().build()?;
/// let clone = fallback.clone();
/// let down = async { Err(Error::Service("down")) };
/// assert_eq!(clone.run_or(down, "no recommendations").await, Ok("no recommendations"));
/// let seen = fallback.snapshot(); // clones are counted together
/// assert_eq!((seen.failed, seen.refused, seen.failed_too), (1, 0, 0));
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Fallback {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    name: Name,
    /// [`Rules`], as one word.
    rules: AtomicU32,
    timer: SharedTimer,
    listeners: Listeners,
    // Counted where an answer is replaced, never on the way of a call that succeeds.
    refused: AtomicU64,
    timed_out: AtomicU64,
    failed: AtomicU64,
    failed_too: AtomicU64,
    would_fall_back: AtomicU64,
    withheld: AtomicU64,
}

impl Fallback {
    /// A builder; as it is, it makes a policy that replaces every failure and every refusal.
    pub fn builder() -> FallbackBuilder {
        FallbackBuilder::new()
    }

    pub(super) fn new(name: Name, rules: Rules, timer: SharedTimer, listeners: Listeners) -> Self {
        let zero = || AtomicU64::new(0);
        let shared = Shared {
            name,
            rules: AtomicU32::new(rules.to_bits()),
            timer,
            listeners,
            refused: zero(),
            timed_out: zero(),
            failed: zero(),
            failed_too: zero(),
            would_fall_back: zero(),
            withheld: zero(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Awaits `call`, and what `otherwise` makes of its answer if that is a failure.
    ///
    /// Errors are classified by [`ByResult`]; the caller's error, if both fail, is made by [`Join`]. For other rules
    /// see [`run_with`](Self::run_with).
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    ///
    /// # futures::executor::block_on(async {
    /// type BoxError = Box<dyn std::error::Error + Send + Sync>;
    /// let fallback = Fallback::builder().name("prices").build()?;
    /// let down = async { Err::<u32, BoxError>("connection refused".into()) };
    /// let yesterdays = |answer: &Result<u32, BoxError>| {
    ///     assert!(answer.is_err());
    ///     async { Ok(1_299) }
    /// };
    /// assert_eq!(fallback.run(down, yesterdays).await.unwrap(), 1_299);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn run<F, Op, Fut, T, E>(&self, call: F, otherwise: Op) -> Run<'_, F, Op, Fut, ByResult, Joined>
    where
        F: Future<Output = Result<T, E>>,
        Op: FnOnce(&Result<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: AsRejected + Join,
    {
        self.run_with(ByResult, Joined, call, otherwise)
    }

    /// Runs `call` as [`run`](Self::run) does, with a classifier and a [`Merge`] of your own.
    ///
    /// ```
    /// use resilience_core::Classification;
    /// use resilience_core::fallback::{Fallback, Original};
    ///
    /// # futures::executor::block_on(async {
    /// let fallback = Fallback::builder().build()?;
    /// let empty = |answer: &Result<Vec<u32>, std::io::Error>| match answer {
    ///     Ok(found) if !found.is_empty() => Classification::SUCCESS,
    ///     _ => Classification::FAILURE,
    /// };
    /// let answer = fallback.run_with(empty, Original, async { Ok(vec![]) }, |_| async { Ok(vec![42]) });
    /// assert_eq!(answer.await.unwrap(), [42]);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn run_with<F, Op, Fut, T, E, C, J>(
        &self,
        classify: C,
        merge: J,
        call: F,
        otherwise: Op,
    ) -> Run<'_, F, Op, Fut, C, J>
    where
        F: Future<Output = Result<T, E>>,
        Op: FnOnce(&Result<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
        J: Merge<E>,
    {
        Run::new(self, call, classify, merge, otherwise)
    }

    /// Awaits `call`, and answers with `value` if that fails.
    pub fn run_or<F, T, E>(&self, call: F, value: T) -> RunOr<'_, F, T>
    where
        F: Future<Output = Result<T, E>>,
        E: AsRejected,
    {
        RunOr::new(self, call, value)
    }

    /// Takes over the rules of `builder`: what is replaced, and the dry run. Name, timer and listeners stay what they
    /// are.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::fallback::Fallback;
    ///
    /// # futures::executor::block_on(async {
    /// let fallback = Fallback::builder().dry_run(true).build()?;
    /// let down = || async { Err(Error::Service("down")) };
    /// assert_eq!(fallback.run_or(down(), 0).await, Err(Error::Service("down")));
    /// fallback.reconfigure(Fallback::builder())?;
    /// assert_eq!(fallback.run_or(down(), 0).await, Ok(0));
    /// assert_eq!(fallback.snapshot().would_fall_back, 1);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn reconfigure(&self, builder: FallbackBuilder) -> Result<(), ConfigError> {
        let rules = builder.checked()?;
        // Relaxed: the word is all there is to know.
        self.shared.rules.store(rules.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// What the policy has done so far.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        // Relaxed: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            refused: read(&shared.refused),
            timed_out: read(&shared.timed_out),
            failed: read(&shared.failed),
            failed_too: read(&shared.failed_too),
            would_fall_back: read(&shared.would_fall_back),
            withheld: read(&shared.withheld),
        }
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    #[inline]
    fn rules(&self) -> Rules {
        // Relaxed: see `reconfigure`.
        Rules::from_bits(self.rules.load(Ordering::Relaxed))
    }

    /// Whether a copy of the request could be of use.
    #[cfg(feature = "tower")]
    #[inline]
    pub(super) fn is_dry(&self) -> bool {
        self.rules().dry_run
    }

    /// Why an answer is to be replaced; tells of it if it only would be.
    #[inline]
    pub(super) fn catches(&self, means: &Classification) -> Option<Reason> {
        let rules = self.rules();
        let reason = rules.reason(means)?;
        if rules.dry_run {
            self.emit(Event::WouldFallBack { reason });
            return None;
        }
        Some(reason)
    }

    /// Counts a fact and tells the listeners.
    #[cold]
    pub(super) fn emit(&self, event: Event) {
        let counter = match event {
            Event::FellBack { reason: Reason::Refused } => &self.refused,
            Event::FellBack { reason: Reason::TimedOut } => &self.timed_out,
            Event::FellBack { reason: Reason::Failed } => &self.failed,
            Event::WouldFallBack { .. } => &self.would_fall_back,
            Event::FailedToo { .. } => &self.failed_too,
            Event::Withheld { .. } => &self.withheld,
        };
        // Relaxed: statistics.
        counter.fetch_add(1, Ordering::Relaxed);
        self.listeners.emit(&self.name, || self.timer.now(), || event);
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("name", &self.shared.name)
            .field("rules", &self.shared.rules())
            .finish_non_exhaustive()
    }
}

/// A fallback at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Refusals of the own stack that were replaced.
    pub refused: u64,
    /// Timeouts that were replaced.
    pub timed_out: u64,
    /// Other failures that were replaced.
    pub failed: u64,
    /// Fallbacks that failed as well; counted in one of the former, too.
    pub failed_too: u64,
    /// Answers that would have been replaced, in dry runs.
    pub would_fall_back: u64,
    /// Failures for which there was no copy of the request to fall back with.
    pub withheld: u64,
}
