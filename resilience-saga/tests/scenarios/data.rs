use resilience_cqrs::MemoryStore;
use resilience_saga::kernel::{Doubt, StuckCause};
use resilience_saga::{Cause, Cx, Effect, Engine, Error, Input, Limits, Op, Outcome, StepError, saga};
use serde::{Deserialize, Serialize};

use crate::world::{World, act, engine, settle};

#[tokio::test(start_paused = true)]
async fn an_output_too_large_is_an_effect_to_be_undone_and_not_lost() {
    let (store, world) = (MemoryStore::new(), World::new());
    let wide = saga("wide", 1, |g, _: Input<'_, ()>| {
        g.limits(Limits { output: 1_000, ..Limits::default() });
        g.step("write", (), |cx: Cx, ()| async move { act(cx).await.map(|()| "x".repeat(1_000)) }).undo(
            |cx, effect: Effect<String>| async move {
                assert!(matches!(&effect, Effect::Maybe { key } if key.op() == Op::Do));
                act(cx).await
            },
        )
    })
    .unwrap();
    let engine = engine(&store, &world, &wide).await;
    let end = engine.run(&wide, "1", ()).await.unwrap();
    assert!(matches!(end, Outcome::Compensated(Cause::Unknown { doubt: Doubt::Output, .. })), "{end:?}");
    assert_eq!(world.ledger.calls("write"), 1);
    world.ledger.balanced(&end).unwrap();
    let input = saga("input", 1, |g, input: Input<'_, String>| {
        g.limits(Limits { output: 10, ..Limits::default() });
        g.check("read", input, |_, _| async { Ok(()) })
    })
    .unwrap();
    let engine = self::engine(&store, &world, &input).await;
    assert_eq!(engine.run(&input, "fits", "12345678".into()).await.unwrap(), Outcome::Completed(()));
    let refused = engine.run(&input, "does not", "123456789".into()).await;
    assert!(matches!(refused, Err(Error::Input { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn stored_data_that_fits_no_more_waits_for_an_operator() {
    #[derive(Serialize, Deserialize)]
    struct Old(u32);
    #[derive(Serialize, Deserialize)]
    struct New {
        count: u32,
    }
    let (store, world) = (MemoryStore::new(), World::new());
    let old = saga("typed", 1, |g, _: Input<'_, ()>| {
        let count = g.check("count", (), |_, ()| async { Ok(Old(7)) });
        g.check("hang", count, |_, _| std::future::pending::<Result<(), StepError>>())
    })
    .unwrap();
    let first = engine(&store, &world, &old).await;
    let _ = first.start(&old, "1", ()).await.unwrap();
    settle().await;
    drop(first);
    settle().await;
    // The next release changes the type and forgets to change the version.
    let new = saga("typed", 1, |g, _: Input<'_, ()>| {
        let count = g.check("count", (), |_, ()| async { Ok(New { count: 7 }) });
        g.check("hang", count, |_, new: New| async move {
            let _ = new.count;
            Ok(())
        })
    })
    .unwrap();
    let second = engine(&store, &world, &new).await;
    let Outcome::Stuck(report) = second.run(&new, "1", ()).await.unwrap() else { panic!("it is not stuck") };
    let stuck = report.stuck().next().unwrap();
    assert_eq!((stuck.step.as_str(), stuck.stuck.clone()), ("hang", Some(StuckCause::Undecodable)));
    assert!(stuck.error.as_deref().unwrap_or_default().contains("count"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_service_is_a_refusal_with_its_name() {
    let lonely = saga("lonely", 1, |g, _: Input<'_, ()>| {
        g.step("call", (), |cx: Cx, ()| async move { cx.service::<World>().map(|_| ()) }).undo(|_, _| async { Ok(()) })
    })
    .unwrap();
    let engine = Engine::builder(MemoryStore::new()).register(&lonely).start().await.unwrap();
    let Outcome::Compensated(cause) = engine.run(&lonely, "1", ()).await.unwrap() else { panic!("it went on") };
    assert!(cause.to_string().contains("World"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_step_runs_in_the_context_that_adapters_send() {
    use resilience_core::context::Context;
    use resilience_core::time::SharedTimer;
    let seen = saga("seen", 1, |g, _: Input<'_, ()>| {
        let look = |_cx: Cx, ()| async {
            let context = Context::capture(&SharedTimer::default());
            let token = context.fencing_token().map(|token| token.get());
            let key = context.idempotency_key().map(ToString::to_string);
            Ok((key, token, context.correlation_id().map(ToString::to_string), context.deadline().is_some()))
        };
        g.check("look", (), look).timeout(std::time::Duration::from_secs(1))
    })
    .unwrap();
    let engine = Engine::builder(MemoryStore::new()).register(&seen).start().await.unwrap();
    let outcome = engine.run(&seen, "1", ()).await.unwrap();
    let expected = (Some("seen/1/look/do".to_owned()), Some(1), Some("seen/1".to_owned()), true);
    assert_eq!(outcome, Outcome::Completed(expected));
}
