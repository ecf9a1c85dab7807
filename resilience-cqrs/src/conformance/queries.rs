//! Conditions and reads that follow types and tags instead of streams.

use std::sync::Barrier;

use resilience_core::rng::Rng;

use super::{Engine, append, conflict, each, ok, payloads, to, wait};
use crate::log::{
    Append, AppendError, Condition, Expected, Marker, NewEvent, Position, Query, QueryItem, Recorded, Violation,
};
use crate::store::EventStore;

fn tagged(kind: &str, tags: &[&str]) -> NewEvent {
    NewEvent::new(kind, "").tags(tags.iter().copied())
}

fn one(stream: &str, event: NewEvent) -> Append {
    Append::new().events(stream, Expected::Any, [event])
}

/// Everything the query matches, and the marker that says so.
fn all<S: EventStore>(store: &S, query: &Query) -> (Vec<Recorded>, Marker) {
    let mut events = Vec::new();
    let mut after = Position::ORIGIN;
    loop {
        let page = ok(wait(store.read(after, query, 100)));
        let last = page.is_last();
        events.extend(page.events);
        after = page.next;
        if last {
            return (events, page.marker);
        }
    }
}

/// One place, two students at once, no stream in common: exactly one is enrolled.
// ES48.
pub fn of_two_students_one_gets_the_last_place(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, one("courses", tagged("CapacitySet", &["course:c1"])));
    let course = Query::any([QueryItem::new().types(["CapacitySet", "Enrolled"]).tags(["course:c1"])]);
    let gate = Barrier::new(2);
    let results = each(2, |n| {
        let (seen, marker) = all(&store, &course);
        assert!(seen.iter().all(|event| event.kind != "Enrolled"), "both decide on the empty course");
        gate.wait();
        let student = format!("student:{n}");
        let enrolled = one(&student, tagged("Enrolled", &["course:c1", &student]));
        wait(store.append(enrolled.require(Condition::no_match(course.clone(), marker))))
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    let conflict = conflict(lost.into_iter().next().expect("one lost"));
    let [Violation::Matched { condition: 0, missed }] = &conflict.violations[..] else { panic!("{conflict:?}") };
    assert_eq!((missed.events.len(), missed.events[0].kind.as_str()), (1, "Enrolled"));
    assert_eq!(all(&store, &Query::types(["Enrolled"])).0.len(), 1);
}

/// 32 writers, each on a tag of its own: a boundary conflicts with what it is about and with nothing else.
// ES49.
pub fn writers_on_disjoint_tags_never_conflict(engine: &impl Engine) {
    let store = engine.fresh();
    each(32, |n| {
        let tag = format!("account:{n}");
        let query = Query::tags([tag.as_str()]);
        for _ in 0..20 {
            let (_, marker) = all(&store, &query);
            let deposited = one("ledger", tagged("Deposited", &[&tag]));
            append(&store, deposited.require(Condition::no_match(query.clone(), marker)));
        }
    });
    assert_eq!(store.head(), Position::new(32 * 20));
}

/// Invoice numbers without hole or repetition, with no tag and no stream to hold on to.
// ES50.
pub fn a_type_alone_is_a_boundary(engine: &impl Engine) {
    let store = engine.fresh();
    let invoices = Query::types(["InvoiceIssued"]);
    each(10, |n| {
        let mut issued = 0;
        while issued < 5 {
            let (seen, marker) = all(&store, &invoices);
            let number = NewEvent::new("InvoiceIssued", (seen.len() + 1).to_string());
            let other = NewEvent::new("Noted", "");
            let append = Append::new().events(format!("clerk-{n}"), Expected::Any, [other, number]);
            match wait(store.append(append.require(Condition::no_match(invoices.clone(), marker)))) {
                Ok(_) => issued += 1,
                Err(AppendError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let (issued, _) = all(&store, &invoices);
    let numbers: Vec<String> = (1..=50).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&issued), numbers);
}

/// Whoever appends without conditions still counts for those who have some.
// ES51.
pub fn an_unconditional_append_is_seen_by_a_condition(engine: &impl Engine) {
    let store = engine.fresh();
    let query = Query::tags(["t"]);
    let (_, marker) = all(&store, &query);
    append(&store, one("a", tagged("X", &["t"])));
    let condition = Condition::no_match(query.clone(), marker);
    conflict(wait(store.append(one("b", tagged("Y", &["t"])).require(condition))));
    let (_, marker) = all(&store, &query);
    // What the condition does not match is no reason to refuse.
    append(&store, one("a", tagged("X", &["u"])));
    append(&store, one("b", tagged("Y", &["t"])).require(Condition::no_match(query, marker)));
    // And an append is no conflict with itself.
    let never = Condition::no_match(Query::tags(["unique:1"]), Marker::START);
    let twice = || one("c", tagged("Taken", &["unique:1"])).require(never.clone());
    append(&store, twice());
    conflict(wait(store.append(twice())));
}

/// A read that stopped at its limit must not vouch for what it did not return.
// ES52.
pub fn a_marker_of_half_the_events_conflicts_with_the_other_half(engine: &impl Engine) {
    let store = engine.fresh();
    let query = Query::tags(["t"]);
    for _ in 0..4 {
        append(&store, one("s", tagged("X", &["t"])));
        append(&store, one("s", tagged("X", &["other"])));
    }
    let half = ok(wait(store.read(Position::ORIGIN, &query, 2)));
    assert_eq!(half.events.len(), 2);
    let on_half = one("s", tagged("Y", &[])).require(Condition::no_match(query.clone(), half.marker));
    let conflict = conflict(wait(store.append(on_half)));
    let [Violation::Matched { missed, .. }] = &conflict.violations[..] else { panic!("{conflict:?}") };
    assert_eq!(missed.events.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [5, 7]);
    let (_, whole) = all(&store, &query);
    append(&store, one("s", tagged("Y", &[])).require(Condition::no_match(query, whole)));
}

/// Items are alternatives, tags are all needed, types are any.
pub fn queries_match_any_item_all_tags_and_any_type(engine: &impl Engine) {
    let store = engine.fresh();
    for (kind, tags) in [
        ("A", &["x"][..]),
        ("B", &["x", "y"]),
        ("A", &["y", "x", "z"]),
        ("C", &[]),
        ("A", &["y"]),
        ("B", &["z", "x", "y"]),
    ] {
        append(&store, one("s", tagged(kind, tags)));
    }
    let found = |query: &Query| all(&store, query).0.iter().map(|event| event.position.get()).collect::<Vec<_>>();
    assert_eq!(found(&Query::all()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(found(&Query::types(["A", "C"])), [1, 3, 4, 5]);
    assert_eq!(found(&Query::tags(["x", "y"])), [2, 3, 6]);
    assert_eq!(found(&Query::tags(["x", "y", "z"])), [3, 6]);
    assert_eq!(found(&Query::any([QueryItem::new().types(["B"]).tags(["x", "z"])])), [6]);
    assert_eq!(found(&Query::types(["C"]).or(QueryItem::new().tags(["z"]))), [3, 4, 6]);
    assert_eq!(found(&Query::types(["Unheard"]).or(QueryItem::new().tags(["unheard"]))), [0; 0]);
    assert_eq!(found(&Query::any([])), [0; 0]);
    assert_eq!(found(&Query::types(["C"]).or(QueryItem::new())), [1, 2, 3, 4, 5, 6]);
}

/// A reader for whom nothing is meant gets to the head all the same, and need not look again after a restart.
// ES18.
pub fn a_filtered_read_moves_past_what_it_does_not_match(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, one("s", tagged("Wanted", &[])));
    append(&store, to("s", Expected::Any, 0..5000));
    append(&store, one("s", tagged("Wanted", &[])));
    append(&store, to("s", Expected::Any, 0..10));
    let wanted = Query::types(["Wanted"]);
    let first = ok(wait(store.read(Position::ORIGIN, &wanted, 1)));
    assert_eq!((first.events.len(), first.next, first.head), (1, Position::new(1), Position::new(5012)));
    let second = ok(wait(store.read(first.next, &wanted, 1)));
    assert_eq!((second.events[0].position, second.next), (Position::new(5002), Position::new(5002)));
    let third = ok(wait(store.read(second.next, &wanted, 1)));
    assert_eq!((third.events.len(), third.next, third.is_last()), (0, Position::new(5012), true));
}

/// Random events, random queries: what an engine finds by index is what the definition says.
pub fn random_queries_agree_with_their_definition(engine: &impl Engine) {
    let store = engine.fresh();
    let mut rng = Rng::seeded(17);
    let kinds = ["A", "B", "C"];
    let tags = ["t0", "t1", "t2", "t3", "t4"];
    let some = |rng: &mut Rng, from: &[&'static str], share: u64| -> Vec<&'static str> {
        from.iter().copied().filter(|_| rng.below(100) < share).collect()
    };
    // Enough that an engine which indexes in bulk has some of them in its indexes and some not.
    for _ in 0..400 {
        let events = (0..rng.below(8)).map(|_| {
            let kind = kinds[rng.below(3) as usize];
            NewEvent::new(kind, "").tags(some(&mut rng, &tags, 35))
        });
        let events: Vec<_> = events.collect();
        append(&store, Append::new().events("s", Expected::Any, events));
    }
    let (log, _) = all(&store, &Query::all());
    for round in 0..200 {
        let items = (0..1 + rng.below(3))
            .map(|_| QueryItem::new().types(some(&mut rng, &kinds, 40)).tags(some(&mut rng, &tags, 30)));
        let query = Query::any(items.collect::<Vec<_>>());
        let expected = log.iter().filter(|event| query.matches(&event.kind, &event.tags)).cloned();
        assert_eq!(all(&store, &query).0, expected.collect::<Vec<_>>(), "round {round}: {query:?}");
        let after = Position::new(rng.below(log.len() as u64 + 1));
        let condition = Condition::no_match(query.clone(), Marker::seen_through(after));
        let clear = !log.iter().any(|event| event.position > after && query.matches(&event.kind, &event.tags));
        let checked = wait(store.append(Append::new().events("s", Expected::Exists, []).require(condition)));
        assert_eq!(checked.is_ok(), clear, "round {round}: after {after}, {query:?}");
    }
}
