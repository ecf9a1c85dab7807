//! What every engine offers.

use std::future::Future;

use bytes::Bytes;
use tokio::sync::watch;

use crate::forgetting::Forgetting;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Marker, Position, Query, ReadError, Recorded, StreamId,
    Version,
};

/// One append-only log with small keyed rows beside it, in one transaction.
///
/// The engines differ in where they keep it, not in what they promise; [`conformance`](crate::conformance) checks the
/// promises, and an engine of your own should run it too.
///
/// - An append happens entirely or not at all, and is durable (as far as the engine is) when it is acknowledged.
/// - Positions are gapless and in commit order: what a reader has passed, nothing can appear behind.
/// - Nothing is visible to any reader, waiter or conflict reply before it is durable.
/// - All conditions of an append are about the state right before it.
/// - Clones are one store.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position, Version};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let other = store.clone();
/// let both = Append::new()
///     .events("a", Expected::NoStream, [NewEvent::new("Opened", "")])
///     .events("b", Expected::Exists, [NewEvent::new("Closed", "")]);
/// assert!(store.append(both).await.is_err());
/// // One expectation failed, so the other stream has nothing either, on any clone.
/// assert_eq!(other.read_stream(&"a".into(), Version::EMPTY, 10).await?, []);
/// assert_eq!(other.head(), Position::ORIGIN);
/// # Ok(()) }
/// ```
pub trait EventStore: Clone + Send + Sync + 'static {
    /// Appends events and changes rows in one transaction, if every expectation and condition holds.
    ///
    /// Dropped before it completes, the append may or may not happen, but never by half; with a
    /// [command id](Append::command_id) the next attempt tells.
    ///
    /// # Errors
    /// See [`AppendError`]; on all but [`Unavailable`](AppendError::Unavailable) nothing was written.
    fn append(&self, append: Append) -> impl Future<Output = Result<Appended, AppendError>> + Send;

    /// The first result of a command, if it was committed; what a handler asks before it decides a second time.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn committed(&self, command: &CommandId) -> impl Future<Output = Result<Option<Committed>, ReadError>> + Send;

    /// The events after `after` that `query` matches, in the order of the log.
    ///
    /// `limit` is the most events the page may have, at least 1 and at most
    /// [`limits::PAGE_EVENTS`](crate::limits::PAGE_EVENTS); what lies outside is brought inside. A page may be shorter
    /// than its limit before the end, so go by [`Page::next`], not by its length.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(
        &self,
        after: Position,
        query: &Query,
        limit: usize,
    ) -> impl Future<Output = Result<Page, ReadError>> + Send;

    /// The events of one stream after version `after`, in order. Fewer than `limit` only at its end.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read_stream(
        &self,
        stream: &StreamId,
        after: Version,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Recorded>, ReadError>> + Send;

    /// The events of several streams, each after a version of its own, as [`read_stream`](Self::read_stream) would give
    /// them one by one: at most `limit` of each, in the order of `streams`.
    ///
    /// Engines do it in one round trip. Unless an engine says how, the streams are read one after another.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let opened = || [NewEvent::new("Opened", "")];
    /// store.append(Append::new().events("a", Expected::Any, opened()).events("c", Expected::Any, opened())).await?;
    /// // One that is not there is one that is empty, in its place.
    /// let asked = ["a", "b", "c"].map(|stream| (stream.into(), Version::EMPTY));
    /// let read = store.read_streams(&asked, 10).await?;
    /// assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ReadError`]; if one stream cannot be read, none is.
    fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Vec<Recorded>>, ReadError>> + Send {
        async move {
            let mut all = Vec::with_capacity(streams.len());
            for (stream, after) in streams {
                all.push(self.read_stream(stream, *after, limit).await?);
            }
            Ok(all)
        }
    }

    /// The value of a row.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn row(&self, space: &str, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;

    /// The rows of a space in the order of their keys, after `after`. Fewer than `limit` only at the end.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, MemoryStore, RowChange};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let keys = ["order-10", "order-9", "order-1"];
    /// store.append(Append::new().rows(keys.map(|key| RowChange::put("open", key, "")))).await?;
    /// // In the order of bytes, which is not that of numbers; page by page, from the last key of the one before.
    /// let first = store.rows("open", None, 2).await?;
    /// assert_eq!([&first[0].0[..], &first[1].0[..]], [b"order-1", &b"order-10"[..]]);
    /// let rest = store.rows("open", Some(&first[1].0), 2).await?;
    /// assert_eq!(rest.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ReadError`].
    fn rows(
        &self,
        space: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Bytes, Bytes)>, ReadError>> + Send;

    /// Until when what is read here may be kept in memory. For ever, unless a store says otherwise; one in front of another
    /// hands on what that one says.
    fn forgetting(&self) -> Forgetting {
        Forgetting::default()
    }

    /// The position of the last durable event.
    fn head(&self) -> Position;

    /// Completes once the head is past `position`, with the head.
    ///
    /// Woken by the commit, without polling. It stays pending while nothing is appended, so race it against whatever
    /// else should end the wait; dropping it leaves nothing behind.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let (seen, writer) = (store.head(), store.clone());
    /// let woken = tokio::spawn(async move { store.wait_past(seen).await });
    /// let two = ["", ""].map(|payload| NewEvent::new("Opened", payload));
    /// let done = writer.append(Append::new().events("a", Expected::Any, two)).await?;
    /// assert_eq!(woken.await?, done.last); // once for both
    /// # Ok(()) }
    /// ```
    fn wait_past(&self, position: Position) -> impl Future<Output = Position> + Send;
}

/// A part of the log, as a reader asked for it.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position, Query};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let events = (0..5).map(|n| NewEvent::new("Counted", n.to_string()));
/// store.append(Append::new().events("s", Expected::Any, events)).await?;
/// let (mut at, mut seen) = (Position::ORIGIN, 0);
/// loop {
///     let page = store.read(at, &Query::all(), 2).await?;
///     (at, seen) = (page.next, seen + page.events.len());
///     if page.is_last() {
///         break;
///     }
/// }
/// assert_eq!((at, seen), (store.head(), 5));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, in the order of the log.
    pub events: Vec<Recorded>,
    /// Up to where everything the query matches has been seen, if earlier pages were read too: for a
    /// [`Condition::NoMatch`](crate::Condition::NoMatch).
    pub marker: Marker,
    /// Where the next page starts: every event up to here was returned or does not match.
    pub next: Position,
    /// The head of the log at the time of the read; the reader has caught up when `next` has reached it.
    pub head: Position,
}

impl Page {
    /// Whether the reader has caught up with the head it read at.
    pub fn is_last(&self) -> bool {
        self.next >= self.head
    }
}

/// Waits on a published head; for engines of this crate.
pub(crate) async fn wait_past(head: &watch::Sender<Position>, position: Position) -> Position {
    let mut heads = head.subscribe();
    let reached = heads.wait_for(|head| *head > position).await.map(|head| *head);
    // The sender is borrowed for as long as this future lives, so the channel cannot be closed.
    match reached {
        Ok(head) => head,
        Err(_) => std::future::pending().await,
    }
}
