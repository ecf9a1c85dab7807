//! An embeddable event store: one durable log, streams and queries as consistency boundaries, aggregates, and
//! projections that take effect exactly once.
//!
//! # Why
//!
//! Most of what goes wrong with events goes wrong between two commits: an event is stored and its row is not, a model is
//! updated and its checkpoint is not, a command is repeated because its answer was lost. Here events, conditions, rows and
//! the command's name are one [`Append`], which happens entirely or not at all; the rest of the crate is built on that.
//!
//! # Behaviour
//!
//! | part | does |
//! |---|---|
//! | [`EventStore`] | what every engine promises: [`MemoryStore`], SQLite in one file (feature `sqlite`), redb without C (feature `redb`), PostgreSQL (feature `postgres`); [`AnyStore`] is the one an address names |
//! | [`aggregate`] | decides commands by pure rules, at most once each if they have an id |
//! | [`decision`] | decides on the events of a query, whatever their streams, with that query as the boundary of consistency |
//! | [`projection`] | keeps read models that take each event in exactly once |
//! | [`conflict`] | state that nodes change without asking each other, and that merges to the same on all |
//! | [`archive`] | takes streams that are over out of what is read, and lets nothing be appended to them |
//! | `audit` | finds out whether somebody has changed what happened, and where first (feature `audit`) |
//! | [`messaging`] | tells others what was appended, in order and at least once, and takes what others tell once |
//! | [`lease`] | says which of several processes may act, by the database's clock (with `sqlite` or `postgres`) |
//! | [`queries`] | answers questions to read models, and waits for what the one who asks has already done |
//! | `privacy` | encrypts what is personal, so that who is forgotten is forgotten everywhere (feature `privacy`) |
//! | [`tenant`] | gives each tenant a log with an order of its own, and what is of one to no other |
//! | [`testing`] | tests of programs on it: given-when-then, an app in memory, a store that fails where and when a test says |
//! | [`conformance`] | the promises as tests for an engine of yours |
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::{Append, Condition, EventStore, Expected, MemoryStore, NewEvent, Position, Query};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! // One seat is left. The decision is about all events of the course, whatever their streams.
//! let course = Query::tags(["course:c1"]);
//! let seen = store.read(Position::ORIGIN, &course, 100).await?;
//! let enrol = |student: &str| {
//!     Append::new()
//!         .require(Condition::no_match(course.clone(), seen.marker))
//!         .events(student, Expected::Any, [NewEvent::new("Enrolled", "").tag("course:c1")])
//! };
//! store.append(enrol("student-1")).await?;
//! // Decided on the same knowledge, which is old by now.
//! assert!(store.append(enrol("student-2")).await.unwrap_err().as_conflict().is_some());
//! # Ok(()) }
//! ```
//!
//! # How to
//!
//! | to | use |
//! |---|---|
//! | decide commands by rules, each command at most once | [`aggregate::Repository::execute_once`] |
//! | keep a read model | [`projection::Projection`] |
//! | tell others what was appended | [`messaging::Relay`], and [`messaging::Outbox`] for what no event says |
//! | take a message in once that comes twice | [`messaging::Inbox`] |
//! | keep a message that nobody can handle, and handle it again later | [`messaging::Consumer`]; [`redrive`](messaging::ConsumerHandle::redrive), [`DeadLetters`](messaging::DeadLetters) |
//! | test a consumer without a server | [`messaging::MemoryBus`] and [`MemoryStore`]: [an example](messaging::consumer#tests) |
//! | test rules without a store | [`testing::given`] |
//! | encrypt a personal field, and forget whose it is | `privacy::Personal<T>` in the event, `privacy::PrivateStore` before the store (feature `privacy`) |
//! | keep tenants apart | [`tenant::Tenants`] |
//! | let one process of many do something | [`lease`] |
//!
//! # Errors
//!
//! [`AppendError`] and [`ReadError`] are told apart by what the caller may do next; a [`Conflict`] carries what was missed.
//! When [nobody knows](Written::Unknown) whether an append happened, the same [command id](Append::command_id) tells.
//!
//! # Limits
//!
//! One log has one order: SQLite and redb have one writer, PostgreSQL a lock that writers take in turn. Sizes are in [`limits`], far above sound use. Events are not deleted.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod aggregate;
mod any;
pub mod archive;
#[cfg(feature = "audit")]
pub mod audit;
#[cfg(any(feature = "postgres", feature = "redb", feature = "sqlite"))]
mod cache;
pub mod conflict;
pub mod conformance;
pub mod decision;
mod forgetting;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod lease;
mod log;
pub mod memory;
pub mod messaging;
mod pace;
mod panic;
#[cfg(any(feature = "redb", feature = "sqlite"))]
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "privacy")]
pub mod privacy;
pub mod projection;
pub mod queries;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod states;
mod store;
pub mod tenant;
pub mod testing;

pub use self::any::{AddressError, AnyStore};
pub use self::forgetting::Forgetting;
pub use self::log::{
    Append, AppendError, Appended, BoxError, CommandId, Committed, Condition, Conflict, Corrupt, EventType, Expected,
    Marker, Metadata, Missed, NewEvent, Position, Query, QueryItem, ReadError, Recorded, RowChange, Space,
    StreamAppend, StreamId, Tag, Unavailable, Version, Violation, Written, limits,
};
pub use self::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "redb")]
pub use self::redb::RedbStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::store::{EventStore, Page};

/// The guide's pieces of code, run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-events.md")]
struct Guide;
