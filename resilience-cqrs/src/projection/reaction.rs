//! What happens outside because something happened here: mails, calls, files.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;

use super::apply::{Step, StepError, describe, sealed};
use super::park::{Parking, storable};
use crate::log::{Append, BoxError, Position, Query, Recorded};
use crate::pace::Pace;
use crate::store::EventStore;

/// Reacts to events with effects that no transaction of the log can undo, at least once each and in order.
///
/// The checkpoint is saved after the effects, so a crash in between repeats some: at most one batch (16 by default). What
/// makes an effect happen once is the [`IdempotencyKey`], which is the same every time: give it to the service that is
/// called, or keep those that were seen.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use resilience_cqrs::projection::{IdempotencyKey, ProjectionRunner, Reaction};
/// use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
///
/// /// Sends a mail for each order; here, into a list.
/// struct Confirmations(Arc<Mutex<Vec<String>>>);
///
/// impl Reaction for Confirmations {
///     fn name(&self) -> &str {
///         "confirmations"
///     }
///
///     fn query(&self) -> Query {
///         Query::types(["OrderPlaced"])
///     }
///
///     async fn handle(&self, event: &Recorded, key: IdempotencyKey<'_>) -> Result<(), BoxError> {
///         self.0.lock().unwrap().push(format!("{} for {}", key, event.stream));
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let sent = Arc::default();
/// let running = ProjectionRunner::reaction(store.clone(), Confirmations(Arc::clone(&sent))).start();
/// let placed = Append::new().events("order-7", Expected::NoStream, [NewEvent::new("OrderPlaced", "")]);
/// let done = store.append(placed).await?;
/// running.at_least(done.last, std::time::Duration::from_secs(1)).await?;
/// assert_eq!(*sent.lock().unwrap(), ["confirmations:1 for order-7"]);
/// # Ok(()) }
/// ```
pub trait Reaction: Send + Sync + 'static {
    /// Its name, which its checkpoint and its idempotency keys go by. Under a new one it reacts to the whole log again.
    fn name(&self) -> &str;

    /// The events it reacts to. Others do not reach it, and its checkpoint moves past them.
    fn query(&self) -> Query;

    /// What must be handled in order: when an event cannot be, later ones of the same key wait. By default its stream.
    fn key(&self, event: &Recorded) -> String {
        event.stream.as_str().to_owned()
    }

    /// Handles one event.
    ///
    /// Dropped at any point when the process ends, and called again with the same key: after a crash, after an error, and
    /// when parked events are replayed.
    ///
    /// # Errors
    /// Any: it is tried again, as often as [`attempts`](super::ProjectionRunnerBuilder::attempts) says, while all other
    /// keys wait; then the event is parked. A panic counts as an error.
    fn handle(&self, event: &Recorded, key: IdempotencyKey<'_>) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Names one reaction to one event, the same at every attempt: the subscription and the event's position.
///
/// Its text, `name:position`, is at most 276 bytes long and has no control characters, so it goes into a header.
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use resilience_cqrs::projection::{IdempotencyKey, ProjectionRunner, Reaction};
/// # use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
/// # struct Pay(Arc<Mutex<Vec<String>>>);
/// # impl Reaction for Pay {
/// #     fn name(&self) -> &str { "payments" }
/// #     fn query(&self) -> Query { Query::all() }
/// async fn handle(&self, event: &Recorded, key: IdempotencyKey<'_>) -> Result<(), BoxError> {
///     let mut attempts = self.0.lock().map_err(|_| "poisoned")?;
///     attempts.push(key.to_string());
///     if attempts.len() == 1 { Err("no answer: paid, or not?".into()) } else { Ok(()) }
/// }
/// # }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (store, attempts) = (MemoryStore::new(), Arc::default());
/// # let running = ProjectionRunner::reaction(store.clone(), Pay(Arc::clone(&attempts))).start();
/// # store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Ordered", "")])).await?;
/// # running.at_least(store.head(), std::time::Duration::from_secs(10)).await?;
/// // By the same key at each attempt, whoever is paid knows that it was once.
/// assert_eq!(*attempts.lock().unwrap(), ["payments:1", "payments:1"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey<'a> {
    subscription: &'a str,
    position: Position,
}

impl<'a> IdempotencyKey<'a> {
    /// The name of the reaction.
    pub const fn subscription(self) -> &'a str {
        self.subscription
    }

    /// The event's position.
    pub const fn position(self) -> Position {
        self.position
    }
}

impl fmt::Display for IdempotencyKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.subscription, self.position.get())
    }
}

/// A [`Reaction`], as the runner sees it.
#[derive(Debug)]
pub struct Reacting<R> {
    reaction: Arc<R>,
    pace: Arc<Pace>,
}

impl<R> Clone for Reacting<R> {
    fn clone(&self) -> Self {
        Self { reaction: self.reaction.clone(), pace: self.pace.clone() }
    }
}

impl<R> Reacting<R> {
    pub(super) fn new(reaction: R) -> Self {
        Self { reaction: Arc::new(reaction), pace: Arc::new(pace(ATTEMPTS)) }
    }

    pub(super) fn set_attempts(&mut self, attempts: NonZeroU32) {
        let timer = self.pace.timer.clone();
        self.pace = Arc::new(Pace { timer, ..pace(attempts.get()) });
    }

    pub(super) fn set_timer(&mut self, timer: SharedTimer) {
        self.pace = Arc::new(Pace { timer, ..pace(self.pace.attempts) });
    }
}

/// Attempts for one event. With the waits between them, 10 s on average and 21 s at most: what a service that is restarted
/// takes, and not much longer, for others wait.
const ATTEMPTS: u32 = 10;

fn pace(attempts: u32) -> Pace {
    let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
    Pace { attempts, base, cap, timer: SharedTimer::default(), rng: SharedRng::from_entropy() }
}

impl<S: EventStore, R: Reaction> sealed::Sealed<S> for Reacting<R> {
    fn name(&self) -> &str {
        self.reaction.name()
    }

    fn query(&self) -> Query {
        self.reaction.query()
    }

    fn key(&self, event: &Recorded) -> String {
        self.reaction.key(event)
    }

    fn on_timer(&mut self, timer: &SharedTimer) {
        self.set_timer(timer.clone());
    }

    async fn step(&self, store: &S, step: Step) -> Result<Vec<Parking>, StepError> {
        let Step { events, mut held, attempts, advance, rows } = step;
        let mut parked = Vec::new();
        for event in &events {
            let key = storable(self.reaction.key(event));
            if held.contains(&key) {
                parked.push(Parking::behind(key, event.position));
            } else if let Err((tried, error)) = self.handle(event).await {
                held.insert(key.clone());
                parked.push(Parking::failed(key, event.position, attempts + tried, &error));
            }
        }
        let name = self.reaction.name();
        let append = Append::from(&advance).rows(rows).rows(parked.iter().map(|parking| parking.write(name)));
        store.append(append).await?;
        Ok(parked)
    }
}

impl<R: Reaction> Reacting<R> {
    /// Handles an event, or says how often it was tried and why it came to nothing.
    async fn handle(&self, event: &Recorded) -> Result<(), (u32, String)> {
        let mut attempt = 1;
        loop {
            let key = IdempotencyKey { subscription: self.reaction.name(), position: event.position };
            let error = match AssertUnwindSafe(self.reaction.handle(event, key)).catch_unwind().await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => describe(&*error),
                Err(_) => "the reaction panicked".into(),
            };
            if attempt == self.pace.attempts {
                return Err((attempt, error));
            }
            self.pace.wait(attempt).await;
            attempt += 1;
        }
    }
}
