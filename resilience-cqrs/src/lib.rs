//! An embeddable event store: one durable log, streams and queries as consistency boundaries, aggregates, and
//! projections that take effect exactly once.
//!
//! See [`EventStore`] for what every engine promises.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod aggregate;
pub mod conformance;
mod log;
pub mod memory;
pub mod projection;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod store;
pub mod testing;

pub use self::log::{
    Append, AppendError, Appended, BoxError, CommandId, Committed, Condition, Conflict, Corrupt, EventType, Expected,
    Marker, Metadata, Missed, NewEvent, Position, Query, QueryItem, ReadError, Recorded, RowChange, Space,
    StreamAppend, StreamId, Tag, Unavailable, Version, Violation, Written, limits,
};
pub use self::memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::store::{EventStore, Page};
