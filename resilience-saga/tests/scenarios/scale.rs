use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::MemoryStore;
use resilience_saga::{Cx, Engine, Input, Limits, Outcome, Step, StepError, saga};

use crate::world::{Play, World, engine, fork};

#[tokio::test(start_paused = true)]
async fn branches_that_fail_in_the_same_instant_unwind_ten_thousand_times() {
    // steno's coordinator panics on the first few, and takes every other saga with it (steno#17).
    let (store, world) = (MemoryStore::new(), World::new());
    let fork = fork();
    for branch in ["a", "b", "c"] {
        world.always(branch, resilience_saga::Op::Do, Play::Reject);
    }
    let engine = engine(&store, &world, &fork).await;
    let runs: Vec<_> = (0..10_000)
        .map(|key: u32| {
            let (engine, fork) = (engine.clone(), fork.clone());
            tokio::spawn(async move { engine.run(&fork, &key.to_string(), ()).await })
        })
        .collect();
    for run in runs {
        assert!(matches!(run.await.unwrap().unwrap(), Outcome::Compensated(_)));
    }
    assert_eq!(engine.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_graph_of_fifty_stages_costs_work_that_grows_with_its_size_only() {
    // steno walks every path from the root: its cost doubles and redoubles with each stage.
    let stages = saga("stages", 1, |g, _: Input<'_, ()>| {
        let mut last: Vec<Step<'_, u32>> = Vec::new();
        for stage in 0..50 {
            last = (0..5)
                .map(|lane| g.check(format!("s{stage}-{lane}"), last.clone(), |_, _: Vec<u32>| async { Ok(1) }))
                .collect();
        }
        g.check("end", last, |_, all| async move { Ok(all.len()) })
    })
    .unwrap();
    let engine = Engine::builder(MemoryStore::new()).register(&stages).start().await.unwrap();
    assert_eq!(engine.run(&stages, "1", ()).await.unwrap(), Outcome::Completed(5));
}

#[tokio::test(start_paused = true)]
async fn a_wide_fan_out_keeps_to_its_limit_and_stops_when_one_fails() {
    #[derive(Default)]
    struct Gauge {
        now: AtomicUsize,
        most: AtomicUsize,
        ran: AtomicUsize,
    }
    let wide = |fails: Option<usize>| {
        saga("wide", 1, move |g, _: Input<'_, ()>| {
            g.limits(Limits { parallel: 32, ..Limits::default() });
            let one = move |id: usize| {
                move |cx: Cx, ()| async move {
                    let gauge = cx.service::<Gauge>()?;
                    gauge.most.fetch_max(1 + gauge.now.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                    gauge.ran.fetch_add(1, Ordering::Relaxed);
                    SharedTimer::default().sleep(Duration::from_millis(10)).await;
                    gauge.now.fetch_sub(1, Ordering::Relaxed);
                    if fails == Some(id) { Err(StepError::rejected("no")) } else { Ok(id) }
                }
            };
            let lanes: Vec<_> = (0..1_000).map(|id| g.check(format!("s{id}"), (), one(id))).collect();
            g.check("join", lanes, |_, all| async move { Ok(all.len()) })
        })
        .unwrap()
    };
    let gauge = Arc::new(Gauge::default());
    let all = wide(None);
    let engine =
        Engine::builder(MemoryStore::new()).register(&all).shared_service(gauge.clone()).start().await.unwrap();
    assert_eq!(engine.run(&all, "1", ()).await.unwrap(), Outcome::Completed(1_000));
    assert_eq!(gauge.most.load(Ordering::Relaxed), 32);

    let gauge = Arc::new(Gauge::default());
    let one_fails = wide(Some(5));
    let engine =
        Engine::builder(MemoryStore::new()).register(&one_fails).shared_service(gauge.clone()).start().await.unwrap();
    assert!(matches!(engine.run(&one_fails, "1", ()).await.unwrap(), Outcome::Compensated(_)));
    let ran = gauge.ran.load(Ordering::Relaxed);
    // The first 32, and those that took the places of the five that ended before the one that fails.
    assert!(ran <= 32 + 5, "{ran}");
}

#[tokio::test(start_paused = true)]
async fn slots_are_shared_by_all_sagas_of_an_engine() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let one = saga("one", 1, {
        let (now, most) = (now.clone(), most.clone());
        move |g, _: Input<'_, ()>| {
            g.check("work", (), move |_, ()| {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    most.fetch_max(1 + now.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                    SharedTimer::default().sleep(Duration::from_millis(10)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    Ok(())
                }
            })
        }
    })
    .unwrap();
    let engine = Engine::builder(MemoryStore::new()).register(&one).actions(7).start().await.unwrap();
    let runs: Vec<_> = (0..100)
        .map(|key: u32| {
            let (engine, one) = (engine.clone(), one.clone());
            tokio::spawn(async move { engine.run(&one, &key.to_string(), ()).await })
        })
        .collect();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::Relaxed), 7);
}
