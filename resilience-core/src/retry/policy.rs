//! The policy object: what calls of one kind share.

use std::fmt;

use arc_swap::{ArcSwap, Guard};

use crate::event::Listeners;
use crate::rng::SharedRng;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;
use crate::{AsRejected, ByResult, Classify, ConfigError, Name};

use super::budget::{self, RetryBudget};
use super::config::RetryBuilder;
use super::event::{Event, Reason};
use super::machine::Rules;
use super::report;
use super::run::Run;

/// Tries again what failed, within limits. Clones are one policy.
///
/// The [module](super) explains it.
///
/// ```
/// use resilience_core::Error;
/// use resilience_core::retry::{Backoff, Retry};
///
/// # futures::executor::block_on(async {
/// let retry = Retry::builder().backoff(Backoff::none()).build()?;
/// let clone = retry.clone();
/// let flaky = async |attempt| if attempt == 1 { Err(Error::Service("reset")) } else { Ok("answer") };
/// assert_eq!(clone.run(flaky).await, Ok("answer"));
/// let seen = retry.snapshot(); // clones are counted together
/// assert_eq!((seen.retries, seen.recovered, seen.gave_up), (1, 1, 0));
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Retry {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    name: Name,
    /// Read where a call has failed, and swapped as a whole.
    rules: ArcSwap<Rules>,
    /// What is read of the rules on the way of a call that succeeds: copies that change with them.
    attempts: AtomicU32,
    is_timed: AtomicBool,
    /// Held while the rules and their copies change, so that of two changes at once one is what all read in the end.
    changing: Mutex<()>,
    pub(super) budget: Option<RetryBudget>,
    pub(super) rng: SharedRng,
    pub(super) timer: SharedTimer,
    listeners: Listeners,
    // Counted where a call has failed at least once, never on the way of one that succeeds.
    retries: AtomicU64,
    recovered: AtomicU64,
    gave_up: AtomicU64,
    would_retry: AtomicU64,
}

impl Retry {
    /// A builder; its defaults make a policy that is safe to use.
    pub fn builder() -> RetryBuilder {
        RetryBuilder::new()
    }

    pub(super) fn new(
        name: Name,
        rules: Rules,
        budget: Option<RetryBudget>,
        rng: SharedRng,
        timer: SharedTimer,
        listeners: Listeners,
    ) -> Self {
        let (attempts, is_timed) = (AtomicU32::new(rules.attempts), AtomicBool::new(rules.max_elapsed.is_some()));
        let rules = ArcSwap::from_pointee(rules);
        let shared = Shared {
            name,
            rules,
            attempts,
            is_timed,
            changing: Mutex::new(()),
            budget,
            rng,
            timer,
            listeners,
            retries: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            would_retry: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs `operation`, again if need be. It is given the number of the attempt, from 1.
    ///
    /// The last attempt's error comes back unchanged; [`report`](super::report) tells how many there were and why no
    /// more. Errors are classified by [`ByResult`]; for error types that are not [`AsRejected`], and for rules of your
    /// own, see [`run_with`](Self::run_with). Dropping the future refunds a retry that was not yet sent.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::retry::{Backoff, Retry};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let retry = Retry::builder().name("greeting").backoff(Backoff::none()).build()?;
    /// let answer: Result<&str, Error<std::io::Error>> = retry
    ///     .run(async |attempt| match attempt {
    ///         1 => Err(Error::Service(std::io::Error::other("connection reset"))),
    ///         _ => Ok("hello"),
    ///     })
    ///     .await;
    /// assert_eq!(answer?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<Op, Fut, T, E>(&self, operation: Op) -> Run<'_, Op, Fut, ByResult>
    where
        Op: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: AsRejected,
    {
        self.run_with(ByResult, operation)
    }

    /// Runs `operation` as [`run`](Self::run) does, with a classifier of your own.
    ///
    /// ```
    /// use std::io;
    /// use resilience_core::Classification;
    /// use resilience_core::retry::{Backoff, Retry};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let retry = Retry::builder().backoff(Backoff::none()).build()?;
    /// let transient = |answer: &io::Result<u32>| match answer {
    ///     Ok(_) => Classification::SUCCESS,
    ///     Err(error) if error.kind() == io::ErrorKind::NotFound => Classification::PERMANENT,
    ///     Err(_) => Classification::FAILURE,
    /// };
    /// let answer = retry.run_with(transient, async |attempt| if attempt < 3 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(attempt) });
    /// assert_eq!(answer.await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_with<Op, Fut, T, E, C>(&self, classify: C, operation: Op) -> Run<'_, Op, Fut, C>
    where
        Op: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        Run::new(self, classify, operation)
    }

    /// Takes over the rules of `builder`: attempts, backoffs, hint, longest time, long poll and dry run. Calls under way
    /// go by them from their next decision on. Name, budget, seed, timer and listeners stay what they are.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::retry::{self, Backoff, Retry};
    ///
    /// # futures::executor::block_on(async {
    /// let rules = |attempts| Retry::builder().attempts(attempts).backoff(Backoff::none());
    /// let retry = rules(2).build()?;
    /// retry.reconfigure(rules(5))?;
    /// let (_, report) = retry::report(retry.run(async |_| Err::<(), _>(Error::Service("down")))).await;
    /// assert_eq!(report.unwrap().attempts, 5);
    /// assert_eq!(retry.reconfigure(rules(0)).unwrap_err().field(), "attempts");
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn reconfigure(&self, builder: RetryBuilder) -> Result<(), ConfigError> {
        let rules = builder.checked()?;
        let changing = lock(&self.shared.changing);
        // Relaxed: hints for the way in. A call that saw the older ones is decided by the rules it finds later.
        self.shared.attempts.store(rules.attempts, Ordering::Relaxed);
        self.shared.is_timed.store(rules.max_elapsed.is_some(), Ordering::Relaxed);
        let old = self.shared.rules.swap(std::sync::Arc::new(rules));
        drop(changing);
        // Outside of the lock: what the user gave to the older rules may do anything when it goes.
        drop(old);
        Ok(())
    }

    /// The name it was built with.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The budget it draws on, to share it with another policy; `None` if it was built unlimited.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.shared.budget.as_ref()
    }

    /// What the policy has done so far.
    pub fn snapshot(&self) -> Snapshot {
        // Relaxed: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            retries: read(&self.shared.retries),
            recovered: read(&self.shared.recovered),
            gave_up: read(&self.shared.gave_up),
            would_retry: read(&self.shared.would_retry),
            budget: self.budget().map(RetryBudget::snapshot),
        }
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// Attempts in all, the first included.
    pub fn attempts(&self) -> u32 {
        self.shared.attempts()
    }

    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// The rules of this moment.
    pub(super) fn rules(&self) -> Guard<std::sync::Arc<Rules>> {
        self.rules.load()
    }

    /// Attempts in all.
    #[inline]
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Whether the rules bound how long a call may take.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed)
    }

    /// Counts a fact, notes it for whoever awaits a report, and tells the listeners.
    pub(super) fn emit(&self, event: Event) {
        let (counter, noted) = match event {
            Event::Retrying { .. } => (&self.retries, None),
            Event::WouldRetry { attempt, .. } => (&self.would_retry, Some((attempt - 1, Some(Reason::DryRun)))),
            Event::Recovered { attempts } => (&self.recovered, Some((attempts, None))),
            Event::GaveUp { attempts, reason } => (&self.gave_up, Some((attempts, Some(reason)))),
        };
        // Relaxed: statistics.
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some((attempts, gave_up)) = noted {
            report::note(report::Report { attempts, gave_up });
        }
        self.listeners.emit(&self.name, || self.timer.now(), || event);
    }

    pub(super) fn give_up(&self, attempts: u32, reason: Reason) {
        self.emit(Event::GaveUp { attempts, reason });
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { name, rules, budget, .. } = &*self.shared;
        f.debug_struct("Retry")
            .field("name", name)
            .field("rules", &**rules.load())
            .field("budget", budget)
            .finish_non_exhaustive()
    }
}

/// A retry policy at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Retries scheduled.
    pub retries: u64,
    /// Calls answered by an attempt after the first.
    pub recovered: u64,
    /// Calls whose failure went to the caller, because no other attempt was to be made.
    pub gave_up: u64,
    /// Calls whose failure went to the caller, and for which another attempt would have been made but for a
    /// [dry run](RetryBuilder::dry_run).
    pub would_retry: u64,
    /// The budget, if there is one.
    pub budget: Option<budget::Snapshot>,
}
