//! Replays whose answer is lost.

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
