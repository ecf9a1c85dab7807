//! What a projection sees of its rows while it takes in a batch.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::log::{ReadError, RowChange, Space};
use crate::store::EventStore;

type Key = (Space, Bytes);

/// The rows of the store as the events so far would leave them, and the changes to be made.
///
/// Reads see the changes of earlier events of the batch. Nothing is written until the whole batch is, together with the
/// checkpoint.
pub struct Rows<'s> {
    store: &'s dyn RowSource,
    /// As of the last event that was taken in.
    kept: HashMap<Key, Option<Bytes>>,
    /// By the event at hand.
    current: HashMap<Key, Option<Bytes>>,
    /// What the store said, if a read of it failed: then the event is not to blame.
    failure: Option<ReadError>,
}

impl<'s> Rows<'s> {
    pub(super) fn new(store: &'s dyn RowSource) -> Self {
        Self { store, kept: HashMap::new(), current: HashMap::new(), failure: None }
    }

    /// The value of a row.
    ///
    /// ```
    /// use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
    /// use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
    ///
    /// /// How often each thing happened. The second event of a batch finds what the first one has put.
    /// struct Counts;
    ///
    /// impl Projection for Counts {
    ///     fn name(&self) -> &str {
    ///         "counts@1"
    ///     }
    ///
    ///     fn query(&self) -> Query {
    ///         Query::all()
    ///     }
    ///
    ///     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
    ///         let key = event.kind.as_str().to_owned();
    ///         let count = rows.get("counts", &key).await?.map_or(0, |count| count[0]);
    ///         rows.put("counts", key, vec![count + 1]);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let three = ["", "", ""].map(|payload| NewEvent::new("Opened", payload));
    /// store.append(Append::new().events("a", Expected::Any, three)).await?;
    /// let running = ProjectionRunner::builder(store.clone(), Counts).start();
    /// running.at_least(store.head(), std::time::Duration::from_secs(1)).await?;
    /// assert_eq!(store.row("counts", b"Opened").await?.as_deref(), Some(&[3][..])); // one batch, one commit
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's. Pass it on: the runner knows that it is not the event's fault, and tries again.
    pub async fn get(
        &mut self,
        space: impl Into<Space>,
        key: impl AsRef<[u8]> + Send,
    ) -> Result<Option<Bytes>, ReadError> {
        let key = (space.into(), Bytes::copy_from_slice(key.as_ref()));
        if let Some(value) = self.current.get(&key).or_else(|| self.kept.get(&key)) {
            return Ok(value.clone());
        }
        match self.store.row(&key.0, &key.1).await {
            // Not remembered: it would be written back.
            Ok(value) => Ok(value),
            Err(error) => {
                self.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Sets a row.
    pub fn put(&mut self, space: impl Into<Space>, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.current.insert((space.into(), key.into()), Some(value.into()));
    }

    /// Removes a row.
    pub fn delete(&mut self, space: impl Into<Space>, key: impl Into<Bytes>) {
        self.current.insert((space.into(), key.into()), None);
    }

    /// The event at hand was taken in.
    pub(super) fn keep(&mut self) {
        self.kept.extend(self.current.drain());
    }

    /// The event at hand was not.
    pub(super) fn discard(&mut self) {
        self.current.clear();
    }

    pub(super) fn take_failure(&mut self) -> Option<ReadError> {
        self.failure.take()
    }

    pub(super) fn into_changes(self) -> impl Iterator<Item = RowChange> {
        self.kept.into_iter().map(|((space, key), value)| match value {
            Some(value) => RowChange::Put { space, key, value },
            None => RowChange::Delete { space, key },
        })
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("changed", &(self.kept.len() + self.current.len())).finish_non_exhaustive()
    }
}

/// Any store, as far as rows are read from it; so that [`Rows`] need not name the store's type.
pub(super) trait RowSource: Sync {
    fn row<'a>(&'a self, space: &'a Space, key: &'a Bytes) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>>;
}

impl<S: EventStore> RowSource for S {
    fn row<'a>(&'a self, space: &'a Space, key: &'a Bytes) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>> {
        Box::pin(EventStore::row(self, space.as_str(), key))
    }
}
