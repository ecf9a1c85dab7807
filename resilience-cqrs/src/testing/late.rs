//! A store whose commits come late: after the one who asked was told that nobody knows.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::MemoryStore;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Unavailable,
    Version, Written,
};
use crate::store::{EventStore, Page};

/// A server goes on with a statement whose connection was lost, and may commit it after the next one was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateStore {
    store: MemoryStore,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Quiet,
    /// The next append is not answered.
    Armed,
    /// It is carried out when the test says.
    Late(Box<Append>),
}

impl LateStore {
    pub(crate) fn lose_next(&self) {
        *self.state.lock().unwrap() = State::Armed;
    }

    /// Carries out what is late.
    pub(crate) async fn arrive(&self) -> Option<Result<Appended, AppendError>> {
        let state = std::mem::take(&mut *self.state.lock().unwrap());
        let State::Late(append) = state else { return None };
        Some(self.store.append(*append).await)
    }
}

impl EventStore for LateStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let is_lost = matches!(*self.state.lock().unwrap(), State::Armed);
        if is_lost {
            *self.state.lock().unwrap() = State::Late(Box::new(append));
            return Err(AppendError::Unavailable(Unavailable {
                reason: "the connection was lost".into(),
                written: Written::Unknown,
                retryable: true,
                source: None,
            }));
        }
        self.store.append(append).await
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.store.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.store.read(after, query, limit).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.store.read_stream(stream, after, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.store.row(space, key).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.store.rows(space, after, limit).await
    }

    fn head(&self) -> Position {
        self.store.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.store.wait_past(position).await
    }
}
