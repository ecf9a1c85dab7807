//! How appends and reads fail, told apart by what the caller may do next.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::limits::Invalid;
use super::{CommandId, Expected, Recorded, Space, StreamId, Version};

/// Any error, to be carried.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An append was not acknowledged.
///
/// | variant | written? | the caller may |
/// |---|---|---|
/// | [`Conflict`](Self::Conflict) | no | look at what it missed, decide again |
/// | [`IdMisuse`](Self::IdMisuse), [`Invalid`](Self::Invalid) | no | mend the program |
/// | [`Refused`](Self::Refused) | no | ask its own code |
/// | [`Full`](Self::Full) | no | make room, then repeat it |
/// | [`Unavailable`](Self::Unavailable) | see [`Unavailable::written`] | repeat it under the same command id |
/// | [`Closed`](Self::Closed) | no | open the store again |
/// | [`Corrupt`](Self::Corrupt) | no | restore |
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A stream, the events of a query or a row are not as expected.
    #[error(transparent)]
    Conflict(Conflict),
    /// The command id belongs to a command with another content.
    #[error("command id {id} belongs to another command")]
    IdMisuse {
        /// The id.
        id: CommandId,
    },
    /// The append breaks a limit; see [`limits`](crate::limits).
    #[error("append is not valid")]
    Invalid(#[source] Invalid),
    /// What the caller does inside the append's transaction failed, and took the append with it.
    #[error("refused inside the append's transaction")]
    Refused(#[source] BoxError),
    /// There is no room: the disk is full, or the store has reached its configured size.
    #[error("the store is full")]
    Full,
    /// The store cannot do it now.
    #[error("the store is unavailable, the append was {}", .0.written)]
    Unavailable(#[source] Unavailable),
    /// The store was closed, or its writer ended.
    #[error("the store is closed")]
    Closed,
    /// What is stored contradicts itself.
    #[error("the store is corrupt")]
    Corrupt(#[source] Corrupt),
}

impl AppendError {
    /// Whether a further attempt may succeed: after deciding again if it was a conflict, later otherwise.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let store = MemoryStore::builder().capacity(0).build();
    /// let append = |name: &str| Append::new().events(name, Expected::Any, [NewEvent::new("Opened", "")]);
    /// assert!(store.append(append("a")).await.unwrap_err().is_retryable(), "full, until there is room");
    /// assert!(!store.append(append("")).await.unwrap_err().is_retryable(), "no name, ever");
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Full => true,
            Self::Unavailable(unavailable) => unavailable.retryable,
            Self::IdMisuse { .. } | Self::Invalid(_) | Self::Refused(_) | Self::Closed | Self::Corrupt(_) => false,
        }
    }

    /// Whether the events may be in the log although the append was not acknowledged.
    ///
    /// ```
    /// use resilience_cqrs::testing::{Fault, FaultyStore};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// // The first answer gets lost. Without a command id, to repeat it would be to do it twice.
    /// let store = FaultyStore::new(MemoryStore::new()).on_append(|nth| (nth == 1).then_some(Fault::AnswerLost));
    /// let pay = Append::new().events("a", Expected::Any, [NewEvent::new("Paid", "5")]).command_id("c1");
    /// assert!(store.append(pay.clone()).await.unwrap_err().may_have_committed());
    /// assert!(store.append(pay).await.is_ok_and(|done| done.already_committed));
    /// # }
    /// ```
    pub fn may_have_committed(&self) -> bool {
        matches!(self, Self::Unavailable(Unavailable { written: Written::Unknown, .. }))
    }

    /// The conflict, if that is what it is.
    pub fn as_conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}

/// Everything that was not as expected, with what the caller had missed, so that deciding again needs no second read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Each violated expectation and condition; never empty.
    pub violations: Vec<Violation>,
}

impl Conflict {
    /// The violated expectation of this stream, if it is among them.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// let late = Append::new().events("a", Expected::Exact(Version::EMPTY), []).events("b", Expected::NoStream, []);
    /// let error = store.append(late).await.unwrap_err();
    /// let conflict = error.as_conflict().unwrap();
    /// assert!(conflict.of_stream("a").is_some() && conflict.of_stream("b").is_none());
    /// # Ok(()) }
    /// ```
    pub fn of_stream(&self, name: &str) -> Option<&Violation> {
        let of = |violation: &&Violation| matches!(violation, Violation::Stream { stream, .. } if stream == name);
        self.violations.iter().find(of)
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conflict: ")?;
        for (nth, violation) in self.violations.iter().enumerate() {
            if nth > 0 {
                f.write_str("; ")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Conflict {}

/// One thing that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A stream is at another version.
    Stream {
        /// The stream.
        stream: StreamId,
        /// What the writer expected.
        expected: Expected,
        /// What it is.
        actual: Version,
        /// Its events after the version the writer expected.
        missed: Missed,
    },
    /// Events match a query that were not to be there.
    Matched {
        /// Which of the append's conditions, counted from 0 in the order they were added.
        condition: usize,
        /// The events.
        missed: Missed,
    },
    /// A row has another value.
    Row {
        /// The row's space.
        space: Space,
        /// The row's key.
        key: Bytes,
        /// Its value; `None` if it does not exist.
        actual: Option<Bytes>,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { stream, expected: Expected::Exact(version), actual, .. } => {
                write!(f, "stream {stream} is at version {actual}, not {version}")
            }
            Self::Stream { stream, expected: Expected::Exists, .. } => write!(f, "stream {stream} does not exist"),
            Self::Stream { stream, actual, .. } => write!(f, "stream {stream} exists, at version {actual}"),
            Self::Matched { condition, missed } => {
                let more = if missed.more { "at least " } else { "" };
                write!(f, "{more}{} events match condition {condition}", missed.events.len())
            }
            Self::Row { space, key, actual: Some(_) } => {
                write!(f, "row {:?} of {space} has another value", String::from_utf8_lossy(key))
            }
            Self::Row { space, key, actual: None } => {
                write!(f, "row {:?} of {space} does not exist", String::from_utf8_lossy(key))
            }
        }
    }
}

/// Events the writer had not seen, in order.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version, Violation};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// for kind in ["Opened", "Deposited", "Withdrawn"] {
///     store.append(Append::new().events("a", Expected::Any, [NewEvent::new(kind, "")])).await?;
/// }
/// // Decided on the first event. The other two come with the conflict, so deciding again reads nothing.
/// let late = Append::new().events("a", Expected::Exact(Version::new(1)), [NewEvent::new("Closed", "")]);
/// let error = store.append(late).await.unwrap_err();
/// let Some(Violation::Stream { missed, .. }) = error.as_conflict().and_then(|it| it.of_stream("a")) else { panic!() };
/// assert_eq!(missed.events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["Deposited", "Withdrawn"]);
/// assert!(!missed.more);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// The first of them, at most [`limits::MISSED_EVENTS`](crate::limits::MISSED_EVENTS).
    pub events: Vec<Recorded>,
    /// Whether there are more than are listed.
    pub more: bool,
}

/// The store cannot do what was asked.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// Why.
    pub reason: String,
    /// Whether an append that met this may be in the log.
    pub written: Written,
    /// Whether the same store may manage later; if not, it must be opened again.
    pub retryable: bool,
    /// What the engine said.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Whether an append that was not acknowledged is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is not, and never will be.
    No,
    /// It may be. The answer comes by appending again under the same command id.
    Unknown,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "not written",
            Self::Unknown => "perhaps written",
        })
    }
}

/// What is stored contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Corrupt {
    /// What is wrong, and where.
    pub what: String,
}

impl Corrupt {
    /// Says what is wrong, and where.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// A read failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store cannot do it now.
    #[error("the store is unavailable")]
    Unavailable(#[source] Unavailable),
    /// The store was closed, or its readers ended.
    #[error("the store is closed")]
    Closed,
    /// What is stored contradicts itself.
    #[error("the store is corrupt")]
    Corrupt(#[source] Corrupt),
}

impl ReadError {
    /// Whether a further attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(unavailable) => unavailable.retryable,
            Self::Closed | Self::Corrupt(_) => false,
        }
    }
}
