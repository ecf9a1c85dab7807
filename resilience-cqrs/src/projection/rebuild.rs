//! A new version of a read model, built beside the one that serves until it takes its place.

use std::num::NonZeroU32;
use std::time::Duration;

use resilience_core::lease::Leases;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use super::apply::Apply;
use super::building::Building;
use super::config::ProjectionRunnerBuilder;
use super::handle::ProjectionHandle;
use super::runner::RunnerError;
use crate::log::{AppendError, BoxError, Position, ReadError};
use crate::store::EventStore;

/// Sets up the building of a new version of a model.
#[derive(Debug)]
pub struct RebuildBuilder<S, A, L> {
    runner: ProjectionRunnerBuilder<S, A>,
    leases: L,
    owner: String,
    parallel: NonZeroU32,
    threshold: u64,
    ttl: Duration,
}

impl<S: EventStore, A: Apply<S> + Clone> ProjectionRunnerBuilder<S, A> {
    /// Builds this version of the model beside the one that serves it, and lets it take over once it has caught up.
    ///
    /// A version is part of the projection's name: `orders@3` takes over from `orders@2`, or whichever
    /// [serves](super::Versions) `orders`. It has rows or tables of its own, begins with the log's first event, and nobody sees
    /// it. When it is but `threshold` events behind, the row that says who serves is changed, if it still is what it was
    /// when the rebuild began. The old version is neither stopped nor held: stop it when no reader asks it any more, or
    /// keep it to go [back](super::Versions::serve).
    ///
    /// On a log that grows as fast as the version takes it in it never gets there. It goes on all the same, and nobody who
    /// writes is held up for it; but its [status](RebuildStatus::outpaced) and [`Event::Outpaced`](super::Event::Outpaced)
    /// say so after half a minute. What helps is what makes it take in more at once: larger
    /// [batches](Self::batch), `apply_all` of a model in SQL, more [parts](RebuildBuilder::parallel). The parts become one
    /// before it serves: a version that falls behind as one would do so for its readers as well.
    ///
    /// Killed, it goes on where its checkpoints are when it is started again. A [lease](resilience_core::lease) keeps a
    /// second from working at the same: that one ends with [`AlreadyRunning`](RebuildError::AlreadyRunning).
    ///
    /// ```
    /// use resilience_core::lease::MemoryLeases;
    /// use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows, Versions};
    /// use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
    ///
    /// struct Latest;
    ///
    /// impl Projection for Latest {
    ///     fn name(&self) -> &str {
    ///         "latest@2"
    ///     }
    ///
    ///     fn query(&self) -> Query {
    ///         Query::all()
    ///     }
    ///
    ///     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
    ///         rows.put(self.name(), event.stream.as_str().to_owned(), event.kind.as_str().to_owned());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let versions = Versions::new(store.clone());
    /// versions.serve("latest@1").await?;
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// let rebuild = ProjectionRunner::builder(store, Latest).rebuild(MemoryLeases::default(), "node-1").start();
    /// let rebuilt = rebuild.finish().await?;
    /// assert_eq!(rebuilt.replaced.as_deref(), Some("latest@1"));
    /// assert_eq!(versions.serving("latest").await?.as_deref(), Some("latest@2"));
    /// rebuilt.running.stop().await?; // or keep it: it goes on with what comes
    /// # Ok(()) }
    /// ```
    pub fn rebuild<L: Leases>(self, leases: L, owner: impl Into<String>) -> RebuildBuilder<S, A, L> {
        RebuildBuilder {
            runner: self,
            leases,
            owner: owner.into(),
            parallel: NonZeroU32::MIN,
            threshold: 1000,
            ttl: Duration::from_secs(10),
        }
    }
}

impl<S: EventStore, A: Apply<S> + Clone, L: Leases + 'static> RebuildBuilder<S, A, L> {
    /// In how many parts, divided by key, it is built at once. They meet at one position before the new version takes
    /// over, and it goes on as one. What was begun is finished in as many parts as it was begun with. Default: 1.
    #[must_use]
    pub fn parallel(mut self, parts: NonZeroU32) -> Self {
        self.parallel = parts;
        self
    }

    /// How many events it may be behind when it begins to take over. Default: 1,000.
    #[must_use]
    pub fn threshold(mut self, events: u64) -> Self {
        self.threshold = events;
        self
    }

    /// How long another must wait to go on with it after this process was killed. Default: 10 s.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Begins, or goes on, on a task of its own. Must be called within a tokio runtime.
    pub fn start(mut self) -> RebuildHandle {
        let (publish, status) = watch::channel(RebuildStatus {
            phase: Phase::Waiting,
            position: Position::ORIGIN,
            head: self.runner.store.head(),
            rate: 0.0,
            appended: 0.0,
            eta: None,
            outpaced: false,
        });
        let (ended, end) = oneshot::channel();
        self.owner = format!("{}~{:016x}", self.owner, self.runner.rng.next_u64());
        let Self { runner, leases, owner, parallel, threshold, ttl } = self;
        let work = Building::new(runner, (parallel, threshold), publish.clone());
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            let result = work.run(&leases, &owner, ttl, stopped).await;
            if result.is_err() {
                publish.send_modify(|status| status.phase = Phase::Failed);
            }
            let _ = ended.send(result);
        });
        RebuildHandle { status, ended: end, _stop: stop }
    }
}

/// What a rebuild is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It has not begun yet.
    Waiting,
    /// It takes in the log.
    Building,
    /// Its parts meet at one position.
    Joining,
    /// It has caught up, and takes over.
    TakingOver,
    /// It serves.
    Serving,
    /// It has ended without that; [`finish`](RebuildHandle::finish) says why.
    Failed,
}

/// How far a rebuild is.
#[derive(Clone, Debug, PartialEq)]
pub struct RebuildStatus {
    /// What it is doing.
    pub phase: Phase,
    /// Up to where all of its parts have got.
    pub position: Position,
    /// The log's last position.
    pub head: Position,
    /// Events of the log it gets past in a second, lately.
    pub rate: f64,
    /// Events appended to the log in a second, lately.
    pub appended: f64,
    /// When it will have caught up, at these rates; `None` if that cannot be told, or never.
    pub eta: Option<Duration>,
    /// Whether it has not come nearer to the head for half a minute: like this it will not take over.
    pub outpaced: bool,
}

/// A rebuild that runs. Dropping it stops it, and gives its lease back in the background; [`stop`](Self::stop) also waits for
/// that. Started again, it goes on where it was.
#[derive(Debug)]
pub struct RebuildHandle {
    status: watch::Receiver<RebuildStatus>,
    ended: oneshot::Receiver<Result<Rebuilt, RebuildError>>,
    /// Dropped to stop it.
    _stop: oneshot::Sender<()>,
}

impl RebuildHandle {
    /// How far it is.
    ///
    /// ```
    /// use resilience_core::lease::MemoryLeases;
    /// use resilience_cqrs::projection::{Phase, ProjectionRunner};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// let mut rebuild = ProjectionRunner::builder(store, Picky).rebuild(MemoryLeases::default(), "node-1").start();
    /// // What an operator sees: how much is left, and at these rates how long.
    /// while let Some(status) = rebuild.changed().await {
    ///     println!("{} of {}, {:?} left", status.position, status.head, status.eta);
    /// }
    /// assert_eq!(rebuild.status().phase, Phase::Serving);
    /// assert_eq!(rebuild.finish().await?.replaced, None); // it is the model's first version
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> RebuildStatus {
        self.status.borrow().clone()
    }

    /// Waits for the next change of [`status`](Self::status), and says what it is then; `None` once it has ended and its last
    /// status was told, for good. Dropped before it completes, nothing is missed.
    ///
    /// What runs on after the change of versions is told by [`Rebuilt::running`].
    pub async fn changed(&mut self) -> Option<RebuildStatus> {
        self.status.changed().await.ok()?;
        Some(self.status.borrow_and_update().clone())
    }

    /// Waits until the new version serves.
    ///
    /// ```
    /// use resilience_core::lease::MemoryLeases;
    /// use resilience_cqrs::projection::{ProjectionRunner, RebuildError};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Bad", "")])).await?;
    /// // A version with a hole in it does not serve.
    /// let rebuild = ProjectionRunner::builder(store, Picky).rebuild(MemoryLeases::default(), "node-1").start();
    /// assert!(matches!(rebuild.finish().await, Err(RebuildError::Parked { events: 1 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`RebuildError`]; the version that served goes on to.
    pub async fn finish(mut self) -> Result<Rebuilt, RebuildError> {
        (&mut self.ended).await.unwrap_or(Err(RebuildError::Runner(RunnerError::Aborted)))
    }

    /// Stops it, unless it serves already, and waits until another may go on with it.
    pub async fn stop(self) {
        let Self { ended, _stop, .. } = self;
        drop(_stop);
        let _ = ended.await; // A runner that serves by now ends with its handle.
    }
}

/// A new version that serves.
#[derive(Debug)]
pub struct Rebuilt {
    /// Its runner, which goes on.
    pub running: ProjectionHandle,
    /// The version that served before.
    pub replaced: Option<String>,
}

/// The new version does not serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Somebody is building it.
    #[error("the version is being built already{}", owner.as_ref().map_or_else(String::new, |owner| format!(", by {owner}")))]
    AlreadyRunning {
        /// Who, if the leases tell.
        owner: Option<String>,
    },
    /// The leases could not be asked, or the lease was lost: somebody else may be building it by now.
    #[error("it is not known whether somebody else builds the version")]
    Lease(#[source] Option<BoxError>),
    /// It was stopped.
    #[error("the rebuild was stopped")]
    Stopped,
    /// A runner has ended.
    #[error("the version could not be built")]
    Runner(#[from] RunnerError),
    /// Events are parked. Mend what keeps them from being taken in, run the new version by itself, replay them, and start
    /// the rebuild again.
    #[error("{events} events of the new version are parked")]
    Parked {
        /// How many.
        events: u64,
    },
    /// Another version than at the beginning serves by now.
    #[error("another version has taken over meanwhile")]
    Overtaken,
    /// The store does not take the change.
    #[error("the store does not take the change of versions")]
    Append(#[source] AppendError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
}

impl From<AppendError> for RebuildError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict(_) => Self::Overtaken,
            error => Self::Append(error),
        }
    }
}
