//! The limit users hold.

use std::fmt;
use std::time::Duration;

use super::config::{Abandoned, Changeable, Config};
use super::machine::{Change, Ended, Machine};
use super::permit::Permit;
use super::reserve::Kept;
use super::rule::Chosen;
use super::{Acquire, AdaptiveLimitBuilder, Call, Event};
use crate::bulkhead::{self, Bulkhead};
use crate::context::ambient;
use crate::control::Sample;
use crate::event::Listeners;
use crate::held::{Held, keep};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{SharedTimer, Timestamp};
use crate::{ConfigError, Name, Reason, Rejected};

/// A limit on the calls that run at once which finds itself. Clones share it; the [module](super) explains it.
#[derive(Clone)]
pub struct AdaptiveLimit {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// A copy of what the machine says, so that calls of an earlier epoch need no lock.
    epoch: AtomicU32,
    /// See [`Keep`](crate::held::Keep).
    is_own: bool,
    /// Whether it was built with a rule of the user's, and so may get another.
    takes_custom: bool,
    /// Switches and figures that may change; each is read as it is.
    counts_abandoned: AtomicBool,
    dry_run: AtomicBool,
    kept: Kept,
    /// Held while these, the gate and the machine change, so that of two changes at once one is what all read in the end.
    /// Taken before the locks of those.
    changing: Mutex<()>,
    machine: Mutex<Machine>,
    /// Its limit is the machine's, or is about to be; see [`apply`](Self::apply).
    gate: Bulkhead,
    name: Name,
    timer: SharedTimer,
    listeners: Listeners,
    rejected: AtomicU64,
    would_reject: AtomicU64,
}

keep!(Shared);

/// What an adaptive limit looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that may run at once.
    pub limit: u32,
    /// Calls that run. Above `limit` only after it was lowered, and in a dry run.
    pub in_flight: u32,
    /// Calls that may wait.
    pub queue: u32,
    /// Calls that wait.
    pub queued: u32,
    /// What round trips are compared with: that of an idle server, or a long average. `None` before the first window, and
    /// if the rule needs none.
    pub baseline: Option<Duration>,
    /// The last window.
    pub last: Option<Sample>,
    /// Windows since the limit was built.
    pub windows: u64,
    /// Calls refused since then.
    pub rejected: u64,
    /// Calls that would have been, in a [dry run](AdaptiveLimitBuilder::dry_run).
    pub would_reject: u64,
}

/// What became of a caller.
pub(super) enum Entry {
    Admitted(bulkhead::Permit),
    /// There is no slot, and it may wait for one.
    Queue,
    Refused(Rejected),
}

impl AdaptiveLimit {
    /// Starts to set up a limit.
    pub fn builder() -> AdaptiveLimitBuilder {
        AdaptiveLimitBuilder::new()
    }

    pub(super) fn new(config: Config) -> Self {
        let Config { name, gate, initial, rng, timer, listeners, is_own, change } = config;
        let Changeable { settings, abandoned, reserve, dry_run, gate: _ } = change;
        let shared = Shared {
            epoch: AtomicU32::new(0),
            takes_custom: !is_own,
            is_own: is_own && listeners.is_empty() && timer.is_own(),
            counts_abandoned: AtomicBool::new(abandoned == Abandoned::Loss),
            dry_run: AtomicBool::new(dry_run),
            kept: Kept::new(&reserve),
            changing: Mutex::new(()),
            machine: Mutex::new(Machine::new(initial, settings, rng)),
            gate,
            name,
            timer,
            listeners,
            rejected: AtomicU64::new(0),
            would_reject: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a slot that is free now, for a call that begins now and has the criticality of the context. Never waits.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`] if there is none for it; `limit` is then what calls of its criticality may use.
    ///
    /// ```
    /// use resilience_core::adaptive_limit::AdaptiveLimit;
    /// use resilience_core::{Class, Reason};
    ///
    /// let limit = AdaptiveLimit::builder().initial(1).min(1).build()?;
    /// let permit = limit.try_acquire().unwrap();
    /// assert_eq!(limit.try_acquire().unwrap_err().reason(), Reason::Full { limit: 1, queued: 0 });
    /// permit.settle(Class::Success); // how long it took is what the limit learns from
    /// assert!(limit.try_acquire().is_ok());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        match self.shared.enter(0) {
            Entry::Admitted(slot) => Ok(self.begin(slot)),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Queue => Err(self.shared.refuse(self.shared.full(self.shared.gate.limit()))),
        }
    }

    /// Takes a slot, or waits for one if there is a [queue](AdaptiveLimitBuilder::queue).
    ///
    /// The future asks when it is first polled, with the criticality of the context then. It may be dropped at any time.
    /// The call begins when it gets its permit: what it waited is not the server's time.
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.clone())
    }

    /// Runs `future` with a permit, without tower; waits for one as [`acquire`](Self::acquire) does.
    ///
    /// Answers are judged [by overload](super::ByOverload). `future` is not polled before it has its permit.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::adaptive_limit::AdaptiveLimit;
    ///
    /// # futures::executor::block_on(async {
    /// let limit = AdaptiveLimit::builder().name("stock").build()?;
    /// assert_eq!(limit.call(async { Ok::<_, Error<()>>(7) }).await, Ok(7));
    /// # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
    /// ```
    pub fn call<F: Future>(&self, future: F) -> Call<F> {
        Call::new(future, self.acquire())
    }

    /// The limit as a layer, with answers judged [by overload](super::ByOverload). All services it makes share it.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::AdaptiveLimitLayer {
        self.clone().into()
    }

    /// Takes over rule, bounds, window, reserves, queue and dry run of `builder` while calls run; its name, initial limit,
    /// seed, clock and listeners are not looked at.
    ///
    /// The limit stays, as far as the bounds allow, and a rule of the same kind keeps what it has learned, unless that is an
    /// average over another number of windows.
    ///
    /// # Errors
    ///
    /// As the builder's, and if a limit that was built with a [`Rule`](super::Rule) is to get a
    /// [rule of your own](AdaptiveLimitBuilder::custom). Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::adaptive_limit::AdaptiveLimit;
    ///
    /// let limit = AdaptiveLimit::builder().initial(20).build()?;
    /// limit.reconfigure(AdaptiveLimit::builder().min(4).max(10))?;
    /// assert_eq!(limit.snapshot().limit, 10);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: AdaptiveLimitBuilder) -> Result<(), ConfigError> {
        let (_, Changeable { settings, abandoned, reserve, dry_run, gate }) = builder.checked()?;
        let shared = &self.shared;
        // Threads may keep shares of a limit that owns nothing of the user's, and its end is then not to be relied on.
        if matches!(settings.chosen, Chosen::Custom(_)) && !shared.takes_custom {
            return Err(ConfigError::new("rule", "cannot become one of your own while running"));
        }
        let (calls, change, mut gone);
        {
            let _changing = lock(&shared.changing);
            calls = shared.gate.change(&gate.limit(shared.gate.limit()))?;
            shared.kept.set(&reserve);
            shared.counts_abandoned.store(abandoned == Abandoned::Loss, Ordering::Relaxed);
            shared.dry_run.store(dry_run, Ordering::Relaxed);
            gone = None;
            change = shared.with_machine(|machine| {
                let (change, rule) = machine.reconfigure(settings);
                gone = rule;
                change
            });
        }
        // Outside of the locks: who is called may run anything, and so may the end of a rule.
        calls.make();
        drop(gone);
        // Even if the machine's has not changed: the gate's may have, between the look at it and its change.
        shared.apply();
        shared.tell(change);
        Ok(())
    }

    /// How it looks now.
    pub fn snapshot(&self) -> Snapshot {
        let gate = self.shared.gate.snapshot();
        let machine = lock(&self.shared.machine);
        // Relaxed: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            limit: gate.limit,
            in_flight: gate.in_flight,
            queue: gate.queue,
            queued: gate.queued,
            baseline: machine.baseline(),
            last: machine.last(),
            windows: machine.samples(),
            rejected: read(&self.shared.rejected),
            would_reject: read(&self.shared.would_reject),
        }
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// A permit for a call that begins now.
    #[inline]
    pub(super) fn begin(&self, slot: bulkhead::Permit) -> Permit {
        let shared = Held::of(&self.shared);
        // Relaxed: only compared. Read late, one call more is left out; read early, one less.
        let epoch = shared.epoch.load(Ordering::Relaxed);
        Permit::new(slot, epoch, shared.gate.in_flight(), shared.timer.now(), shared)
    }
}

impl Shared {
    /// Lets a caller in, or says that it may wait if there is a queue of at least `queue` places, or refuses.
    pub(super) fn enter(&self, queue: u32) -> Entry {
        let criticality = ambient::get().criticality;
        let (most, is_whole) = match self.gate.try_within(|limit| self.kept.most(criticality, limit)) {
            Ok(slot) => return Entry::Admitted(slot),
            Err((most, limit)) => (most, most == limit),
        };
        // Relaxed: a switch that guards nothing.
        if self.dry_run.load(Ordering::Relaxed)
            && let Ok(slot) = self.gate.try_acquire()
        {
            let waiting = self.gate.in_flight().saturating_sub(most);
            if !is_whole || waiting > self.gate.queue() {
                self.note_would_reject(self.full(most));
            }
            return Entry::Admitted(slot);
        }
        if is_whole && queue > 0 {
            return Entry::Queue;
        }
        Entry::Refused(self.refuse(self.full(most)))
    }

    /// A call has ended.
    #[inline]
    pub(super) fn record(&self, epoch: u32, in_flight: u32, started: Timestamp, lost: bool) {
        // Relaxed as in `begin`; the machine looks again.
        if self.epoch.load(Ordering::Relaxed) != epoch {
            return;
        }
        let now = self.timer.now();
        let ended = Ended { rtt: now.since(started), in_flight, epoch, lost };
        if let Some(change) = self.with_machine(|machine| machine.record(ended, now)) {
            self.apply();
            self.tell(Some(change));
        }
    }

    fn with_machine(&self, act: impl FnOnce(&mut Machine) -> Option<Change>) -> Option<Change> {
        let mut machine = lock(&self.machine);
        let change = act(&mut machine);
        if change.is_some() {
            // Relaxed as in `begin`; written under the lock, so in the machine's order.
            self.epoch.store(machine.epoch(), Ordering::Relaxed);
        }
        change
    }

    /// Brings the gate to what the machine says.
    ///
    /// Not under the machine's lock, because whoever waits at the gate is woken, and wakers may run anything. Two that
    /// do this at once may overtake each other; each looks again afterwards, so the last to leave leaves the gate right.
    #[cold]
    fn apply(&self) {
        loop {
            let limit = lock(&self.machine).limit();
            // The bounds are the gate's, so it takes every limit.
            let _ = self.gate.resize(limit);
            if lock(&self.machine).limit() == limit {
                return;
            }
        }
    }

    fn tell(&self, change: Option<Change>) {
        if let Some(Change { from, to, cause }) = change {
            self.emit(|| Event::Changed { from, to, cause });
        }
    }

    pub(super) fn counts_abandoned(&self) -> bool {
        // Relaxed: a switch that guards nothing.
        self.counts_abandoned.load(Ordering::Relaxed)
    }

    pub(super) fn gate(&self) -> &Bulkhead {
        &self.gate
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    #[cold]
    pub(super) fn refuse(&self, reason: Reason) -> Rejected {
        self.note_refused(reason);
        Rejected::new(self.name.clone(), reason)
    }

    /// Counts and reports a refusal.
    pub(super) fn note_refused(&self, reason: Reason) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.emit(|| Event::Rejected { reason });
    }

    fn note_would_reject(&self, reason: Reason) {
        self.would_reject.fetch_add(1, Ordering::Relaxed);
        self.emit(|| Event::WouldReject { reason });
    }

    fn full(&self, most: u32) -> Reason {
        Reason::Full { limit: most, queued: self.gate.queued() }
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

impl fmt::Debug for AdaptiveLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimit").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
