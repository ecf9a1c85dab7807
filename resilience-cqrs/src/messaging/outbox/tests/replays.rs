//! Replays whose answer is lost, and those of what is not there any more.

use super::*;
use crate::log::AppendError;
use crate::testing::late::LateStore;

/// The note of a failure whose answer was lost is committed after the message was sent: it must not park it again.
#[tokio::test(start_paused = true)]
async fn a_message_that_was_replayed_is_not_parked_again_by_a_note_that_commits_late() {
    let (store, broker) = (LateStore::default(), Broker::default());
    let running = relay(&store, &broker).start().unwrap();
    deposit(&store, "k", "poison").await;
    relayed(&store, &running).await;
    store.lose_next();
    assert!(matches!(running.replay("k").await, Err(ReplayError::Unavailable { .. })));
    resilience_core::time::SharedTimer::default().sleep(Duration::from_secs(1)).await; // Its pause.
    broker.mended.store(true, Ordering::Relaxed);
    assert_eq!(running.replay("k").await, Ok(1));
    let late = store.arrive().await.unwrap();
    assert!(matches!(late, Err(AppendError::Conflict(_))), "{late:?}");
    assert_eq!(store.rows("outbox.parked/bank", None, 10).await.unwrap(), []);
    running.stop().await.unwrap();
}

/// The stream of a parked message was archived since: the replay comes to nothing and the relay goes on; who gives the
/// message up need not see it.
#[tokio::test(start_paused = true)]
async fn a_parked_message_that_was_archived_costs_the_replay_and_not_the_relay() {
    let (store, broker) = (crate::archive::Archive::new(MemoryStore::new()), Broker::default());
    let running = relay(&store, &broker).start().unwrap();
    let parked = deposit(&store, "k", "poison").await;
    relayed(&store, &running).await;
    store.archive("k").await.unwrap();
    let error = running.replay("k").await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("event {parked} is not in what this relay reads")), "{error}");
    deposit(&store, "l", "4").await;
    relayed(&store, &running).await;
    assert_eq!(broker.payloads(), ["4"]);
    assert_eq!(running.discard("k").await, Ok(1));
    assert_eq!(running.status().health, Health::Good);
    running.stop().await.unwrap();
}
