use resilience_cqrs::MemoryStore;
use resilience_saga::{Cause, Engine, Op, Outcome, Probed, Unknown, saga};

use crate::world::{Play, World, act, checkout, engine, id, secs, settle, tries};

/// Runs a checkout whose charge takes effect, and ends the process before it can know.
async fn crash_after_the_charge(unknown: Unknown) -> (MemoryStore, std::sync::Arc<World>) {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(unknown);
    world.script("charge", Op::Do, [Play::WorkAndHang]);
    let first = engine(&store, &world, &checkout).await;
    let _ = first.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    assert!(world.ledger.is_applied("charge"));
    first.halt();
    settle().await;
    (store, world)
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_effect_and_record_repeats_the_call_under_the_same_key() {
    let (store, world) = crash_after_the_charge(Unknown::RetrySameKey).await;
    let checkout = checkout(Unknown::RetrySameKey);
    let heir = engine(&store, &world, &checkout).await;
    let end = heir.run(&checkout, "1", 7).await.unwrap();
    assert_eq!(end, Outcome::Completed(()));
    assert_eq!(world.ledger.calls("charge"), 2);
    world.ledger.balanced(&end).unwrap();
    assert_eq!(heir.recovered().await.unwrap().resumed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_the_effect_saves_the_second_call() {
    let (store, world) = (MemoryStore::new(), World::new());
    let define = || {
        saga("probed", 1, |g, _: resilience_saga::Input<'_, ()>| {
            g.step("charge", (), |cx, ()| async move { act(cx).await.map(|()| 41_u32) }).undo(|cx, _| act(cx)).probe(
                |cx| async move {
                    let applied = cx.service::<World>()?.ledger.is_applied("charge");
                    Ok(if applied { Probed::Applied(42) } else { Probed::NotApplied })
                },
            )
        })
        .unwrap()
    };
    world.script("charge", Op::Do, [Play::WorkAndHang]);
    let first = engine(&store, &world, &define()).await;
    let _ = first.start(&define(), "1", ()).await.unwrap();
    settle().await;
    first.halt();
    let heir = engine(&store, &world, &define()).await;
    assert_eq!(heir.run(&define(), "1", ()).await.unwrap(), Outcome::Completed(42));
    assert_eq!(world.ledger.calls("charge"), 1);
}

#[tokio::test(start_paused = true)]
async fn compensate_maybe_undoes_what_may_have_happened() {
    let (store, world) = crash_after_the_charge(Unknown::CompensateMaybe).await;
    let checkout = checkout(Unknown::CompensateMaybe);
    let heir = engine(&store, &world, &checkout).await;
    let end = heir.run(&checkout, "1", 7).await.unwrap();
    assert!(matches!(end, Outcome::Compensated(Cause::Unknown { .. })), "{end:?}");
    assert_eq!(world.order()[2..], ["undo charge", "undo reserve"]);
    world.ledger.balanced(&end).unwrap();
}

#[tokio::test(start_paused = true)]
async fn escalate_calls_nobody_but_the_operator() {
    let (store, world) = crash_after_the_charge(Unknown::Escalate).await;
    let checkout = checkout(Unknown::Escalate);
    let heir = engine(&store, &world, &checkout).await;
    let Outcome::Stuck(report) = heir.run(&checkout, "1", 7).await.unwrap() else { panic!("it is not stuck") };
    assert_eq!(report.stuck().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["charge"]);
    assert_eq!(world.ledger.calls("charge"), 1);
    assert_eq!(heir.stuck().await.unwrap(), [id("checkout")]);
    // The operator looks it up, and lets it be asked again.
    heir.retry(&id("checkout"), "charge", "ann", "the bank has it").await.unwrap();
    assert_eq!(heir.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
    assert!(heir.stuck().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_step_given_up_by_an_operator_is_undone_as_uncertain() {
    let (store, world) = crash_after_the_charge(Unknown::Escalate).await;
    let checkout = checkout(Unknown::Escalate);
    let heir = engine(&store, &world, &checkout).await;
    let _ = heir.run(&checkout, "1", 7).await.unwrap();
    heir.give_up(&id("checkout"), "charge", "ann", "customer hung up").await.unwrap();
    let end = heir.run(&checkout, "1", 7).await.unwrap();
    assert!(matches!(&end, Outcome::Compensated(Cause::Operator { note, .. }) if note == "customer hung up"));
    world.ledger.balanced(&end).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_effect_is_met_again_by_the_second_call() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Late(secs(3))]);
    let engine = engine(&store, &world, &checkout).await;
    let end = engine.run(&checkout, "1", 7).await.unwrap();
    assert_eq!(end, Outcome::Completed(()));
    settle().await;
    world.ledger.balanced(&end).unwrap();
    assert_eq!(world.order().iter().filter(|call| *call == "do charge").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_effect_is_turned_away_after_its_own_undo() {
    // The charge times out after 2 s and arrives after 10; the refund was there in between.
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::CompensateMaybe);
    world.script("charge", Op::Do, [Play::Late(secs(10))]);
    let engine = engine(&store, &world, &checkout).await;
    let end = engine.run(&checkout, "1", 7).await.unwrap();
    assert!(matches!(end, Outcome::Compensated(_)));
    resilience_core::time::SharedTimer::default().sleep(secs(60)).await;
    assert_eq!(world.ledger.calls("charge"), 1, "the late charge has arrived");
    world.ledger.balanced(&end).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_that_ends_the_process_again_and_again_is_taken_out_of_the_way() {
    let (store, world) = (MemoryStore::new(), World::new());
    let limits = resilience_saga::Limits { crashes: 3, ..resilience_saga::Limits::default() };
    let poison = saga("poison", 1, |g, _: resilience_saga::Input<'_, ()>| {
        g.limits(limits);
        g.step("bomb", (), |cx, ()| act(cx)).undo(|cx, _| act(cx)).retry(tries(99), resilience_saga::Backoff::none())
    })
    .unwrap();
    world.always("bomb", Op::Do, Play::Hang);
    let mut last = engine(&store, &world, &poison).await;
    let _ = last.start(&poison, "1", ()).await.unwrap();
    for _ in 0..3 {
        settle().await;
        last.halt();
        settle().await;
        last = engine(&store, &world, &poison).await;
        last.recovered().await.unwrap();
    }
    assert!(matches!(last.run(&poison, "1", ()).await.unwrap(), Outcome::Stuck(_)));
    assert_eq!(world.times("bomb", Op::Do).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_steps_end_and_leaves_nothing_in_doubt() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::Escalate);
    world.script("charge", Op::Do, [Play::Slow(secs(1))]);
    let first = engine(&store, &world, &checkout).await;
    let running = first.start(&checkout, "1", 7).await.unwrap();
    settle().await;
    assert!(first.shutdown(secs(30)).await);
    assert!(running.wait().await.is_err());
    assert!(first.run(&checkout, "2", 7).await.is_err());
    // Had the charge been in doubt, the heir would escalate.
    let heir = engine(&store, &world, &checkout).await;
    assert_eq!(heir.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
    assert_eq!(world.ledger.calls("charge"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_stops_the_engine_as_a_crash_would() {
    let (store, world) = (MemoryStore::new(), World::new());
    let checkout = checkout(Unknown::RetrySameKey);
    world.script("charge", Op::Do, [Play::Hang]);
    let first: Engine<MemoryStore> = engine(&store, &world, &checkout).await;
    let running = first.start(&checkout, "1", 7).await.unwrap();
    drop(first);
    assert!(running.wait().await.is_err());
    let heir = engine(&store, &world, &checkout).await;
    assert_eq!(heir.run(&checkout, "1", 7).await.unwrap(), Outcome::Completed(()));
}
