use resilience_cqrs::MemoryStore;
use resilience_saga::kernel::StuckCause;
use resilience_saga::{Op, Outcome, Unknown};

use crate::world::{Play, World, checkout, engine};

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_once_is_tried_again_and_disturbs_nobody() {
    // In steno a panicking action hangs its saga for good.
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Panic]);
    let engine = engine(&store, &world, &checkout).await;
    let (one, two) = tokio::join!(engine.run(&checkout, "1", 7), engine.run(&checkout, "2", 7));
    assert_eq!(one.unwrap(), Outcome::Completed(()));
    assert_eq!(two.unwrap(), Outcome::Completed(()));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_always_is_stuck_after_three_and_the_rest_goes_on() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.always("charge", Op::Do, Play::Panic);
    let engine = engine(&store, &world, &checkout).await;
    let Outcome::Stuck(report) = engine.run(&checkout, "1", 7).await.unwrap() else { panic!("it is not stuck") };
    let stuck = report.stuck().next().unwrap();
    assert_eq!((stuck.stuck.clone(), stuck.attempts), (Some(StuckCause::Panics), 3));
    assert_eq!(stuck.error.as_deref(), Some("panicked: the script says so"));
    world.always("charge", Op::Do, Play::Work);
    assert_eq!(engine.run(&checkout, "2", 7).await.unwrap(), Outcome::Completed(()));
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_panics_is_an_undo_that_fails() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("fraud", Op::Do, [Play::Reject]);
    world.script("charge", Op::Undo, [Play::Panic]);
    let engine = engine(&store, &world, &checkout).await;
    let end = engine.run(&checkout, "1", 7).await.unwrap();
    assert!(matches!(end, Outcome::Compensated(_)));
    let (store, world) = (MemoryStore::new(), World::new());
    world.always("charge", Op::Undo, Play::Panic);
    world.script("fraud", Op::Do, [Play::Reject]);
    let engine = self::engine(&store, &world, &checkout).await;
    assert!(matches!(engine.run(&checkout, "1", 7).await.unwrap(), Outcome::Stuck(_)));
}
