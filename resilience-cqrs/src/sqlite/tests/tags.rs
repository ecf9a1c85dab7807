//! What the writer remembers of tags must be what the log says: a conflict that it forgets is a seat sold twice.

use resilience_core::rng::Rng;

use super::*;
use crate::MemoryStore;
use crate::log::{Marker, QueryItem, Violation};

const TAGS: [&str; 6] = ["course:1", "course:2", "student:1", "student:2", "student:3", "room:1"];

fn some(rng: &mut Rng, most: u64) -> Vec<&'static str> {
    let mut tags: Vec<_> = TAGS.to_vec();
    let count = rng.below(most + 1) as usize;
    (0..count).map(|_| tags.swap_remove(rng.below(tags.len() as u64) as usize)).collect()
}

fn query(rng: &mut Rng) -> Query {
    let items = (0..=rng.below(2)).map(|_| {
        let kinds = ["A", "B", "never"];
        let tags = some(rng, 3);
        let types = if tags.is_empty() { 1 } else { rng.below(3) as usize };
        QueryItem::new().types(kinds.into_iter().cycle().skip(rng.below(3) as usize).take(types)).tags(tags)
    });
    Query::any(items.collect::<Vec<_>>())
}

fn append(rng: &mut Rng, head: Position) -> Append {
    let event = NewEvent::new(if rng.below(2) == 0 { "A" } else { "B" }, "").tags(some(rng, 3));
    let append = Append::new().events(format!("s-{}", rng.below(4)), Expected::Any, [event]);
    match rng.below(4) {
        0 => append,
        _ => {
            let seen = Marker::seen_through(Position::new(head.get().saturating_sub(rng.below(4))));
            append.require(Condition::no_match(query(rng), seen))
        }
    }
}

/// Where it was appended, or which events were in the way.
fn outcome(result: Result<Appended, AppendError>) -> Result<Position, Vec<Vec<Position>>> {
    result.map(|done| done.last).map_err(|error| {
        let Some(conflict) = error.as_conflict() else { panic!("{error:?}") };
        let missed = conflict.violations.iter().map(|violation| match violation {
            Violation::Matched { missed, .. } => missed.events.iter().map(|event| event.position).collect(),
            other => panic!("{other:?}"),
        });
        missed.collect()
    })
}

/// ES49: the oracle is the engine that looks at every event each time. In between, appends are undone after their events were
/// written, and the store is opened anew, with nothing in mind.
#[tokio::test]
async fn what_is_remembered_of_tags_answers_as_the_whole_log_would() {
    for seed in 0..12 {
        let mut rng = Rng::seeded(seed);
        let (place, oracle) = (Place::new(), MemoryStore::new());
        let mut store = place.open().await;
        for step in 0..80 {
            let append = append(&mut rng, oracle.head());
            match rng.below(8) {
                0 => {
                    let undone = store.append_then(append, |_| Err("no".into())).await;
                    assert!(undone.is_err(), "seed {seed}, step {step}");
                }
                1 => {
                    store.close().await;
                    store = place.open().await;
                }
                _ => {
                    let (ours, due) = (store.append(append.clone()).await, oracle.append(append).await);
                    assert_eq!(outcome(ours), outcome(due), "seed {seed}, step {step}");
                }
            }
            let query = query(&mut rng);
            let positions = |page: Page| page.events.iter().map(|event| event.position).collect::<Vec<_>>();
            let ours = store.read(Position::ORIGIN, &query, 1000).await.map(positions).unwrap();
            let due = oracle.read(Position::ORIGIN, &query, 1000).await.map(positions).unwrap();
            assert_eq!(ours, due, "seed {seed}, step {step}: {query:?}");
        }
        store.verify().await.unwrap();
    }
}

/// ES51: the lock keeps other stores away. On a file system that grants a lock twice it does not, and SQL by hand asks nobody.
#[tokio::test]
async fn an_event_of_a_foreign_writer_is_seen_by_the_next_condition() {
    let place = Place::new();
    let store = place.open().await;
    let enrol = |stream: &str| {
        let event = NewEvent::new("Enrolled", "").tag("course:1");
        Append::new().events(stream, Expected::Any, [event])
    };
    let seen = store.append(enrol("s-1")).await.unwrap().last;
    let other = Connection::open(&place.path).unwrap();
    // In tables of its own it may do what it likes.
    other.execute_batch("CREATE TABLE theirs (n); INSERT INTO theirs VALUES (1)").unwrap();
    let news = Condition::no_match(Query::tags(["course:1"]), Marker::seen_through(seen));
    let seen = store.append(enrol("s-2").require(news)).await.unwrap().last;
    other
        .execute_batch(
            "BEGIN IMMEDIATE;
             INSERT INTO log_event (position, stream, version, kind, recorded_at, tags, payload)
             VALUES (3, 1, 2, 1, 0, 'course:1', x'');
             INSERT INTO log_tagged (tag, position, kind) VALUES (1, 3, 1);
             COMMIT",
        )
        .unwrap();
    let news = Condition::no_match(Query::tags(["course:1"]), Marker::seen_through(seen));
    let refused = store.append(enrol("s-3").require(news)).await;
    assert_eq!(outcome(refused), Err(vec![vec![Position::new(3)]]));
    assert_eq!(store.head(), Position::new(3), "what a conflict shows can be read");
    let stale = Append::new().events("s-1", Expected::Exact(Version::new(1)), [NewEvent::new("E", "")]);
    assert!(store.append(stale).await.unwrap_err().as_conflict().is_some());
    store.append(enrol("s-1")).await.unwrap();
    store.verify().await.unwrap();
}
