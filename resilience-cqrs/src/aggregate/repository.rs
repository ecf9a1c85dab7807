//! Aggregates of one kind, on a store.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::config::RepositoryBuilder;
use super::execute::Request;
use super::snapshot::{Keeper, SnapshotCounts};
use super::unseen::Unseen;
use super::{Decider, EventCodec, ExecuteError, Executed, Json};
use crate::forgetting::Epoch;
use crate::log::{CommandId, ReadError, StreamId, Version};
use crate::pace::Pace;
use crate::states::States;
use crate::store::EventStore;

/// Events read at once while loading.
pub(super) const PAGE: usize = 512;

/// The aggregates of one kind: loads them, and executes commands on them. Clones share everything.
///
/// See the [module](super) for an example.
pub struct Repository<D, S, C = Json> {
    pub(super) shared: Arc<Shared<D, S, C>>,
}

pub(super) struct Shared<D, S, C> {
    pub(super) store: S,
    pub(super) codec: C,
    pub(super) pace: Pace,
    pub(super) states: Option<States<StreamId, Loaded<D>>>,
    pub(super) unseen: Unseen,
    pub(super) snapshots: Option<Keeper<D>>,
}

/// An aggregate as its events make it.
#[derive(Clone, Debug, Default)]
pub struct Loaded<D> {
    /// The state.
    pub state: D,
    /// How many events it was made of.
    pub version: Version,
    /// When its first event was read, if there is anything to be forgotten.
    pub(crate) epoch: Epoch,
}

impl<D: Decider, S: EventStore> Repository<D, S> {
    /// Aggregates on `store`, their events in JSON.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// Sets up a repository.
    pub fn builder(store: S) -> RepositoryBuilder<D, S> {
        RepositoryBuilder::new(store)
    }
}

impl<D: Decider, S: EventStore, C: EventCodec<D::Event>> Repository<D, S, C> {
    /// Executes a command on the aggregate `id`; shorthand for [`request`](Self::request) without further ado.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute(&self, id: &str, command: &D::Command) -> Result<Executed<D>, ExecuteError<D::Error>> {
        self.request(id).execute(command).await
    }

    /// Executes a command on the aggregate `id` at most once; shorthand for [`Request::execute_once`].
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
    /// counters.execute_once("1", "c1", &5).await?;
    /// let again = counters.execute_once("1", "c1", &5).await?;
    /// assert_eq!((again.state.0, again.events.len()), (5, 0), "added once");
    /// assert!(counters.execute_once("1", "c1", &6).await.is_err(), "another command under its id");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute_once(
        &self,
        id: &str,
        command_id: impl Into<CommandId>,
        command: &D::Command,
    ) -> Result<Executed<D>, ExecuteError<D::Error>>
    where
        D::Command: Serialize,
    {
        self.request(id).execute_once(command_id, command).await
    }

    /// A command to come on the aggregate `id`, to be given metadata first.
    pub fn request(&self, id: &str) -> Request<'_, D, S, C> {
        Request::new(self, Self::stream(id))
    }

    /// The aggregate `id` as its events make it; the default state at version 0 if there are none.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::{MemoryStore, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Nobody is not an error: the default state is the state before the first event.
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
    /// let nobody = counters.load("1").await?;
    /// assert_eq!((nobody.state.0, nobody.version), (0, Version::EMPTY));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's, or that an event cannot be read: an aggregate is never made of some of its events.
    pub async fn load(&self, id: &str) -> Result<Loaded<D>, ExecuteError<D::Error>> {
        self.load_stream(&Self::stream(id)).await
    }

    /// The stream of the aggregate `id`.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::MemoryStore;
    ///
    /// // For appends that name an aggregate's stream beside others.
    /// assert_eq!(Repository::<Counter, MemoryStore>::stream("7"), "counter-7");
    /// ```
    pub fn stream(id: &str) -> StreamId {
        Repository::<D, ()>::stream_of(id)
    }

    /// What has become of snapshots so far; nothing if there are to be none.
    pub fn snapshots(&self) -> SnapshotCounts {
        self.shared.snapshots.as_ref().map(Keeper::counts).unwrap_or_default()
    }

    /// The store it is on.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    pub(super) async fn load_stream(&self, stream: &StreamId) -> Result<Loaded<D>, ExecuteError<D::Error>> {
        let mut loaded = self.begin(stream).await.map_err(ExecuteError::Read)?;
        self.refresh(stream, &mut loaded).await?;
        Ok(loaded)
    }

    /// What there is of a state without reading the stream.
    pub(super) async fn begin(&self, stream: &StreamId) -> Result<Loaded<D>, ReadError> {
        if let Some(kept) = self.kept(stream) {
            return Ok(kept);
        }
        // Before the first read.
        let epoch = self.shared.states.as_ref().map(States::epoch).unwrap_or_default();
        let loaded = match &self.shared.snapshots {
            Some(snapshots) => snapshots.read(&self.shared.store, stream).await?.unwrap_or_default(),
            None => Loaded::default(),
        };
        Ok(Loaded { epoch, ..loaded })
    }

    /// The state as this program has last seen it, if it keeps states and has seen this one.
    pub(super) fn kept(&self, stream: &StreamId) -> Option<Loaded<D>> {
        self.shared.states.as_ref()?.get(stream).map(|(loaded, epoch)| Loaded { epoch, ..loaded })
    }

    /// Keeps a state that has grown from version `before`, for the next command or the next program.
    pub(super) fn keep(&self, stream: &StreamId, before: Version, loaded: &Loaded<D>) {
        if let Some(snapshots) = &self.shared.snapshots {
            snapshots.grown(&self.shared.store, stream, before, loaded);
        }
        if let Some(states) = &self.shared.states {
            states.put(stream, loaded, (loaded.version.get(), loaded.epoch));
        }
    }

    /// Drops what is kept: nobody knows whether it is a prefix of the stream.
    pub(super) fn forget(&self, stream: &StreamId) {
        if let Some(states) = &self.shared.states {
            states.forget(stream);
        }
    }

    /// Folds in what the stream has beyond a state.
    pub(super) async fn refresh(
        &self,
        stream: &StreamId,
        loaded: &mut Loaded<D>,
    ) -> Result<(), ExecuteError<D::Error>> {
        let Loaded { state, version, .. } = loaded;
        let known = *version;
        self.read_on(stream, version, |event| state.evolve(&event)).await?;
        if loaded.version > known {
            self.keep(stream, known, loaded);
        }
        Ok(())
    }

    /// Hands over what came after `version`, in order, and moves it on.
    pub(super) async fn read_on(
        &self,
        stream: &StreamId,
        version: &mut Version,
        mut take: impl FnMut(D::Event) + Send,
    ) -> Result<(), ExecuteError<D::Error>> {
        loop {
            let page = self.shared.store.read_stream(stream, *version, PAGE).await.map_err(ExecuteError::Read)?;
            for recorded in &page {
                self.shared.codec.decode_each(recorded, &mut take)?;
                *version = recorded.version;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}

impl<D: Decider> Repository<D, ()> {
    pub(super) fn stream_of(id: &str) -> StreamId {
        StreamId::from(format!("{}-{id}", D::STREAM))
    }
}

impl<D, S, C> Clone for Repository<D, S, C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<D: Decider, S: EventStore, C> fmt::Debug for Repository<D, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("stream", &D::STREAM).finish_non_exhaustive()
    }
}

impl<D, S: fmt::Debug, C> fmt::Debug for Shared<D, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("store", &self.store)
            .field("pace", &self.pace)
            .field("states", &self.states)
            .field("snapshots", &self.snapshots)
            .finish_non_exhaustive()
    }
}
