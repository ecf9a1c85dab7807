//! Archived streams, under those who still write to them.

use std::time::Duration;

use super::*;
use crate::aggregate::{Decider, ExecuteError, Repository};
use crate::conformance::Engine;
use crate::projection::{Projection, ProjectionRunner, Rows};
use crate::testing::FaultyStore;
use crate::{
    Append, AppendError, BoxError, Condition, EventStore, Expected, Marker, MemoryStore, NewEvent, Position, Query,
    Recorded, Version, Violation,
};

struct Archiving;

impl Engine for Archiving {
    type Store = Archive<MemoryStore>;

    fn fresh(&self) -> Self::Store {
        let store = Archive::new(MemoryStore::new());
        futures::executor::block_on(async {
            // Of something else: so that looking is part of every law.
            let other = Archive::new(MemoryStore::new());
            append(&other, "other").await.unwrap();
            other.archive("other").await.unwrap();
            let count = other.inner().row("archive-changes", b"count").await.unwrap().unwrap();
            let put = crate::RowChange::put("archive-changes", "count", count);
            store.append(Append::new().row(put)).await.unwrap();
        });
        store
    }
}

/// Nobody who archives nothing notices.
mod laws {
    crate::conformance_tests!(super::Archiving);
}

async fn append(store: &impl EventStore, stream: &str) -> Result<Position, AppendError> {
    let event = NewEvent::new("Happened", "").tag("all");
    Ok(store.append(Append::new().events(stream, Expected::Any, [event])).await?.last)
}

async fn streams(store: &impl EventStore, query: &Query) -> Vec<String> {
    let (mut at, mut found) = (Position::ORIGIN, Vec::new());
    loop {
        let page = store.read(at, query, 2).await.unwrap();
        found.extend(page.events.iter().map(|event| event.stream.as_str().to_owned()));
        at = page.next;
        if page.is_last() {
            return found;
        }
    }
}

fn is_refused(result: Result<impl std::fmt::Debug, AppendError>, name: &str) -> bool {
    match result {
        Err(AppendError::Refused(error)) => error.downcast_ref::<StreamArchived>().is_some_and(|it| it.stream == name),
        other => panic!("{other:?}"),
    }
}

/// ES55: an archived stream is in no hot read and no default subscription, is read by whoever includes it, and takes
/// no event, whoever appends.
#[tokio::test(start_paused = true)]
async fn an_archived_stream_is_out_of_the_way_can_be_read_and_takes_no_event() {
    let store = Archive::new(MemoryStore::new());
    for stream in ["a", "b", "a", "c", "b"] {
        append(&store, stream).await.unwrap();
    }
    assert!(store.archive("b").await.unwrap());
    for query in [Query::all(), Query::tags(["all"]), Query::types(["Happened"])] {
        assert_eq!(streams(&store, &query).await, ["a", "a", "c"]);
        assert_eq!(streams(&store.include_archived(), &query).await, ["a", "b", "a", "c", "b"]);
    }
    let of_b = async |store: &Archive<MemoryStore>| store.read_stream(&"b".into(), Version::EMPTY, 10).await.unwrap();
    assert_eq!((of_b(&store).await.len(), of_b(&store.include_archived()).await.len()), (0, 2));
    assert!(is_refused(append(&store, "b").await, "b"));
    assert!(is_refused(append(&store.include_archived(), "b").await, "b"));
    // One stream of several, whatever is expected of it: nothing of the append happens.
    let two = Append::new().events("a", Expected::Any, [NewEvent::new("E", "")]).events(
        "b",
        Expected::Exact(Version::new(7)),
        [NewEvent::new("E", "")],
    );
    assert!(is_refused(store.append(two).await, "b"));
    assert_eq!(store.head(), Position::new(5));
    // To look at it in an append is not to append to it.
    let looks = Append::new().events("b", Expected::Exact(Version::new(2)), []).events(
        "c",
        Expected::Any,
        [NewEvent::new("E", "")],
    );
    store.append(looks).await.unwrap();

    let running = ProjectionRunner::builder(store.clone(), Seen("hot@1")).start();
    running.at_least(store.head(), Duration::from_secs(1)).await.unwrap();
    let cold = ProjectionRunner::builder(store.include_archived(), Seen("all@1")).start();
    cold.at_least(store.head(), Duration::from_secs(1)).await.unwrap();
    let seen = async |space: &str| store.rows(space, None, 10).await.unwrap().len();
    assert_eq!((seen("hot@1").await, seen("all@1").await), (4, 6));

    assert!(store.restore("b").await.unwrap() && !store.restore("b").await.unwrap());
    append(&store, "b").await.unwrap();
    assert_eq!(of_b(&store).await.len(), 3);
}

/// Writes down the positions it has seen.
struct Seen(&'static str);

impl Projection for Seen {
    fn name(&self) -> &str {
        self.0
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        rows.put(self.0, event.position.get().to_be_bytes().to_vec(), "");
        Ok(())
    }
}

/// A writer has decided, and is about to append, when the stream is archived, by another program. The condition is part of
/// the append, so it makes no difference when the writer looked.
#[tokio::test]
async fn an_append_that_was_on_its_way_when_its_stream_was_archived_is_refused() {
    let shared = MemoryStore::new();
    let slow = FaultyStore::new(shared.clone());
    let (here, elsewhere) = (Archive::new(slow.clone()), Archive::new(shared));
    append(&elsewhere, "a").await.unwrap();
    let held = slow.hold_appends();
    let late = tokio::spawn({
        let here = here.clone();
        async move { append(&here, "a").await }
    });
    held.arrived(1).await;
    assert!(elsewhere.archive("a").await.unwrap());
    drop(held);
    assert!(is_refused(late.await.unwrap(), "a"));
    assert_eq!(here.head(), Position::new(1));
}

/// Many append to streams while others archive and restore them: an event is in a stream only if its append was
/// acknowledged, and none is appended to a stream between its archiving and its restoring.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_event_gets_into_a_stream_while_it_is_archived() {
    let store = MemoryStore::new();
    for stream in ["a", "b"] {
        append(&store, stream).await.unwrap();
    }
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let store = Archive::new(store.clone());
            tokio::spawn(async move {
                let mut acknowledged = 0_u64;
                for round in 0..300 {
                    let stream = if (round + n) % 2 == 0 { "a" } else { "b" };
                    match append(&store, stream).await {
                        Ok(_) => acknowledged += 1,
                        refused => assert!(is_refused(refused, stream)),
                    }
                    tokio::task::yield_now().await;
                }
                acknowledged
            })
        })
        .collect();
    let archivists: Vec<_> = ["a", "b"]
        .map(|stream| {
            let store = Archive::new(store.clone());
            tokio::spawn(async move {
                let length = async |store: &Archive<MemoryStore>| {
                    store.include_archived().read_stream(&stream.into(), Version::EMPTY, 10_000).await.unwrap().len()
                };
                for _ in 0..100 {
                    assert!(store.archive(stream).await.unwrap());
                    let before = length(&store).await;
                    tokio::task::yield_now().await;
                    assert_eq!(store.read_stream(&stream.into(), Version::EMPTY, 10_000).await.unwrap(), []);
                    assert_eq!(length(&store).await, before);
                    assert!(store.restore(stream).await.unwrap());
                }
            })
        })
        .into_iter()
        .collect();
    for archivist in archivists {
        archivist.await.unwrap();
    }
    let mut acknowledged = 2;
    for writer in writers {
        acknowledged += writer.await.unwrap();
    }
    assert_eq!(store.head(), Position::new(acknowledged));
}

/// What one program has found out about a stream is not believed once another has archived or restored something.
#[tokio::test]
async fn what_another_program_archives_is_gone_from_the_next_read() {
    let shared = MemoryStore::new();
    let (here, elsewhere) = (Archive::new(shared.clone()), Archive::new(shared));
    for stream in ["a", "b"] {
        append(&here, stream).await.unwrap();
    }
    assert_eq!(streams(&here, &Query::all()).await, ["a", "b"]);
    for _ in 0..3 {
        elsewhere.archive("a").await.unwrap();
        assert_eq!(streams(&here, &Query::all()).await, ["b"]);
        assert!(here.is_archived("a").await.unwrap() && !here.is_archived("b").await.unwrap());
        elsewhere.restore("a").await.unwrap();
        assert_eq!(streams(&here, &Query::all()).await, ["a", "b"]);
    }
}

#[tokio::test]
async fn streams_are_asked_for_once_until_something_changes() {
    let counted = FaultyStore::new(MemoryStore::new());
    let store = Archive::new(counted.clone());
    for n in 0..20 {
        append(&store, &format!("s-{n}")).await.unwrap();
    }
    let reads = async || {
        let before = counted.reads();
        store.read(Position::ORIGIN, &Query::all(), 100).await.unwrap();
        counted.reads() - before
    };
    assert_eq!(reads().await, 2, "the page, and that nothing was ever archived");
    store.archive("s-3").await.unwrap();
    assert_eq!(reads().await, 2 + 20);
    assert_eq!(reads().await, 2);
    assert_eq!(store.archived(None, 10).await.unwrap(), ["s-3"]);
}

/// The conditions that are added come after the caller's own, whose number he goes by.
#[tokio::test]
async fn a_conflict_still_names_the_condition_that_was_violated() {
    let store = Archive::new(MemoryStore::new());
    append(&store, "a").await.unwrap();
    let late = Append::new()
        .require(Condition::row_absent("x", "y"))
        .require(Condition::no_match(Query::tags(["all"]), Marker::START))
        .events("b", Expected::Any, [NewEvent::new("E", "")]);
    let error = store.append(late).await.unwrap_err();
    assert!(matches!(error.as_conflict().unwrap().violations[..], [Violation::Matched { condition: 1, .. }]));
}

/// To an aggregate, an archived stream is one without events; whatever it decides on that, nothing comes of it.
#[tokio::test]
async fn an_aggregate_that_is_archived_is_not_opened_again() {
    let store = Archive::new(MemoryStore::new());
    append(&store, "counter-1").await.unwrap();
    store.archive("counter-1").await.unwrap();
    let counters: Repository<Opening, _> = Repository::new(store);
    let error = counters.execute("1", &()).await.unwrap_err();
    let ExecuteError::Append(error) = error else { panic!("{error:?}") };
    assert!(is_refused(Err::<(), _>(error), "counter-1"));
}

/// Opens what is not open.
#[derive(Debug, Default)]
struct Opening;

impl Decider for Opening {
    const STREAM: &'static str = "counter";
    type Command = ();
    type Event = Opened;
    type Error = &'static str;

    fn evolve(&mut self, _: &Opened) {}

    fn decide(&self, (): &()) -> Result<Vec<Opened>, &'static str> {
        Ok(vec![Opened])
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Opened;

/// To load many aggregates is one round trip to the engine, whatever stands before it.
#[tokio::test]
async fn several_streams_are_read_together_without_those_that_are_archived() {
    let store = Archive::new(FaultyStore::new(MemoryStore::new()));
    for stream in ["a", "b", "c"] {
        append(&store, stream).await.unwrap();
    }
    store.archive("b").await.unwrap();
    let asked = ["c", "b", "a"].map(|stream| (stream.into(), Version::EMPTY));
    let lengths = async |store: &Archive<_>| {
        store.read_streams(&asked, 10).await.unwrap().iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(lengths(&store).await, [1, 0, 1]);
    let before = store.inner().reads();
    assert_eq!(lengths(&store).await, [1, 0, 1]);
    assert_eq!(store.inner().reads() - before, 2, "the streams, and whether something has changed");
    assert_eq!(lengths(&store.include_archived()).await, [1, 1, 1]);
}
