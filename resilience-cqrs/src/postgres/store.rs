//! What every store promises, by the writer and the readers of this one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::loads::{self, Load};
use super::writer::{AppendJob, Job};
use super::{PostgresStore, read};
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Unavailable,
    Version, Written,
};
use crate::store::{EventStore, Page};

impl EventStore for PostgresStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate().map_err(AppendError::Invalid)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Append(AppendJob { append, answer });
        self.shared.jobs.send(job).await.map_err(|_| AppendError::Closed)?;
        match answered.await {
            Ok(result) => result,
            Err(_) => Err(AppendError::Unavailable(Unavailable {
                reason: "the store's runtime has ended".into(),
                written: Written::Unknown,
                retryable: false,
                source: None,
            })),
        }
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        let command = Arc::new(command.clone());
        self.reading(move |mut conn, durable| {
            let command = command.clone();
            async move {
                let (seen, found) = read::command(&mut conn, command.as_str()).await?;
                if found.is_some() {
                    durable.settle_turn(&mut conn, seen, seen.turn).await?;
                }
                Ok(found)
            }
        })
        .await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let query = Arc::new(query.clone());
        self.reading(move |mut conn, durable| {
            let query = query.clone();
            async move {
                let draw = read::draw(&mut conn, after, &query, limit).await?;
                let bound = durable.bound(&mut conn, draw.seen).await?;
                Ok(draw.page(after, bound))
            }
        })
        .await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        loads::stream(&self.shared, Load { stream: stream.clone(), after, limit }).await
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        let loads = streams.iter().map(|(stream, after)| Load { stream: stream.clone(), after: *after, limit });
        let loads: Arc<[Load]> = loads.collect();
        self.reading(move |mut conn, durable| {
            let loads = loads.clone();
            async move { loads::shown(&mut conn, &durable, &loads).await }
        })
        .await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let named: Arc<(String, Vec<u8>)> = Arc::new((space.to_owned(), key.to_owned()));
        self.reading(move |mut conn, durable| {
            let named = named.clone();
            async move {
                let (seen, turn, value) = read::row(&mut conn, &named.0, &named.1).await?;
                durable.settle_turn(&mut conn, seen, turn).await?;
                Ok(value)
            }
        })
        .await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let named = Arc::new((space.to_owned(), after.map(<[u8]>::to_owned)));
        self.reading(move |mut conn, durable| {
            let named = named.clone();
            async move {
                let (seen, turn, rows) = read::rows(&mut conn, &named.0, named.1.as_deref(), limit).await?;
                durable.settle_turn(&mut conn, seen, turn).await?;
                Ok(rows)
            }
        })
        .await
    }

    fn head(&self) -> Position {
        self.shared.durable.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        crate::store::wait_past(&self.shared.durable.head, position).await
    }
}
