//! Replays whose answer is lost, and those of what is not there any more.

use super::*;
use crate::testing::late::LateStore;

/// The attempt whose answer was lost is committed after the next one: only one of them counts. The checkpoint cannot tell
/// them apart, for a replay does not move it.
#[tokio::test(start_paused = true)]
async fn an_event_replayed_again_is_not_taken_in_twice_by_an_attempt_that_commits_late() {
    let store = LateStore::default();
    let balances = Balances::default();
    let running = ProjectionRunner::builder(store.clone(), balances.clone()).start();
    for payload in ["poison", "4"] {
        deposit(&store, "k", payload).await;
    }
    caught_up(&store, &running).await;
    balances.mended.store(true, Ordering::Relaxed);
    store.lose_next();
    assert!(matches!(running.replay("k").await, Err(ReplayError::Store { .. })));
    resilience_core::time::SharedTimer::default().sleep(Duration::from_secs(1)).await; // Its pause.
    assert_eq!(running.replay("k").await, Ok(Replayed { events: 2 }));
    let late = store.arrive().await.unwrap();
    assert!(matches!(late, Err(AppendError::Conflict(_))), "{late:?}");
    assert_eq!((row(&store, "balance", "k").await, row(&store, "count", "all").await), (Some(4), Some(2)));
    running.stop().await.unwrap();
}

/// The stream of a parked event was archived since: that replay comes to nothing, and everything else goes on; when the
/// stream is taken back, so does the replay.
#[tokio::test(start_paused = true)]
async fn a_parked_event_that_was_archived_costs_the_replay_and_not_the_runner() {
    let store = crate::archive::Archive::new(MemoryStore::new());
    let balances = Balances::default();
    let running = ProjectionRunner::builder(store.clone(), balances.clone()).start();
    let parked = deposit(&store, "k", "poison").await;
    caught_up(&store, &running).await;
    balances.mended.store(true, Ordering::Relaxed);
    store.archive("k").await.unwrap();
    let error = running.replay("k").await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("event {parked} is not in what this runner reads")), "{error}");
    deposit(&store, "l", "4").await;
    caught_up(&store, &running).await;
    assert_eq!((row(&store, "balance", "l").await, running.status().health), (Some(4), Health::Degraded));
    store.restore("k").await.unwrap();
    assert_eq!(running.replay("k").await, Ok(Replayed { events: 1 }));
    assert_eq!(running.status().health, Health::Good);
    running.stop().await.unwrap();
}

/// A key that is kept in a shorter form is found by the form it has.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_too_long_to_be_stored_is_replayed_under_its_own_name() {
    /// Puts everything in order by one long key.
    struct Long(Balances);

    impl Projection for Long {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn query(&self) -> Query {
            self.0.query()
        }

        fn key(&self, _: &Recorded) -> String {
            "k".repeat(1_000)
        }

        async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
            self.0.apply(event, rows).await
        }
    }

    let (store, balances) = (MemoryStore::new(), Balances::default());
    let running = ProjectionRunner::builder(store.clone(), Long(balances.clone())).start();
    deposit(&store, "k", "poison").await;
    caught_up(&store, &running).await;
    balances.mended.store(true, Ordering::Relaxed);
    assert_eq!(running.replay("k".repeat(1_000)).await, Ok(Replayed { events: 1 }));
    running.stop().await.unwrap();
}
