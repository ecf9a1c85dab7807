use resilience_cqrs::MemoryStore;
use resilience_saga::{Op, Outcome, Unknown};

use crate::world::{Play, World, checkout, engine, secs};

#[tokio::test(start_paused = true)]
async fn past_the_pivot_a_step_is_repeated_for_as_long_as_it_takes() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("ship", Op::Do, std::iter::repeat_n(Play::Fail, 50).chain(std::iter::repeat_n(Play::Reject, 50)));
    let engine = engine(&store, &world, &checkout).await;
    let end = engine.run(&checkout, "1", 7).await.unwrap();
    assert_eq!(end, Outcome::Completed(()));
    let times = world.times("ship", Op::Do);
    assert_eq!(times.len(), 101);
    assert_eq!(times.windows(2).map(|pair| pair[1] - pair[0]).max(), Some(secs(60)));
    assert!(!world.order().iter().any(|call| call.starts_with("undo")));
}

#[tokio::test(start_paused = true)]
async fn a_wait_survives_the_process_and_is_not_begun_again() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("ship", Op::Do, [Play::Fail; 6]);
    let timer = resilience_core::time::SharedTimer::default();
    let first = engine(&store, &world, &checkout).await;
    let _ = first.start(&checkout, "1", 7).await.unwrap();
    // After six failures, at 1 + 2 + 4 + 8 + 16 s, the seventh attempt is due 32 s later.
    timer.sleep(secs(35)).await;
    assert_eq!(world.times("ship", Op::Do).len(), 6);
    assert!(first.unfinished(None).await.unwrap()[0].wake_at.is_some());
    first.halt();
    let heir = engine(&store, &world, &checkout).await;
    let began = timer.now();
    assert_eq!(heir.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
    let waited = (timer.now() - began).as_secs();
    // The calendar does not move with virtual time, so the heir sees the whole wait, but never more.
    assert!(waited <= 32, "{waited}");
}
