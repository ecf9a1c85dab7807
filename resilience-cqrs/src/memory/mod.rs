//! The log in memory: for tests, simulations and what need not outlive the process.
//!
//! It keeps the whole contract, conflicts included. A memory store that lets concurrent appends overwrite each other, as
//! some do, makes tests that never see a conflict pass on code that has never met one.
//!
//! ```
//! use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let opened = Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", "")]);
//! store.append(opened.clone()).await?;
//! let conflict = store.append(opened).await.unwrap_err();
//! assert_eq!(conflict.to_string(), "conflict: stream account-1 exists, at version 1");
//! # Ok(()) }
//! ```

mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use resilience_core::time::SharedTimer;
use tokio::sync::watch;

use self::state::State;
pub(crate) use self::state::Within;
use crate::log::{
    Append, AppendError, Appended, BoxError, CommandId, Committed, Position, Query, ReadError, Recorded, RowChange,
    StreamId, Version,
};
use crate::store::{EventStore, Page};

/// The log in memory; clones are one store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    head: watch::Sender<Position>,
    timer: SharedTimer,
}

/// Sets up a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemoryStoreBuilder {
    capacity: u64,
    timer: SharedTimer,
}

impl MemoryStoreBuilder {
    /// The most events it holds; an append beyond that is refused as [`Full`](AppendError::Full).
    ///
    /// Default: 67,108,864 (2^26), where the events' own bookkeeping is about 20 GiB: a store that grows without bound
    /// should meet this error and not the system's last resort.
    ///
    /// ```
    /// use resilience_cqrs::{Append, AppendError, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::builder().capacity(1).build();
    /// let one = || Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")]);
    /// store.append(one()).await?;
    /// assert!(matches!(store.append(one()).await, Err(AppendError::Full)));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn capacity(mut self, events: u64) -> Self {
        self.capacity = events;
        self
    }

    /// Where [`Recorded::recorded_at`] comes from. Default: the system's clock, through tokio's timer.
    ///
    /// ```
    /// use resilience_core::time::{ManualTimer, Timer};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let timer = ManualTimer::new();
    /// let store = MemoryStore::builder().timer(timer.clone()).build();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// let events = store.read_stream(&"a".into(), Version::EMPTY, 1).await?;
    /// assert_eq!(events[0].recorded_at, timer.wall());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// The store. Nothing that can be set is wrong.
    pub fn build(self) -> MemoryStore {
        let state = Mutex::new(State::new(self.capacity));
        let shared = Shared { state, head: watch::Sender::new(Position::ORIGIN), timer: self.timer };
        MemoryStore { shared: Arc::new(shared) }
    }
}

impl MemoryStore {
    /// An empty store with the defaults.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets up a store.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { capacity: 1 << 26, timer: SharedTimer::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // An append changes the state only after all its checks; a panic in them leaves it consistent.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryStore {
    /// Appends, and what `then` makes of the events is changed with them; refused if it fails.
    pub(crate) fn append_then(
        &self,
        append: Append,
        then: impl FnOnce(&mut Within<'_>) -> Result<Vec<RowChange>, BoxError>,
    ) -> Result<Appended, AppendError> {
        self.commit(append, Some(then))
    }

    fn commit(
        &self,
        append: Append,
        then: Option<impl FnOnce(&mut Within<'_>) -> Result<Vec<RowChange>, BoxError>>,
    ) -> Result<Appended, AppendError> {
        let now = self.shared.timer.wall();
        let mut state = self.lock();
        let appended = state.append(append, now, then)?;
        // Under the lock, so that the published head never goes back. Waking takes no lock of ours.
        self.shared.head.send_if_modified(|head| std::mem::replace(head, state.head()) != state.head());
        Ok(appended)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStore for MemoryStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        self.commit(append, None::<fn(&mut Within<'_>) -> Result<Vec<RowChange>, BoxError>>)
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        Ok(self.lock().committed(command))
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        Ok(self.lock().read(after, query, limit))
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        Ok(self.lock().read_stream(stream, after, limit))
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        let state = self.lock();
        Ok(streams.iter().map(|(stream, after)| state.read_stream(stream, *after, limit)).collect())
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.lock().row(space, key))
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        Ok(self.lock().rows(space, after, limit))
    }

    fn head(&self) -> Position {
        *self.shared.head.borrow()
    }

    async fn wait_past(&self, position: Position) -> Position {
        crate::store::wait_past(&self.shared.head, position).await
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("head", &self.head()).finish_non_exhaustive()
    }
}
