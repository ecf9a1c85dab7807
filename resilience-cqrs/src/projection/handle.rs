//! What others hold of a projection that runs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::time::SharedTimer;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::park::storable;
use super::runner::RunnerError;
use crate::log::Position;

/// How a projection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It takes in what it has not seen, or waits for more.
    Good,
    /// Events of some keys are parked; all other keys go on.
    Degraded,
    /// The store could not be reached; it tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// Too many events are parked: it stands still until some are replayed.
    Blocked,
    /// It was stopped, or has failed; see [`ProjectionHandle::stop`].
    Stopped,
}

/// How far a projection has got.
///
/// ```
/// # use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
/// # use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
/// /// Takes in all events but those named `Bad`.
/// struct Picky;
///
/// impl Projection for Picky {
///     fn name(&self) -> &str {
///         "picky@1"
///     }
///
///     fn query(&self) -> Query {
///         Query::all()
///     }
///
///     async fn apply(&self, event: &Recorded, _: &mut Rows<'_>) -> Result<(), BoxError> {
///         if event.kind == "Bad" { Err("bad".into()) } else { Ok(()) }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use resilience_cqrs::projection::Health;
///
/// let store = MemoryStore::new();
/// let running = ProjectionRunner::builder(store.clone(), Picky).start();
/// for (stream, kind) in [("a", "Bad"), ("a", "Good"), ("b", "Good")] {
///     store.append(Append::new().events(stream, Expected::Any, [NewEvent::new(kind, "")])).await?;
/// }
/// running.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
/// let status = running.status();
/// // The good event waits behind the bad one of its stream; the other stream goes on.
/// assert_eq!((status.parked["a"], status.parked.get("b")), (2, None));
/// assert_eq!(status.health, Health::Degraded);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Up to where the log is taken in, parked, or not meant for it.
    pub position: Position,
    /// The keys that are parked, and how many of their events.
    pub parked: BTreeMap<String, u64>,
    /// How it is doing.
    pub health: Health,
}

/// The runner's end of a [`Status`]. However the runner goes, a task that is aborted included, nobody takes it for one that
/// runs.
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

/// A projection that runs. Dropping it stops the runner after the batch at hand; [`stop`](Self::stop) also waits for that.
#[derive(Debug)]
pub struct ProjectionHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) ended: Option<oneshot::Receiver<Result<(), RunnerError>>>,
    pub(super) timer: SharedTimer,
}

pub(super) enum Request {
    Replay {
        key: String,
        answer: oneshot::Sender<Result<Replayed, ReplayError>>,
    },
    /// To say where it is between two batches, to wait there until it is told where to meet the others, and to end as
    /// soon as it is there, and not beyond.
    Meet {
        at: oneshot::Sender<Position>,
        until: oneshot::Receiver<Position>,
    },
    /// To save how far it is.
    Save {
        answer: oneshot::Sender<()>,
    },
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replay { key, .. } => f.debug_struct("Replay").field("key", key).finish_non_exhaustive(),
            Self::Save { .. } => f.write_str("Save"),
            Self::Meet { .. } => f.write_str("Meet"),
        }
    }
}

/// How far a projection has got, for those who read its model and do not run it. Clones watch the same projection.
#[derive(Clone, Debug)]
pub struct Progress {
    status: watch::Receiver<Status>,
    timer: SharedTimer,
}

impl Progress {
    /// How far it has got and how it is doing; stopped, once the runner has ended.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Up to where the model shows everything but the events of [parked](Status::parked) keys.
    pub fn position(&self) -> Position {
        self.status.borrow().position
    }

    /// As [`ProjectionHandle::at_least`].
    ///
    /// # Errors
    /// [`StaleRead`] if that takes longer than `within`, or if the projection has ended.
    pub async fn at_least(&self, position: Position, within: Duration) -> Result<Position, StaleRead> {
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
        Err(StaleRead { at, wanted: position })
    }

    pub(crate) const fn timer(&self) -> &SharedTimer {
        &self.timer
    }
}

impl ProjectionHandle {
    /// How far it has got and how it is doing.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The same for those who read the model: what [`Queries`](crate::queries::Queries) follow.
    ///
    /// It does not keep the runner running.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::projection::{Health, ProjectionRunner};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let running = ProjectionRunner::builder(MemoryStore::new(), Picky).start();
    /// let progress = running.progress();
    /// running.stop().await?;
    /// assert_eq!(progress.status().health, Health::Stopped);
    /// # Ok(()) }
    /// ```
    pub fn progress(&self) -> Progress {
        Progress { status: self.status.clone(), timer: self.timer.clone() }
    }

    /// Waits until the read model shows everything up to `position`: read your own writes. Parked events are not waited for,
    /// as nobody knows for how long; a model that must not be asked with a hole in it is asked with a look at
    /// [`Status::parked`].
    ///
    /// ```
    /// use resilience_cqrs::projection::ProjectionRunner;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let store = MemoryStore::new();
    /// let running = ProjectionRunner::builder(store.clone(), Picky).start();
    /// // Waits for events that are still to come, and says how far it is when they do not.
    /// let late = running.at_least(store.head().next(), Duration::from_secs(1)).await.unwrap_err();
    /// assert_eq!((late.at, late.wanted), (store.head(), store.head().next()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StaleRead`] if that takes longer than `within`, or if the projection has ended.
    pub async fn at_least(&self, position: Position, within: Duration) -> Result<Position, StaleRead> {
        self.progress().at_least(position, within).await
    }

    /// Takes in the parked events of a key, first to last, until one fails again.
    ///
    /// Between two batches, so other keys wait for it. Dropped once it was asked, it is done all the same, and nobody
    /// hears how it ended.
    ///
    /// ```
    /// use resilience_cqrs::projection::{ProjectionRunner, ReplayError};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// // `Picky` takes in all events but those named `Bad`.
    /// let running = ProjectionRunner::builder(store.clone(), Picky).start();
    /// for kind in ["Bad", "Good"] {
    ///     store.append(Append::new().events("a", Expected::Any, [NewEvent::new(kind, "")])).await?;
    /// }
    /// running.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
    /// // Nothing was mended: the first one fails again, and the second one waits on.
    /// let failed = running.replay("a").await.unwrap_err();
    /// assert_eq!(failed, ReplayError::FailedAgain { position: Position::new(1), error: "bad".into(), events: 0 });
    /// assert_eq!(running.replay("b").await?.events, 0); // a key that is not parked has nothing to take in
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ReplayError`]; what was taken in before stays so.
    pub async fn replay(&self, key: impl Into<String>) -> Result<Replayed, ReplayError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Replay { key: storable(key.into()), answer };
        self.requests.send(request).await.map_err(|_| ReplayError::Stopped)?;
        answered.await.map_err(|_| ReplayError::Stopped)?
    }

    /// Lets the runner finish the batch at hand, save its checkpoint and end; or waits for why it has ended.
    ///
    /// ```
    /// use resilience_cqrs::projection::ProjectionRunner;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// ProjectionRunner::builder(store.clone(), Picky).start().stop().await?;
    /// // The name is free again: a runner that starts now goes on from the checkpoint.
    /// let next = ProjectionRunner::builder(store.clone(), Picky).start();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// next.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
    /// next.stop().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Dropped before it completes, the runner ends all the same.
    ///
    /// # Errors
    /// Why it had ended by itself.
    pub async fn stop(mut self) -> Result<(), RunnerError> {
        let ended = self.ended.take();
        drop(self); // Closes the channel the runner listens to.
        match ended {
            Some(ended) => ended.await.unwrap_or(Err(RunnerError::Aborted)),
            None => Ok(()),
        }
    }

    /// Waits until the runner has ended by itself.
    ///
    /// ```
    /// use resilience_cqrs::projection::{ProjectionRunner, RunnerError};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let mut first = ProjectionRunner::builder(store.clone(), Picky).start();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// first.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
    /// // Somebody starts it once more: that one has it from then on, and this one is told at its next commit.
    /// let second = ProjectionRunner::builder(store.clone(), Picky).start();
    /// second.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// assert!(matches!(first.ended().await, Err(RunnerError::Fenced)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Why it has ended.
    pub async fn ended(&mut self) -> Result<(), RunnerError> {
        match &mut self.ended {
            Some(ended) => {
                let result = ended.await.unwrap_or(Err(RunnerError::Aborted));
                self.ended = None;
                result
            }
            None => Ok(()),
        }
    }
}

/// What a replay did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The events taken in.
    pub events: u64,
}

/// A replay did not get to the end of the key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// An event failed again, and is parked again with those behind it.
    #[error("event {position} failed again: {error}")]
    FailedAgain {
        /// The event.
        position: Position,
        /// Why.
        error: String,
        /// The events taken in before it.
        events: u64,
    },
    /// The store could not be reached.
    #[error("the replay was cut short: {error}")]
    Store {
        /// Why.
        error: String,
    },
    /// The event is not in the log as the runner reads it: its stream was [archived](crate::archive) since. Take the stream
    /// back, or let a runner replay it that reads [archived streams](crate::archive::Archive::include_archived) too.
    #[error("event {position} is not in what this runner reads: its stream may be archived")]
    NotThere {
        /// The event.
        position: Position,
        /// The events taken in before it.
        events: u64,
    },
    /// The projection has ended.
    #[error("the projection has ended")]
    Stopped,
    /// The key's partition is run by another member, or by none at the moment.
    #[error("the key's partition is run elsewhere")]
    Elsewhere,
}

/// The read model does not show what was asked for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the read model is at {at}, {wanted} was asked for")]
pub struct StaleRead {
    /// Where it is.
    pub at: Position,
    /// Where it should be.
    pub wanted: Position,
}
