use std::sync::Mutex;

use resilience_cqrs::MemoryStore;

use super::*;
use crate::kernel::Phase;
use crate::{Cause, Cx, Effect, StepError, saga};

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

/// reserve -> charge -> fraud -> PIVOT -> ship || email
fn checkout(log: &Log, fraud: bool) -> Saga<String, String> {
    let (a, b, c, d, e, f, g) =
        (log.clone(), log.clone(), log.clone(), log.clone(), log.clone(), log.clone(), log.clone());
    saga("checkout", 1, move |graph, order| {
        let hold = graph
            .step("reserve", order, move |_: Cx, sku: String| {
                note(&a, "reserve");
                async move { Ok(format!("hold {sku}")) }
            })
            .undo(move |_, effect: Effect<String>| {
                note(&b, format!("release {:?}", effect.applied()));
                async { Ok(()) }
            });
        let paid = graph
            .step("charge", order, move |cx: Cx, _| {
                note(&c, format!("charge {}", cx.key()));
                async { Ok(42_u32) }
            })
            .undo(move |_, effect: Effect<u32>| {
                note(&d, format!("refund {:?}", effect.applied()));
                async { Ok(()) }
            })
            .after(hold);
        let _ = graph.check("fraud", paid, move |_, cents| {
            note(&e, format!("fraud {cents}"));
            async move { if fraud { Err(StepError::rejected("fraud")) } else { Ok(()) } }
        });
        graph.pivot();
        let ship = graph.step("ship", (hold, paid), move |_, (hold, cents)| {
            note(&f, "ship");
            async move { Ok(format!("{hold} for {cents}")) }
        });
        let _ = graph
            .step("email", paid, move |_, _| {
                note(&g, "email");
                async { Ok(()) }
            })
            .retriable();
        ship.retriable()
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_happy_checkout_takes_six_records() {
    let log = Log::default();
    let store = MemoryStore::new();
    let checkout = checkout(&log, false);
    let engine = Engine::builder(store.clone()).register(&checkout).start().await.unwrap();
    let outcome = engine.run(&checkout, "1", "book".to_owned()).await.unwrap();
    assert_eq!(outcome, Outcome::Completed("hold book for 42".into()));
    let did = log.lock().unwrap().clone();
    assert_eq!(did, ["reserve", "charge checkout/1/charge/do", "fraud 42", "ship", "email"]);
    let records = store.read_stream(&"checkout/1".into(), resilience_cqrs::Version::EMPTY, 100).await.unwrap();
    assert!(records.len() <= 6, "{records:#?}");
    assert!(engine.unfinished(None).await.unwrap().is_empty());
    assert_eq!(engine.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_step_undoes_what_succeeded_in_reverse_order() {
    let log = Log::default();
    let checkout = checkout(&log, true);
    let engine = Engine::builder(MemoryStore::new()).register(&checkout).start().await.unwrap();
    let outcome = engine.run(&checkout, "1", "book".to_owned()).await.unwrap();
    assert_eq!(outcome, Outcome::Compensated(Cause::Rejected { step: "fraud".into(), error: "fraud".into() }));
    let did = log.lock().unwrap().clone();
    assert_eq!(did[3..], ["refund Some(42)", "release Some(\"hold book\")"]);
    let id = SagaId::new("checkout", "1").unwrap();
    assert_eq!(engine.status(&id).await.unwrap().phase, Phase::Compensated);
}
