//! Sets an engine up.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::event::{Listeners, Sink};
use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use resilience_core::{ConfigError, Name};
use resilience_cqrs::EventStore;
use tokio::sync::Semaphore;

use super::Engine;
use super::action::{Intercept, Surroundings};
use super::clock::Clock;
use super::log::Log;
use super::shared::{Runs, Shared};
use crate::cx::Services;
use crate::graph::Erased;
use crate::{Error, Saga};

/// Sets up an [`Engine`]; made by [`Engine::builder`].
#[must_use = "an engine does nothing until it is started"]
pub struct EngineBuilder<S> {
    store: S,
    name: Name,
    definitions: HashMap<(Name, u32), Arc<Erased>>,
    services: Services,
    live: usize,
    actions: usize,
    grace: Duration,
    timer: SharedTimer,
    seed: Option<u64>,
    listeners: Listeners,
    intercept: Option<Arc<dyn Intercept>>,
}

impl<S: EventStore> EngineBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store,
            name: Name::from_static("sagas"),
            definitions: HashMap::new(),
            services: Services::default(),
            live: 10_000,
            actions: 1_024,
            grace: Duration::from_secs(5),
            timer: SharedTimer::default(),
            seed: None,
            listeners: Listeners::default(),
            intercept: None,
        }
    }

    /// The name in events and metrics. Default `sagas`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a definition. Several versions of one definition may be registered side by side: unfinished sagas go on with
    /// the version they were started with.
    pub fn register<I, O>(mut self, definition: &Saga<I, O>) -> Self {
        let plan = definition.plan();
        self.definitions.insert((plan.name().clone(), plan.version()), definition.erased().clone());
        self
    }

    /// Adds a service for [`Cx::service`](crate::Cx::service), found by its type. A second one of the same type takes
    /// the place of the first.
    pub fn service<T: Send + Sync + 'static>(self, service: T) -> Self {
        self.shared_service(Arc::new(service))
    }

    /// Adds a service that is shared with others.
    pub fn shared_service<T: Send + Sync + 'static>(mut self, service: Arc<T>) -> Self {
        self.services.add(service);
        self
    }

    /// How many sagas may be in memory at once; further starts wait. Default 10,000: a few kilobytes each.
    pub fn live(mut self, sagas: usize) -> Self {
        self.live = sagas;
        self
    }

    /// How many steps and undos of all sagas together may run at once. Default 1,024.
    pub fn actions(mut self, actions: usize) -> Self {
        self.actions = actions;
        self
    }

    /// How long a step may go on after it was told to stop because its saga unwinds; then it is dropped, and its outcome
    /// is unknown. Default 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Where time comes from. Default tokio's clock.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Fixes the randomness of retry waits. Default: the system's entropy.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Adds a listener for what happens to sagas; see [`Event`](super::Event).
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn intercept(mut self, intercept: Arc<dyn Intercept>) -> Self {
        self.intercept = Some(intercept);
        self
    }

    /// Becomes the owner of the sagas in the store, and takes over what the last owner left unfinished.
    ///
    /// Returns once this engine is the owner; taking over goes on in the background, see [`Engine::recovered`]. An engine
    /// still running on the same store, in whatever process, is fenced off: it appends nothing from here on.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If a limit is zero, or the store fails.
    pub async fn start(self) -> Result<Engine<S>, Error> {
        let above_zero = |field, value: usize| match value {
            1..=Semaphore::MAX_PERMITS => Ok(value),
            _ => Err(ConfigError::new(field, "must be above zero and at most usize::MAX / 8")),
        };
        let live = above_zero("live", self.live)?;
        let slots = above_zero("actions", self.actions)?;
        let log = Log::claim(self.store, self.timer.clone()).await?;
        let surroundings = Surroundings {
            timer: self.timer.clone(),
            slots: Arc::new(Semaphore::new(slots)),
            grace: self.grace,
            intercept: self.intercept,
        };
        let shared = Shared {
            listeners: self.listeners.bound("saga", &self.name),
            name: self.name,
            log,
            definitions: self.definitions,
            services: Arc::new(self.services),
            clock: Clock::new(self.timer),
            rng: self.seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded),
            surroundings,
            room: Arc::new(Semaphore::new(live)),
            runs: Runs::new(),
        };
        Ok(Engine::new(Arc::new(shared)))
    }
}

impl<S> fmt::Debug for EngineBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("name", &self.name)
            .field("definitions", &self.definitions.keys())
            .field("live", &self.live)
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}
