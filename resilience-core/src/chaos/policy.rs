//! The policy users hold.

use std::fmt;
use std::future::Future;

use super::config::{ChaosBuilder, Config, Makers};
use super::event::{Event, Kind};
use super::future::{Plan, ResponseFuture};
use super::machine::{Faults, Script};
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
    /// What may go wrong now; changed rarely, read by calls of a policy that is on.
    rules: Mutex<Rules>,
    makers: Makers<Req, Res, E>,
    seed: u64,
    calls: AtomicU64,
    injected: [AtomicU64; 4],
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
}

impl<Req, Res, E> Chaos<Req, Res, E> {
    /// Starts a configuration; see the [defaults](super#defaults).
    pub fn builder() -> ChaosBuilder<Req, Res, E> {
        ChaosBuilder::new()
    }

    pub(super) fn new(config: Config<Req, Res, E>) -> Self {
        Self {
            shared: Arc::new(Shared {
                enabled: AtomicBool::new(config.enabled),
                rules: Mutex::new(Rules { faults: config.faults, script: config.script }),
                makers: config.makers,
                seed: config.seed,
                calls: AtomicU64::new(0),
                injected: std::array::from_fn(|_| AtomicU64::new(0)),
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
            self.tell(kind, call, std::time::Duration::ZERO);
        }
        (decision.delay.is_some() || decision.fault.is_some()).then(|| Box::new(plan))
    }

    fn tell(&self, kind: Kind, call: u64, delay: std::time::Duration) {
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
