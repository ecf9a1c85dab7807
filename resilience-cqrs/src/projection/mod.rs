//! Read models that take each event in exactly once, whatever crashes when.
//!
//! A read model that is updated in one transaction and remembers how far it got in another counts some events twice or
//! never, depending on which comes first when the process dies. Here a projection's changes and its checkpoint are one
//! append, fenced by the checkpoint's former value: either both are durable or neither, and of two runners who both think
//! the projection is theirs, the second to commit is told that it is not.
//!
//! Four kinds, same runner:
//!
//! | kind | keeps its model in | takes effect |
//! |---|---|---|
//! | [`Projection`] | rows of the store, on any engine | once |
//! | `SqlProjection` (feature `sqlite`) | tables of its own in the store's file | once |
//! | `PostgresProjection` (feature `postgres`) | tables of its own in the log's database | once |
//! | [`Reaction`] | what is outside: mails, calls | at least once, with a key that is the same each time |
//!
//! The first three change their model in the transaction that moves the checkpoint. A runner that has fallen behind takes
//! in whole batches, by one statement each if the projection knows how (`apply_all`), and reads the next one meanwhile;
//! `docs/results/projections.md` has figures.
//!
//! ```
//! use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
//! use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
//!
//! /// How often each type of event has happened.
//! struct Census;
//!
//! impl Projection for Census {
//!     fn name(&self) -> &str {
//!         "census@1"
//!     }
//!
//!     fn query(&self) -> Query {
//!         Query::all()
//!     }
//!
//!     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
//!         let key = event.kind.as_str().to_owned();
//!         let count: u64 = match rows.get("census", &key).await? {
//!             Some(count) => std::str::from_utf8(&count)?.parse()?,
//!             None => 0,
//!         };
//!         rows.put("census", key, (count + 1).to_string());
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let running = ProjectionRunner::builder(store.clone(), Census).start();
//! let opened = Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", "")]);
//! let done = store.append(opened).await?;
//! running.at_least(done.last, std::time::Duration::from_secs(1)).await?; // read your writes
//! assert_eq!(store.row("census", b"Opened").await?.as_deref(), Some(&b"1"[..]));
//! running.stop().await?;
//! # Ok(()) }
//! ```
//!
//! # When an event cannot be taken in
//!
//! It is never skipped. Its key (its stream, unless [`key`](Projection::key) says otherwise) is *parked* from that event on:
//! the later events of the key wait behind it, in order, and all other keys go on. The projection's
//! [health](Health) says so until [`replay`](ProjectionHandle::replay) has taken them in, first to last; and that happens
//! only when somebody asks, because somebody has to mend something first. This follows Axon's sequenced dead-letter queue.
//!
//! A store that cannot be reached is not the event's fault: the runner tries again, with growing pauses, for ever.
//!
//! # Within the append
//!
//! An [`InlineStore`] takes events into a model in the transaction that appends them: the model is never behind, and what
//! it refuses is not appended. It has a checkpoint like any other, so events of programs that do not know of it are taken
//! in with the next append of one that does, or by a runner beside it.
//!
//! # Many runners for one projection
//!
//! [`partitions`](ProjectionRunnerBuilder::partitions) divides a projection by key among any number of processes. Who runs
//! what is said by [leases](resilience_core::lease); that nobody else commits, by the checkpoint: who takes a partition
//! over moves its row, and a process that was stopped and wakes up finds that it has moved.
//!
//! ```text
//! node-1  #0 #1 #2 #3 ━━━━━━ batch ▒▒▒▒▒▒▒▒ stopped ▒▒▒▒▒▒▒▒▒▒▒▒▒ commit: refused, the checkpoint has another owner
//! node-2  #4 #5 #6 #7 ━━━━━━━━━━━━━━━━━━━━━┤ leases over ├ + #0 #1 #2 #3 ━━━━━━━━━━━━ + node-1 is back: gives two away
//! ```
//!
//! # A new version beside the old
//!
//! [`rebuild`](ProjectionRunnerBuilder::rebuild) takes in the log as `orders@3` while `orders@2` serves, and changes the row
//! that says [who serves](Versions) once it has caught up. Nobody waits for that: neither version is held.
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | batch | 1,024 events; 16 of a reaction | the commit's cost is spread, the writer is not held up for long; a crash repeats few effects |
//! | attempts of a reaction | 10, up to 100 ms apart at first and twice that each time up to 5 s, drawn: 10 s on average | a service that is restarted is back by then; others wait for them, so what takes longer is parked |
//! | parked events | 10,000 | a projection that parks everything is broken as a whole, and stops instead |
//! | pause after a failed commit | 100 ms to 10 s, drawn | |
//! | [lease of a partition](PartitionedBuilder::ttl) | 10 s, renewed at a third | how long a partition may stand still after a kill |
//! | [a rebuild takes over](RebuildBuilder::threshold) | 1,000 events behind the head | it is there before anybody notices |

mod apply;
mod building;
mod checkpoint;
mod config;
mod event;
mod handle;
mod inline;
mod member;
mod members;
mod meter;
mod park;
mod partitioned;
#[cfg(feature = "postgres")]
mod postgres;
mod reaction;
mod rebuild;
mod replay;
mod rows;
mod runner;
mod serving;
mod share;
#[cfg(feature = "sqlite")]
mod sql;
mod take;
#[cfg(test)]
mod tests;
mod versions;

pub(crate) use self::apply::describe;
pub use self::apply::{Apply, Keyed, Projection};
pub use self::config::ProjectionRunnerBuilder;
pub use self::event::Event;
pub use self::handle::{Health, Progress, ProjectionHandle, ReplayError, Replayed, StaleRead, Status};
pub use self::inline::{InlineEngine, InlineStore};
pub use self::partitioned::{PartitionedBuilder, PartitionedHandle, PartitionedStatus};
#[cfg(feature = "postgres")]
pub use self::postgres::{Postgres, PostgresProjection};
pub use self::reaction::{IdempotencyKey, Reacting, Reaction};
pub use self::rebuild::{Phase, RebuildBuilder, RebuildError, RebuildHandle, RebuildStatus, Rebuilt};
pub use self::rows::Rows;
pub use self::runner::{ProjectionRunner, RunnerError};
pub use self::serving::{Serving, ServingError};
#[cfg(feature = "sqlite")]
pub use self::sql::{Sql, SqlProjection};
pub use self::versions::Versions;
