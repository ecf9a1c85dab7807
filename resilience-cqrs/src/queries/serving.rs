//! Questions to a model of which one version takes over from another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::service::{Answer, Ask, Handler, Queries, QueryError, QueryFuture, patience};
use crate::projection::{Serving, ServingError};
use crate::store::EventStore;

/// A question, and the version of the model that is to answer it: its rows, or its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<Q> {
    /// The question.
    pub question: Q,
    /// The version that serves and shows what the asker wants.
    pub version: String,
}

/// [`Queries`] that follow a model through its versions; see [`follow_serving`](Queries::follow_serving). Clones share it.
pub struct ServingQueries<S, H> {
    handler: Arc<H>,
    serving: Serving<S>,
    within: Duration,
}

impl<H> Queries<H> {
    /// Waits for the version that serves the model, whichever that is by then; at most for `within`, or until the call's
    /// deadline if that is nearer.
    ///
    /// The handler is told the version, and must ask that one: if it looked by itself, it could find another, which took
    /// over in between and has not got so far.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::projection::{Serving, Versions};
    /// use resilience_cqrs::queries::{Ask, Queries, Served};
    /// use resilience_cqrs::{EventStore, MemoryStore};
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let versions = Versions::new(store.clone());
    /// versions.serve("orders@2").await?;
    /// let model = store.clone();
    /// let queries = Queries::new(move |Served { question, version }: Served<&'static str>| {
    ///     let model = model.clone();
    ///     // Each version has rows of its own, in a space that is called like it.
    ///     async move { model.row(&version, question.as_bytes()).await }
    /// })
    /// .follow_serving(Serving::new(versions, "orders"), Duration::from_secs(1));
    /// assert_eq!(queries.oneshot(Ask::new("order-17")).await?.value, None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn follow_serving<S: EventStore>(self, serving: Serving<S>, within: Duration) -> ServingQueries<S, H> {
        ServingQueries { handler: self.handler, serving, within }
    }
}

impl<S: Clone, H> Clone for ServingQueries<S, H> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), serving: self.serving.clone(), within: self.within }
    }
}

impl<S: fmt::Debug, H> fmt::Debug for ServingQueries<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingQueries").field("serving", &self.serving).finish_non_exhaustive()
    }
}

impl<Q: Send + 'static, S: EventStore, H: Handler<Served<Q>>> Service<Ask<Q>> for ServingQueries<S, H> {
    type Response = Answer<H::Answer>;
    type Error = QueryError<H::Error>;
    type Future = QueryFuture<H::Answer, H::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask<Q>) -> Self::Future {
        let Self { handler, serving, within } = self.clone();
        Box::pin(async move {
            let (question, wanted) = ask.into_parts();
            let within = patience(serving.clock(), within);
            let (version, position) = serving.at_least(wanted, within).await.map_err(|error| match error {
                ServingError::Stale(stale) => QueryError::Stale(stale),
                error => QueryError::Unserved { error: crate::projection::describe(&error) },
            })?;
            let value = handler.answer(Served { question, version }).await.map_err(QueryError::Failed)?;
            Ok(Answer { value, position })
        })
    }
}
