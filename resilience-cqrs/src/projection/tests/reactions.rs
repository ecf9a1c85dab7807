//! Effects outside: at least once, in order, under the same key each time.

use std::sync::{Arc, Mutex};

use super::*;

/// Keeps the keys it was called with. Fails as often as it is told for each stream.
#[derive(Clone, Default)]
struct Calls {
    made: Arc<Mutex<Vec<String>>>,
    failures: Arc<Mutex<std::collections::HashMap<String, u32>>>,
}

impl Calls {
    fn fail(&self, stream: &str, times: u32) {
        self.failures.lock().unwrap().insert(stream.into(), times);
    }

    fn made(&self) -> Vec<String> {
        self.made.lock().unwrap().clone()
    }
}

impl Reaction for Calls {
    fn name(&self) -> &str {
        "calls"
    }

    fn query(&self) -> Query {
        Query::types(["Deposited"])
    }

    async fn handle(&self, event: &Recorded, key: IdempotencyKey<'_>) -> Result<(), BoxError> {
        self.made.lock().unwrap().push(key.to_string());
        tokio::task::yield_now().await;
        match self.failures.lock().unwrap().get_mut(event.stream.as_str()) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err("not now".into())
            }
            _ => Ok(()),
        }
    }
}

/// ES29: a crash repeats effects, and each repetition carries the key of the first.
#[tokio::test(start_paused = true)]
async fn a_crash_between_effect_and_checkpoint_repeats_the_effect_under_the_same_key_and_skips_none() {
    let store = MemoryStore::new();
    for n in 0..60 {
        deposit(&store, &format!("a{}", n % 3), "1").await;
    }
    let calls = Calls::default();
    for polls in 0..100 {
        let batch = std::num::NonZeroUsize::new(polls % 4 + 1).unwrap();
        let (runner, _handle) = ProjectionRunner::reaction(store.clone(), calls.clone()).batch(batch).build();
        let mut run = Box::pin(runner.run());
        for _ in 0..polls % 13 {
            let _ = futures::poll!(&mut run);
            tokio::task::yield_now().await;
        }
    }
    let running = ProjectionRunner::reaction(store.clone(), calls.clone()).start();
    caught_up(&store, &running).await;
    let made = calls.made();
    assert!(made.len() > 60, "crashes repeated some: {}", made.len());
    let expected: Vec<String> = (1..=60).map(|position| format!("calls:{position}")).collect();
    let mut first: Vec<String> = Vec::new();
    for key in made {
        if !first.contains(&key) {
            first.push(key);
        }
    }
    assert_eq!(first, expected, "each of them, and in order the first time");
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_fails_now_and_then_is_tried_again_before_its_key_is_parked() {
    let store = MemoryStore::new();
    let calls = Calls::default();
    calls.fail("shaky", 9);
    calls.fail("down", u32::MAX);
    let running = ProjectionRunner::reaction(store.clone(), calls.clone()).start();
    for stream in ["shaky", "down", "other", "down"] {
        deposit(&store, stream, "1").await;
    }
    caught_up(&store, &running).await;
    assert_eq!(running.status().parked, [("down".into(), 2)].into());
    let of = |made: &[String], key: &str| made.iter().filter(|made| *made == key).count();
    assert_eq!([1, 2, 3, 4].map(|n| of(&calls.made(), &format!("calls:{n}"))), [10, 10, 1, 0]);
    let note = park::first(&store, "calls", "down").await.unwrap().unwrap().note;
    assert_eq!((note.attempts, note.error.as_str()), (10, "not now"));
    calls.fail("down", 0);
    // Replayed under the same key, in order.
    assert_eq!(running.replay("down").await, Ok(Replayed { events: 2 }));
    assert_eq!(calls.made()[21..], ["calls:2", "calls:4"]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reaction_that_may_be_tried_once_is_tried_once() {
    let store = MemoryStore::new();
    let calls = Calls::default();
    calls.fail("down", 1);
    let once = std::num::NonZeroU32::MIN;
    let running = ProjectionRunner::reaction(store.clone(), calls.clone()).attempts(once).start();
    deposit(&store, "down", "1").await;
    caught_up(&store, &running).await;
    assert_eq!((calls.made().len(), running.status().health), (1, Health::Degraded));
}

/// ES18: the checkpoint moves past what the filter leaves out, also of the last few, so a restart does not look
/// at them again.
#[tokio::test(start_paused = true)]
async fn an_idle_subscription_saves_that_it_has_passed_what_is_not_meant_for_it() {
    let store = FaultyStore::new(MemoryStore::new());
    let running = ProjectionRunner::reaction(store.clone(), Calls::default()).start();
    deposit(store.inner(), "a", "1").await;
    caught_up(store.inner(), &running).await;
    let others = vec![NewEvent::new("Other", ""); 500];
    let last = store.append(Append::new().events("o", Expected::Any, others)).await.unwrap().last;
    running.at_least(last, Duration::from_secs(1)).await.unwrap();
    let saved = async || checkpoint::Checkpoint::load(&store, b"calls").await.unwrap().unwrap().position;
    let before = saved().await;
    resilience_core::time::SharedTimer::default().sleep(Duration::from_secs(2)).await;
    assert!(before < last && saved().await == last);
    // Crashed, not stopped: nothing is left to be saved, and nothing is read again.
    drop(running);
    let reads = store.reads();
    let (runner, handle) = ProjectionRunner::reaction(store.clone(), Calls::default()).build();
    let task = tokio::spawn(runner.run());
    handle.at_least(last, Duration::from_secs(1)).await.unwrap();
    assert!(store.reads() - reads < 10, "{}", store.reads() - reads);
    task.abort();
}
