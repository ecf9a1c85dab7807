//! What others hold of a consumer that runs.

use std::fmt;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::messaging::dead::{DeadLetterError, DeadLetters};
use crate::messaging::error::BusError;

/// How a consumer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It has not subscribed yet. A group that it is the first one of hears nothing of what is published before.
    Starting,
    /// It handles what there is, or waits for more.
    Good,
    /// There are dead letters; all else goes on.
    Degraded,
    /// The breaker, or what is around the handler, refuses: it waits.
    Paused {
        /// Why.
        error: String,
    },
    /// The bus or the store could not be reached; it tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// There are too many dead letters: it stands still until some are handled or discarded.
    Blocked,
    /// It was stopped, or has failed; see [`ConsumerHandle::stop`].
    Stopped,
}

/// What a consumer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Messages handled since it started.
    pub handled: u64,
    /// Messages in hand.
    pub in_hand: usize,
    /// Dead letters, as far as this consumer knows: those there were when it started or last looked, and its own.
    pub dead: u64,
    /// How it is doing.
    pub health: Health,
}

/// A consumer that runs. Dropping it stops the consumer when what it has in hand is done; [`stop`](Self::stop) also waits
/// for that.
pub struct ConsumerHandle<S> {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) ended: Option<oneshot::Receiver<Result<(), ConsumerError>>>,
    pub(super) dead: DeadLetters<S>,
}

/// What is asked of a consumer.
pub(super) enum Request {
    Redrive { lane: String, answer: oneshot::Sender<Result<u64, DeadLetterError>> },
    Look,
}

impl<S: Clone> ConsumerHandle<S> {
    /// What it does and how it is doing.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the status is as wished, or the consumer has ended. Returns the status then.
    ///
    /// Dropped before it completes, nothing is lost: the status is looked at, not taken.
    ///
    /// ```
    /// use resilience_cqrs::messaging::consumer::Health;
    /// use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let handler = service_fn(async |_: Message| Ok::<(), BoxError>(()));
    /// let group = Subscribe::group("billing", "orders.*");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "billing", group, handler).start()?;
    /// // A new group hears what is published once it has subscribed, so a test waits for that first.
    /// running.wait_until(|status| status.health != Health::Starting).await;
    /// bus.publish(Message::new("m1", "orders.placed", "17")).await?;
    /// assert_eq!(running.wait_until(|status| status.handled == 1).await.health, Health::Good);
    /// # Ok(()) }
    /// ```
    pub async fn wait_until(&self, wish: impl Fn(&Status) -> bool + Send) -> Status {
        let mut status = self.status.clone();
        let reached = status.wait_for(|status| wish(status) || status.health == Health::Stopped).await;
        reached.map_or_else(|_| self.status(), |status| status.clone())
    }

    /// Its dead letters, to look at and to discard.
    pub fn dead_letters(&self) -> DeadLetters<S> {
        self.dead.clone()
    }

    /// Handles the dead letters of a key (or of an id, for a message without a key), first to last, until one fails again.
    /// Returns how many were handled.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use resilience_cqrs::messaging::{Bus, Consumer, DeadLetterError, MemoryBus, Message, Poison, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (bus, mended) = (MemoryBus::new(), Arc::new(AtomicBool::new(false)));
    /// let handler = service_fn({
    ///     let mended = mended.clone();
    ///     move |_: Message| {
    ///         let mended = mended.load(Ordering::Relaxed);
    ///         async move { if mended { Ok(()) } else { Err(BoxError::from(Poison::new("no template"))) } }
    ///     }
    /// });
    /// let to = Subscribe::queue("emails");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "mailer", to, handler).start()?;
    /// bus.send(Message::new("m1", "emails", "").with_key("ann")).await?;
    /// running.wait_until(|status| status.dead == 1).await;
    /// // Nothing is lost by asking too early.
    /// assert!(matches!(running.redrive("ann").await, Err(DeadLetterError::FailedAgain { handled: 0, .. })));
    /// mended.store(true, Ordering::Relaxed);
    /// assert_eq!(running.redrive("ann").await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`DeadLetterError`]; what was handled before stays so.
    pub async fn redrive(&self, lane: impl Into<String>) -> Result<u64, DeadLetterError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Redrive { lane: lane.into(), answer };
        self.requests.send(request).await.map_err(|_| DeadLetterError::Stopped)?;
        answered.await.map_err(|_| DeadLetterError::Stopped)?
    }

    /// Tells the consumer that dead letters were discarded, so that it counts them anew; it does so by itself after a redrive.
    pub async fn recount(&self) {
        // Ended: then nobody counts.
        let _ = self.requests.send(Request::Look).await;
    }

    /// Takes no more, lets what is in hand come to its end, and ends; or waits for why it has ended.
    ///
    /// What waits for the breaker, or for a store that is down, is given back, and so is what was fetched ahead; that is no
    /// attempt, if the store takes a note of it within a second.
    ///
    /// Dropped before it completes, the consumer ends all the same.
    ///
    /// # Errors
    /// Why it had ended by itself.
    pub async fn stop(mut self) -> Result<(), ConsumerError> {
        let ended = self.ended.take();
        drop(self); // Closes the channel the consumer listens to.
        match ended {
            Some(ended) => ended.await.unwrap_or(Err(ConsumerError::Aborted)),
            None => Ok(()),
        }
    }

    /// Waits until the consumer has ended by itself.
    ///
    /// # Errors
    /// Why it has ended.
    pub async fn ended(&mut self) -> Result<(), ConsumerError> {
        match &mut self.ended {
            Some(ended) => {
                let result = ended.await.unwrap_or(Err(ConsumerError::Aborted));
                self.ended = None;
                result
            }
            None => Ok(()),
        }
    }
}

impl<S> fmt::Debug for ConsumerHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerHandle").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

/// Why a consumer has ended by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// There is nothing to consume, and will not be.
    #[error("there is nothing to consume")]
    Bus(#[source] BusError),
    /// The dead letters cannot be kept, and could not later.
    #[error("the dead letters cannot be kept")]
    DeadLetters(#[source] DeadLetterError),
    /// The consumer's task was aborted, or panicked.
    #[error("the consumer was aborted")]
    Aborted,
}
