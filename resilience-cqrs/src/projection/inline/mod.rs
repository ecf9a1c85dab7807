//! Read models that are never behind: taken in by the append itself.

mod engine;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use self::engine::InlineEngine;
pub(crate) use self::engine::Models;
use super::apply::Projection;
use crate::forgetting::Forgetting;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Version,
};
use crate::store::{EventStore, Page};

/// A store whose appends take their events into read models, in the same transaction: what is appended is shown, and what
/// a model refuses is not appended.
///
/// ```
/// use resilience_cqrs::projection::{InlineStore, Projection, Rows};
/// use resilience_cqrs::{Append, AppendError, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
///
/// /// Who has which name; nobody has another's.
/// struct Names;
///
/// impl Projection for Names {
///     fn name(&self) -> &str {
///         "names@1"
///     }
///
///     fn query(&self) -> Query {
///         Query::types(["Named"])
///     }
///
///     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
///         if rows.get("names", &event.payload).await?.is_some() {
///             return Err("the name is taken".into());
///         }
///         rows.put("names", event.payload.clone(), event.stream.as_str().to_owned());
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = InlineStore::new(MemoryStore::new()).with(Names);
/// let named = |who: &str| Append::new().events(who, Expected::Any, [NewEvent::new("Named", "ann")]);
/// store.append(named("user-1")).await?;
/// assert_eq!(store.row("names", b"ann").await?.as_deref(), Some(&b"user-1"[..])); // at once
/// assert!(matches!(store.append(named("user-2")).await, Err(AppendError::Refused(_))));
/// assert_eq!(store.head().get(), 1);
/// # Ok(()) }
/// ```
///
/// # Who else appends
///
/// A model has a checkpoint like any other, and an append first takes in what lies before its own events. So what a
/// program appends that does not know of the model (another process, or the store without this around it) is shown with
/// the next append that does, not before; and where a runner of the same projection runs beside, at once after it. The
/// two take turns at the checkpoint. An append does not take in more than 10,000 events that are not its own: it is
/// refused until a [runner](super::ProjectionRunner) has brought the model near, which is also how a model is added to
/// a log that is there.
///
/// # What it costs
///
/// Everybody's appends wait for the model. On SQLite they still share their commits; on PostgreSQL each append is a
/// transaction of its own that holds the log's lock, so keep to models of few rows there. A row-based model is called
/// again for each row it reads for the first time in an append, and may wait for nothing but its rows.
///
/// Nothing is parked: an event that a model cannot take in is not appended.
pub struct InlineStore<S: InlineEngine> {
    store: S,
    models: Arc<Models<S>>,
}

impl<S: InlineEngine> InlineStore<S> {
    /// A store without models so far.
    pub fn new(store: S) -> Self {
        Self { store, models: Arc::new(Models::default()) }
    }

    /// Takes events into a model in rows of the store. A name is given once: models of one name share one checkpoint.
    ///
    /// ```
    /// use resilience_cqrs::projection::InlineStore;
    /// use resilience_cqrs::{Append, AppendError, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // `Picky` takes in all events but those named `Bad`. Here a runner would park them; an append is refused.
    /// let store = InlineStore::new(MemoryStore::new()).with(Picky);
    /// let two = [NewEvent::new("Good", ""), NewEvent::new("Bad", "")];
    /// let refused = store.append(Append::new().events("a", Expected::Any, two)).await.unwrap_err();
    /// assert!(matches!(&refused, AppendError::Refused(_)) && !refused.is_retryable());
    /// assert_eq!(store.inner().head().get(), 0); // all of it, the good one included
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, projection: impl Projection) -> Self {
        Arc::make_mut(&mut self.models).rows.push(Arc::new(projection));
        self
    }

    /// The store behind.
    pub const fn inner(&self) -> &S {
        &self.store
    }
}

impl<S: InlineEngine> Clone for InlineStore<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), models: self.models.clone() }
    }
}

impl<S: InlineEngine + fmt::Debug> fmt::Debug for InlineStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineStore").field("store", &self.store).finish_non_exhaustive()
    }
}

impl<S: InlineEngine> EventStore for InlineStore<S> {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        if append.event_count() == 0 || self.models.is_empty() {
            return self.store.append(append).await;
        }
        self.store.append_inline(append, &self.models).await
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.store.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.store.read(after, query, limit).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.store.read_stream(stream, after, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.store.row(space, key).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.store.rows(space, after, limit).await
    }

    fn forgetting(&self) -> Forgetting {
        self.store.forgetting()
    }

    fn head(&self) -> Position {
        self.store.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.store.wait_past(position).await
    }
}
