//! Setting up a consumer.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::event::{Listeners, Sink};
use resilience_core::retry::Backoff;
use resilience_core::rng::{Rng, SharedRng};
use resilience_core::time::SharedTimer;
use resilience_core::timeout::Timeout;
use resilience_core::{Classify, ConfigError, Name};
use tokio::sync::{mpsc, oneshot, watch};

use super::classify::ByHandling;
use super::handle::{ConsumerHandle, Health, Status};
use super::handler::Handler;
use super::runner::Consumer;
use super::worker::Worker;
use crate::log::BoxError;
use crate::messaging::bus::{Bus, Subscribe};
use crate::messaging::dead::DeadLetters;
use crate::store::EventStore;

/// Longest name of a consumer: what is made of it must be a name, too.
const NAME_BYTES: usize = 100;

/// What becomes of a key of which a message is among the dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterDeath {
    /// Its later messages get behind it, and are handled when it is. The order of the key is kept.
    #[default]
    KeyWaits,
    /// Its later messages are handled. The order of the key is not kept.
    KeyGoesOn,
}

/// Sets up a [`Consumer`].
pub struct ConsumerBuilder<S, B, H, C = ByHandling> {
    store: S,
    bus: B,
    name: String,
    to: Subscribe,
    handler: H,
    classify: C,
    concurrency: NonZeroUsize,
    max_attempts: NonZeroU32,
    max_dead: u64,
    after_death: AfterDeath,
    within: Duration,
    backoff: Backoff,
    breaker: Option<CircuitBreaker>,
    timer: SharedTimer,
    listeners: Listeners,
    rng: Rng,
}

impl<S: EventStore, B: Bus, H: Handler> Consumer<S, B, H, ByHandling> {
    /// Sets up a consumer that hands the messages of a group or queue to `handler`, and keeps those that it cannot handle in
    /// `store`, as [dead letters](DeadLetters) under `name`.
    pub fn builder(
        store: S,
        bus: B,
        name: impl Into<String>,
        to: Subscribe,
        handler: H,
    ) -> ConsumerBuilder<S, B, H, ByHandling> {
        ConsumerBuilder {
            store,
            bus,
            name: name.into(),
            to,
            handler,
            classify: ByHandling,
            concurrency: NonZeroUsize::MIN.saturating_add(15),
            max_attempts: NonZeroU32::MIN.saturating_add(19),
            max_dead: 10_000,
            after_death: AfterDeath::KeyWaits,
            within: Duration::from_secs(60),
            backoff: Backoff::exponential(Duration::from_millis(200), Duration::from_secs(60)),
            breaker: None,
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            rng: Rng::from_entropy(),
        }
    }
}

impl<S: EventStore, B: Bus, H: Handler, C: Classify<(), BoxError> + Send + Sync + 'static> ConsumerBuilder<S, B, H, C> {
    /// What an answer of the handler means. Default: [`ByHandling`].
    #[must_use]
    pub fn classify<D>(self, classify: D) -> ConsumerBuilder<S, B, H, D>
    where
        D: Classify<(), BoxError> + Send + Sync + 'static,
    {
        ConsumerBuilder {
            store: self.store,
            bus: self.bus,
            name: self.name,
            to: self.to,
            handler: self.handler,
            classify,
            concurrency: self.concurrency,
            max_attempts: self.max_attempts,
            max_dead: self.max_dead,
            after_death: self.after_death,
            within: self.within,
            backoff: self.backoff,
            breaker: self.breaker,
            timer: self.timer,
            listeners: self.listeners,
            rng: self.rng,
        }
    }

    /// The most messages in hand at once. Default: 16.
    #[must_use]
    pub fn concurrency(mut self, messages: NonZeroUsize) -> Self {
        self.concurrency = messages;
        self
    }

    /// How often a message is delivered before it is given up. Default: 20, which with the default
    /// [back-off](Self::backoff) take six minutes on average.
    #[must_use]
    pub fn max_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The number of dead letters at which the consumer stands still. Default: 10,000.
    #[must_use]
    pub fn max_dead(mut self, letters: u64) -> Self {
        self.max_dead = letters.max(1);
        self
    }

    /// What becomes of a key of which a message is among the dead letters. Default: it waits.
    #[must_use]
    pub fn after_death(mut self, policy: AfterDeath) -> Self {
        self.after_death = policy;
        self
    }

    /// How long the handler may take for a message. Default: 60 s. It may be longer than the subscription's
    /// [`ack_wait`](Subscribe::ack_wait), which is extended meanwhile.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// When a message that could not be handled comes again. Default: after 200 ms, then twice as long each time up to 60 s,
    /// drawn. Its key waits for it, so quick attempts that should not be seen from outside are better made by a
    /// [retry](resilience_core::retry) around the handler.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// What keeps the consumer from trying, and from giving messages up, when nothing goes through. Default: opens after 20
    /// failures in a row, for 5 s.
    #[must_use]
    pub fn breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// What pauses and time limits are made of. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Seeds the pauses, for runs that can be repeated.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Rng::seeded(seed);
        self
    }

    /// Adds a sink for [`Event`](super::Event)s, under the consumer's name.
    #[must_use]
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The consumer, and what others hold of it. [`run`](Consumer::run) it on whatever executor there is.
    ///
    /// # Errors
    /// If the name is empty, longer than 100 bytes or has control characters, the subscription is not valid, or the handler
    /// may take no time at all.
    #[allow(clippy::type_complexity)] // Two things, both of them named.
    pub fn build(mut self) -> Result<(Consumer<S, B, H, C>, ConsumerHandle<S>), ConfigError> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES || self.name.contains(char::is_control) {
            return Err(ConfigError::new("name", "must have 1 to 100 bytes and no control characters"));
        }
        if self.to.validate().is_err() {
            return Err(ConfigError::new("subscription", "must have valid names and a time for settling"));
        }
        let name = Name::from(self.name.clone());
        let breaker = match self.breaker {
            Some(breaker) => breaker,
            None => {
                let breaker = CircuitBreaker::builder().name(name.clone()).consecutive_failures(20);
                breaker.open_for(Duration::from_secs(5)).timer(self.timer.clone()).seed(self.rng.next_u64()).build()?
            }
        };
        let start = Status { handled: 0, in_hand: 0, dead: 0, health: Health::Starting };
        let (status, seen) = watch::channel(start);
        let (request, requests) = mpsc::channel(16);
        let (ended, end) = oneshot::channel();
        let (stop, stopping) = watch::channel(false);
        let dead = DeadLetters::new(self.store, &self.name);
        let handle = ConsumerHandle { requests: request, status: seen, ended: Some(end), dead: dead.clone() };
        let worker = Worker {
            timeout: Timeout::builder().name(name.clone()).limit(self.within).timer(self.timer.clone()).build()?,
            listeners: self.listeners.bound("consumer", &name),
            name,
            classify: self.classify,
            max_attempts: self.max_attempts.get(),
            after_death: self.after_death,
            ack_wait: self.to.ack_wait,
            backoff: self.backoff,
            breaker,
            timer: self.timer,
            rng: SharedRng::seeded(self.rng.next_u64()),
            dead,
            status,
            stopping,
        };
        let consumer = Consumer {
            bus: self.bus,
            to: self.to,
            handler: self.handler,
            concurrency: self.concurrency.get(),
            max_dead: self.max_dead,
            worker: Arc::new(worker),
            requests,
            stop,
            ended,
        };
        Ok((consumer, handle))
    }

    /// Runs it on a task of its own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn start(self) -> Result<ConsumerHandle<S>, ConfigError> {
        let (consumer, handle) = self.build()?;
        tokio::spawn(consumer.run());
        Ok(handle)
    }
}

impl<S, B, H, C> fmt::Debug for ConsumerBuilder<S, B, H, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("name", &self.name).field("to", &self.to).finish_non_exhaustive()
    }
}
