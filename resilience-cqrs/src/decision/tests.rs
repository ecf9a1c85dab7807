use std::cell::RefCell;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;
use crate::aggregate::ExecuteError;
use crate::log::limits::MISSED_EVENTS;
use crate::log::{Append, AppendError, Expected, Marker, NewEvent, Position, Query, QueryItem};
use crate::testing::FaultyStore;
use crate::{EventStore, MemoryStore, Metadata};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Campus {
    Opened { course: u32, seats: u32 },
    Enrolled { course: u32, student: u32 },
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Course {
    seats: u32,
    taken: Vec<u32>,
}

impl Model for Course {
    type Event = Campus;

    fn evolve(&mut self, event: &Campus) {
        match event {
            Campus::Opened { seats, .. } => self.seats = *seats,
            Campus::Enrolled { student, .. } => self.taken.push(*student),
        }
    }

    fn stream(event: &Campus) -> StreamId {
        match event {
            Campus::Opened { course, .. } => format!("course-{course}").into(),
            Campus::Enrolled { student, .. } => format!("student-{student}").into(),
        }
    }

    fn tags(event: &Campus) -> Vec<Tag> {
        match event {
            Campus::Opened { course, .. } => vec![format!("course:{course}").into()],
            Campus::Enrolled { course, student } => {
                vec![format!("course:{course}").into(), format!("student:{student}").into()]
            }
        }
    }
}

fn course(course: u32) -> Query {
    Query::any([QueryItem::new().types(["Opened", "Enrolled"]).tags([format!("course:{course}")])])
}

fn enrol(course: u32, student: u32) -> impl FnMut(&Course) -> Result<Vec<Campus>, &'static str> {
    move |seen| match seen.taken.len() < seen.seats as usize {
        true => Ok(vec![Campus::Enrolled { course, student }]),
        false => Err("full"),
    }
}

fn open(course: u32, seats: u32) -> impl FnMut(&Course) -> Result<Vec<Campus>, &'static str> {
    move |_| Ok(vec![Campus::Opened { course, seats }])
}

fn decisions<S: EventStore>(store: S) -> Decisions<Course, S> {
    Decisions::builder(store).attempts(NonZeroU32::MAX).backoff(Duration::ZERO, Duration::ZERO).seed(1).build()
}

fn keeping<S: EventStore>(store: S) -> Decisions<Course, S> {
    Decisions::builder(store).keep_models(NonZeroUsize::new(8).unwrap()).backoff(Duration::ZERO, Duration::ZERO).build()
}

/// ES48: capacity 1, two at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_students_who_want_the_last_seat_at_once_one_gets_it() {
    for _ in 0..50 {
        let campus = decisions(MemoryStore::new());
        campus.decide(course(1), open(1, 1)).await.unwrap();
        let both = [1, 2].map(|student| {
            let campus = campus.clone();
            tokio::spawn(async move { campus.decide(course(1), enrol(1, student)).await.map(|done| done.model.taken) })
        });
        let answers = futures::future::join_all(both).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().map(Result::unwrap).partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1));
        assert!(lost.into_iter().all(|answer| answer.unwrap_err().into_refused() == Some("full")));
        assert_eq!(campus.store().head(), Position::new(2));
    }
}

/// ES49: disjoint tags do not meet, however many write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_about_different_things_never_conflict() {
    let campus = decisions(MemoryStore::new());
    let writers = (0..32).map(|writer| {
        let campus = campus.clone();
        tokio::spawn(async move {
            campus.decide(course(writer), open(writer, 100)).await.unwrap();
            for student in 0..20 {
                let done = campus.decide(course(writer), enrol(writer, student)).await.unwrap();
                assert_eq!(done.attempts, 1);
            }
        })
    });
    futures::future::join_all(writers).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_course_never_overbooks_it_whether_models_are_kept_or_not() {
    for kept in [false, true] {
        let store = MemoryStore::new();
        let fresh = || if kept { keeping(store.clone()) } else { decisions(store.clone()) };
        fresh().decide(course(1), open(1, 10)).await.unwrap();
        // Several, so that what one keeps is made old by the others.
        let crowd = (0..4).map(|group| {
            let campus = fresh();
            tokio::spawn(async move {
                for student in 0..8 {
                    match campus.decide(course(1), enrol(1, group * 100 + student)).await {
                        Ok(_) | Err(ExecuteError::Refused("full") | ExecuteError::Conflict { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        });
        futures::future::join_all(crowd).await.into_iter().for_each(Result::unwrap);
        let enrolled = store.read(Position::ORIGIN, &Query::types(["Enrolled"]), 100).await.unwrap().events.len();
        assert!((1..=10).contains(&enrolled), "{enrolled}");
        let last = fresh().decide(course(1), |seen| Err::<Vec<_>, _>(seen.taken.len())).await;
        assert_eq!(last.unwrap_err().into_refused(), Some(enrolled));
    }
}

#[tokio::test]
async fn a_kept_model_saves_the_read_and_takes_in_only_what_its_query_matches() {
    let store = FaultyStore::new(MemoryStore::new());
    let campus = keeping(store.clone());
    campus.decide(course(1), open(1, 5)).await.unwrap();
    let reads = store.reads();
    campus.decide(course(1), enrol(1, 7)).await.unwrap();
    // Two events, of which the second is of another course: the model does not know it afterwards.
    let both = |_: &Course| {
        Ok::<_, &str>(vec![Campus::Enrolled { course: 1, student: 8 }, Campus::Enrolled { course: 2, student: 8 }])
    };
    campus.decide(course(1), both).await.unwrap();
    let done = campus.decide(course(1), enrol(1, 9)).await.unwrap();
    assert_eq!((done.model.taken, done.attempts), (vec![7, 8, 9], 1));
    assert_eq!(store.reads(), reads);
}

#[tokio::test]
async fn no_refusal_is_given_on_a_kept_model_that_is_old() {
    let store = MemoryStore::new();
    let (here, elsewhere) = (keeping(store.clone()), keeping(store));
    here.decide(course(1), open(1, 1)).await.unwrap();
    here.decide(course(1), enrol(1, 1)).await.unwrap();
    elsewhere.decide(course(1), open(1, 2)).await.unwrap();
    assert_eq!(here.decide(course(1), enrol(1, 2)).await.unwrap().model.taken, [1, 2]);
    assert_eq!(here.decide(course(1), enrol(1, 3)).await.unwrap_err().into_refused(), Some("full"));
}

/// A conflict lists some of what was missed. What a rule says of a model with those alone is no answer.
#[tokio::test]
async fn no_refusal_is_given_on_some_of_what_a_conflict_has_missed() {
    let store = MemoryStore::new();
    let (campus, others) = (keeping(store.clone()), decisions(store));
    campus.decide(course(1), open(1, 1)).await.unwrap();
    // All it knows of is one seat, by then taken; another hundred are opened beyond what a conflict lists.
    for student in 0..MISSED_EVENTS as u32 {
        let enrolled = |_: &Course| Ok::<_, &str>(vec![Campus::Enrolled { course: 1, student }]);
        others.decide(course(1), enrolled).await.unwrap();
    }
    others.decide(course(1), open(1, 100)).await.unwrap();
    let done = campus.decide(course(1), enrol(1, 1_000)).await.unwrap();
    assert_eq!((done.attempts, done.model.taken.len()), (2, MISSED_EVENTS + 1));
}

#[tokio::test]
async fn a_decision_made_twice_under_one_id_is_made_once() {
    let campus = decisions(MemoryStore::new());
    campus.decide(course(1), open(1, 1)).await.unwrap();
    let once = |command: u32| campus.on(course(1)).once("c1", &command).unwrap();
    let first = once(7).decide(enrol(1, 7)).await.unwrap();
    // Decided on its own effect, it would be refused.
    let second = once(7).decide(enrol(1, 7)).await.unwrap();
    assert!(second.events.is_empty() && second.appended.as_ref().unwrap().already_committed);
    assert_eq!(second.appended.unwrap().last, first.appended.unwrap().last);
    let misuse = once(8).decide(enrol(1, 7)).await.unwrap_err();
    assert!(matches!(misuse, ExecuteError::Append(AppendError::IdMisuse { .. })), "{misuse:?}");
}

/// As with the aggregates: the first attempt gets there after the second has asked for it.
#[tokio::test]
async fn a_second_attempt_in_the_middle_of_the_first_is_answered_with_its_result() {
    let campus = decisions(MemoryStore::new());
    campus.decide(course(1), open(1, 1)).await.unwrap();
    let once = || campus.on(course(1)).once("c1", &7).unwrap();
    let first = RefCell::new(Some(once()));
    let second = once().decide(|_| {
        let first = first.take().map(|first| futures::executor::block_on(first.decide(enrol(1, 7))));
        assert!(first.is_some_and(|first| first.is_ok()));
        Err::<Vec<Campus>, _>("full")
    });
    assert!(second.await.unwrap().appended.unwrap().already_committed);
}

#[tokio::test]
async fn an_event_the_model_cannot_read_stops_the_decision() {
    let store = MemoryStore::new();
    let foreign = [NewEvent::new("Opened", "{}").tag("course:1")];
    store.append(Append::new().events("x", Expected::Any, foreign)).await.unwrap();
    let error = decisions(store).decide(course(1), enrol(1, 1)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Codec(_)), "{error:?}");
}

#[tokio::test]
async fn nothing_to_do_appends_nothing_and_metadata_goes_with_what_is_appended() {
    let campus = decisions(MemoryStore::new());
    let idle = campus.decide(course(1), |_| Ok::<_, &str>(vec![])).await.unwrap();
    assert!(idle.appended.is_none() && campus.store().head() == Position::ORIGIN);
    campus.on(course(1)).metadata(Metadata::new().with_actor("ann")).decide(open(1, 1)).await.unwrap();
    let page = campus.store().read(Position::ORIGIN, &Query::all(), 1).await.unwrap();
    assert_eq!(page.events[0].metadata.actor(), Some("ann"));
}

/// ES51: whoever else writes need not be a decision, or know of models that are kept: an event without a condition, in a stream of
/// its own, and with another model's marker.
#[tokio::test]
async fn no_decision_stands_on_a_kept_model_that_a_foreign_writer_has_made_old() {
    let store = MemoryStore::new();
    let campus = keeping(store.clone());
    campus.decide(course(1), open(1, 2)).await.unwrap();
    campus.decide(course(1), enrol(1, 1)).await.unwrap();
    let event = NewEvent::new("Enrolled", r#"{"course":1,"student":2}"#).tag("course:1");
    store.append(Append::new().events("elsewhere", Expected::Any, [event])).await.unwrap();
    // Allowed on the kept model, refused on the real one.
    assert_eq!(campus.decide(course(1), enrol(1, 3)).await.unwrap_err().into_refused(), Some("full"));
    // Refused on the kept model, allowed on the real one.
    let event = NewEvent::new("Opened", r#"{"course":1,"seats":3}"#).tag("course:1");
    store.append(Append::new().events("elsewhere", Expected::Any, [event])).await.unwrap();
    assert_eq!(campus.decide(course(1), enrol(1, 3)).await.unwrap().model.taken, [1, 2, 3]);
    // Nothing to do is an answer as well.
    let event = NewEvent::new("Enrolled", r#"{"course":1,"student":4}"#).tag("course:1");
    store.append(Append::new().events("elsewhere", Expected::Any, [event])).await.unwrap();
    let idle = campus.decide(course(1), |_| Ok::<_, &str>(vec![])).await.unwrap();
    assert_eq!(idle.model.taken, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_model_of_a_log_that_was_put_back_is_not_believed() {
    let campus = keeping(MemoryStore::new());
    let model = Course { seats: 1, taken: vec![1] };
    let models = campus.shared.models.as_ref().unwrap();
    let (marker, epoch) = (Marker::seen_through(Position::new(3)), models.epoch());
    models.put(&course(1), &super::decide::Seen { model, marker, epoch }, (3, epoch));
    campus.decide(course(1), open(1, 1)).await.unwrap();
    assert_eq!(campus.decide(course(1), enrol(1, 2)).await.unwrap().model, Course { seats: 1, taken: vec![2] });
}
