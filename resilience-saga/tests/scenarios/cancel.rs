use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::MemoryStore;
use resilience_saga::{Cause, Error, Op, Outcome, Refused, Unknown};

use crate::world::{Play, World, checkout, engine, fork, id, secs, settle};

#[tokio::test(start_paused = true)]
async fn a_cancelled_saga_goes_no_further_and_leaves_nothing() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("reserve", Op::Do, [Play::Slow(secs(1))]);
    let engine = engine(&store, &world, &checkout).await;
    let running = engine.start(&checkout, "1", 7).await.unwrap();
    engine.cancel(&id("checkout"), "the customer left").await.unwrap();
    let end = running.wait().await.unwrap();
    assert_eq!(end, Outcome::Compensated(Cause::Cancelled { reason: "the customer left".into() }));
    assert_eq!(world.ledger.calls("charge"), 0);
    world.ledger.balanced(&end).unwrap();
}

#[tokio::test(start_paused = true)]
async fn past_the_pivot_there_is_no_way_back() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("ship", Op::Do, [Play::Slow(secs(1))]);
    let engine = engine(&store, &world, &checkout).await;
    let running = engine.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    let refused = engine.cancel(&id("checkout"), "too late").await;
    assert!(matches!(refused, Err(Error::Refused(Refused::PastPivot))), "{refused:?}");
    assert_eq!(running.wait().await.unwrap(), Outcome::Completed(()));
    let over = engine.cancel(&id("checkout"), "much too late").await;
    assert!(matches!(over, Err(Error::Refused(Refused::AlreadyFinished))), "{over:?}");
    let nobody = engine.cancel(&id("stranger"), "who?").await;
    assert!(matches!(nobody, Err(Error::NotFound { .. })), "{nobody:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_in_flight_may_end_within_the_grace_and_is_then_undone() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Slow(secs(1))]);
    let engine = engine(&store, &world, &checkout).await;
    let running = engine.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    engine.cancel(&id("checkout"), "now").await.unwrap();
    let end = running.wait().await.unwrap();
    assert_eq!(world.order()[2..], ["undo charge", "undo reserve"]);
    world.ledger.balanced(&end).unwrap();
}

#[tokio::test(start_paused = true)]
async fn siblings_of_a_failed_branch_are_told_at_once_and_dropped_after_the_grace() {
    let (store, world) = (MemoryStore::new(), World::new());
    let fork = fork();
    world.script("a", Op::Do, [Play::Polite(secs(10))]);
    world.script("b", Op::Do, [Play::Reject]);
    world.script("c", Op::Do, [Play::Hang]);
    let timer = SharedTimer::default();
    let engine = engine(&store, &world, &fork).await;
    let began = timer.now();
    let end = engine.run(&fork, "1", ()).await.unwrap();
    assert!(matches!(&end, Outcome::Compensated(Cause::Rejected { step, .. }) if *step == "b"));
    // a stopped as asked and had no effect; c did not, and its outcome is unknown.
    assert_eq!((world.ledger.undo_calls("a"), world.ledger.undo_calls("c")), (0, 1));
    assert_eq!((timer.now() - began).as_secs(), 5);
    let report = engine.status(&id("fork")).await.unwrap();
    assert_eq!(report.steps[1].error.as_deref(), Some("stopped as asked"));
    world.ledger.balanced(&end).unwrap();
}

#[tokio::test(start_paused = true)]
async fn cancelling_while_a_step_waits_for_its_retry_does_not_wait_for_it() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Fail]);
    let timer = SharedTimer::default();
    let engine = engine(&store, &world, &checkout).await;
    let running = engine.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    let began = timer.now();
    engine.cancel(&id("checkout"), "now").await.unwrap();
    assert!(matches!(running.wait().await.unwrap(), Outcome::Compensated(Cause::Cancelled { .. })));
    assert!(timer.now() - began < Duration::from_millis(10));
    assert_eq!(world.order().last().map(String::as_str), Some("undo reserve"));
}
