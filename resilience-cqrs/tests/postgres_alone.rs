//! What a store that was alone takes for granted: the last turn, and the versions it remembers.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use futures::future::{join_all, try_join_all};
use resilience_cqrs::{
    Append, AppendError, Condition, EventStore, Expected, Marker, MemoryStore, Metadata, NewEvent, PostgresStore,
    Query, QueryItem, Version,
};
use testkit::postgres::Postgres;

use self::postgres_common::{all_events, event, new_schema, open, payload, runtime, shared_server, to};

/// An append that has, beside its event, what the bits of `shape` say: a new stream, a command, a query, tags, metadata.
fn of_shape(shape: u32, nth: u64) -> Append {
    let has = |bit: u32| shape & (1 << bit) != 0;
    let mut event = NewEvent::new("Happened", format!("{shape} {nth}"));
    if has(3) {
        event = event.tag(format!("shape:{shape}")).tag("all");
    }
    if has(4) {
        event = event.metadata(Metadata::new().with_actor("ann").with_trace(format!("trace {nth}")));
    }
    let mut append = Append::new().events("always", Expected::Any, [event.clone(), event.clone()]);
    if has(0) {
        append = append.events(format!("expected {shape} {nth}"), Expected::NoStream, [event.clone()]).events(
            format!("other {shape} {nth}"),
            if has(1) { Expected::NoStream } else { Expected::Any },
            [event],
        );
    }
    if has(1) {
        append = append.command_id(format!("command {shape} {nth}"));
    }
    if has(2) {
        let query = Query::tags(["nobody's"]).or(QueryItem::default().types(["Never"]));
        append = append.require(Condition::no_match(query, Marker::START));
    }
    append
}

/// Statements are made to measure: each of them must write the same as the engine in memory.
#[test]
fn whatever_a_batch_has_is_written_whole_by_the_statement_made_for_it() {
    let (store, model) = (open(shared_server(), &new_schema()), MemoryStore::new());
    runtime().block_on(async {
        for nth in 0..3 {
            for shape in 0..32 {
                let done = store.append(of_shape(shape, nth)).await.unwrap();
                assert_eq!(done, model.append(of_shape(shape, nth)).await.unwrap(), "shape {shape}");
                if shape & 2 != 0 {
                    let again = store.append(of_shape(shape, nth)).await.unwrap();
                    assert!(again.already_committed);
                    assert_eq!((again.last, again.versions), (done.last, done.versions));
                }
            }
        }
        let (stored, expected) = (all_events(&store).await, all_events(&model).await);
        assert_eq!(stored.len(), expected.len());
        for (stored, expected) in stored.iter().zip(&expected) {
            let without_time = |event: &resilience_cqrs::Recorded| {
                let mut event = event.clone();
                event.recorded_at = Default::default();
                event
            };
            assert_eq!(without_time(stored), without_time(expected));
        }
        let tagged = store.read(Default::default(), &Query::tags(["shape:9"]), 100).await.unwrap();
        assert_eq!(tagged.events.len(), 3 * 4, "two of one stream, and of two others");
    });
}

/// A version that is remembered while somebody else goes on would let an append pass that has missed something, or give
/// a version out twice.
#[test]
fn what_somebody_else_wrote_in_between_is_not_remembered_away() {
    let schema = new_schema();
    let (store, other) = (open(shared_server(), &schema), open(shared_server(), &schema));
    runtime().block_on(async {
        let mut version = 0;
        for round in 0..20 {
            for _ in 0..3 {
                version += 1;
                let done = store.append(to("s", Expected::Any, round)).await.unwrap();
                assert_eq!(done.versions[0].1, Version::new(version), "by what it remembers");
            }
            version += 1;
            match round % 2 {
                0 => other.append(to("s", Expected::Any, "other")).await.map(drop).unwrap(),
                _ => {
                    let mut conn = store.connection().await.unwrap();
                    let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
                    store.append_in(&mut tx, to("s", Expected::Any, "own transaction")).await.unwrap();
                    tx.commit().await.unwrap();
                }
            }
            let stale = store.append(to("s", Expected::Exact(Version::new(version - 1)), "stale")).await.unwrap_err();
            let AppendError::Conflict(conflict) = stale else { panic!("{stale}") };
            assert!(conflict.of_stream("s").is_some());
        }
        let events = store.read_stream(&"s".into(), Version::EMPTY, 1_000).await.unwrap();
        assert!(events.iter().map(|event| event.version.get()).eq(1..=version));
    });
}

/// The same, if what was remembered is only asked for when nobody else has written for a while.
#[test]
fn what_somebody_else_wrote_some_turns_ago_is_not_remembered_away() {
    let schema = new_schema();
    let (store, other) = (open(shared_server(), &schema), open(shared_server(), &schema));
    runtime().block_on(async {
        for round in 0..5 {
            for expected in [Expected::Any, Expected::Exact(Version::new(1))] {
                let stream = format!("{round} {expected:?}");
                store.append(to(&stream, Expected::Any, "own")).await.unwrap();
                other.append(to(&stream, Expected::Any, "other")).await.unwrap();
                for nth in 0..3 {
                    store.append(to("another", Expected::Any, nth)).await.unwrap();
                }
                match (expected, store.append(to(&stream, expected, "own")).await) {
                    (Expected::Any, done) => assert_eq!(done.unwrap().versions[0].1, Version::new(3)),
                    (_, done) => assert!(done.unwrap_err().as_conflict().is_some()),
                }
            }
        }
    });
}

/// Refused by what it remembers, by what the server finds, and beside neighbours that are accepted.
#[test]
fn a_conflict_is_told_whether_the_version_was_remembered_or_not() {
    let schema = new_schema();
    open_and_fill(&schema);
    let store = open(shared_server(), &schema);
    runtime().block_on(async {
        for _ in 0..3 {
            store.append(to("known", Expected::Any, 1)).await.unwrap();
            for stream in ["known", "unknown"] {
                let error = store.append(to(stream, Expected::NoStream, "late")).await.unwrap_err();
                let AppendError::Conflict(conflict) = error else { panic!("{error}") };
                assert!(conflict.of_stream(stream).is_some());
            }
            store.append(to("nothing", Expected::Exists, "of nothing")).await.unwrap_err();
            let results = join_all([
                store.append(to("known", Expected::Exists, "good")),
                store.append(to("unknown", Expected::Exact(Version::new(7)), "bad")),
                store.append(to("unknown", Expected::Exact(Version::new(1)), "good only once")),
            ])
            .await;
            assert!(results[0].is_ok() && results[1].is_err());
        }
        let shown = all_events(&store).await;
        assert!(shown.iter().all(|event| !["late", "bad", "of nothing"].contains(&payload(event).as_str())));
        assert_eq!(shown.iter().filter(|event| payload(event) == "good only once").count(), 1);
    });
}

/// The result of a command is written down with the versions it led to: also those that only the server knew. And what a
/// repeated command is answered with is how things were, not how they are.
#[test]
fn a_repeated_command_is_answered_with_what_it_led_to_and_teaches_nothing() {
    let schema = new_schema();
    open_and_fill(&schema);
    let store = open(shared_server(), &schema);
    runtime().block_on(async {
        // From here on the last turn is its own, and of the streams it remembers this one only.
        store.append(to("known", Expected::Any, 1)).await.unwrap();
        for stream in ["known", "unknown"] {
            for expected in [Expected::Any, Expected::Exists] {
                let append = || to(stream, expected, "once").command_id(format!("{stream} {expected:?}"));
                let done = store.append(append()).await.unwrap();
                // What came after is not what the command led to.
                let later = store.append(to(stream, Expected::Any, "later")).await.unwrap().versions[0].1;
                assert_eq!(later, done.versions[0].1.next());
                let again = store.append(append()).await.unwrap();
                assert!(again.already_committed);
                assert_eq!((again.first, &again.versions), (done.first, &done.versions));
                let any = store.append(to(stream, Expected::Any, "any")).await.unwrap();
                assert_eq!(any.versions[0].1, later.next());
                let exact = store.append(to(stream, Expected::Exact(later.next()), "exact")).await.unwrap();
                assert_eq!(exact.versions[0].1, later.next().next());
            }
        }
    });
}

fn open_and_fill(schema: &str) {
    let store = open(shared_server(), schema);
    runtime().block_on(async {
        try_join_all(["known", "unknown"].map(|stream| store.append(to(stream, Expected::NoStream, 0)))).await.unwrap();
        store.close().await;
    });
}

/// A crash takes turns back that this store has seen, and others write turns of the same numbers: to go on by the number
/// would be to go on by another log.
#[test]
fn turns_that_a_crash_has_taken_back_are_not_gone_on_from() {
    let mut server = Postgres::start().unwrap();
    let store = open(&server.url(), "log");
    runtime().block_on(async {
        for nth in 0..5 {
            store.append(to("s", Expected::Any, nth)).await.unwrap();
        }
        let mut conn = store.connection().await.unwrap();
        let tables: (i64, i64) =
            sqlx::query_as("SELECT turn, position FROM log_head").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(tables, (5, 5));
        // What is left after the crash, and what somebody else has made of the numbers since.
        let lost = "DELETE FROM log_event WHERE position > 2;
            INSERT INTO log_event (position, stream, version, kind, recorded_at, payload)
            SELECT n, 'other', n - 2, 'Happened', 0, '' FROM generate_series(3, 5) AS n";
        sqlx::raw_sql(lost).execute(&mut *conn).await.unwrap();
    });
    server.restart().unwrap();
    runtime().block_on(async {
        // The connection is gone with what it proved; the first attempt may find that out.
        let done = loop {
            if let Ok(done) = store.append(to("s", Expected::Any, "after")).await {
                break done;
            }
        };
        assert_eq!(done.versions[0].1, Version::new(3), "by what is there, not by what was");
    });
}

/// Loads that wait together share a statement; none may get another's events, or another's error.
#[test]
fn streams_read_side_by_side_come_to_those_who_asked_for_them() {
    let store: PostgresStore = open(shared_server(), &new_schema());
    runtime().block_on(async {
        for nth in 0..40_u64 {
            let events = (0..nth % 7).map(|of| event(format!("{nth} {of}")));
            if nth % 7 > 0 {
                store.append(Append::new().events(format!("s{nth}"), Expected::Any, events)).await.unwrap();
            }
        }
        for limit in [3, 512, usize::MAX] {
            let reads = (0..40_u64).map(|nth| {
                let store = store.clone();
                async move { store.read_stream(&format!("s{nth}").into(), Version::new(1), limit).await.unwrap() }
            });
            // What the server cannot even compare with, in the middle of it.
            let strange = "a\0b".into();
            let (all, refused) = futures::join!(join_all(reads), store.read_stream(&strange, Version::EMPTY, 1));
            assert!(refused.is_err());
            for (nth, events) in (0..).zip(all) {
                let told: Vec<String> = events.iter().map(payload).collect();
                let due: Vec<String> = (1..nth % 7_u64).take(limit).map(|of| format!("{nth} {of}")).collect();
                assert_eq!(told, due);
            }
        }
    });
}
