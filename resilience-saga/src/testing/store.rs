//! A store whose process goes down at a given record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use resilience_cqrs::{
    Append, AppendError, Appended, CommandId, Committed, EventStore, MemoryStore, Page, Position, Query, ReadError,
    Recorded, StreamId, Unavailable, Version, Written,
};
use tokio::sync::watch;

use super::schedule::{Crash, When};

/// A memory store as one process sees it. The memory survives the process.
#[derive(Clone, Debug)]
pub(super) struct Frail {
    inner: MemoryStore,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    crash: Option<Crash>,
    records: AtomicUsize,
    /// Whether the process is down (or paused).
    down: watch::Sender<bool>,
    /// Whether a paused process goes on.
    resumed: watch::Sender<bool>,
}

impl Frail {
    pub(super) fn new(inner: MemoryStore, crash: Option<Crash>) -> Self {
        let shared = Shared {
            crash,
            records: AtomicUsize::new(0),
            down: watch::Sender::new(false),
            resumed: watch::Sender::new(false),
        };
        Self { inner, shared: Arc::new(shared) }
    }

    /// How many records were offered.
    pub(super) fn records(&self) -> usize {
        // Relaxed: a count, read on the thread that made it.
        self.shared.records.load(Ordering::Relaxed)
    }

    /// Completes when the process is down.
    pub(super) async fn down(&self) {
        let _ = self.shared.down.subscribe().wait_for(|down| *down).await;
    }

    /// Lets a paused process go on.
    pub(super) fn resume(&self) {
        self.shared.resumed.send_replace(true);
    }
}

impl EventStore for Frail {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        if append.event_count() == 0 {
            return self.inner.append(append).await;
        }
        // Relaxed: as above.
        let record = 1 + self.shared.records.fetch_add(1, Ordering::Relaxed);
        match self.shared.crash.filter(|crash| crash.record == record).map(|crash| crash.when) {
            None => self.inner.append(append).await,
            Some(When::Before) => {
                self.shared.down.send_replace(true);
                std::future::pending().await
            }
            Some(When::After) => {
                let _ = self.inner.append(append).await;
                self.shared.down.send_replace(true);
                std::future::pending().await
            }
            Some(When::LostAck) => {
                let _ = self.inner.append(append).await;
                Err(AppendError::Unavailable(Unavailable {
                    reason: "the test lost the acknowledgement".into(),
                    written: Written::Unknown,
                    retryable: true,
                    source: None,
                }))
            }
            Some(When::Zombie) => {
                self.shared.down.send_replace(true);
                let _ = self.shared.resumed.subscribe().wait_for(|resumed| *resumed).await;
                self.inner.append(append).await
            }
        }
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.inner.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.inner.read(after, query, limit).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.inner.read_stream(stream, after, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.inner.row(space, key).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.inner.rows(space, after, limit).await
    }

    fn head(&self) -> Position {
        self.inner.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.inner.wait_past(position).await
    }
}
