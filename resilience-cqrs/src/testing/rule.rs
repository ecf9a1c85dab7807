//! Given what was seen, when this rule is asked, then that is decided: a [decision](crate::decision) without a store.

use std::fmt::{self, Debug};

use crate::aggregate::{EventCodec, Json};
use crate::decision::Model;
use crate::log::Query;

/// What a decision on this query sees of these events: those it matches, as the [`Decisions`](crate::decision::Decisions)
/// read them. An event it does not match is not in the model, which is how a test finds a query that is too narrow.
///
/// # Panics
/// If an event cannot be written down.
///
/// ```
/// use resilience_cqrs::decision::Model;
/// use resilience_cqrs::testing::seen;
/// use resilience_cqrs::{Query, StreamId, Tag};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// enum Campus {
///     Enrolled { course: String, student: String },
/// }
///
/// #[derive(Debug, Default)]
/// struct Seats(usize);
///
/// impl Model for Seats {
///     type Event = Campus;
///     fn evolve(&mut self, _: &Campus) { self.0 += 1; }
///     fn stream(Campus::Enrolled { course, .. }: &Campus) -> StreamId { course.as_str().into() }
///     fn tags(Campus::Enrolled { course, .. }: &Campus) -> Vec<Tag> { vec![format!("course:{course}").into()] }
/// }
///
/// let enrolled = |course: &str, student: &str| Campus::Enrolled { course: course.into(), student: student.into() };
/// let enrol = |seats: &Seats| if seats.0 < 2 { Ok(vec![enrolled("rust", "cy")]) } else { Err("full") };
///
/// let history = [enrolled("rust", "ann"), enrolled("go", "bob")];
/// let after = seen::<Seats>(&Query::tags(["course:rust"]), history).when(enrol).then([enrolled("rust", "cy")]);
/// after.when(enrol).then_error("full");
/// ```
pub fn seen<M: Model>(query: &Query, events: impl IntoIterator<Item = M::Event>) -> Seen<M>
where
    Json: EventCodec<M::Event>,
{
    let mut seen = Seen { query: query.clone(), model: M::default() };
    events.into_iter().for_each(|event| seen.take_in(&event));
    seen
}

/// A model made of events.
#[derive(Debug)]
pub struct Seen<M> {
    query: Query,
    model: M,
}

impl<M: Model> Seen<M>
where
    Json: EventCodec<M::Event>,
{
    /// Asks a rule.
    pub fn when<E>(self, rule: impl FnOnce(&M) -> Result<Vec<M::Event>, E>) -> Ruling<M, E> {
        let decided = rule(&self.model);
        Ruling { seen: self, decided }
    }

    /// The model, to look at.
    pub fn model(&self) -> &M {
        &self.model
    }

    fn take_in(&mut self, event: &M::Event) {
        let encoded = Json.encode(event).expect("the event can be encoded");
        if self.query.matches(&encoded.kind, &M::tags(event)) {
            self.model.evolve(event);
        }
    }
}

/// What a rule decided.
#[must_use]
pub struct Ruling<M: Model, E> {
    seen: Seen<M>,
    decided: Result<Vec<M::Event>, E>,
}

impl<M: Model, E: Debug + PartialEq> Ruling<M, E>
where
    M::Event: Debug + PartialEq,
    Json: EventCodec<M::Event>,
{
    /// It decided on exactly these events. Returns what is seen after them.
    ///
    /// # Panics
    /// If it decided on anything else.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = M::Event>) -> Seen<M> {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(self.decided, Ok(expected), "decided (left) is not as expected (right)");
        let mut seen = self.seen;
        self.decided.iter().flatten().for_each(|event| seen.take_in(event));
        seen
    }

    /// It refused, for exactly this reason.
    ///
    /// # Panics
    /// If it did not, or for another reason.
    #[track_caller]
    pub fn then_error(self, expected: E) {
        assert_eq!(self.decided, Err(expected), "decided (left) is not as expected (right)");
    }
}

impl<M: Model + Debug, E: Debug> Debug for Ruling<M, E>
where
    M::Event: Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ruling").field("seen", &self.seen).field("decided", &self.decided).finish()
    }
}
