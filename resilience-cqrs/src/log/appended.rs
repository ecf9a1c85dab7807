//! What an append was given.

use super::{Position, StreamId, Version};

/// An append that is durable.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position, Version};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let two = [NewEvent::new("Opened", ""), NewEvent::new("Deposited", "5")];
/// let done = store.append(Append::new().events("a", Expected::NoStream, two)).await?;
/// assert_eq!((done.first, done.last, done.len()), (Position::new(1), Position::new(2), 2));
/// assert_eq!((done.version("a"), done.version("b")), (Some(Version::new(2)), None));
///
/// // Nothing but a question, and it has a place in the log all the same.
/// let asked = store.append(Append::new().events("a", Expected::Exists, [])).await?;
/// assert!(asked.is_empty() && asked.last == done.last);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first of its events.
    pub first: Position,
    /// The position of the last of its events. A reader that has reached it has seen the append.
    ///
    /// Without events `last` is the head of the log at that moment and `first` the one after it, as in an empty range.
    pub last: Position,
    /// The version of each stream it named, afterwards, in the order they were named.
    pub versions: Vec<(StreamId, Version)>,
    /// Whether this is the result of an earlier attempt with the same command id, and nothing was written now.
    pub already_committed: bool,
}

impl Appended {
    /// How many events were appended.
    pub fn len(&self) -> u64 {
        self.last.next().since(self.first)
    }

    /// Whether it had no events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version of `stream` afterwards; `None` if the append did not name it.
    pub fn version(&self, stream: &str) -> Option<Version> {
        self.versions.iter().find(|(named, _)| named == stream).map(|(_, version)| *version)
    }
}

/// A command that was committed, as the log remembers it.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// assert_eq!(store.committed(&"c1".into()).await?, None);
/// let open = Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", "")]).command_id("c1");
/// store.append(open).await?;
/// // Asked before deciding again: the answer is there, and nothing has to be decided.
/// assert!(store.committed(&"c1".into()).await?.is_some_and(|done| done.appended.already_committed));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The number its content is recognised by.
    pub fingerprint: u64,
    /// Its result, with [`already_committed`](Appended::already_committed) set.
    pub appended: Appended,
}
