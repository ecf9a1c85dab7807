//! Streams that are over: kept, but out of the way.
//!
//! # Why
//!
//! An account that was closed ten years ago is still in every page that a new read model is built from, and nothing but
//! good manners keeps a late message from opening it again. To delete it is not allowed, or is regretted. An archived stream
//! is where it was, at its positions, for whoever asks for it; it is in no read that does not, and takes no event.
//!
//! # Behaviour
//!
//! [`Archive`] is a store in front of another, for everything that takes an [`EventStore`](crate::EventStore).
//!
//! | | the default | [`include_archived`](Archive::include_archived) |
//! |---|---|---|
//! | reads of the log, and so projections and decisions | without archived streams | with them |
//! | the stream itself | empty | its events |
//! | appends to it | refused: [`StreamArchived`] | refused |
//!
//! - That a stream is archived is a row, and each append through an `Archive` has the condition that there is none. The
//!   engine decides both at the same moment as everything else: an append that races with [`archive`](Archive::archive) is in
//!   the stream before it was archived, or is refused; in whichever process it was made.
//! - A read that begins after `archive` has returned does not show the stream, in any process: what is remembered of
//!   streams goes by a number that changes with every change, and each page asks for that number.
//! - [`restore`](Archive::restore) takes it back.
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::archive::{Archive, StreamArchived};
//! use resilience_cqrs::{Append, AppendError, EventStore, Expected, MemoryStore, NewEvent, Position, Query};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Archive::new(MemoryStore::new());
//! let paid = || Append::new().events("account-1", Expected::Any, [NewEvent::new("Paid", "5")]);
//! store.append(paid()).await?;
//! store.archive("account-1").await?;
//!
//! assert_eq!(store.read(Position::ORIGIN, &Query::all(), 10).await?.events, []);
//! assert_eq!(store.include_archived().read(Position::ORIGIN, &Query::all(), 10).await?.events.len(), 1);
//! let Err(AppendError::Refused(refused)) = store.append(paid()).await else { panic!() };
//! assert_eq!(refused.downcast_ref::<StreamArchived>().map(|it| it.stream.as_str()), Some("account-1"));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | [`Archive::remember`] | 10,000 streams | a megabyte; of others it is asked, a row each |
//!
//! # Errors
//!
//! An append to an archived stream is [`Refused`](crate::AppendError::Refused) with [`StreamArchived`], and is not to be
//! repeated. [`ArchiveError`] where something is archived.
//!
//! # Do and don't
//!
//! - Do go through an `Archive` with everything that appends. The condition is part of the append; one that is made past
//!   it does not have it. The alternative, a look at a row in every append of every engine, would be paid by all who
//!   archive nothing.
//! - Do decide with [`include_archived`](Archive::include_archived) what must be true of the past as well: a number that
//!   was used once is used, also if its stream is over.
//! - Don't archive a stream of which events are [parked](crate::projection): a replay finds nothing, and says so, until the
//!   stream is taken back.
//!
//! # Limits
//!
//! A read model has what it took in before. One that is built anew has nothing of archived streams, unless it runs with
//! them. Pages get shorter by what is left out, so a part of the log that is all archived is read page by page, each empty.
//! Nothing is moved: the file stays as large as it is.

mod store;
#[cfg(test)]
mod tests;

pub use self::store::{Archive, ArchiveError, StreamArchived};
