//! The policy users hold.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::config::{Changeable, ChaosBuilder, Config, Makers};
use super::event::{Event, Kind};
use super::future::{Plan, ResponseFuture};
use super::machine::{Decision, Faults, Script};
use crate::event::Listeners;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Injects faults into calls with requests `Req`, answers `Res` and errors `E`. Clones are one policy.
///
/// See the [module documentation](super).
pub struct Chaos<Req, Res, E> {
    shared: Arc<Shared<Req, Res, E>>,
}

struct Shared<Req, Res, E> {
    enabled: AtomicBool,
    dry_run: AtomicBool,
    /// What may go wrong now; changed rarely, read by calls of a policy that is on.
    rules: Mutex<Rules>,
    makers: Makers<Req, Res, E>,
    seed: u64,
    calls: AtomicU64,
    injected: [AtomicU64; 4],
    would_inject: AtomicU64,
    name: Name,
    timer: SharedTimer,
    listeners: Listeners,
}

struct Rules {
    faults: Faults,
    script: Option<Script>,
}

/// What a chaos policy has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether it is on.
    pub enabled: bool,
    /// What its faults are drawn from.
    pub seed: u64,
    /// Calls that could have met a fault.
    pub calls: u64,
    /// Calls that were delayed.
    pub delays: u64,
    /// Calls that got an error instead.
    pub errors: u64,
    /// Calls that got an answer instead.
    pub responses: u64,
    /// Calls that were disturbed.
    pub behaviours: u64,
    /// Faults that would have been injected, in a dry run.
    pub would_inject: u64,
}

impl<Req, Res, E> Chaos<Req, Res, E> {
    /// Starts a configuration; see the [defaults](super#defaults).
    pub fn builder() -> ChaosBuilder<Req, Res, E> {
        ChaosBuilder::new()
    }

    pub(super) fn new(config: Config<Req, Res, E>, changeable: Changeable) -> Self {
        let Changeable { faults, script, enabled, dry_run } = changeable;
        Self {
            shared: Arc::new(Shared {
                enabled: AtomicBool::new(enabled),
                dry_run: AtomicBool::new(dry_run),
                rules: Mutex::new(Rules { faults, script }),
                makers: config.makers,
                seed: config.seed,
                calls: AtomicU64::new(0),
                injected: std::array::from_fn(|_| AtomicU64::new(0)),
                would_inject: AtomicU64::new(0),
                name: config.name,
                timer: config.timer,
                listeners: config.listeners,
            }),
        }
    }

    /// Switches it on.
    pub fn on(&self) {
        // Relaxed, here and below: nobody waits for the switch, and no other memory hangs on it.
        self.shared.enabled.store(true, Ordering::Relaxed);
    }

    /// Switches it off: every call passes, and a script stands still but for its clock.
    pub fn off(&self) {
        self.shared.enabled.store(false, Ordering::Relaxed);
    }

    /// Replaces the faults, and ends a script.
    ///
    /// # Errors
    ///
    /// As the builder's; nothing has changed then.
    pub fn set_faults(&self, faults: Faults) -> Result<(), ConfigError> {
        faults.check()?;
        self.shared.makers.check(&faults)?;
        *lock(&self.shared.rules) = Rules { faults, script: None };
        Ok(())
    }

    /// Takes over faults, script, switch and dry run of `builder` while calls run; its name, makers, seed, clock and
    /// listeners are not looked at. A script that is still the same stays where it stands.
    ///
    /// # Errors
    ///
    /// As the builder's, and for faults that this policy was not told how to make; nothing has changed then.
    ///
    /// ```
    /// use resilience_core::chaos::{Chaos, Faults};
    ///
    /// let chaos = Chaos::<(), (), &str>::builder().error(|()| "down").build()?;
    /// chaos.reconfigure(Chaos::builder().faults(Faults::OUTAGE).enabled(false))?;
    /// assert!(!chaos.snapshot().enabled);
    /// let answers = Chaos::builder().faults(Faults { response: 0.5, ..Faults::NONE });
    /// assert_eq!(chaos.reconfigure(answers).unwrap_err().to_string(), "response must be given before it can happen");
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: ChaosBuilder<Req, Res, E>) -> Result<(), ConfigError> {
        let shared = &*self.shared;
        let Changeable { faults, script, enabled, dry_run } = builder.checked(&shared.makers)?;
        {
            let mut rules = lock(&shared.rules);
            rules.faults = faults;
            match (&rules.script, &script) {
                (Some(before), Some(after)) if before.is_made_as(after) => {}
                _ => rules.script = script,
            }
            // Relaxed, as the switch. Before it: what is only tried out is not switched on for a moment.
            shared.dry_run.store(dry_run, Ordering::Relaxed);
        }
        shared.enabled.store(enabled, Ordering::Relaxed);
        Ok(())
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + use<Req, Res, E> {
        let weak = Arc::downgrade(&self.shared);
        move || weak.upgrade().map(|shared| Self { shared })
    }

    /// Whether it could meet a call with these faults.
    #[cfg(all(feature = "serde", not(loom)))]
    pub(crate) fn can_make(&self) -> impl Fn(&Faults) -> Result<(), ConfigError> + Send + Sync + use<Req, Res, E> {
        let can = self.shared.makers.can();
        move |faults| can.check(faults)
    }

    /// The name in events.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// What it has done.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        // Relaxed, all: counts.
        let injected = |kind: Kind| shared.injected[kind as usize].load(Ordering::Relaxed);
        Snapshot {
            enabled: shared.enabled.load(Ordering::Relaxed),
            seed: shared.seed,
            calls: shared.calls.load(Ordering::Relaxed),
            delays: injected(Kind::Delay),
            errors: injected(Kind::Error),
            responses: injected(Kind::Response),
            behaviours: injected(Kind::Behaviour),
            would_inject: shared.would_inject.load(Ordering::Relaxed),
        }
    }

    /// What `request` meets, if anything.
    #[inline]
    pub(super) fn plan(&self, request: &Req) -> Option<Box<Plan<Res, E>>> {
        if self.shared.enabled.load(Ordering::Relaxed) { self.shared.plan(request) } else { None }
    }

    /// Makes `call` for `request`, or what is to happen instead, without tower.
    ///
    /// What it meets is decided now, not at the first poll.
    pub fn call<F>(&self, request: &Req, call: F) -> ResponseFuture<F, Res, E>
    where
        F: Future<Output = Result<Res, E>>,
    {
        ResponseFuture::new(call, self.plan(request))
    }
}

impl<Req, Res, E> Shared<Req, Res, E> {
    // On its own: inlined, it would have a call of a policy that is off save registers it does not need.
    #[inline(never)]
    fn plan(&self, request: &Req) -> Option<Box<Plan<Res, E>>> {
        if self.makers.only.as_ref().is_some_and(|is_meant| !is_meant(request)) {
            return None;
        }
        let (call, faults) = {
            let mut rules = lock(&self.rules);
            // Under the lock, so that numbers and phases agree.
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let scripted = rules.script.as_mut().and_then(|script| script.faults(self.timer.now()));
            (call, scripted.unwrap_or(rules.faults))
        };
        let decision = faults.decide(self.seed, call);
        if self.dry_run.load(Ordering::Relaxed) {
            self.tell_trial(decision, call);
            return None;
        }
        let mut plan = Plan::default();
        if let Some(delay) = decision.delay {
            self.tell(Kind::Delay, call, delay);
            plan.delay = Some(self.timer.sleep(delay));
        }
        // Makers are the user's: called outside of the lock.
        match decision.fault {
            Some(Kind::Error) => plan.outcome = self.makers.error.as_ref().map(|make| Err(make(request))),
            Some(Kind::Response) => plan.outcome = self.makers.response.as_ref().map(|make| Ok(make(request))),
            Some(Kind::Behaviour) => plan.disturbance = self.makers.behaviour.as_ref().map(|make| make(request)),
            Some(Kind::Delay) | None => {}
        }
        if let Some(kind) = decision.fault {
            self.tell(kind, call, Duration::ZERO);
        }
        (decision.delay.is_some() || decision.fault.is_some()).then(|| Box::new(plan))
    }

    fn tell_trial(&self, decision: Decision, call: u64) {
        let delay = decision.delay.map(|delay| (Kind::Delay, delay));
        let fault = decision.fault.map(|kind| (kind, Duration::ZERO));
        for (kind, delay) in delay.into_iter().chain(fault) {
            self.would_inject.fetch_add(1, Ordering::Relaxed);
            self.listeners.emit(&self.name, || self.timer.now(), || Event::WouldInject { kind, call, delay });
        }
    }

    fn tell(&self, kind: Kind, call: u64, delay: Duration) {
        self.injected[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.listeners.emit(&self.name, || self.timer.now(), || Event::Injected { kind, call, delay });
    }
}

impl<Req, Res, E> Clone for Chaos<Req, Res, E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<Req, Res, E> fmt::Debug for Chaos<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("name", self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
