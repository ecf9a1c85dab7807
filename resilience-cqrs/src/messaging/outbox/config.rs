//! Setting up a relay.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::event::{Listeners, Sink};
use resilience_core::retry::{Backoff, Retry};
use resilience_core::rng::{Rng, SharedRng};
use resilience_core::time::SharedTimer;
use resilience_core::timeout::Timeout;
use resilience_core::{ConfigError, Name};
use tokio::sync::{mpsc, oneshot, watch};

use super::handle::{Health, Publish, RelayHandle, Status};
use super::put::Outbox;
use super::runner::{REQUESTS, Relay};
use super::send::Sender;
use super::work::Map;
use crate::log::{BoxError, Position, Query, Recorded};
use crate::messaging::bus::Bus;
use crate::messaging::message::Outgoing;
use crate::messaging::shelf::Shelf;
use crate::store::EventStore;

/// Longest name of a relay: what is made of it must be a name, too.
const NAME_BYTES: usize = 100;

/// Sets up a [`Relay`].
pub struct RelayBuilder<S, B> {
    store: S,
    bus: B,
    name: String,
    query: Option<Query>,
    map: Map,
    batch: NonZeroUsize,
    window: NonZeroUsize,
    max_parked: u64,
    within: Duration,
    retry: Option<Retry>,
    breaker: Option<CircuitBreaker>,
    timer: SharedTimer,
    listeners: Listeners,
    rng: Rng,
}

impl<S: EventStore, B: Bus> Relay<S, B> {
    /// Sets up the relay of the [outbox](Outbox) with this name.
    ///
    /// The ids of its messages are made of the name and their place in the log, so the name stays what it is, and belongs
    /// to one log only.
    pub fn builder(store: S, bus: B, name: impl Into<String>) -> RelayBuilder<S, B> {
        RelayBuilder {
            store,
            bus,
            name: name.into(),
            query: None,
            map: Arc::new(|_| Ok(None)),
            batch: NonZeroUsize::MIN.saturating_add(255),
            window: NonZeroUsize::MIN.saturating_add(31),
            max_parked: 10_000,
            within: Duration::from_secs(10),
            retry: None,
            breaker: None,
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            rng: Rng::from_entropy(),
        }
    }
}

impl<S: EventStore, B: Bus> RelayBuilder<S, B> {
    /// Sends what `message` makes of the events of `query`: one message an event, or none.
    ///
    /// It must make the same of an event each time. A message without a key gets the event's stream for one, one without
    /// metadata gets the event's. An error, or a panic, parks the event's stream.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Outgoing, Relay, Subscribe, Subscription};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Query};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    /// let relay = Relay::builder(store.clone(), bus.clone(), "shop")
    ///     .events(Query::types(["Placed"]), |event| match event.payload.is_empty() {
    ///         // For nobody: the checkpoint moves past it.
    ///         true => Ok(None),
    ///         // In order with all else that is about the customer, whatever its stream.
    ///         false => Ok(Some(Outgoing::new("orders.placed", event.payload.clone()).key("customer-ann"))),
    ///     })
    ///     .start()?;
    /// let mut billing = bus.subscribe(Subscribe::group("billing", "orders.>")).await?;
    /// for payload in ["", "socks"] {
    ///     store.append(Append::new().events("order", Expected::Any, [NewEvent::new("Placed", payload)])).await?;
    /// }
    /// let delivery = billing.next().await?;
    /// assert_eq!((delivery.message.id.as_str(), delivery.message.key()), ("shop-2", Some("customer-ann")));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn events(
        mut self,
        query: Query,
        message: impl Fn(&Recorded) -> Result<Option<Outgoing>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.query = Some(query);
        self.map = Arc::new(message);
        self
    }

    /// The most events between two checkpoints, which is what a crash sends again. Default: 256.
    ///
    /// It is also how far the checkpoint may lag behind what the bus has taken, and what one commit is shared by: with
    /// 1 each message costs a commit of the store.
    #[must_use]
    pub fn batch(mut self, events: NonZeroUsize) -> Self {
        self.batch = events;
        self
    }

    /// The most keys of which a message is on its way at once. Default: 32.
    ///
    /// At a round trip of 2 ms, 32 keys are 16,000 messages a second.
    #[must_use]
    pub fn window(mut self, keys: NonZeroUsize) -> Self {
        self.window = keys;
        self
    }

    /// The number of parked messages at which the relay stands still. Default: 10,000.
    ///
    /// Then its [health](super::Health) is `Blocked`, until some are [replayed](RelayHandle::replay) or
    /// [discarded](RelayHandle::discard). 0 is taken as 1.
    #[must_use]
    pub fn max_parked(mut self, messages: u64) -> Self {
        self.max_parked = messages.max(1);
        self
    }

    /// How long one attempt to send a message may take. Default: 10 s.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// How one message is tried again. When it gives up, the relay waits and begins anew, for ever: a bus that is down is
    /// not the message's fault. Default: 3 attempts, with drawn waits of up to 100 and 200 ms.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    /// use resilience_core::retry::{Backoff, Retry};
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::messaging::{MemoryBus, Relay};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Shared by all that talk to this broker: what one of them learns, all know.
    /// let breaker = CircuitBreaker::builder().name("broker").consecutive_failures(3);
    /// let breaker = breaker.open_for(Duration::from_secs(1)).build()?;
    /// let backoff = Backoff::constant(Duration::from_millis(50));
    /// let (relay, handle) = Relay::builder(MemoryStore::new(), MemoryBus::new(), "shop")
    ///     .retry(Retry::builder().name("broker").attempts(2).backoff(backoff).build()?)
    ///     .breaker(breaker.clone())
    ///     .build()?;
    /// # drop((relay, handle));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What keeps the relay from a bus that is down. Default: opens after 5 failures in a row, for 5 s.
    #[must_use]
    pub fn breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// What pauses and timeouts are made of. Default: tokio's clock.
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

    /// Adds a sink for [`Event`](super::Event)s, under the relay's name.
    #[must_use]
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The relay, and what others hold of it. [`run`](Relay::run) it on whatever executor there is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::messaging::{MemoryBus, Relay};
    ///
    /// let builder = |name: String| Relay::builder(MemoryStore::new(), MemoryBus::new(), name);
    /// // Its ids are `name-position`, and its rows are in spaces called by it: there must be room for that.
    /// assert_eq!(builder("r".repeat(101)).build().unwrap_err().field(), "name");
    /// assert!(builder("shop".into()).within(Duration::ZERO).build().is_err());
    /// ```
    ///
    /// # Errors
    /// If the name is empty, longer than 100 bytes or has control characters, or an attempt may take no time at all.
    pub fn build(mut self) -> Result<(Relay<S, B>, RelayHandle), ConfigError> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES || self.name.contains(char::is_control) {
            return Err(ConfigError::new("name", "must have 1 to 100 bytes and no control characters"));
        }
        let name = Name::from(self.name.clone());
        let breaker = match self.breaker {
            Some(breaker) => breaker,
            None => {
                let breaker = CircuitBreaker::builder().name(name.clone()).consecutive_failures(5);
                breaker.open_for(Duration::from_secs(5)).timer(self.timer.clone()).seed(self.rng.next_u64()).build()?
            }
        };
        let retry = match self.retry {
            Some(retry) => retry,
            None => {
                let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
                let retry = Retry::builder().name(name.clone()).attempts(3).backoff(backoff).unlimited();
                retry.timer(self.timer.clone()).seed(self.rng.next_u64()).build()?
            }
        };
        let start = Status { position: Position::ORIGIN, parked: BTreeMap::new(), health: Health::Good };
        let (status, seen) = watch::channel(start);
        let (request, requests) = mpsc::channel(REQUESTS);
        let (ended, end) = oneshot::channel();
        let handle = RelayHandle { requests: request, status: seen, ended: Some(end), timer: self.timer.clone() };
        let outbox = Outbox::new(&self.name);
        let relay = Relay {
            query: outbox.with_marks(self.query),
            parked: Shelf::new(format!("outbox.parked/{name}")),
            sender: Sender {
                listeners: self.listeners.bound("outbox", &name),
                bus: self.bus,
                name: name.clone(),
                timeout: Timeout::builder().name(name.clone()).limit(self.within).timer(self.timer.clone()).build()?,
                retry,
                breaker,
                timer: self.timer,
                rng: SharedRng::seeded(self.rng.next_u64()),
                status: Publish(status),
            },
            outbox,
            store: self.store,
            name,
            map: self.map,
            batch: self.batch.get(),
            window: self.window.get(),
            max_parked: self.max_parked,
            requests,
            waiting: VecDeque::new(),
            ended,
        };
        Ok((relay, handle))
    }

    /// Runs it on a task of its own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn start(self) -> Result<RelayHandle, ConfigError> {
        let (relay, handle) = self.build()?;
        tokio::spawn(relay.run());
        Ok(handle)
    }
}

impl<S: fmt::Debug, B: fmt::Debug> fmt::Debug for RelayBuilder<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayBuilder")
            .field("name", &self.name)
            .field("store", &self.store)
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}
