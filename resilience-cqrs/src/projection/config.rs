//! Setting up a runner.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use resilience_core::Name;
use resilience_core::event::{Listeners, Sink};
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use tokio::sync::{mpsc, oneshot, watch};

use super::apply::{Apply, Keyed, Projection};
use super::handle::{Health, ProjectionHandle, Publish, Status};
#[cfg(feature = "postgres")]
use super::postgres::{Postgres, PostgresProjection};
use super::reaction::{Reacting, Reaction};
use super::runner::ProjectionRunner;
use super::share::Share;
#[cfg(feature = "sqlite")]
use super::sql::{Sql, SqlProjection};
use crate::log::Position;
use crate::store::EventStore;

/// Sets up a [`ProjectionRunner`].
#[derive(Debug)]
pub struct ProjectionRunnerBuilder<S, A> {
    pub(super) store: S,
    pub(super) apply: A,
    batch: usize,
    max_parked: u64,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    pub(super) rng: Rng,
}

impl<S: EventStore, P: Projection> ProjectionRunner<S, Keyed<P>> {
    /// Sets up a runner for a projection that keeps its model in rows of the store.
    pub fn builder(store: S, projection: P) -> ProjectionRunnerBuilder<S, Keyed<P>> {
        ProjectionRunnerBuilder::new(store, Keyed(Arc::new(projection)))
    }
}

impl<S: EventStore, R: Reaction> ProjectionRunner<S, Reacting<R>> {
    /// Sets up a subscription that reacts to events outside of the store. Its batches are of 16 events unless
    /// [set](ProjectionRunnerBuilder::batch): what a crash repeats at most.
    pub fn reaction(store: S, reaction: R) -> ProjectionRunnerBuilder<S, Reacting<R>> {
        ProjectionRunnerBuilder { batch: 16, ..ProjectionRunnerBuilder::new(store, Reacting::new(reaction)) }
    }
}

impl<S: EventStore, R: Reaction> ProjectionRunnerBuilder<S, Reacting<R>> {
    /// How often an event is tried before its key is parked, with drawn waits of up to 100 ms and then twice as long each
    /// time, up to 5 s. Default: 10, which is 10 s on average: what a service takes that is restarted.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use resilience_cqrs::projection::{IdempotencyKey, ProjectionRunner, Reaction};
    /// use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
    ///
    /// /// Calls a service that does not answer.
    /// struct Calls(Arc<AtomicU32>);
    ///
    /// impl Reaction for Calls {
    ///     fn name(&self) -> &str {
    ///         "calls"
    ///     }
    ///
    ///     fn query(&self) -> Query {
    ///         Query::all()
    ///     }
    ///
    ///     async fn handle(&self, _: &Recorded, _: IdempotencyKey<'_>) -> Result<(), BoxError> {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///         Err("no answer".into())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, calls) = (MemoryStore::new(), Arc::default());
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// let three = NonZeroU32::new(3).ok_or("zero")?;
    /// let running = ProjectionRunner::reaction(store.clone(), Calls(Arc::clone(&calls))).attempts(three).start();
    /// running.at_least(store.head(), std::time::Duration::from_secs(10)).await?;
    /// assert_eq!((calls.load(Ordering::Relaxed), running.status().parked["a"]), (3, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.apply.set_attempts(attempts);
        self
    }
}

#[cfg(feature = "sqlite")]
impl<P: SqlProjection> ProjectionRunner<crate::sqlite::SqliteStore, Sql<P>> {
    /// Sets up a runner for a projection that keeps its model in SQL tables.
    pub fn sql(
        store: crate::sqlite::SqliteStore,
        projection: P,
    ) -> ProjectionRunnerBuilder<crate::sqlite::SqliteStore, Sql<P>> {
        ProjectionRunnerBuilder::new(store, Sql(Arc::new(projection)))
    }
}

#[cfg(feature = "postgres")]
impl<P: PostgresProjection> ProjectionRunner<crate::postgres::PostgresStore, Postgres<P>> {
    /// Sets up a runner for a projection that keeps its model in tables of the log's PostgreSQL database.
    pub fn postgres(
        store: crate::postgres::PostgresStore,
        projection: P,
    ) -> ProjectionRunnerBuilder<crate::postgres::PostgresStore, Postgres<P>> {
        ProjectionRunnerBuilder::new(store, Postgres(Arc::new(projection)))
    }
}

impl<S: EventStore, A: Apply<S>> ProjectionRunnerBuilder<S, A> {
    fn new(store: S, apply: A) -> Self {
        Self {
            store,
            apply,
            batch: 1024,
            max_parked: 10_000,
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            rng: Rng::from_entropy(),
        }
    }

    /// The most events in one commit, as there are when the projection catches up. Default: 1,024.
    ///
    /// A batch is not waited for: with one new event, one is committed. Smaller ones hold up the writer of an SQLite
    /// file for less time at once, larger ones take in a long log faster.
    #[must_use]
    pub fn batch(mut self, events: NonZeroUsize) -> Self {
        self.batch = events.get();
        self
    }

    /// The number of parked events at which the projection stands still. Default: 10,000.
    ///
    /// Then its [health](Health) is `Blocked`, and its position stays where it is. 0 is taken as 1: stand still at the
    /// first event that cannot be taken in.
    ///
    /// ```
    /// use resilience_cqrs::projection::{Health, ProjectionRunner};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// // `Picky` takes in all events but those named `Bad`.
    /// let running = ProjectionRunner::builder(store.clone(), Picky).max_parked(1).start();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Bad", "")])).await?;
    /// running.at_least(store.head(), std::time::Duration::from_secs(1)).await?; // taken care of: it is parked
    /// store.append(Append::new().events("b", Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// assert!(running.at_least(store.head(), std::time::Duration::from_secs(60)).await.is_err());
    /// assert_eq!(running.status().health, Health::Blocked);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_parked(mut self, events: u64) -> Self {
        self.max_parked = events.max(1);
        self
    }

    /// What pauses and timeouts are made of. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self.apply.on_timer(&self.timer);
        self
    }

    /// Adds a sink for [`Event`](super::Event)s, under the projection's name.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use resilience_core::event::{Event, Sink};
    /// use resilience_cqrs::projection::{self, ProjectionRunner};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// /// Calls somebody for what somebody has to mend.
    /// #[derive(Default)]
    /// struct Pager(Mutex<Vec<String>>);
    ///
    /// impl Sink for Pager {
    ///     fn on_event(&self, event: &Event<'_>) {
    ///         if let Some(projection::Event::Parked { key, position, error }) = event.fact() {
    ///             self.0.lock().unwrap().push(format!("{} has parked {key} at {position}: {error}", event.policy));
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, pager) = (MemoryStore::new(), Arc::new(Pager::default()));
    /// // `Picky` takes in all events but those named `Bad`.
    /// let running = ProjectionRunner::builder(store.clone(), Picky).listener(pager.clone()).start();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Bad", "")])).await?;
    /// running.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
    /// assert_eq!(*pager.0.lock().unwrap(), ["picky@1 has parked a at 1: bad"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The runner, and what others hold of it. [`run`](ProjectionRunner::run) it on whatever executor there is.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::projection::ProjectionRunner;
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (runner, handle) = ProjectionRunner::builder(MemoryStore::new(), Picky).build();
    /// // On tasks that the program watches: it is told of a panic, and of the runner's end.
    /// let mut tasks = tokio::task::JoinSet::new();
    /// tasks.spawn(runner.run());
    /// handle.stop().await?;
    /// tasks.join_next().await.ok_or("no task")??;
    /// # Ok(()) }
    /// ```
    pub fn build(self) -> (ProjectionRunner<S, A>, ProjectionHandle) {
        self.of_share(None)
    }

    /// One of several, for some of the keys.
    pub(super) fn for_share(&mut self, share: Option<Share>) -> (ProjectionRunner<S, A>, ProjectionHandle)
    where
        A: Clone,
    {
        let one = Self {
            store: self.store.clone(),
            apply: self.apply.clone(),
            timer: self.timer.clone(),
            listeners: self.listeners.clone(),
            rng: self.rng.fork(),
            ..*self
        };
        one.of_share(share)
    }

    fn of_share(self, share: Option<Share>) -> (ProjectionRunner<S, A>, ProjectionHandle) {
        let name = Name::from(self.apply.name().to_owned());
        let start = Status { position: Position::ORIGIN, parked: BTreeMap::new(), health: Health::Good };
        let (status, seen) = watch::channel(start);
        let (request, requests) = mpsc::channel(16);
        let (ended, end) = oneshot::channel();
        let handle = ProjectionHandle { requests: request, status: seen, ended: Some(end), timer: self.timer.clone() };
        let runner = ProjectionRunner {
            query: self.apply.query(),
            listeners: self.listeners.bound("projection", &name),
            store: self.store,
            apply: self.apply,
            name,
            share,
            until: None,
            batch: self.batch,
            max_parked: self.max_parked,
            timer: self.timer,
            rng: self.rng,
            requests,
            asked: None,
            status: Publish(status),
            ended,
        };
        (runner, handle)
    }

    /// Runs it on a task of its own. Must be called within a tokio runtime.
    ///
    /// The task lives as long as the handle: a handle that is not kept is a runner that has stopped.
    pub fn start(self) -> ProjectionHandle {
        let (runner, handle) = self.build();
        tokio::spawn(runner.run());
        handle
    }
}
