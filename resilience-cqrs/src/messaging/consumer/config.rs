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
use super::untried::Untried;
use super::worker::Worker;
use crate::log::BoxError;
use crate::messaging::bus::{Bus, Subscribe};
use crate::messaging::dead::DeadLetters;
use crate::store::EventStore;

/// Longest name of a consumer: what is made of it must be a name, too.
const NAME_BYTES: usize = 100;

/// What becomes of a key of which a message is among the dead letters.
///
/// | | the order of the key | a message that nobody can handle |
/// |---|---|---|
/// | [`KeyWaits`](Self::KeyWaits) | is kept | stops its key until somebody looks |
/// | [`KeyGoesOn`](Self::KeyGoesOn) | has a gap, which a redrive fills late | stops nothing |
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
    ///
    /// Refused means that nothing was tried: no attempt is counted. Permanent or ignored means that the message is
    /// given up at once. All else means that it comes again.
    ///
    /// ```
    /// use resilience_core::{Classification, Classify};
    /// use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// /// What cannot be parsed will not be parsed tomorrow.
    /// struct UnlessUnreadable;
    ///
    /// impl Classify<(), BoxError> for UnlessUnreadable {
    ///     fn classify(&self, answer: &Result<(), BoxError>) -> Classification {
    ///         match answer {
    ///             Ok(()) => Classification::SUCCESS,
    ///             Err(error) if error.is::<std::num::ParseIntError>() => Classification::IGNORE,
    ///             Err(_) => Classification::FAILURE,
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let parse = service_fn(async |message: Message| {
    ///     let amount = std::str::from_utf8(message.payload())?.parse::<u64>()?;
    ///     Ok::<_, BoxError>(drop(amount))
    /// });
    /// let to = Subscribe::queue("payments");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "till", to, parse)
    ///     .classify(UnlessUnreadable)
    ///     .start()?;
    /// bus.send(Message::new("m1", "payments", "ten")).await?;
    /// running.wait_until(|status| status.dead == 1).await;
    /// assert_eq!(running.dead_letters().of_key("m1", None, 1).await?[0].attempts, 1);
    /// # Ok(()) }
    /// ```
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

    /// How often a message is tried before it is given up. Default: 20, which with the default
    /// [back-off](Self::backoff) take six minutes on average. What counts is in [the module](super#behaviour).
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let down = service_fn(async |_: Message| Err::<(), BoxError>("the mail server is down".into()));
    /// let three = NonZeroU32::new(3).ok_or("zero")?;
    /// let to = Subscribe::queue("emails");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "mailer", to, down)
    ///     .max_attempts(three)
    ///     .start()?;
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// running.wait_until(|status| status.dead == 1).await;
    /// let letter = &running.dead_letters().of_key("m1", None, 1).await?[0];
    /// assert_eq!((letter.attempts, &*letter.error), (3, "the mail server is down"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The number of dead letters at which the consumer stands still. Default: 10,000.
    ///
    /// Then its [health](super::Health) is `Blocked`: what is in hand is finished, nothing more is taken, and the
    /// messages stay with the bus until somebody has redriven or discarded some. 0 is taken as 1.
    #[must_use]
    pub fn max_dead(mut self, letters: u64) -> Self {
        self.max_dead = letters.max(1);
        self
    }

    /// What becomes of a key of which a message is among the dead letters. Default: it waits.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{AfterDeath, Bus, Consumer, MemoryBus, Message, Poison, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let handler = service_fn(async |message: Message| match message.payload().is_empty() {
    ///     true => Err(BoxError::from(Poison::new("nothing in it"))),
    ///     false => Ok(()),
    /// });
    /// let to = Subscribe::queue("emails");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "mailer", to, handler)
    ///     .after_death(AfterDeath::KeyGoesOn)
    ///     .start()?;
    /// bus.send(Message::new("m1", "emails", "").with_key("ann")).await?;
    /// bus.send(Message::new("m2", "emails", "hello").with_key("ann")).await?; // handled, though the first one is not
    /// let status = running.wait_until(|status| status.dead + status.handled == 2).await;
    /// assert_eq!((status.dead, status.handled), (1, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn after_death(mut self, policy: AfterDeath) -> Self {
        self.after_death = policy;
        self
    }

    /// How long the handler may take for a message. Default: 60 s. It may be longer than the subscription's
    /// [`ack_wait`](Subscribe::ack_wait), which is extended meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::context;
    /// use resilience_core::time::SharedTimer;
    /// use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let handler = service_fn(async |_: Message| {
    ///     // Also the deadline of whatever the handler calls.
    ///     let timer = SharedTimer::default();
    ///     let left = context::deadline(&timer).and_then(|deadline| deadline.remaining(timer.now()));
    ///     let left = left.ok_or("no time left")?;
    ///     if left == Duration::from_secs(5) { Ok(()) } else { Err(BoxError::from(format!("{left:?} left"))) }
    /// });
    /// let to = Subscribe::queue("emails");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "mailer", to, handler)
    ///     .within(Duration::from_secs(5))
    ///     .start()?;
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// assert_eq!(running.wait_until(|status| status.handled + status.dead == 1).await.handled, 1);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// use resilience_cqrs::messaging::{Consumer, MemoryBus, Message, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handler = service_fn(async |_: Message| Ok::<(), BoxError>(()));
    /// let (store, bus, to) = (MemoryStore::new(), MemoryBus::new(), Subscribe::queue("emails"));
    /// let of = |name: &str| Consumer::builder(store.clone(), bus.clone(), name, to.clone(), handler);
    /// assert_eq!(of("").build().unwrap_err().field(), "name");
    /// // On a set of tasks of the program's own, which is then told of a panic.
    /// let (consumer, handle) = of("mailer").build()?;
    /// let mut tasks = tokio::task::JoinSet::new();
    /// tasks.spawn(consumer.run());
    /// handle.stop().await?;
    /// tasks.join_next().await.ok_or("no task")??;
    /// # Ok(()) }
    /// ```
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
        let untried = Untried::new(self.store.clone(), &self.name);
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
            untried,
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
