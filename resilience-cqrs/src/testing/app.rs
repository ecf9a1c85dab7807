//! A program in memory.

use std::fmt;
use std::time::Duration;

use super::FaultyStore;
use crate::aggregate::{Decider, EventCodec, ExecuteError, Executed, Json, Repository};
use crate::log::{Append, Expected, Position, StreamId, Version};
use crate::memory::MemoryStore;
use crate::projection::{Projection, ProjectionHandle, ProjectionRunner};
use crate::store::EventStore;

/// How long a projection may take to catch up. Under tokio's paused clock that is no time at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store in memory that fails on request, aggregates on it, and projections that run: what a program has, without
/// anything to set up or tear down.
///
/// Waits are tokio's, so a test with `start_paused = true` takes no time for them. Methods panic where a test would.
///
/// ```
/// use resilience_cqrs::aggregate::Decider;
/// use resilience_cqrs::projection::{Projection, Rows};
/// use resilience_cqrs::testing::App;
/// use resilience_cqrs::{BoxError, EventStore, Query, Recorded};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// # enum Event { Added { n: u64 } }
/// # #[derive(Clone, Debug, Default, PartialEq)]
/// # struct Counter(u64);
/// # impl Decider for Counter {
/// #     const STREAM: &'static str = "counter";
/// #     type Command = u64;
/// #     type Event = Event;
/// #     type Error = &'static str;
/// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
/// #     fn decide(&self, n: &u64) -> Result<Vec<Event>, &'static str> { Ok(vec![Event::Added { n: *n }]) }
/// # }
/// # struct Census;
/// # impl Projection for Census {
/// #     fn name(&self) -> &str { "census@1" }
/// #     fn query(&self) -> Query { Query::all() }
/// #     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
/// #         let key = event.stream.as_str().to_owned();
/// #         let count: u64 = match rows.get("census", &key).await? {
/// #             Some(count) => std::str::from_utf8(&count)?.parse()?,
/// #             None => 0,
/// #         };
/// #         rows.put("census", key, (count + 1).to_string());
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let app = App::new().project(|| Census); // how often something happened to each counter
/// app.given::<Counter>("1", [Event::Added { n: 2 }]).await;
/// let done = app.execute::<Counter>("1", &5).await.unwrap();
/// assert_eq!(done.state, Counter(7));
///
/// app.settle().await; // the projection has seen it
/// assert_eq!(app.store().row("census", b"counter-1").await.unwrap().as_deref(), Some(&b"2"[..]));
/// # }
/// ```
pub struct App {
    store: FaultyStore<MemoryStore>,
    projections: Vec<Running>,
}

struct Running {
    name: String,
    handle: ProjectionHandle,
    start: Box<dyn Fn(FaultyStore<MemoryStore>) -> ProjectionHandle + Send + Sync>,
}

impl App {
    /// An empty store, and nothing that runs.
    pub fn new() -> Self {
        Self::on(FaultyStore::new(MemoryStore::new()))
    }

    /// On a store with faults planned.
    pub fn on(store: FaultyStore<MemoryStore>) -> Self {
        Self { store, projections: Vec::new() }
    }

    /// Runs a projection, from its checkpoint if there is one. `make` is called again for each [restart](Self::restart).
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn project<P: Projection>(mut self, make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        let name = make().name().to_owned();
        let start = Box::new(move |store| ProjectionRunner::builder(store, make()).start());
        let handle = start(self.store.clone());
        self.projections.push(Running { name, handle, start });
        self
    }

    /// The store.
    pub fn store(&self) -> &FaultyStore<MemoryStore> {
        &self.store
    }

    /// Aggregates of a kind, on the store.
    pub fn repository<D: Decider>(&self) -> Repository<D, FaultyStore<MemoryStore>> {
        Repository::new(self.store.clone())
    }

    /// These events have happened to an aggregate. The store's faults do not apply.
    ///
    /// # Panics
    /// If they cannot be written down.
    pub async fn given<D: Decider>(&self, id: &str, events: impl IntoIterator<Item = D::Event>)
    where
        Json: EventCodec<D::Event>,
    {
        let encoded = events.into_iter().map(|event| {
            let encoded = Json.encode(&event).expect("the event can be encoded");
            encoded.tags(D::tags(&event))
        });
        let append = Append::new().events(stream::<D>(id), Expected::Any, encoded);
        self.store.inner().append(append).await.expect("the events can be appended");
    }

    /// Executes a command on an aggregate.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute<D: Decider>(
        &self,
        id: &str,
        command: &D::Command,
    ) -> Result<Executed<D>, ExecuteError<D::Error>>
    where
        Json: EventCodec<D::Event>,
    {
        self.repository::<D>().execute(id, command).await
    }

    /// All that has happened to an aggregate. The store's faults do not apply.
    ///
    /// # Panics
    /// If an event cannot be read.
    pub async fn history<D: Decider>(&self, id: &str) -> Vec<D::Event>
    where
        Json: EventCodec<D::Event>,
    {
        let (stream, mut events) = (stream::<D>(id), Vec::new());
        loop {
            let after = Version::new(events.len() as u64);
            let page = self.store.inner().read_stream(&stream, after, 1_000).await.expect("the stream can be read");
            if page.is_empty() {
                return events;
            }
            events.extend(page.iter().map(|recorded| Json.decode(recorded).expect("the event can be decoded")));
        }
    }

    /// Waits until every projection has taken in all that has happened so far, and returns up to where that was.
    ///
    /// # Panics
    /// If a projection has parked an event, has ended, or does not get there within a minute.
    pub async fn settle(&self) -> Position {
        let head = self.store.head();
        for Running { name, handle, .. } in &self.projections {
            let reached = handle.at_least(head, PATIENCE).await;
            let status = handle.status();
            assert!(status.parked.is_empty(), "{name} has parked events of {:?}", status.parked.keys());
            assert!(reached.is_ok(), "{name} is at {} of {head}: {:?}", status.position, status.health);
        }
        head
    }

    /// A projection that runs, by its name.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn projection(&self, name: &str) -> &ProjectionHandle {
        let found = self.projections.iter().find(|running| running.name == name);
        &found.unwrap_or_else(|| panic!("no projection is named {name}")).handle
    }

    /// Another process takes over: all projections start anew from their checkpoints. The former ones are not stopped
    /// first; should they commit once more, they are fenced.
    pub fn restart(&mut self) {
        for running in &mut self.projections {
            running.handle = (running.start)(self.store.clone());
        }
    }
}

/// The stream an aggregate is kept in.
fn stream<D: Decider>(id: &str) -> StreamId {
    StreamId::from(format!("{}-{id}", D::STREAM))
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let projections: Vec<_> =
            self.projections.iter().map(|running| (&running.name, running.handle.status())).collect();
        f.debug_struct("App")
            .field("head", &self.store.head())
            .field("projections", &projections)
            .finish_non_exhaustive()
    }
}
