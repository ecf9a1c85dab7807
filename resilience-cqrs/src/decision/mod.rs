//! Decisions on a query: what may happen depends on the events of several streams, and on no others.
//!
//! An aggregate is a boundary drawn in advance: everything it decides on must be in its one stream. "At most 30 students in
//! a course, at most 10 courses for a student" fits into neither the course nor the student. Here each decision names the
//! events it depends on, by type and tag, and that query is its boundary: an append conflicts if, and only if, an event
//! that it matches has come since it was read. Two enrolments of different students in different courses do not meet.
//! This is the "dynamic consistency boundary" of <https://dcb.events>.
//!
//! ```text
//!   query ──read──▶ model ──rule──▶ events ──append, if nothing new matches──▶ done
//!                     ▲                                  │ something does
//!                     └────────── fold it in ◀───────────┘
//! ```
//!
//! ```
//! use resilience_cqrs::decision::{Decisions, Model};
//! use resilience_cqrs::{MemoryStore, Query, QueryItem, StreamId, Tag};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! enum Campus {
//!     CourseOpened { course: String, seats: u32 },
//!     StudentEnrolled { course: String, student: String },
//! }
//!
//! /// What the question "may she enrol?" depends on.
//! #[derive(Clone, Debug, Default)]
//! struct Enrolment {
//!     seats: u32,
//!     taken: u32,
//! }
//!
//! impl Model for Enrolment {
//!     type Event = Campus;
//!
//!     fn evolve(&mut self, event: &Campus) {
//!         match event {
//!             Campus::CourseOpened { seats, .. } => self.seats = *seats,
//!             Campus::StudentEnrolled { .. } => self.taken += 1,
//!         }
//!     }
//!
//!     fn stream(event: &Campus) -> StreamId {
//!         let (Campus::CourseOpened { course, .. } | Campus::StudentEnrolled { course, .. }) = event;
//!         StreamId::from(format!("course-{course}"))
//!     }
//!
//!     fn tags(event: &Campus) -> Vec<Tag> {
//!         match event {
//!             Campus::CourseOpened { course, .. } => vec![format!("course:{course}").into()],
//!             Campus::StudentEnrolled { course, student } => {
//!                 vec![format!("course:{course}").into(), format!("student:{student}").into()]
//!             }
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let campus: Decisions<Enrolment, _> = Decisions::new(MemoryStore::new());
//! let course = Query::any([QueryItem::new().tags(["course:rust"])]);
//! let open = Campus::CourseOpened { course: "rust".into(), seats: 1 };
//! campus.decide(course.clone(), |_| Ok::<_, &str>(vec![open.clone()])).await?;
//!
//! let enrol = |student: &'static str| {
//!     move |seen: &Enrolment| match seen.taken < seen.seats {
//!         true => Ok(vec![Campus::StudentEnrolled { course: "rust".into(), student: student.into() }]),
//!         false => Err("no seat left"),
//!     }
//! };
//! assert_eq!(campus.decide(course.clone(), enrol("ann")).await?.model.taken, 1);
//! let late = campus.decide(course, enrol("bob")).await.unwrap_err();
//! assert_eq!(late.into_refused(), Some("no seat left"));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`attempts`](DecisionsBuilder::attempts) | 5 | of n deciders on the same events one wins each round |
//! | [`backoff`](DecisionsBuilder::backoff) | 2 ms, doubling to 100 ms, drawn | those who met once should not meet again |
//! | [`keep_models`](DecisionsBuilder::keep_models) | none | a model is read anew; a kept one saves the read |
//!
//! # Errors
//!
//! Those of aggregates: [`ExecuteError`](crate::aggregate::ExecuteError).
//!
//! # Do and don't
//!
//! - Do query by tags; a query by type alone is about every event of that type, and every such append conflicts with it.
//! - Do leave types out of the query that the rule does not look at: each one more is a conflict for nothing.
//! - Don't decide on anything but the model: a rule may run several times for one decision.

mod decide;
mod decisions;
#[cfg(test)]
mod tests;

use crate::log::{StreamId, Tag};

pub use self::decide::{Decided, Decision};
pub use self::decisions::{Decisions, DecisionsBuilder};

/// What a decision is made on: a fold of the events that a query matches.
///
/// A query of several [items](crate::QueryItem) folds all that any of them matches, in the order of the log; what the
/// rule is not about is taken in by `evolve` and changes nothing.
pub trait Model: Default + Send + Sync + 'static {
    /// What can happen.
    type Event: Send + Sync + 'static;

    /// Takes in one event. Events have happened: this cannot refuse, whatever the order they come in.
    fn evolve(&mut self, event: &Self::Event);

    /// The stream an event is kept in.
    fn stream(event: &Self::Event) -> StreamId;

    /// What an event is about; what queries find it by.
    fn tags(event: &Self::Event) -> Vec<Tag>;
}
