//! Expectations about streams, and what one append is.

use std::sync::Barrier;

use super::{Engine, append, assert_versions, conflict, each, event, payloads, stream, to, wait};
use crate::log::limits::{MISSED_EVENTS, NAME_BYTES};
use crate::log::{
    Append, AppendError, Condition, Expected, Marker, Missed, NewEvent, Position, Query, RowChange, Version, Violation,
};
use crate::store::EventStore;

/// Two writers at the same version: one append goes in, and the other's conflict carries the event it missed, so that it
/// need not read again.
// ES1.
pub fn of_two_exact_writers_one_wins_and_the_other_learns_what_it_missed(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("s", Expected::NoStream, 1..=3));
    let gate = Barrier::new(2);
    let results = each(2, |n| {
        gate.wait();
        wait(store.append(to("s", Expected::Exact(Version::new(3)), [format!("of {n}")])))
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    assert_eq!(won[0].as_ref().ok().and_then(|won| won.version("s")), Some(Version::new(4)));
    let conflict = conflict(lost.into_iter().next().expect("one lost"));
    let [Violation::Stream { actual, missed, .. }] = &conflict.violations[..] else { panic!("{conflict:?}") };
    assert_eq!(*actual, Version::new(4));
    let all = stream(&store, "s");
    assert_eq!(all.len(), 4);
    assert_eq!(*missed, Missed { events: all[3..].to_vec(), more: false });
}

/// 32 writers that expect nothing: every append is acknowledged, and the versions have neither hole nor repetition.
// ES2.
pub fn writers_without_expectation_leave_no_hole(engine: &impl Engine) {
    const EACH: usize = 100;
    let store = engine.fresh();
    let mut positions: Vec<u64> = each(32, |n| {
        (0..EACH).map(|m| append(&store, to("s", Expected::Any, [n * EACH + m])).first.get()).collect::<Vec<_>>()
    })
    .concat();
    positions.sort_unstable();
    let total = 32 * EACH as u64;
    assert_eq!(positions, (1..=total).collect::<Vec<_>>());
    let events = stream(&store, "s");
    assert_eq!(events.len() as u64, total);
    assert_versions(&events);
    assert_eq!(store.head(), Position::new(total));
}

/// A stream at 3 is not at 10 either. A store that relies on a unique index alone would leave a hole here.
// ES3.
pub fn an_expectation_ahead_of_the_stream_conflicts(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("s", Expected::Any, 1..=3));
    let ahead = conflict(wait(store.append(to("s", Expected::Exact(Version::new(10)), [4]))));
    assert_eq!(ahead.to_string(), "conflict: stream s is at version 3, not 10");
    let [Violation::Stream { missed, .. }] = &ahead.violations[..] else { panic!("{ahead:?}") };
    assert_eq!(*missed, Missed::default());
    assert_eq!(store.head(), Position::new(3));
}

/// `NoStream` twice at once makes one stream; `Exists` needs one.
// ES4.
pub fn a_stream_is_made_once_and_a_missing_one_does_not_exist(engine: &impl Engine) {
    let store = engine.fresh();
    let missing = conflict(wait(store.append(to("s", Expected::Exists, [1]))));
    assert_eq!(missing.to_string(), "conflict: stream s does not exist");
    let gate = Barrier::new(8);
    let made = each(8, |n| {
        gate.wait();
        wait(store.append(to("s", Expected::NoStream, [n]))).is_ok()
    });
    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    append(&store, to("s", Expected::Exists, [2]));
    assert_eq!(stream(&store, "s").len(), 2);
}

/// One of two streams is not as expected: neither changes, and the conflict names the one that is not.
// ES5.
pub fn an_append_over_two_streams_is_all_or_nothing(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("a", Expected::Any, [1]));
    append(&store, to("b", Expected::Any, 1..=8));
    let both = |b| {
        let a = Expected::Exact(Version::new(1));
        Append::new().events("a", a, [event("x")]).events("b", Expected::Exact(Version::new(b)), [event("y")])
    };
    let stale = conflict(wait(store.append(both(7))));
    let [Violation::Stream { stream: named, actual, missed, .. }] = &stale.violations[..] else { panic!("{stale:?}") };
    assert_eq!((named.as_str(), *actual), ("b", Version::new(8)));
    assert_eq!(payloads(&missed.events), ["8"]);
    assert_eq!((stream(&store, "a").len(), stream(&store, "b").len()), (1, 8));
    let done = append(&store, both(8));
    assert_eq!((done.first, done.last, done.len()), (Position::new(10), Position::new(11), 2));
    assert_eq!((done.version("a"), done.version("b")), (Some(Version::new(2)), Some(Version::new(9))));
}

/// Of 100 appends at once the 37th conflicts; the others do not notice.
// ES6.
pub fn a_conflict_costs_its_neighbours_nothing(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("s-37", Expected::Any, [0]));
    let appends = (0..100).map(|n| store.append(to(&format!("s-{n}"), Expected::NoStream, [n])));
    let results = wait(futures::future::join_all(appends));
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.is_err(), n == 37, "append {n}: {result:?}");
    }
    assert_eq!(store.head(), Position::new(100));
}

/// 10,001 events in one append are one append: in order, without a gap.
// ES7.
pub fn ten_thousand_events_are_one_append(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("other", Expected::Any, ["first"]));
    let done = append(&store, to("s", Expected::NoStream, 0..10_001));
    assert_eq!((done.first, done.last), (Position::new(2), Position::new(10_002)));
    let events = stream(&store, "s");
    assert_versions(&events);
    assert!(events.iter().enumerate().all(|(n, event)| event.position.get() == n as u64 + 2));
    assert_eq!(events[10_000].payload, "10000");
}

/// No events is not an error, and not version 0 either.
pub fn an_empty_append_tells_the_current_version(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("s", Expected::Any, 1..=3));
    let nothing = append(&store, Append::new().events("s", Expected::Exists, []).events("t", Expected::NoStream, []));
    assert_eq!((nothing.version("s"), nothing.version("t")), (Some(Version::new(3)), Some(Version::EMPTY)));
    assert_eq!((nothing.last, nothing.len(), nothing.is_empty()), (Position::new(3), 0, true));
    assert_eq!(append(&store, Append::new()).last, Position::new(3));
    conflict(wait(store.append(Append::new().events("s", Expected::Exact(Version::new(2)), []))));
    assert_eq!(store.head(), Position::new(3));
    // The stream that was only asked about was not made by asking.
    append(&store, to("t", Expected::NoStream, [1]));
}

/// Everything that was not as expected is said at once, and no reply carries more than it may.
pub fn a_conflict_lists_every_violation_and_bounds_what_was_missed(engine: &impl Engine) {
    let store = engine.fresh();
    let many = MISSED_EVENTS + 5;
    append(&store, to("a", Expected::Any, 0..many));
    append(&store, to("b", Expected::Any, [0]).row(RowChange::put("heads", "k", "1")));
    let stale = to("a", Expected::NoStream, [1])
        .events("b", Expected::Exact(Version::new(5)), [event(1)])
        .require(Condition::no_match(Query::types(["Happened"]), Marker::START))
        .require(Condition::row_is("heads", "k", "1"))
        .require(Condition::row_absent("heads", "k"));
    let conflict = conflict(wait(store.append(stale)));
    let [of_a, of_b, matched, row] = &conflict.violations[..] else { panic!("{conflict:?}") };
    let all = stream(&store, "a");
    let bounded = Missed { events: all[..MISSED_EVENTS].to_vec(), more: true };
    let Violation::Stream { missed, .. } = of_a else { panic!("{of_a:?}") };
    assert_eq!(*missed, bounded);
    assert!(matches!(of_b, Violation::Stream { actual, .. } if *actual == Version::new(1)), "{of_b:?}");
    assert_eq!(*matched, Violation::Matched { condition: 0, missed: bounded });
    assert!(matches!(row, Violation::Row { actual: Some(value), .. } if value == "1"), "{row:?}");
    assert!(!conflict.to_string().is_empty());
}

/// What breaks a limit is refused before it touches anything, and the store goes on.
pub fn an_invalid_append_is_refused_and_changes_nothing(engine: &impl Engine) {
    let store = engine.fresh();
    let invalid = [
        to(&"n".repeat(NAME_BYTES + 1), Expected::Any, [1]),
        Append::new().events("s", Expected::Any, [event(1), NewEvent::new("", "2")]),
        to("s", Expected::Any, [1]).events("s", Expected::Any, [event(2)]),
        to("s", Expected::Any, [1]).row(RowChange::put("a\nb", "k", "v")),
    ];
    for append in invalid {
        let refused = wait(store.append(append));
        assert!(matches!(refused, Err(AppendError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(store.head(), Position::ORIGIN);
    append(&store, to("s", Expected::NoStream, [1]));
}
