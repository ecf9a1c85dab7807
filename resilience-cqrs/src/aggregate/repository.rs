//! Aggregates of one kind, on a store.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::execute::{ExecuteError, Executed, Request};
use super::snapshot::{Keeper, SnapshotCounts, Snapshots};
use super::{Decider, EventCodec, Json};
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
    pub(super) snapshots: Option<Keeper<D>>,
}

/// Sets up a [`Repository`].
pub struct RepositoryBuilder<D, S, C = Json> {
    shared: Shared<D, S, C>,
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
        RepositoryBuilder {
            shared: Shared { store, codec: Json, pace: Pace::default(), states: None, snapshots: None },
        }
    }
}

impl<D: Decider, S: EventStore, C> RepositoryBuilder<D, S, C> {
    /// How events are written down. Default: [`Json`].
    #[must_use]
    pub fn codec<K: EventCodec<D::Event>>(self, codec: K) -> RepositoryBuilder<D, S, K> {
        let Shared { store, pace, states, snapshots, .. } = self.shared;
        RepositoryBuilder { shared: Shared { store, codec, pace, states, snapshots } }
    }

    /// How often a command is tried when others append to its stream at the same time, the first attempt included.
    ///
    /// Default: 5. Of n writers on one stream one wins each round, so a stream that needs more has a problem of design.
    #[must_use]
    pub fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.shared.pace.set_attempts(attempts);
        self
    }

    /// The longest wait before the second attempt, and before any; in between it doubles, and the wait is drawn evenly
    /// from zero to it ("full jitter", Brooker, "Exponential Backoff And Jitter", 2015). Default: 2 ms, 100 ms.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.shared.pace.base = base;
        self.shared.pace.cap = cap;
        self
    }

    /// What the waits are made of. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.shared.pace.timer = timer.into();
        self
    }

    /// Fixes the randomness of the waits, for tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.shared.pace.rng = SharedRng::seeded(seed);
        self
    }

    /// Keeps the latest states of this many aggregates between commands, by how often they are used. Default: none.
    ///
    /// A command on a kept state reads nothing: it is decided on that state and appended at that version. If somebody
    /// else has appended since, the store says so, and what was missed is folded in as after any conflict. Only a command
    /// that would be refused, or that has nothing to do, asks the store first whether the state is still the latest; so
    /// an answer is never given on an old one, whoever else writes. What a store
    /// [is to forget](crate::EventStore::forgetting) goes: of private ones, all states each time that somebody is forgotten,
    /// and each [`max_age`](crate::privacy::VaultBuilder::max_age). A log that was put back to an older state (from a
    /// backup) while the program runs is another log: start the program anew.
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
    /// use std::num::NonZeroUsize;
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let most = NonZeroUsize::new(10_000).unwrap();
    /// let here: Repository<Counter, _> = Repository::builder(store.clone()).keep_states(most).build();
    /// let elsewhere: Repository<Counter, _> = Repository::new(store);
    /// here.execute("1", &1).await?;
    /// elsewhere.execute("1", &5).await?;
    /// // On the kept state this would be below zero.
    /// assert_eq!(here.execute("1", &-6).await?.state.0, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn keep_states(mut self, most: NonZeroUsize) -> Self
    where
        D: Clone,
    {
        let forgetting = self.shared.store.forgetting();
        self.shared.states = Some(States::new(most, |loaded: &Loaded<D>| loaded.clone(), forgetting));
        self
    }

    /// Writes states down now and then, and folds on from them. Default: never.
    #[must_use]
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self
    where
        D: Serialize + DeserializeOwned,
    {
        self.shared.snapshots = Some(Keeper::new(&snapshots, D::STREAM));
        self
    }

    /// The repository. Nothing that can be set is wrong.
    pub fn build(self) -> Repository<D, S, C> {
        Repository { shared: Arc::new(self.shared) }
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

impl<D: Decider, S: fmt::Debug, C> fmt::Debug for RepositoryBuilder<D, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryBuilder").field("stream", &D::STREAM).field("shared", &self.shared).finish()
    }
}
