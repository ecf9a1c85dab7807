use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use resilience_cqrs::{
    Append, AppendError, Appended, CommandId, Committed, EventStore, Expected, MemoryStore, NewEvent, Page, Position,
    Query, ReadError, Recorded, StreamId, Version,
};
use resilience_saga::{Engine, Error, Op, Outcome, Unknown, saga};

use crate::world::{Play, World, act, checkout, engine, id, secs, settle};

/// A store that is full for a while.
#[derive(Clone)]
struct Full {
    inner: MemoryStore,
    refusals: Arc<AtomicU32>,
}

impl EventStore for Full {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let full = append.event_count() > 0
            && self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if full { Err(AppendError::Full) } else { self.inner.append(append).await }
    }
    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.inner.committed(command).await
    }
    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.inner.read(after, query, limit).await
    }
    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.inner.read_stream(stream, after, limit).await
    }
    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.inner.row(space, key).await
    }
    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.inner.rows(space, after, limit).await
    }
    fn head(&self) -> Position {
        self.inner.head()
    }
    async fn wait_past(&self, position: Position) -> Position {
        self.inner.wait_past(position).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_starts_nothing_and_goes_on_when_there_is_room() {
    let refusals = Arc::new(AtomicU32::new(5));
    let store = Full { inner: MemoryStore::new(), refusals: refusals.clone() };
    let (world, checkout) = (World::new(), checkout(Unknown::RetrySameKey));
    let engine = Engine::builder(store).register(&checkout).shared_service(world.clone()).start().await.unwrap();
    let run = {
        let (engine, checkout) = (engine.clone(), checkout.clone());
        tokio::spawn(async move { engine.run(&checkout, "1", 7).await })
    };
    settle().await;
    assert!(world.order().is_empty(), "nothing is done that is not on record");
    let end = run.await.unwrap().unwrap();
    assert_eq!(end, Outcome::Completed(()));
    world.ledger.balanced(&end).unwrap();
    assert_eq!(refusals.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_engine_fences_the_first() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Slow(secs(1))]);
    let first = engine(&store, &world, &checkout).await;
    let running = first.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    let second = engine(&store, &world, &checkout).await;
    assert!(second.epoch() > first.epoch());
    let lost = running.wait().await;
    assert!(matches!(lost, Err(Error::Fenced)), "{lost:?}");
    let end = second.run(&checkout, "1", 7).await.unwrap();
    assert_eq!(end, Outcome::Completed(()));
    world.ledger.balanced(&end).unwrap();
    assert!(matches!(first.run(&checkout, "2", 7).await, Err(Error::Stopped | Error::Fenced)));
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_saga_parks_itself_and_nothing_else() {
    // One unrecoverable saga stopped the recovery of all others: oxidecomputer/omicron#5947.
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.always("charge", Op::Do, Play::Slow(secs(1)));
    let first = engine(&store, &world, &checkout).await;
    for key in 0..20 {
        let _ = first.start(&checkout, &key.to_string(), 7).await.unwrap();
    }
    settle().await;
    first.halt();
    settle().await;
    let garbage = NewEvent::new("saga.progressed", r#"[{"undone":{"step":"ship","attempt":1}}]"#);
    store.append(Append::new().events("checkout/3", Expected::Exists, [garbage])).await.unwrap();
    let nonsense = NewEvent::new("saga.progressed", "not json");
    store.append(Append::new().events("checkout/4", Expected::Exists, [nonsense])).await.unwrap();
    let heir = engine(&store, &world, &checkout).await;
    heir.recovered().await.unwrap();
    for key in (0..20).filter(|key| ![3, 4].contains(key)) {
        assert_eq!(heir.run(&checkout, &key.to_string(), 7).await.unwrap(), Outcome::Completed(()));
    }
    for key in ["3", "4"] {
        let parked = heir.run(&checkout, key, 7).await;
        assert!(matches!(parked, Err(Error::Corrupt { .. })), "{parked:?}");
    }
    assert_eq!(heir.unfinished(None).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_saga_of_another_version_waits_for_the_program_that_knows_it() {
    let (store, world) = (MemoryStore::new(), World::new());
    let define = |version: u32, key: &'static str| {
        saga("versioned", version, move |g, start: resilience_saga::Input<'_, ()>| {
            g.step(key, start, |cx, ()| act(cx)).undo(|cx, _| act(cx))
        })
        .unwrap()
    };
    let (v1, v2, changed) = (define(1, "old"), define(2, "new"), define(1, "changed"));
    world.script("old", Op::Do, [Play::Hang]);
    let first = engine(&store, &world, &v1).await;
    let _ = first.start(&v1, "1", ()).await.unwrap();
    settle().await;
    drop(first);
    settle().await;
    let second = engine(&store, &world, &v2).await;
    assert_eq!(second.recovered().await.unwrap().parked, 1);
    assert_eq!(second.run(&v2, "2", ()).await.unwrap(), Outcome::Completed(()));
    assert!(matches!(second.status(&id("versioned")).await, Err(Error::Incompatible { .. })));
    drop(second);
    settle().await;
    // The same version with another graph is a mistake, and is told as one.
    let mistaken = engine(&store, &world, &changed).await;
    let told = mistaken.run(&changed, "1", ()).await;
    assert!(matches!(told, Err(Error::Incompatible { .. })), "{told:?}");
    drop(mistaken);
    settle().await;
    let both = Engine::builder(store).register(&v1).register(&v2).shared_service(world).start().await.unwrap();
    assert_eq!(both.run(&v1, "1", ()).await.unwrap(), Outcome::Completed(()));
}
