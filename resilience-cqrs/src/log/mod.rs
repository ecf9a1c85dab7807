//! The vocabulary of the log: events, places in it, what an append asks for and how it can fail.

mod append;
mod appended;
mod digest;
mod error;
mod event;
mod id;
pub mod limits;
mod query;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "postgres", feature = "redb", feature = "sqlite"))]
pub(crate) mod text;

pub use self::append::{Append, Condition, Expected, RowChange, StreamAppend};
pub use self::appended::{Appended, Committed};
pub(crate) use self::digest::{Fnv, of_bytes as digest_of};
pub use self::error::{AppendError, BoxError, Conflict, Corrupt, Missed, ReadError, Unavailable, Violation, Written};
pub use self::event::{Metadata, NewEvent, Recorded};
pub use self::id::{CommandId, EventType, Position, Space, StreamId, Tag, Version};
pub use self::query::{Marker, Query, QueryItem};
