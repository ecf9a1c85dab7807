//! Events of a release that this one does not know.

use std::time::Duration;

use super::*;
use crate::projection::{Health, Projection, ProjectionRunner, Rows};
use crate::{BoxError, Marker};

/// Counts what it can read.
struct Adds<C>(C);

impl<C: EventCodec<Counted>> Projection for Adds<C> {
    fn name(&self) -> &str {
        "adds"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let mut read = 0;
        self.0.decode_each(event, &mut |_| read += 1)?;
        let key = event.stream.as_str().to_owned();
        let before = rows.get("adds", &key).await?.map_or(0, |n| n[0]);
        rows.put("adds", key, vec![before + read]);
        Ok(())
    }
}

/// One stream that has seen a newer release, one that has not.
async fn upgraded() -> MemoryStore {
    let store = MemoryStore::new();
    let one = || Json.encode(&Counted::Added { by: 1 }).unwrap();
    let newer = [one(), NewEvent::new("Doubled", "null"), one()];
    let both = Append::new().events("counter-1", Expected::Any, newer).events("counter-2", Expected::Any, [one()]);
    store.append(both).await.unwrap();
    store
}

/// ES36, a projection: no policy declared.
#[tokio::test(start_paused = true)]
async fn an_unknown_event_parks_its_stream_and_no_other() {
    let store = upgraded().await;
    let handle = ProjectionRunner::builder(store.clone(), Adds(Json)).start();
    handle.at_least(store.head(), Duration::from_secs(1)).await.unwrap();
    let status = handle.status();
    assert!(!matches!(status.health, Health::Good), "{:?}", status.health);
    assert_eq!(status.parked.into_iter().collect::<Vec<_>>(), [("counter-1".to_owned(), 2)]);
    assert_eq!(store.row("adds", b"counter-2").await.unwrap().as_deref(), Some(&[1][..]));
    // Its bytes are where they were.
    let page = store.read(Position::new(1), &Query::types(["Doubled"]), 1).await.unwrap();
    assert_eq!((&page.events[0].payload[..], page.marker), (&b"null"[..], Marker::seen_through(page.next)));
}

/// ES36, a projection: `Ignore` is declared.
#[tokio::test(start_paused = true)]
async fn a_declared_reader_goes_on_after_an_unknown_event_and_counts_it() {
    let store = upgraded().await;
    let codec = Json.on_unknown(Unknown::Ignore);
    let handle = ProjectionRunner::builder(store.clone(), Adds(codec.clone())).start();
    handle.at_least(store.head(), Duration::from_secs(1)).await.unwrap();
    assert!(handle.status().parked.is_empty());
    assert_eq!(codec.ignored(), 1);
    assert_eq!(store.row("adds", b"counter-1").await.unwrap().as_deref(), Some(&[2][..]));
    // Damage is not news: it is parked all the same.
    let damaged = Append::new().events("counter-3", Expected::Any, [NewEvent::new("Added", r#"{"by":"#)]);
    let done = store.append(damaged).await.unwrap();
    handle.at_least(done.last, Duration::from_secs(1)).await.unwrap();
    assert_eq!(handle.status().parked.into_keys().collect::<Vec<_>>(), ["counter-3"]);
}

/// ES36, an aggregate.
#[tokio::test]
async fn an_aggregate_with_an_unknown_event_is_not_loaded_unless_that_is_declared() {
    let store = upgraded().await;
    for policy in [None, Some(Unknown::Park)] {
        let codec = Json.on_unknown(policy.unwrap_or_default());
        let counters: Repository<Counter, _, _> = Repository::builder(store.clone()).codec(codec.clone()).build();
        let error = counters.load("1").await.unwrap_err();
        assert_eq!(error.to_string(), "event 2 is of type Doubled, which is not known here");
        assert_eq!((counters.load("2").await.unwrap().state.total, codec.ignored()), (1, 0));
    }
    let codec = Json.on_unknown(Unknown::Ignore);
    let counters: Repository<Counter, _, _> = Repository::builder(store).codec(codec.clone()).build();
    let loaded = counters.load("1").await.unwrap();
    assert_eq!((loaded.state.total, loaded.version, codec.ignored()), (2, Version::new(3), 1));
    // It is appended to at the version that counts all events.
    assert_eq!(counters.execute("1", &Command::Add(1)).await.unwrap().version, Version::new(4));
    let one: Result<Counted, _> = codec.decode(&recorded("Doubled", "null"));
    assert!(matches!(one, Err(CodecError::UnknownType { .. })), "one event was asked for");
}
