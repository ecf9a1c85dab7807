use std::sync::Arc;

use resilience_cqrs::MemoryStore;
use resilience_saga::{Engine, Error, Op, Outcome, Unknown};

use crate::world::{Play, World, checkout, engine, secs, settle};

#[tokio::test(start_paused = true)]
async fn a_hundred_who_start_the_same_start_one() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Slow(secs(1))]);
    let engine = engine(&store, &world, &checkout).await;
    let racers = (0..100).map(|_| {
        let (engine, checkout) = (engine.clone(), checkout.clone());
        tokio::spawn(async move { engine.run(&checkout, "1", 7).await })
    });
    for racer in racers.collect::<Vec<_>>() {
        assert_eq!(racer.await.unwrap().unwrap(), Outcome::Completed(()));
    }
    assert_eq!(world.ledger.calls("charge"), 1);
    // And whoever comes when it is long over gets the same, from this engine and from the next.
    assert_eq!(engine.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
    let heir = self::engine(&store, &world, &checkout).await;
    assert_eq!(heir.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
    assert_eq!(world.ledger.calls("charge"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_with_another_input_is_refused_whether_the_saga_runs_or_is_over() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Slow(secs(1))]);
    let engine = engine(&store, &world, &checkout).await;
    let running = engine.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    let conflict = engine.run(&checkout, "1", 8).await;
    assert!(matches!(&conflict, Err(Error::KeyConflict { id }) if id == running.id()), "{conflict:?}");
    assert_eq!(running.wait().await.unwrap(), Outcome::Completed(()));
    let (wrong, right) = tokio::join!(engine.run(&checkout, "1", 8), engine.run(&checkout, "1", 7));
    assert!(matches!(wrong, Err(Error::KeyConflict { .. })), "{wrong:?}");
    assert_eq!(right.unwrap(), Outcome::Completed(()));
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_does_not_stop_the_saga() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Slow(secs(1))]);
    let engine = engine(&store, &world, &checkout).await;
    {
        let mut run = std::pin::pin!(engine.run(&checkout, "1", 7));
        let timer = resilience_core::time::SharedTimer::default();
        tokio::select! {
            _ = &mut run => panic!("too quick"),
            () = timer.sleep(std::time::Duration::from_millis(500)) => {}
        }
    }
    assert_eq!(engine.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
    assert_eq!(world.ledger.calls("charge"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_while_there_is_no_room_and_never_overfills_it() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.always("charge", Op::Do, Play::Slow(secs(1)));
    let engine = Engine::builder(store).register(&checkout).shared_service(Arc::clone(&world)).live(2).start();
    let engine = engine.await.unwrap();
    let runs = (0..6).map(|key| {
        let (engine, checkout) = (engine.clone(), checkout.clone());
        tokio::spawn(async move {
            let end = engine.run(&checkout, &key.to_string(), 7).await;
            assert!(engine.live() <= 2);
            end
        })
    });
    let runs: Vec<_> = runs.collect();
    settle().await;
    assert_eq!(engine.live(), 2);
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap(), Outcome::Completed(()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_is_refused_with_the_reason() {
    let (store, world) = (MemoryStore::new(), World::new());
    let known = checkout(Unknown::RetrySameKey);
    let engine = engine(&store, &world, &known).await;
    let other = crate::world::fork();
    assert!(matches!(engine.run(&other, "1", ()).await, Err(Error::NotRegistered { .. })));
    assert!(matches!(engine.run(&known, "", 7).await, Err(Error::InvalidId(_))));
    assert!(matches!(engine.run(&known, &"k".repeat(181), 7).await, Err(Error::InvalidId(_))));
    assert!(engine.run(&known, &"k".repeat(180), 7).await.is_ok());
    assert!(matches!(engine.run(&known, "a\nb", 7).await, Err(Error::InvalidId(_))));
    let zero = Engine::builder(MemoryStore::new()).live(0).start().await;
    assert!(matches!(zero, Err(Error::Config(_))), "{zero:?}");
}
