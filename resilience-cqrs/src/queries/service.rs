//! The service that answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::context;
use resilience_core::time::SharedTimer;
use thiserror::Error;
use tower_service::Service;

use crate::log::Position;
use crate::projection::{Progress, StaleRead};

/// Answers questions of type `Q`. Any `Fn(Q)` that returns a future of a result is one.
///
/// ```
/// use resilience_cqrs::queries::{Ask, Handler, Queries};
/// use resilience_cqrs::{EventStore, MemoryStore, ReadError};
/// use tower::ServiceExt;
///
/// /// One type for all that is asked of a model, where a closure would take only one question.
/// struct Stock(MemoryStore);
///
/// struct LeftOf(&'static str);
///
/// impl Handler<LeftOf> for Stock {
///     type Answer = bool;
///     type Error = ReadError;
///
///     async fn answer(&self, LeftOf(article): LeftOf) -> Result<bool, ReadError> {
///         Ok(self.0.row("stock", article.as_bytes()).await?.is_some())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queries = Queries::new(Stock(MemoryStore::new()));
/// assert!(!queries.oneshot(Ask::new(LeftOf("socks"))).await?.value);
/// # Ok(()) }
/// ```
pub trait Handler<Q>: Send + Sync + 'static {
    /// The answer.
    type Answer: Send + 'static;
    /// Why there is none.
    type Error: Send + 'static;

    /// Answers.
    fn answer(&self, question: Q) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}

impl<Q, F, Fut, A, E> Handler<Q> for F
where
    F: Fn(Q) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, E>> + Send,
    A: Send + 'static,
    E: Send + 'static,
{
    type Answer = A;
    type Error = E;

    fn answer(&self, question: Q) -> impl Future<Output = Result<A, E>> + Send {
        self(question)
    }
}

/// A question, and how much of the log its answer must know.
#[derive(Clone, Debug)]
pub struct Ask<Q> {
    question: Q,
    at_least: Position,
}

impl<Q> Ask<Q> {
    /// A question to be answered from what the model shows now.
    pub const fn new(question: Q) -> Self {
        Self { question, at_least: Position::ORIGIN }
    }

    pub(super) fn into_parts(self) -> (Q, Position) {
        (self.question, self.at_least)
    }

    /// Wants an answer that shows everything up to `position`; of several positions, the highest counts.
    ///
    /// ```
    /// use resilience_cqrs::queries::{Ask, Queries, QueryError};
    /// use resilience_cqrs::Position;
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queries = Queries::new(async |question: &'static str| Ok::<_, std::io::Error>(question.len()));
    /// // An order and a payment of the same client: whichever was later.
    /// let ask = Ask::new("orders of ann").at_least(Position::new(17)).at_least(Position::new(12));
    /// // The model follows nothing, so nobody knows how far it is: that is said, and not taken for far enough.
    /// let Err(QueryError::Stale(stale)) = queries.oneshot(ask).await else { panic!() };
    /// assert_eq!(stale.wanted, Position::new(17));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn at_least(mut self, position: Position) -> Self {
        self.at_least = self.at_least.max(position);
        self
    }
}

/// An answer, and how much of the log it knows at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<A> {
    /// What was asked for.
    pub value: A,
    /// Where the model was before it was asked: it shows everything up to here, and perhaps more. The log's beginning, if
    /// it [follows](Queries::follow) no projection.
    pub position: Position,
}

/// There is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError<E> {
    /// The model does not show what was asked for yet.
    #[error(transparent)]
    Stale(StaleRead),
    /// No version of the model is known to [serve](Queries::follow_serving).
    #[error("nobody is known to answer: {error}")]
    Unserved {
        /// Why.
        error: String,
    },
    /// The handler failed.
    #[error("the question could not be answered")]
    Failed(#[source] E),
}

impl<E> QueryError<E> {
    /// The handler's own error, if that is what it is.
    ///
    /// ```
    /// use resilience_cqrs::queries::{Ask, Queries};
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queries = Queries::new(async |_: &'static str| Err::<(), _>("no such order"));
    /// let error = queries.oneshot(Ask::new("order-17")).await.unwrap_err();
    /// assert_eq!(error.into_failed(), Some("no such order"));
    /// # Ok(()) }
    /// ```
    pub fn into_failed(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Stale(_) | Self::Unserved { .. } => None,
        }
    }
}

/// Answers questions to one read model. Clones share it. See the [module](super).
pub struct Queries<H> {
    pub(super) handler: Arc<H>,
    progress: Option<(Progress, Duration)>,
}

impl<H> Queries<H> {
    /// Questions to `handler`.
    pub fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler), progress: None }
    }

    /// Waits for the projection that makes the model, for a question that wants more than it shows; at most for `within`,
    /// or until the call's deadline if that is nearer.
    ///
    /// Of a model that is rebuilt under new versions, [`follow_serving`](Self::follow_serving) follows whichever serves.
    ///
    /// Without either, a question that wants a position is answered with [`Stale`](QueryError::Stale): nobody knows.
    #[must_use]
    pub fn follow(mut self, progress: Progress, within: Duration) -> Self {
        self.progress = Some((progress, within));
        self
    }
}

impl<H> Clone for Queries<H> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), progress: self.progress.clone() }
    }
}

impl<H> fmt::Debug for Queries<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queries").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// The answer to an [`Ask`]. In a box: the handler's future has no name.
pub type QueryFuture<A, E> = Pin<Box<dyn Future<Output = Result<Answer<A>, QueryError<E>>> + Send>>;

impl<Q: Send + 'static, H: Handler<Q>> Service<Ask<Q>> for Queries<H> {
    type Response = Answer<H::Answer>;
    type Error = QueryError<H::Error>;
    type Future = QueryFuture<H::Answer, H::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask<Q>) -> Self::Future {
        let Self { handler, progress } = self.clone();
        Box::pin(async move {
            let wanted = ask.at_least;
            let position = match progress {
                Some((progress, within)) => match progress.position() {
                    there if there >= wanted => there,
                    _ => progress
                        .at_least(wanted, patience(progress.timer(), within))
                        .await
                        .map_err(QueryError::Stale)?,
                },
                None if wanted == Position::ORIGIN => Position::ORIGIN,
                None => return Err(QueryError::Stale(StaleRead { at: Position::ORIGIN, wanted })),
            };
            let value = handler.answer(ask.question).await.map_err(QueryError::Failed)?;
            Ok(Answer { value, position })
        })
    }
}

/// `within`, or what is left of the call's time.
pub(super) fn patience(timer: &SharedTimer, within: Duration) -> Duration {
    match context::deadline(timer) {
        Some(deadline) => within.min(deadline.remaining(timer.now()).unwrap_or_default()),
        None => within,
    }
}
