//! What an append asks for.

use bytes::Bytes;

use super::limits::{self, Invalid};
use super::{CommandId, Marker, NewEvent, Query, Space, StreamId, Version, digest};

/// What a stream must look like for the append to go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it looks like.
    Any,
    /// It has no events.
    NoStream,
    /// It has at least one event.
    Exists,
    /// It has exactly this many events: more is a conflict, and so is fewer.
    Exact(Version),
}

impl Expected {
    /// Whether a stream at `actual` is as expected.
    ///
    /// ```
    /// use resilience_cqrs::{Expected, Version};
    ///
    /// assert!(Expected::NoStream.admits(Version::EMPTY));
    /// assert!(Expected::Exact(Version::EMPTY).admits(Version::EMPTY), "the same as no stream");
    /// assert!(!Expected::Exact(Version::new(3)).admits(Version::new(2)), "fewer is a conflict too");
    /// ```
    pub fn admits(self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version::EMPTY,
            Self::Exists => actual != Version::EMPTY,
            Self::Exact(version) => actual == version,
        }
    }

    /// The version the writer had in mind; what came after it, it has missed.
    pub fn known(self) -> Version {
        match self {
            Self::Exact(version) => version,
            Self::Any | Self::NoStream | Self::Exists => Version::EMPTY,
        }
    }
}

/// What else must hold, at the moment of the append, for it to go ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No event that `query` matches lies after `after`: what a decision was based on is still all there is.
    NoMatch {
        /// The events the decision was based on.
        query: Query,
        /// Up to where it had seen them.
        after: Marker,
    },
    /// A row has this value, or does not exist. A fence: of two owners who both think it is theirs, one finds it moved.
    Row {
        /// The row's space.
        space: Space,
        /// The row's key.
        key: Bytes,
        /// Its value; `None` if it must not exist.
        equals: Option<Bytes>,
    },
}

impl Condition {
    /// No event that `query` matches lies after `after`.
    ///
    /// ```
    /// use resilience_cqrs::{Append, Condition, EventStore, Expected, Marker, MemoryStore, NewEvent, Query};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A name may be taken once in the whole log, whatever the stream.
    /// let claim = |stream: &str| {
    ///     Append::new()
    ///         .require(Condition::no_match(Query::tags(["user:ann"]), Marker::START))
    ///         .events(stream, Expected::NoStream, [NewEvent::new("Claimed", "").tag("user:ann")])
    /// };
    /// let store = MemoryStore::new();
    /// store.append(claim("claim-1")).await?;
    /// assert!(store.append(claim("claim-2")).await.unwrap_err().as_conflict().is_some());
    /// # Ok(()) }
    /// ```
    pub fn no_match(query: Query, after: Marker) -> Self {
        Self::NoMatch { query, after }
    }

    /// The row has exactly this value.
    ///
    /// ```
    /// use resilience_cqrs::{Append, Condition, EventStore, MemoryStore, RowChange};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.append(Append::new().row(RowChange::put("lease", "k", "ann"))).await?;
    /// // Conditions are about the state before the append: its own change does not make it hold.
    /// let steal = Append::new().row(RowChange::put("lease", "k", "bob")).require(Condition::row_is("lease", "k", "bob"));
    /// assert!(store.append(steal).await.is_err());
    /// assert_eq!(store.row("lease", b"k").await?.as_deref(), Some(&b"ann"[..]));
    /// # Ok(()) }
    /// ```
    pub fn row_is(space: impl Into<Space>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Row { space: space.into(), key: key.into(), equals: Some(value.into()) }
    }

    /// The row does not exist.
    ///
    /// ```
    /// use resilience_cqrs::{Append, Condition, EventStore, MemoryStore, RowChange};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let first = || Append::new().require(Condition::row_absent("lease", "k")).row(RowChange::put("lease", "k", ""));
    /// store.append(first()).await?;
    /// // An empty value is a value.
    /// assert!(store.append(first()).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn row_absent(space: impl Into<Space>, key: impl Into<Bytes>) -> Self {
        Self::Row { space: space.into(), key: key.into(), equals: None }
    }
}

/// A small keyed row, changed in the append's own transaction.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, MemoryStore, RowChange};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// // Made in the order given: the last word on a row counts.
/// let changes = [RowChange::put("s", "a", "1"), RowChange::delete("s", "a"), RowChange::put("s", "b", "2")];
/// store.append(Append::new().rows(changes)).await?;
/// assert_eq!(store.row("s", b"a").await?, None);
/// assert_eq!(store.rows("s", None, 10).await?.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// Sets a row, whether it existed or not.
    Put {
        /// The row's space.
        space: Space,
        /// The row's key; rows of a space are ordered by it, bytewise.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a row; nothing happens if it does not exist.
    Delete {
        /// The row's space.
        space: Space,
        /// The row's key.
        key: Bytes,
    },
}

impl RowChange {
    /// Sets a row.
    pub fn put(space: impl Into<Space>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { space: space.into(), key: key.into(), value: value.into() }
    }

    /// Removes a row.
    pub fn delete(space: impl Into<Space>, key: impl Into<Bytes>) -> Self {
        Self::Delete { space: space.into(), key: key.into() }
    }
}

/// The part of an append that concerns one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAppend {
    /// The stream.
    pub stream: StreamId,
    /// What it must look like.
    pub expected: Expected,
    /// What is added to it, in this order; may be empty, and then only the expectation counts.
    pub events: Vec<NewEvent>,
}

/// Everything that is to happen in one transaction, or not at all.
///
/// Events of any number of streams, conditions, and row changes; all conditions are about the state before the append.
/// An append without events is legal: a checkpoint is a row and a fence.
///
/// ```
/// use resilience_cqrs::{Append, Expected, NewEvent, RowChange, Version};
///
/// let transfer = Append::new()
///     .events("account-a", Expected::Exact(Version::new(4)), [NewEvent::new("Withdrawn", "5")])
///     .events("account-b", Expected::Exists, [NewEvent::new("Deposited", "5")])
///     .row(RowChange::put("transfers", "t1", "done"))
///     .command_id("transfer-t1");
/// assert_eq!(transfer.event_count(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "an append does nothing until it is given to a store"]
pub struct Append {
    pub(crate) streams: Vec<StreamAppend>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) rows: Vec<RowChange>,
    pub(crate) command: Option<CommandId>,
    digest: Option<u64>,
}

impl Append {
    /// An append of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds events to a stream. A stream may be named once in an append.
    ///
    /// ```
    /// use resilience_cqrs::{Append, Expected, limits::Invalid};
    ///
    /// // Is the second expectation about the stream before the first part, or after it? Neither: say it in one part.
    /// let twice = Append::new().events("a", Expected::NoStream, []).events("a", Expected::Any, []);
    /// assert_eq!(twice.validate(), Err(Invalid::StreamTwice));
    /// ```
    pub fn events(
        mut self,
        stream: impl Into<StreamId>,
        expected: Expected,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        // A list of tags that was put together by hand may have one twice, which the engines' indexes cannot hold.
        let distinct = |mut event: NewEvent| {
            if event.tags.len() > 1 {
                event.tags = NewEvent::new("", "").tags(event.tags).tags;
            }
            event
        };
        let events = events.into_iter().map(distinct).collect();
        self.streams.push(StreamAppend { stream: stream.into(), expected, events });
        self
    }

    /// Adds a condition; all of them must hold.
    pub fn require(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds a row change; changes are made in the order given.
    pub fn row(mut self, change: RowChange) -> Self {
        self.rows.push(change);
        self
    }

    /// Adds several row changes.
    pub fn rows(mut self, changes: impl IntoIterator<Item = RowChange>) -> Self {
        self.rows.extend(changes);
        self
    }

    /// Names the command, so that a second attempt after a lost answer is recognised: it gets the first one's result,
    /// with [`Appended::already_committed`](super::Appended::already_committed) set, whatever the streams look like by
    /// then.
    ///
    /// The same id with other events, tags, payloads or row changes is refused as misuse. If a second attempt of yours
    /// may differ in those (a fresh timestamp in the payload), say with [`fingerprint`](Self::fingerprint) what makes it
    /// the same command.
    ///
    /// ```
    /// use resilience_cqrs::{Append, AppendError, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let open = |owner| Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", owner)]).command_id("c1");
    /// let store = MemoryStore::new();
    /// let first = store.append(open("ann")).await?;
    /// let second = store.append(open("ann")).await?; // though the stream exists by now
    /// assert!(second.already_committed && second.last == first.last);
    /// assert!(matches!(store.append(open("bob")).await, Err(AppendError::IdMisuse { .. })));
    /// # Ok(()) }
    /// ```
    pub fn command_id(mut self, id: impl Into<CommandId>) -> Self {
        self.command = Some(id.into());
        self
    }

    /// Sets what the command is recognised by, in place of what it writes; see [`command_id`](Self::command_id).
    ///
    /// ```
    /// use resilience_cqrs::{Append, Expected, NewEvent};
    ///
    /// let at = |time: &'static str| Append::new().events("a", Expected::Any, [NewEvent::new("Paid", time)]).command_id("c1");
    /// assert_ne!(at("10:00").command(), at("10:01").command());
    /// // The time is not what makes it this command.
    /// assert_eq!(at("10:00").fingerprint(b"pay a").command(), at("10:01").fingerprint(b"pay a").command());
    /// ```
    pub fn fingerprint(mut self, of: &[u8]) -> Self {
        self.digest = Some(digest::of_bytes(of));
        self
    }

    /// How many events it has.
    pub fn event_count(&self) -> usize {
        self.streams.iter().map(|part| part.events.len()).sum()
    }

    /// Its streams, for engines.
    pub fn streams(&self) -> &[StreamAppend] {
        &self.streams
    }

    /// Its conditions, for engines.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Its row changes, for engines.
    pub fn row_changes(&self) -> &[RowChange] {
        &self.rows
    }

    /// Its command, with the number its content is recognised by; for engines.
    pub fn command(&self) -> Option<(&CommandId, u64)> {
        let id = self.command.as_ref()?;
        Some((id, self.digest.unwrap_or_else(|| digest::of_append(self))))
    }

    /// Checks it against the [limits]; every engine does this first.
    ///
    /// # Errors
    /// What is too long, too many or badly named.
    pub fn validate(&self) -> Result<(), Invalid> {
        limits::check(self)
    }
}
