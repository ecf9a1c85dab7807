//! Panics of a caller's code where no event is to blame.

use super::*;

/// Panics when it is asked for the key of an event: neither of the batch nor of an event that could be parked.
struct Keyless;

impl Projection for Keyless {
    fn name(&self) -> &str {
        "balances@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    fn key(&self, event: &Recorded) -> String {
        panic!("no key in {}", event.stream)
    }

    async fn apply(&self, _: &Recorded, _: &mut Rows<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Whoever looks at the status must not see a projection in good health that nobody runs.
#[tokio::test(start_paused = true)]
async fn a_runner_that_panicked_does_not_look_healthy_and_says_why() {
    let store = MemoryStore::new();
    let mut running = ProjectionRunner::builder(store.clone(), Keyless).start();
    let progress = running.progress();
    let written = deposit(&store, "a", "1").await;
    let stale = progress.at_least(written, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(stale.at, Position::ORIGIN);
    assert_eq!(progress.status().health, Health::Stopped);
    let ended = running.ended().await.unwrap_err();
    assert_eq!(ended.to_string(), "the runner panicked: no key in a");
    assert!(matches!(running.replay("a").await, Err(ReplayError::Stopped)));
}

/// Its task was aborted: nobody is left to say so but what it held.
#[tokio::test(start_paused = true)]
async fn a_runner_whose_task_is_aborted_does_not_look_healthy() {
    let store = MemoryStore::new();
    let (runner, running) = ProjectionRunner::builder(store.clone(), Balances::default()).build();
    let task = tokio::spawn(runner.run());
    deposit(&store, "a", "1").await;
    caught_up(&store, &running).await;
    task.abort();
    task.await.unwrap_err();
    assert_eq!(running.status().health, Health::Stopped);
    assert!(matches!(running.stop().await, Err(RunnerError::Aborted)));
}
