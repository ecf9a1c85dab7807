//! What others hold of a relay that runs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::time::SharedTimer;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::runner::RelayError;
use crate::log::Position;

/// How a relay is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It sends what there is, or waits for more.
    Good,
    /// Messages of some keys are parked; all other keys go on.
    Degraded,
    /// The bus or the store could not be reached; it tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// Too many messages are parked: it stands still until some are replayed or discarded.
    Blocked,
    /// It was stopped, or has failed; see [`RelayHandle::stop`].
    Stopped,
}

/// How far a relay has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Up to where the log is sent, parked, or not meant for anybody.
    pub position: Position,
    /// The keys that are parked, and how many of their messages. One without a key is there by its id.
    pub parked: BTreeMap<String, u64>,
    /// How it is doing.
    pub health: Health,
}

/// The relay's end of a [`Status`]. However the relay goes, nobody takes it for one that runs.
#[derive(Debug)]
pub(super) struct Publish(pub(super) watch::Sender<Status>);

impl std::ops::Deref for Publish {
    type Target = watch::Sender<Status>;

    fn deref(&self) -> &watch::Sender<Status> {
        &self.0
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        self.0.send_modify(|status| status.health = Health::Stopped);
    }
}

/// A relay that runs. Dropping it stops the relay; [`stop`](Self::stop) also waits for that.
#[derive(Debug)]
pub struct RelayHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) ended: Option<oneshot::Receiver<Result<(), RelayError>>>,
    pub(super) timer: SharedTimer,
}

/// What is asked of the relay about a parked key.
pub(super) struct Request {
    pub(super) key: String,
    pub(super) discard: bool,
    pub(super) answer: oneshot::Sender<Result<u64, ReplayError>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.key).field("discard", &self.discard).finish_non_exhaustive()
    }
}

impl RelayHandle {
    /// How far it has got and how it is doing.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until everything up to `position` is sent or parked.
    ///
    /// For tests, and for programs that end when what they did is told. Dropped, it leaves nothing behind.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{MemoryBus, Outgoing, Relay};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Query};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let relay = Relay::builder(store.clone(), MemoryBus::new(), "shop")
    ///     .events(Query::all(), |event| Ok(Some(Outgoing::new("orders.placed", event.payload.clone()))))
    ///     .start()?;
    /// let placed = Append::new().events("order-17", Expected::NoStream, [NewEvent::new("Placed", "socks")]);
    /// let done = store.append(placed).await?;
    /// assert_eq!(relay.at_least(done.last, Duration::from_secs(1)).await?, done.last);
    /// let behind = relay.at_least(done.last.next(), Duration::from_secs(1)).await.unwrap_err();
    /// assert_eq!(behind.to_string(), "the relay is at 1, 2 was asked for");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Behind`] if that takes longer than `within`, or if the relay has ended.
    pub async fn at_least(&self, position: Position, within: Duration) -> Result<Position, Behind> {
        let mut status = self.status.clone();
        let reached = async {
            let reached = status.wait_for(|status| status.position >= position || status.health == Health::Stopped);
            reached.await.map(|status| status.position)
        };
        let timeout = self.timer.sleep(within);
        let at = match select(std::pin::pin!(reached), std::pin::pin!(timeout)).await {
            Either::Left((Ok(at), _)) if at >= position => return Ok(at),
            _ => self.status.borrow().position,
        };
        Err(Behind { at, wanted: position })
    }

    /// Sends the parked messages of a key, first to last, until one fails again. Returns how many were sent.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::outbox::ReplayError;
    /// use resilience_cqrs::messaging::{MemoryBus, Outgoing, Relay};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Query};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, mended) = (MemoryStore::new(), Arc::new(AtomicBool::new(false)));
    /// let relay = Relay::builder(store.clone(), MemoryBus::new(), "shop")
    ///     .events(Query::all(), {
    ///         let mended = mended.clone();
    ///         move |event| match event.kind == "Odd" && !mended.load(Ordering::Relaxed) {
    ///             true => Err("no message for this kind".into()),
    ///             false => Ok(Some(Outgoing::new("orders.placed", ""))),
    ///         }
    ///     })
    ///     .start()?;
    /// for (stream, kind) in [("order-1", "Odd"), ("order-1", "Placed"), ("order-2", "Placed")] {
    ///     store.append(Append::new().events(stream, Expected::Any, [NewEvent::new(kind, "")])).await?;
    /// }
    /// relay.at_least(store.head(), Duration::from_secs(1)).await?;
    /// assert_eq!(relay.status().parked, [("order-1".to_owned(), 2)].into()); // order-2 went on
    /// let again = relay.replay("order-1").await;
    /// assert!(matches!(again, Err(ReplayError::FailedAgain { messages: 0, .. })));
    /// mended.store(true, Ordering::Relaxed);
    /// assert_eq!(relay.replay("order-1").await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ReplayError`]; what was sent before stays so.
    pub async fn replay(&self, key: impl Into<String>) -> Result<u64, ReplayError> {
        self.ask(key.into(), false).await
    }

    /// Gives the parked messages of a key up: they are never sent, and the key goes on. Returns how many there were.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn discard(&self, key: impl Into<String>) -> Result<u64, ReplayError> {
        self.ask(key.into(), true).await
    }

    async fn ask(&self, key: String, discard: bool) -> Result<u64, ReplayError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { key, discard, answer }).await.map_err(|_| ReplayError::Stopped)?;
        answered.await.map_err(|_| ReplayError::Stopped)?
    }

    /// Lets the relay save how far it has got, and end; or waits for why it has ended.
    ///
    /// What is on its way may have arrived: the next relay sends it again, under the same id.
    ///
    /// Dropped before it completes, the relay ends all the same.
    ///
    /// # Errors
    /// Why it had ended by itself.
    pub async fn stop(mut self) -> Result<(), RelayError> {
        let ended = self.ended.take();
        drop(self); // Closes the channel the relay listens to.
        match ended {
            Some(ended) => ended.await.unwrap_or(Err(RelayError::Aborted)),
            None => Ok(()),
        }
    }

    /// Waits until the relay has ended by itself.
    ///
    /// # Errors
    /// Why it has ended.
    pub async fn ended(&mut self) -> Result<(), RelayError> {
        match &mut self.ended {
            Some(ended) => {
                let result = ended.await.unwrap_or(Err(RelayError::Aborted));
                self.ended = None;
                result
            }
            None => Ok(()),
        }
    }
}

/// Not everything that was to be sent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the relay is at {at}, {wanted} was asked for")]
pub struct Behind {
    /// Where it is.
    pub at: Position,
    /// Where it should be.
    pub wanted: Position,
}

/// A replay did not get to the end of the key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A message failed again, and is parked again with those behind it.
    #[error("the message of event {position} failed again: {error}")]
    FailedAgain {
        /// The event.
        position: Position,
        /// Why.
        error: String,
        /// The messages sent before it.
        messages: u64,
    },
    /// The bus or the store could not be reached.
    #[error("the replay was cut short: {error}")]
    Unavailable {
        /// Why.
        error: String,
    },
    /// The event is not in the log as the relay reads it: its stream was [archived](crate::archive) since. Take the stream
    /// back, or [discard](RelayHandle::discard) the message.
    #[error("event {position} is not in what this relay reads: its stream may be archived")]
    NotThere {
        /// The event.
        position: Position,
        /// The messages sent before it.
        messages: u64,
    },
    /// The relay has ended.
    #[error("the relay has ended")]
    Stopped,
}
