//! A store without what is over.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use quick_cache::sync::Cache;
use thiserror::Error;

use crate::forgetting::Forgetting;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Condition, Conflict, Corrupt, Expected, Position, Query,
    ReadError, Recorded, RowChange, Space, StreamId, Version, Violation,
};
use crate::store::{EventStore, Page};

/// The streams that are archived.
const ARCHIVED: Space = Space::from_static("archive");
/// How often that has changed: the number by which it is known whether what is remembered is still so.
const CHANGES: Space = Space::from_static("archive-changes");
const CHANGES_KEY: &[u8] = b"count";

/// What is remembered of streams without a setting.
const REMEMBERED: usize = 10_000;
/// Streams asked for at once.
const AT_ONCE: usize = 16;

/// An append names a stream that is archived. Comes as [`AppendError::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("stream {stream} is archived")]
pub struct StreamArchived {
    /// The stream.
    pub stream: StreamId,
}

/// A stream could not be archived or restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// There is no such stream.
    #[error("there is no stream {stream}")]
    NoStream {
        /// Its name.
        stream: StreamId,
    },
    /// The store could not be written; see [`AppendError`].
    #[error("the store does not take that a stream is archived")]
    Append(#[source] AppendError),
    /// The store could not be read.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
}

/// A store in front of another, without the streams that are archived. Clones are one store and remember together.
///
/// See the [module](super) for an example.
#[derive(Clone)]
pub struct Archive<S> {
    inner: S,
    /// Whether a stream is archived, as of a number of changes. By that number, so that what is found out slowly is not
    /// taken for what is so later.
    remembered: Arc<Cache<(u64, StreamId), bool>>,
    include: bool,
}

impl<S: EventStore> Archive<S> {
    /// In front of a store.
    pub fn new(inner: S) -> Self {
        Self { inner, remembered: Arc::new(Cache::new(REMEMBERED)), include: false }
    }

    /// Remembers of this many streams whether they are archived. Default: 10,000.
    ///
    /// Of a stream that is not remembered a row is asked for at each page that has events of it, 16 streams at
    /// once. With each change of the archive all of them are asked for anew.
    #[must_use]
    pub fn remember(mut self, streams: NonZeroUsize) -> Self {
        self.remembered = Arc::new(Cache::new(streams.get()));
        self
    }

    /// The same store, with archived streams in what is read.
    ///
    /// ```
    /// use resilience_cqrs::archive::Archive;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Archive::new(MemoryStore::new());
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// store.archive("a").await?;
    /// let all = store.include_archived();
    /// assert_eq!(all.read_stream(&"a".into(), Version::EMPTY, 10).await?.len(), 1);
    /// // More is read through it, not more allowed.
    /// let late = Append::new().events("a", Expected::Any, [NewEvent::new("Paid", "")]);
    /// assert!(all.append(late).await.is_err());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn include_archived(&self) -> Self {
        Self { include: true, ..self.clone() }
    }

    /// The store behind it, which knows nothing of archived streams, and takes appends to them.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Archives a stream; whether it was not archived before.
    ///
    /// ```
    /// use resilience_cqrs::archive::{Archive, ArchiveError};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Archive::new(MemoryStore::new());
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// assert!(store.archive("a").await?);
    /// assert!(!store.archive("a").await?, "done twice is done once");
    /// assert!(matches!(store.archive("b").await, Err(ArchiveError::NoStream { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ArchiveError`]; it may have been done or not, and may be done again.
    pub async fn archive(&self, stream: impl Into<StreamId>) -> Result<bool, ArchiveError> {
        self.change(stream.into(), true).await
    }

    /// Takes a stream back among the others; whether it was archived.
    ///
    /// ```
    /// use resilience_cqrs::archive::Archive;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Archive::new(MemoryStore::new());
    /// let opened = || Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")]);
    /// store.append(opened()).await?;
    /// store.archive("a").await?;
    /// assert!(store.restore("a").await?);
    /// store.append(opened()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ArchiveError`]; it may have been done or not, and may be done again.
    pub async fn restore(&self, stream: impl Into<StreamId>) -> Result<bool, ArchiveError> {
        self.change(stream.into(), false).await
    }

    /// Whether a stream is archived.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_archived(&self, stream: impl Into<StreamId>) -> Result<bool, ReadError> {
        let Some(changes) = self.changes().await?.1 else { return Ok(false) };
        Ok(self.look(changes, stream.into()).await?.1)
    }

    /// The archived streams after `after`, in the order of their names. Fewer than `limit` only at the end.
    ///
    /// ```
    /// use resilience_cqrs::archive::Archive;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Archive::new(MemoryStore::new());
    /// for stream in ["a", "b", "c"] {
    ///     store.append(Append::new().events(stream, Expected::Any, [NewEvent::new("Opened", "")])).await?;
    ///     store.archive(stream).await?;
    /// }
    /// // Page by page, from the last name of the one before.
    /// let first = store.archived(None, 2).await?;
    /// assert_eq!(first, ["a", "b"]);
    /// assert_eq!(store.archived(first.last(), 2).await?, ["c"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub async fn archived(&self, after: Option<&StreamId>, limit: usize) -> Result<Vec<StreamId>, ReadError> {
        let after = after.map(|stream| stream.as_str().as_bytes());
        let rows = self.inner.rows(ARCHIVED.as_str(), after, limit).await?;
        let name = |(key, _): (Bytes, Bytes)| {
            let corrupt = |_| ReadError::Corrupt(Corrupt::new("the name of an archived stream is no text"));
            String::from_utf8(key.into()).map(StreamId::from).map_err(corrupt)
        };
        rows.into_iter().map(name).collect()
    }

    async fn change(&self, stream: StreamId, archive: bool) -> Result<bool, ArchiveError> {
        let key = key(&stream);
        loop {
            let there = self.inner.row(ARCHIVED.as_str(), &key).await?;
            if there.is_some() == archive {
                return Ok(false);
            }
            let (row, changes) = self.changes().await?;
            let count = changes.unwrap_or(0).saturating_add(1).to_be_bytes();
            let change = match archive {
                true => RowChange::put(ARCHIVED, key.clone(), count.to_vec()),
                false => RowChange::delete(ARCHIVED, key.clone()),
            };
            let append = Append::new()
                .events(stream.clone(), Expected::Exists, [])
                .require(Condition::Row { space: ARCHIVED, key: key.clone(), equals: there })
                .require(Condition::Row { space: CHANGES, key: Bytes::from_static(CHANGES_KEY), equals: row })
                .row(change)
                .row(RowChange::put(CHANGES, CHANGES_KEY, count.to_vec()));
            match self.inner.append(append).await {
                Ok(_) => return Ok(true),
                Err(AppendError::Conflict(conflict)) if conflict.of_stream(stream.as_str()).is_some() => {
                    return Err(ArchiveError::NoStream { stream });
                }
                // Somebody else has changed something; perhaps this.
                Err(AppendError::Conflict(_)) => {}
                Err(error) => return Err(ArchiveError::Append(error)),
            }
        }
    }

    /// How often something was archived or restored, as the row says it; nothing if never.
    async fn changes(&self) -> Result<(Option<Bytes>, Option<u64>), ReadError> {
        let Some(row) = self.inner.row(CHANGES.as_str(), CHANGES_KEY).await? else { return Ok((None, None)) };
        let corrupt = |_| ReadError::Corrupt(Corrupt::new("the count of archived streams cannot be read"));
        let count = <[u8; 8]>::try_from(&row[..]).map_err(corrupt)?;
        Ok((Some(row), Some(u64::from_be_bytes(count))))
    }

    /// Whether a stream is archived, if `changes` is how often that has changed.
    async fn look(&self, changes: u64, stream: StreamId) -> Result<(StreamId, bool), ReadError> {
        let of = (changes, stream);
        let archived = match self.remembered.get(&of) {
            Some(archived) => archived,
            None => {
                let archived = self.inner.row(ARCHIVED.as_str(), of.1.as_str().as_bytes()).await?.is_some();
                self.remembered.insert(of.clone(), archived);
                archived
            }
        };
        Ok((of.1, archived))
    }

    /// Takes the events of archived streams out.
    async fn hide(&self, lists: &mut [Vec<Recorded>]) -> Result<(), ReadError> {
        let mut streams: Vec<_> = lists.iter().flatten().map(|event| event.stream.clone()).collect();
        if self.include || streams.is_empty() {
            return Ok(());
        }
        // Asked for after the events were read: what was archived before the read began is among the changes.
        let Some(changes) = self.changes().await?.1 else { return Ok(()) };
        streams.sort_unstable();
        streams.dedup();
        let looks: Vec<_> = streams.into_iter().map(|stream| self.look(changes, stream)).collect();
        let archived: HashMap<StreamId, bool> =
            futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
        for events in lists {
            events.retain(|event| archived.get(&event.stream) != Some(&true));
        }
        Ok(())
    }
}

fn key(stream: &StreamId) -> Bytes {
    Bytes::copy_from_slice(stream.as_str().as_bytes())
}

/// The archived stream that an append named, if that is why it conflicts.
fn archived(conflict: &Conflict) -> Option<StreamArchived> {
    conflict.violations.iter().find_map(|violation| match violation {
        Violation::Row { space, key, actual: Some(_) } if *space == ARCHIVED => {
            Some(StreamArchived { stream: StreamId::from(String::from_utf8_lossy(key).into_owned()) })
        }
        _ => None,
    })
}

impl<S: EventStore> EventStore for Archive<S> {
    async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        // Last, so that a caller's own conditions keep their numbers.
        let written = append.streams().iter().filter(|part| !part.events.is_empty());
        let open: Vec<_> = written.map(|part| Condition::row_absent(ARCHIVED, key(&part.stream))).collect();
        append.conditions.extend(open);
        self.inner.append(append).await.map_err(|error| match error.as_conflict().and_then(archived) {
            // Not a conflict: nobody is to decide again.
            Some(archived) => AppendError::Refused(archived.into()),
            None => error,
        })
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.inner.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let mut page = self.inner.read(after, query, limit).await?;
        self.hide(std::slice::from_mut(&mut page.events)).await?;
        Ok(page)
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let mut events = self.inner.read_stream(stream, after, limit).await?;
        self.hide(std::slice::from_mut(&mut events)).await?;
        Ok(events)
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        let mut all = self.inner.read_streams(streams, limit).await?;
        self.hide(&mut all).await?;
        Ok(all)
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.inner.row(space, key).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.inner.rows(space, after, limit).await
    }

    fn forgetting(&self) -> Forgetting {
        self.inner.forgetting()
    }

    fn head(&self) -> Position {
        self.inner.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.inner.wait_past(position).await
    }
}

impl<S: fmt::Debug> fmt::Debug for Archive<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("inner", &self.inner).field("include", &self.include).finish_non_exhaustive()
    }
}
