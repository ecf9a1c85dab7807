//! What a command came to.

use thiserror::Error;

use super::{CodecError, Decider};
use crate::log::{AppendError, Appended, BoxError, Conflict, ReadError, Version};

/// A command that was executed.
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
/// use resilience_cqrs::{EventStore, MemoryStore, Position};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
/// // Nothing to do is done at once, and leaves no trace.
/// let idle = counters.execute("1", &0).await?;
/// assert!(idle.events.is_empty() && idle.appended.is_none() && idle.attempts == 1);
/// assert_eq!(counters.store().head(), Position::ORIGIN);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Executed<D: Decider> {
    /// The aggregate afterwards.
    pub state: D,
    /// Its version.
    pub version: Version,
    /// What happened; empty if there was nothing to do, or if it had been done before.
    pub events: Vec<D::Event>,
    /// What the store answered; `None` if there was nothing to append.
    ///
    /// A read model that has reached [`last`](Appended::last) shows the command's effect.
    pub appended: Option<Appended>,
    /// How many attempts it took, 1 without a conflict.
    pub attempts: u32,
}

/// A command was not executed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecuteError<E> {
    /// The aggregate refused it. This is the domain speaking, not a failure.
    #[error("the command was refused")]
    Refused(E),
    /// Others appended to the same stream, on every attempt or once where the aggregate rejects that.
    #[error("{conflict} (after {attempts} attempts)")]
    Conflict {
        /// The last conflict.
        conflict: Conflict,
        /// How many attempts were made.
        attempts: u32,
    },
    /// The store did not take the events.
    #[error(transparent)]
    Append(AppendError),
    /// The store could not be read.
    #[error(transparent)]
    Read(ReadError),
    /// The aggregate decided an event that it says cannot be; see [`Decider::validate`].
    #[error("an event that was decided is not valid")]
    Invalid(#[source] BoxError),
    /// An event cannot be written down or read back.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl<E> ExecuteError<E> {
    /// Whether executing the command again later may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Append(error) => error.is_retryable(),
            Self::Read(error) => error.is_retryable(),
            Self::Refused(_) | Self::Invalid(_) | Self::Codec(_) => false,
        }
    }

    /// The domain's reason, if that is what it is.
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
    /// let error = counters.execute("1", &-1).await.unwrap_err();
    /// assert!(!error.is_retryable(), "the same state gives the same answer");
    /// assert_eq!(error.into_refused(), Some("below zero"));
    /// # Ok(()) }
    /// ```
    pub fn into_refused(self) -> Option<E> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}
