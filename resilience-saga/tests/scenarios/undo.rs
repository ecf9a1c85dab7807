use resilience_core::time::SharedTimer;
use resilience_cqrs::MemoryStore;
use resilience_saga::kernel::Event;
use resilience_saga::{Op, Outcome, Phase, Refused, Unknown};

use crate::world::{Play, World, checkout, engine, fork, id, secs};

#[tokio::test(start_paused = true)]
async fn a_failing_undo_is_repeated_with_backoff_and_holds_up_what_comes_before_it() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("fraud", Op::Do, [Play::Reject]);
    world.script("charge", Op::Undo, [Play::Fail, Play::Fail, Play::Fail]);
    let timer = SharedTimer::default();
    let engine = engine(&store, &world, &checkout).await;
    let began = timer.now();
    let end = engine.run(&checkout, "1", 7).await.unwrap();
    assert!(matches!(end, Outcome::Compensated(_)));
    assert_eq!(timer.now().since(began).as_secs(), 7);
    let calls = world.order();
    assert_eq!(calls[3..], ["undo charge", "undo charge", "undo charge", "undo charge", "undo reserve"]);
    let history = engine.history(&id("checkout")).await.unwrap();
    assert_eq!(history.iter().filter(|event| matches!(event, Event::UndoStarted { .. })).count(), 5);
}

/// A fork whose branch c is refused, with an undo of a that cannot succeed.
async fn stuck(store: &MemoryStore, world: &std::sync::Arc<World>) {
    let fork = fork();
    world.script("c", Op::Do, [Play::Reject]);
    world.always("a", Op::Undo, Play::Reject);
    let engine = engine(store, world, &fork).await;
    let Outcome::Stuck(report) = engine.run(&fork, "1", ()).await.unwrap() else { panic!("it is not stuck") };
    assert_eq!(report.stuck().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(engine.live(), 0, "who waits for an operator needs no memory");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_undo_holds_up_its_ancestors_and_nothing_else() {
    let (store, world) = (MemoryStore::new(), World::new());
    stuck(&store, &world).await;
    assert!(world.ledger.undo_calls("b") == 1 && world.ledger.undo_calls("p") == 0);
    let engine = engine(&store, &world, &fork()).await;
    assert_eq!(engine.stuck().await.unwrap(), [id("fork")]);
    assert_eq!(engine.recovered().await.unwrap().stuck, 1);
    let report = engine.status(&id("fork")).await.unwrap();
    assert!(report.stalled && report.phase == Phase::Unwinding, "{report}");
    assert!(engine.mermaid(&id("fork")).await.unwrap().contains("<b>undo_stuck</b>"));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_undo_goes_on_when_an_operator_says_so() {
    let (store, world) = (MemoryStore::new(), World::new());
    stuck(&store, &world).await;
    world.always("a", Op::Undo, Play::Work);
    let (engine, fork) = (engine(&store, &world, &fork()).await, fork());
    engine.retry_undo(&id("fork"), "a", "ann", "the receiver is mended").await.unwrap();
    let end = engine.run(&fork, "1", ()).await.unwrap();
    assert!(matches!(end, Outcome::Compensated(_)));
    world.ledger.balanced(&end).unwrap();
    assert!(world.order().ends_with(&["undo a".into(), "undo p".into()]));
    let history = engine.history(&id("fork")).await.unwrap();
    let resolved = history.iter().find(|event| matches!(event, Event::Resolved { .. })).unwrap();
    assert!(
        matches!(resolved, Event::Resolved { actor, note, .. } if actor == "ann" && note == "the receiver is mended")
    );
    let again = engine.retry_undo(&id("fork"), "a", "ann", "").await;
    assert!(matches!(again, Err(resilience_saga::Error::Refused(Refused::AlreadyFinished))), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_undone_by_hand_is_marked_so_for_ever() {
    let (store, world) = (MemoryStore::new(), World::new());
    stuck(&store, &world).await;
    let (engine, fork) = (engine(&store, &world, &fork()).await, fork());
    let unknown = engine.mark_undone(&id("fork"), "x", "ann", "").await;
    assert!(matches!(unknown, Err(resilience_saga::Error::Refused(Refused::UnknownStep(_)))));
    let sound = engine.mark_undone(&id("fork"), "b", "ann", "").await;
    assert!(matches!(sound, Err(resilience_saga::Error::Refused(Refused::NotStuck { .. }))));
    engine.mark_undone(&id("fork"), "a", "ann", "manual #7").await.unwrap();
    assert!(matches!(engine.run(&fork, "1", ()).await.unwrap(), Outcome::Compensated(_)));
    assert_eq!(world.ledger.undo_calls("p"), 1);
    let report = engine.status(&id("fork")).await.unwrap();
    assert_eq!(
        report.steps.iter().filter(|step| step.manual).map(|step| step.step.as_str()).collect::<Vec<_>>(),
        ["a"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_saga_is_left_as_it_stands() {
    let (store, world) = (MemoryStore::new(), World::new());
    stuck(&store, &world).await;
    let (engine, fork) = (engine(&store, &world, &fork()).await, fork());
    engine.abandon(&id("fork"), "ann", "written off").await.unwrap();
    assert!(matches!(engine.run(&fork, "1", ()).await.unwrap(), Outcome::Abandoned(_)));
    assert!(engine.unfinished(None).await.unwrap().is_empty());
    assert_eq!(world.ledger.undo_calls("p"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_not_told_to_stop_by_the_unwinding_it_belongs_to() {
    // Compensations that run in a cancelled scope do not run: temporalio/sdk-java#305, open since 2021.
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("fraud", Op::Do, [Play::Reject]);
    world.script("reserve", Op::Undo, [Play::Polite(secs(60))]);
    let engine = engine(&store, &world, &checkout).await;
    let end = engine.run(&checkout, "1", 7).await.unwrap();
    world.ledger.balanced(&end).unwrap();
    assert_eq!(world.ledger.undo_calls("reserve"), 1);
}
