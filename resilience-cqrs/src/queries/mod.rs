//! Questions to read models, and answers that show what the one who asks has already done.
//!
//! A read model is behind the log, mostly by a millisecond and now and then by a minute. Someone who has just paid and is
//! shown an unpaid order does not care how rare that is. So a command's answer carries the position of its effect, the
//! next question brings it along, and the answer waits until the model has got there, or says that it has not:
//!
//! ```text
//!   command ──▶ Executed { appended.last: 17 } ──▶ "Log-Position: 17" ──▶ the browser
//!   question, "Log-Position: 17" ──▶ Ask::at_least(17) ──▶ model at 16: wait ──▶ at 17: answer
//! ```
//!
//! ```
//! use std::time::Duration;
//! use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
//! use resilience_cqrs::queries::{Ask, Queries, QueryError};
//! use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, ReadError, Recorded};
//! use tower::ServiceExt;
//!
//! /// The last thing that happened to each stream.
//! struct Latest;
//!
//! impl Projection for Latest {
//!     fn name(&self) -> &str {
//!         "latest@1"
//!     }
//!
//!     fn query(&self) -> Query {
//!         Query::all()
//!     }
//!
//!     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
//!         rows.put("latest", event.stream.as_str().to_owned(), event.kind.as_str().to_owned());
//!         Ok(())
//!     }
//! }
//!
//! struct LatestOf(&'static str);
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let running = ProjectionRunner::builder(store.clone(), Latest).start();
//! let model = store.clone();
//! let queries = Queries::new(move |LatestOf(stream): LatestOf| {
//!     let model = model.clone();
//!     async move { model.row("latest", stream.as_bytes()).await }
//! })
//! .follow(running.progress(), Duration::from_secs(1));
//!
//! let opened = Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", "")]);
//! let done = store.append(opened).await?;
//! let answer = queries.clone().oneshot(Ask::new(LatestOf("account-1")).at_least(done.last)).await?;
//! assert_eq!(answer.value.as_deref(), Some(&b"Opened"[..]));
//! assert!(answer.position >= done.last);
//!
//! // Nothing is there to wait for: it says so instead of showing the past.
//! running.stop().await?;
//! let stale = queries.oneshot(Ask::new(LatestOf("account-1")).at_least(done.last.next())).await;
//! assert!(matches!(stale, Err(QueryError::Stale(_))));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! Without [`at_least`](Ask::at_least) a question is answered at once from what the model shows. There is no default wait:
//! how long somebody may be kept waiting is for the one who serves to say.
//!
//! # Errors
//!
//! [`QueryError::Stale`] with where the model is, [`QueryError::Failed`] with the handler's own error, and
//! [`QueryError::Unserved`] if it cannot be told which version serves.
//!
//! # Interplay
//!
//! [`Queries`] is a `tower` service, so a time limit or a bulkhead of resilience-core goes around it. A call's deadline, if
//! it is nearer than the wait, cuts the wait short. When a [new version](crate::projection::Versions) of the model takes
//! over, [`follow_serving`](Queries::follow_serving) waits for that one from then on, and tells the handler which it is.
//!
//! # Limits
//!
//! The position says that the model has taken in an event or parked it: of a [parked](crate::projection) key it shows the
//! past until somebody replays it, and [`Status`](crate::projection::Status) says so.

#[cfg(feature = "http")]
mod header;
mod service;
mod serving;
#[cfg(test)]
mod tests;

#[cfg(feature = "http")]
pub use self::header::{InvalidPosition, LOG_POSITION, position_of, set_position};
pub use self::service::{Answer, Ask, Handler, Queries, QueryError, QueryFuture};
pub use self::serving::{Served, ServingQueries};
