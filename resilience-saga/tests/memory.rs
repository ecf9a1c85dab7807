//! Finished sagas leave memory. In a process of its own, since it measures one.
#![cfg(target_os = "linux")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use resilience_cqrs::{
    Append, AppendError, Appended, CommandId, Committed, EventStore, MemoryStore, Page, Position, Query, ReadError,
    Recorded, RowChange, StreamId, Version,
};
use resilience_saga::{Cx, Effect, Engine, Input, Outcome, Saga, StepError, saga};

/// A store that forgets: what memory is used is the engine's. It keeps the owner's row, which is all the engine reads.
#[derive(Clone, Default)]
struct Forgetful {
    owner: Arc<Mutex<Option<Bytes>>>,
    empty: MemoryStore,
}

impl EventStore for Forgetful {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        if let ([], [RowChange::Put { value, .. }]) = (append.streams(), append.row_changes()) {
            *self.owner.lock().unwrap() = Some(value.clone());
        }
        tokio::task::yield_now().await;
        let at = Position::new(1);
        Ok(Appended { first: at, last: at, versions: Vec::new(), already_committed: false })
    }
    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.empty.committed(command).await
    }
    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.empty.read(after, query, limit).await
    }
    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.empty.read_stream(stream, after, limit).await
    }
    async fn row(&self, _: &str, _: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.owner.lock().unwrap().clone())
    }
    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.empty.rows(space, after, limit).await
    }
    fn head(&self) -> Position {
        self.empty.head()
    }
    async fn wait_past(&self, position: Position) -> Position {
        self.empty.wait_past(position).await
    }
}

/// Resident memory in bytes; pages are at least this large.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn three() -> Saga<u64, u64> {
    saga("three", 1, |g, input: Input<'_, u64>| {
        let add = |_: Cx, n: u64| async move { Ok::<_, StepError>(n + 1) };
        let undo = |_: Cx, _: Effect<u64>| async { Ok(()) };
        let a = g.step("a", input, add).undo(undo);
        let b = g.step("b", a, add).undo(undo);
        g.step("c", b, |_, n| async move { if n % 2 == 0 { Ok(n) } else { Err(StepError::rejected("odd")) } })
            .undo(undo)
    })
    .unwrap()
}

#[test]
fn memory_does_not_grow_with_finished_sagas() {
    // steno keeps 17 to 23 KB of each: these would be 400 MB.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let three = three();
        let engine = Engine::builder(Forgetful::default()).register(&three).start().await.unwrap();
        let batch = |from: u64, to: u64| {
            let runs = (0..64).map(|lane| {
                let (engine, three) = (engine.clone(), three.clone());
                tokio::spawn(async move {
                    for n in (from + lane..to).step_by(64) {
                        let end = engine.run(&three, &n.to_string(), n).await.unwrap();
                        assert!(matches!(end, Outcome::Completed(_) | Outcome::Compensated(_)));
                    }
                })
            });
            futures::future::join_all(runs.collect::<Vec<_>>())
        };
        batch(0, 2_000).await;
        let before = resident();
        batch(2_000, 22_000).await;
        let grown = resident().saturating_sub(before);
        assert_eq!(engine.live(), 0);
        assert!(grown < 2_000_000, "memory grew by {grown} bytes over 20,000 sagas");
    });
}
