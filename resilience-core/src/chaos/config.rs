//! What a chaos policy can be told.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::event::Kind;
use super::machine::{Faults, Phase, Script};
use super::policy::Chaos;
use crate::event::{Listeners, Sink};
use crate::rng::Rng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// A disturbance under way.
pub(super) type Disturbance = Pin<Box<dyn Future<Output = ()> + Send>>;

type Maker<Req, T> = Box<dyn Fn(&Req) -> T + Send + Sync>;

/// How faults are made.
pub(super) struct Makers<Req, Res, E> {
    pub(super) error: Option<Maker<Req, E>>,
    pub(super) response: Option<Maker<Req, Res>>,
    pub(super) behaviour: Option<Maker<Req, Disturbance>>,
    pub(super) only: Option<Maker<Req, bool>>,
}

impl<Req, Res, E> Makers<Req, Res, E> {
    /// Whether all of these faults can be made.
    pub(super) fn check(&self, faults: &Faults) -> Result<(), ConfigError> {
        self.can().check(faults)
    }

    /// What can be made.
    pub(super) fn can(&self) -> Can {
        Can { error: self.error.is_some(), response: self.response.is_some(), behaviour: self.behaviour.is_some() }
    }
}

/// Which faults can be made.
#[derive(Clone, Copy)]
pub(super) struct Can {
    error: bool,
    response: bool,
    behaviour: bool,
}

impl Can {
    pub(super) fn check(self, faults: &Faults) -> Result<(), ConfigError> {
        for (kind, field, can) in [
            (Kind::Error, "error", self.error),
            (Kind::Response, "response", self.response),
            (Kind::Behaviour, "behaviour", self.behaviour),
        ] {
            if faults.needs(kind) && !can {
                return Err(ConfigError::new(field, "must be given before it can happen"));
            }
        }
        Ok(())
    }
}

/// Sets up a [`Chaos`]; made by [`Chaos::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct ChaosBuilder<Req, Res, E> {
    name: Name,
    faults: Faults,
    script: Option<(Vec<Phase>, bool)>,
    makers: Makers<Req, Res, E>,
    seed: Option<u64>,
    enabled: bool,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
pub(super) struct Config<Req, Res, E> {
    pub(super) name: Name,
    pub(super) makers: Makers<Req, Res, E>,
    pub(super) seed: u64,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that can be changed later.
#[derive(Debug)]
pub(super) struct Changeable {
    pub(super) faults: Faults,
    pub(super) script: Option<Script>,
    pub(super) enabled: bool,
    pub(super) dry_run: bool,
}

impl<Req, Res, E> ChaosBuilder<Req, Res, E> {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("chaos"),
            faults: Faults::NONE,
            script: None,
            makers: Makers { error: None, response: None, behaviour: None, only: None },
            seed: None,
            enabled: true,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in events. Default: `chaos`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Which faults happen, and how often. Default: [`Faults::NONE`].
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Plays these phases, one after the other, and then over again or not. After the last, [`faults`](Self::faults) hold.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::chaos::{Chaos, Faults, Phase};
    ///
    /// # futures::executor::block_on(async {
    /// let chaos = Chaos::<(), &'static str, &'static str>::builder()
    ///     .error(|()| "down")
    ///     .script([Phase::calls(2, Faults::NONE), Phase::calls(3, Faults::OUTAGE)], false)
    ///     .build()?;
    /// let mut seen = Vec::new();
    /// for _ in 0..6 {
    ///     seen.push(chaos.call(&(), async { Ok("up") }).await.is_ok());
    /// }
    /// assert_eq!(seen, [true, true, false, false, false, true]);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn script(mut self, phases: impl IntoIterator<Item = Phase>, repeats: bool) -> Self {
        self.script = Some((phases.into_iter().collect(), repeats));
        self
    }

    /// How an error is made.
    pub fn error(mut self, make: impl Fn(&Req) -> E + Send + Sync + 'static) -> Self {
        self.makers.error = Some(Box::new(make));
        self
    }

    /// How an answer is made that the service did not give.
    pub fn response(mut self, make: impl Fn(&Req) -> Res + Send + Sync + 'static) -> Self {
        self.makers.response = Some(Box::new(make));
        self
    }

    /// What disturbs a call before it is made: a connection that is closed, a cache that is emptied, a panic.
    pub fn behaviour<F>(mut self, make: impl Fn(&Req) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.makers.behaviour = Some(Box::new(move |request| Box::pin(make(request))));
        self
    }

    /// Which requests may meet a fault. Default: all. The others are not counted.
    pub fn only(mut self, is_meant: impl Fn(&Req) -> bool + Send + Sync + 'static) -> Self {
        self.makers.only = Some(Box::new(is_meant));
        self
    }

    /// Makes the faults repeatable. Default: from the system; see [`Snapshot::seed`](super::Snapshot::seed).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether it begins switched on. Default: yes.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Draws, counts and tells what would go wrong, and lets every call pass. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock to live by. Default: tokio's.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener; see [`Event`](super::Event).
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for probabilities that are not between 0 and 1 or add up to more, for a phase of no length, for a
    /// fault that nobody said how to make, and without a timer (without the feature `tokio`).
    pub fn build(self) -> Result<Chaos<Req, Res, E>, ConfigError> {
        let changeable = self.checked(&self.makers)?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("chaos", &self.name);
        let seed = self.seed.unwrap_or_else(|| Rng::from_entropy().next_u64());
        Ok(Chaos::new(Config { name: self.name, makers: self.makers, seed, timer, listeners }, changeable))
    }

    /// All that can be changed later, if it can work with these makers.
    pub(super) fn checked(&self, makers: &Makers<Req, Res, E>) -> Result<Changeable, ConfigError> {
        self.faults.check()?;
        makers.check(&self.faults)?;
        if let Some((phases, _)) = &self.script {
            for phase in phases {
                phase.check()?;
                makers.check(phase.faults())?;
            }
        }
        let script = self.script.as_ref().map(|(phases, repeats)| Script::new(phases.iter().copied(), *repeats));
        Ok(Changeable { faults: self.faults, script, enabled: self.enabled, dry_run: self.dry_run })
    }
}

impl<Req, Res, E> fmt::Debug for ChaosBuilder<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosBuilder")
            .field("name", &self.name)
            .field("faults", &self.faults)
            .field("script", &self.script)
            .field("only", &self.makers.only.is_some())
            .field("seed", &self.seed)
            .field("enabled", &self.enabled)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}
