//! The policy object: what calls of one kind share.

use std::fmt;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::event::Listeners;
use crate::retry::RetryBudget;
use crate::retry::budget;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{SharedTimer, saturating_nanos};
use crate::{AsRejected, ByResult, Classify, ConfigError, Name};

use super::config::{HedgeBuilder, Rules};
use super::delay::Delay;
use super::event::Event;
use super::latency::{Known, Latencies};
use super::run::Run;

/// Asks once more while an answer takes long, and takes the first that is good. Clones are one policy.
///
/// The [module](super) explains it.
///
/// ```
/// use resilience_core::Error;
/// use resilience_core::hedge::{Delay, Hedge};
///
/// # futures::executor::block_on(async {
/// let hedge = Hedge::builder().delay(Delay::NEVER).build()?;
/// let clone = hedge.clone();
/// let replicas = async |attempt| if attempt == 1 { Err(Error::Service("reset")) } else { Ok("answer") };
/// assert_eq!(clone.run(replicas).await, Ok("answer"));
/// let seen = hedge.snapshot(); // clones are counted together
/// assert_eq!((seen.launched, seen.won, seen.cancelled), (1, 1, 0));
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Hedge {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    name: Name,
    /// Read where a call was not answered at once, and swapped as a whole.
    rules: ArcSwap<Rules>,
    /// What is read of the rules on the way of a call that is: how many attempts there may be, and how it is measured.
    /// A copy that changes with them.
    entry: AtomicU32,
    pub(super) budget: Option<RetryBudget>,
    pub(super) timer: SharedTimer,
    listeners: Listeners,
    /// Made with the first rule that learns from latencies.
    latencies: Mutex<Option<Latencies>>,
    /// The delay learnt, in nanoseconds; [`UNKNOWN`] while too little is known.
    learnt: AtomicU64,
    // Counted where another attempt was due, never on the way of a call that is answered before.
    launched: AtomicU64,
    would_launch: AtomicU64,
    won: AtomicU64,
    cancelled: AtomicU64,
    withheld: AtomicU64,
    failed: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;
/// Set in `entry` if calls are measured.
const MEASURED: u32 = 1 << 31;
/// Set in `entry` if attempts are only pretended.
const DRY: u32 = 1 << 30;

/// What a call must know of the rules when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(u32);

impl Entry {
    fn new(rules: &Rules) -> Self {
        let measured = if matches!(rules.delay, Delay::Quantile(_)) { MEASURED } else { 0 };
        Self(rules.attempts | measured | if rules.dry_run { DRY } else { 0 })
    }

    #[inline]
    pub(super) fn attempts(self) -> u32 {
        self.0 & !(MEASURED | DRY)
    }

    #[inline]
    pub(super) fn is_measured(self) -> bool {
        self.0 & MEASURED != 0
    }

    #[inline]
    pub(super) fn is_dry(self) -> bool {
        self.0 & DRY != 0
    }
}

impl Hedge {
    /// A builder; its defaults make a policy that is safe to use for requests that may be sent twice.
    pub fn builder() -> HedgeBuilder {
        HedgeBuilder::new()
    }

    pub(super) fn new(
        name: Name,
        rules: Rules,
        budget: Option<RetryBudget>,
        timer: SharedTimer,
        listeners: Listeners,
    ) -> Self {
        let zero = || AtomicU64::new(0);
        let shared = Shared {
            name,
            entry: AtomicU32::new(Entry::new(&rules).0),
            rules: ArcSwap::from_pointee(rules),
            budget,
            timer,
            listeners,
            latencies: Mutex::new(None),
            learnt: AtomicU64::new(UNKNOWN),
            launched: zero(),
            would_launch: zero(),
            won: zero(),
            cancelled: zero(),
            withheld: zero(),
            failed: zero(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs `operation`, and once more beside itself if need be. It is given the number of the attempt, from 1.
    ///
    /// Only for what may be done twice: a loser is dropped, but what it has sent is sent. Errors are classified by
    /// [`ByResult`]; for error types that are not [`AsRejected`], and for rules of your own, see
    /// [`run_with`](Self::run_with). Dropping the future drops every attempt.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::hedge::Hedge;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hedge = Hedge::builder().name("search").delay(std::time::Duration::from_millis(20)).build()?;
    /// let answer = hedge.run(async |attempt| match attempt {
    ///     1 => std::future::pending().await, // a replica that is lost in its garbage
    ///     _ => Ok::<_, Error<std::io::Error>>("found"),
    /// });
    /// assert_eq!(answer.await?, "found");
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
    /// use resilience_core::hedge::{Delay, Hedge};
    ///
    /// # futures::executor::block_on(async {
    /// let hedge = Hedge::builder().delay(Delay::NEVER).build()?;
    /// let transient = |answer: &io::Result<u32>| match answer {
    ///     Ok(_) => Classification::SUCCESS,
    ///     Err(error) if error.kind() == io::ErrorKind::NotFound => Classification::PERMANENT,
    ///     Err(_) => Classification::FAILURE,
    /// };
    /// let answer = hedge.run_with(transient, async |_| Err(io::ErrorKind::NotFound.into())).await;
    /// assert!(answer.is_err());
    /// assert_eq!(hedge.snapshot().launched, 0); // the other replica would not find it either
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn run_with<Op, Fut, T, E, C>(&self, classify: C, operation: Op) -> Run<'_, Op, Fut, C>
    where
        Op: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        Run::new(self, classify, operation)
    }

    /// Takes over the rules of `builder`: attempts, delay and dry run. Calls under way go by them from their next
    /// decision on; what was learnt of latencies stays. Name, budget, timer and listeners stay what they are.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::hedge::Hedge;
    ///
    /// let hedge = Hedge::builder().delay(Duration::from_millis(50)).build()?;
    /// hedge.reconfigure(Hedge::builder().delay(Duration::from_millis(20)).attempts(3))?;
    /// assert_eq!((hedge.attempts(), hedge.snapshot().delay), (3, Some(Duration::from_millis(20))));
    /// assert_eq!(hedge.reconfigure(Hedge::builder().attempts(0)).unwrap_err().field(), "attempts");
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: HedgeBuilder) -> Result<(), ConfigError> {
        let rules = builder.checked()?;
        let shared = &*self.shared;
        // Held throughout: of two changes at once, one is what all read in the end, and no call that has still seen the
        // older rule publishes what it makes of the latencies after this has.
        let known = lock(&shared.latencies);
        if let Delay::Quantile(quantile) = &rules.delay {
            shared.learn(known.as_ref().and_then(|latencies| latencies.estimate(quantile)));
        }
        // Relaxed: a hint for the way in. A call that saw the older one is decided by the rules it finds later.
        shared.entry.store(Entry::new(&rules).0, Ordering::Relaxed);
        shared.rules.store(std::sync::Arc::new(rules));
        drop(known);
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

    /// Attempts in all, the primary included.
    pub fn attempts(&self) -> u32 {
        self.shared.entry().attempts()
    }

    /// What the policy has done so far.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        // Relaxed: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            delay: shared.delay(2),
            measured: lock(&shared.latencies).as_ref().map_or(0, Latencies::count),
            launched: read(&shared.launched),
            would_launch: read(&shared.would_launch),
            won: read(&shared.won),
            cancelled: read(&shared.cancelled),
            withheld: read(&shared.withheld),
            failed: read(&shared.failed),
            budget: self.budget().map(RetryBudget::snapshot),
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
    pub(super) fn entry(&self) -> Entry {
        // Relaxed: see `reconfigure`.
        Entry(self.entry.load(Ordering::Relaxed))
    }

    fn rules(&self) -> Guard<std::sync::Arc<Rules>> {
        self.rules.load()
    }

    /// How long the attempt before this one may take until this one joins it; `None` if nothing is known yet.
    pub(super) fn delay(&self, attempt: u32) -> Option<Duration> {
        match &self.rules().delay {
            Delay::Fixed(delay) => Some(*delay),
            Delay::Schedule(delays) => {
                let nth = (attempt as usize).saturating_sub(2);
                delays.get(nth).or(delays.last()).copied()
            }
            // Relaxed: a figure that guards nothing.
            Delay::Quantile(quantile) => match self.learnt.load(Ordering::Relaxed) {
                UNKNOWN => quantile.before,
                nanos => Some(Duration::from_nanos(nanos)),
            },
        }
    }

    /// Takes note of how long a primary took.
    pub(super) fn record(&self, latency: Duration, known: Known) {
        let mut latencies = lock(&self.latencies);
        // Under the lock, with which they are changed: they may not learn any more since the call began.
        let rules = self.rules();
        let Delay::Quantile(quantile) = &rules.delay else { return };
        let latencies = latencies.get_or_insert_with(Latencies::new);
        if latencies.record(quantile, latency, known) {
            self.learn(latencies.estimate(quantile));
        }
    }

    /// Publishes an estimate. Called with the lock held, so that the newest is the last.
    fn learn(&self, estimate: Option<Duration>) {
        // Relaxed: a figure that guards nothing.
        self.learnt
            .store(estimate.map_or(UNKNOWN, |delay| saturating_nanos(delay).min(UNKNOWN - 1)), Ordering::Relaxed);
    }

    /// Counts a fact and tells the listeners.
    pub(super) fn emit(&self, event: Event) {
        let (counter, times) = match event {
            Event::Launched { .. } => (&self.launched, 1),
            Event::WouldLaunch { .. } => (&self.would_launch, 1),
            Event::Withheld { .. } => (&self.withheld, 1),
            // What the primary wins, it would have won alone.
            Event::Won { attempt } => (&self.won, u64::from(attempt > 1)),
            Event::Cancelled { attempts } => (&self.cancelled, u64::from(attempts)),
            Event::Failed { .. } => (&self.failed, 1),
        };
        // Relaxed: statistics.
        counter.fetch_add(times, Ordering::Relaxed);
        self.listeners.emit(&self.name, || self.timer.now(), || event);
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { name, budget, .. } = &*self.shared;
        f.debug_struct("Hedge")
            .field("name", name)
            .field("rules", &**self.shared.rules())
            .field("budget", budget)
            .finish_non_exhaustive()
    }
}

/// A hedge at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How long a primary may take now before a hedge joins it; `None` while too few calls are known of.
    pub delay: Option<Duration>,
    /// Calls the delay is learnt from.
    pub measured: u64,
    /// Attempts launched beside, or after, a primary.
    pub launched: u64,
    /// Attempts that would have been, in dry runs.
    pub would_launch: u64,
    /// Calls that an attempt after the primary answered.
    pub won: u64,
    /// Attempts dropped because another won; primaries among them.
    pub cancelled: u64,
    /// Attempts that were due and not launched.
    pub withheld: u64,
    /// Calls of several attempts that all failed.
    pub failed: u64,
    /// The budget, if there is one.
    pub budget: Option<budget::Snapshot>,
}
