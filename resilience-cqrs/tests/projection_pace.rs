//! Projections of one log, each at its own pace.

use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Position, Query, Recorded};

/// Takes so long for each event.
struct Paced(&'static str, Duration);

impl Projection for Paced {
    fn name(&self) -> &str {
        self.0
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        SharedTimer::default().sleep(self.1).await;
        rows.put(self.0, "last", event.position.to_string());
        Ok(())
    }
}

/// Scenario 27. The slow one takes a minute for each event, in a clock that the fast one does not move.
#[tokio::test(start_paused = true)]
async fn a_slow_projection_does_not_hold_up_a_fast_one() {
    let store = MemoryStore::new();
    let slow = ProjectionRunner::builder(store.clone(), Paced("slow", Duration::from_secs(60))).start();
    let fast = ProjectionRunner::builder(store.clone(), Paced("fast", Duration::ZERO)).start();
    for n in 1..=50 {
        let event = NewEvent::new("Counted", n.to_string());
        let done = store.append(Append::new().events("s", Expected::Any, [event])).await.unwrap();
        assert_eq!(fast.at_least(done.last, Duration::from_millis(100)).await, Ok(done.last), "no later for the other");
    }
    assert_eq!(slow.status().position, Position::ORIGIN);
    // Nor is the slow one left behind for good.
    assert!(slow.at_least(store.head(), Duration::from_secs(2 * 60 * 50)).await.is_ok());
}
