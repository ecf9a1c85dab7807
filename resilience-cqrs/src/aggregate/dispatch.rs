//! Commands as requests of a service, for the layers of resilience-core to wrap.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use resilience_core::{AsRejected, Classification, Classify, Error};
use serde::Serialize;
use tower_service::Service;

use super::execute::Once;
use super::{CodecError, Decider, EventCodec, ExecuteError, Executed, Repository};
use crate::log::{AppendError, BoxError, CommandId, Metadata, Written};
use crate::store::EventStore;

/// A command for one aggregate, as a request.
///
/// [`Repository`] is a `tower` service of these, so that time limits, bulkheads and breakers go around it as around any
/// other service; [`ByExecution`] tells them what an answer means.
///
/// ```
/// # use resilience_cqrs::aggregate::Decider;
/// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
/// # enum Event { Added { n: i64 } }
/// # #[derive(Clone, Debug, Default)]
/// # struct Counter(i64);
/// # impl Decider for Counter {
/// #     const STREAM: &'static str = "counter";
/// #     type Command = i64;
/// #     type Event = Event;
/// #     type Error = &'static str;
/// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
/// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
/// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
/// #     }
/// # }
/// use std::time::Duration;
/// use resilience_core::bulkhead::Bulkhead;
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::timeout::TimeoutLayer;
/// use resilience_core::{Error, LiftLayer};
/// use resilience_cqrs::MemoryStore;
/// use resilience_cqrs::aggregate::{ByExecution, Dispatch, ExecuteError, Repository};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
/// let bulkhead = Bulkhead::builder().name("counters").limit(64).queue(256).build()?;
/// let breaker = CircuitBreaker::builder().name("counters").build()?;
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(1)))
///     .layer(breaker.layer().classify(ByExecution::new()))
///     .layer(bulkhead.layer())
///     .layer(LiftLayer)
///     .service(counters);
///
/// // With an id, a repeated command happens once.
/// let done = service.clone().oneshot(Dispatch::new("1", 5).once("c1")?).await?;
/// assert_eq!(done.state.0, 5);
/// let refused = service.oneshot(Dispatch::new("1", -9)).await.unwrap_err();
/// assert!(matches!(refused, Error::Service(ExecuteError::Refused("below zero"))));
/// # Ok(()) }
/// ```
pub struct Dispatch<D: Decider> {
    id: String,
    command: D::Command,
    metadata: Option<Metadata>,
    once: Option<Once>,
}

impl<D: Decider> Dispatch<D> {
    /// `command` for the aggregate `id`.
    pub fn new(id: impl Into<String>, command: D::Command) -> Self {
        Self { id: id.into(), command, metadata: None, once: None }
    }

    /// Sets who and what causes the events. Default: correlation and causation of the call in progress.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Makes it a command that is executed at most once, as by [`Request::execute_once`](super::Request::execute_once).
    ///
    /// # Errors
    /// If the command cannot be serialized.
    pub fn once(mut self, id: impl Into<CommandId>) -> Result<Self, CodecError>
    where
        D::Command: Serialize,
    {
        let stream = Repository::<D, ()>::stream_of(&self.id);
        let content = serde_json::to_vec(&(stream.as_str(), &self.command))
            .map_err(|error| CodecError::Encode(BoxError::from(error)))?;
        self.once = Some(Once { id: id.into(), content });
        Ok(self)
    }

    /// The aggregate it is for.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The command.
    pub fn command(&self) -> &D::Command {
        &self.command
    }
}

impl<D: Decider> Clone for Dispatch<D>
where
    D::Command: Clone,
{
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            command: self.command.clone(),
            metadata: self.metadata.clone(),
            once: self.once.clone(),
        }
    }
}

impl<D: Decider> fmt::Debug for Dispatch<D>
where
    D::Command: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("stream", &D::STREAM)
            .field("id", &self.id)
            .field("command", &self.command)
            .field("once", &self.once.as_ref().map(|once| &once.id))
            .finish()
    }
}

/// The answer to a [`Dispatch`].
///
/// In a box: beside a durable commit an allocation is nothing. Dropped before it completes, the command may or may not be
/// executed, but never by half.
pub type DispatchFuture<D> =
    Pin<Box<dyn Future<Output = Result<Executed<D>, ExecuteError<<D as Decider>::Error>>> + Send>>;

impl<D, S, C> Service<Dispatch<D>> for Repository<D, S, C>
where
    D: Decider,
    S: EventStore,
    C: EventCodec<D::Event>,
{
    type Response = Executed<D>;
    type Error = ExecuteError<D::Error>;
    type Future = DispatchFuture<D>;

    /// Always ready: an engine's queue is its own.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, dispatch: Dispatch<D>) -> Self::Future {
        let repository = self.clone();
        Box::pin(async move {
            let Dispatch { id, command, metadata, once } = dispatch;
            let mut request = repository.request(&id);
            if let Some(metadata) = metadata {
                request = request.metadata(metadata);
            }
            request.dispatch(&command, once.as_ref()).await
        })
    }
}

/// What the answer to a command says to a breaker, a retry and whoever else asks.
///
/// | answer | means |
/// |---|---|
/// | executed, or refused by the aggregate | the store did its work |
/// | conflict | nothing about the store; may be repeated |
/// | the store is unavailable | a failure; may be repeated if nothing was written |
/// | it may have been written | a failure; repeated only if [said to be safe](Self::commands_have_ids) |
/// | the store is full, closed or corrupt, an event cannot be read | a failure that will come again |
/// | an append that is not valid, an id that belongs to another command | a mistake of the caller |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByExecution {
    repeatable: bool,
}

impl ByExecution {
    /// Repeats only what was certainly not done.
    pub const fn new() -> Self {
        Self { repeatable: false }
    }

    /// Every command [has an id](Dispatch::once): what may have been written can be asked for again.
    #[must_use]
    pub const fn commands_have_ids(mut self) -> Self {
        self.repeatable = true;
        self
    }

    fn of<E>(self, error: &ExecuteError<E>) -> Classification {
        match error {
            ExecuteError::Refused(_) => Classification::SUCCESS,
            ExecuteError::Conflict { .. } => Classification::IGNORE.retryable(true),
            ExecuteError::Invalid(_) | ExecuteError::Append(AppendError::Invalid(_) | AppendError::IdMisuse { .. }) => {
                Classification::IGNORE
            }
            ExecuteError::Append(AppendError::Unavailable(unavailable)) => {
                let safe = self.repeatable || unavailable.written == Written::No;
                Classification::FAILURE.retryable(unavailable.retryable && safe)
            }
            error => Classification::FAILURE.retryable(error.is_retryable()),
        }
    }
}

impl<R, E> Classify<R, Error<ExecuteError<E>>> for ByExecution {
    fn classify(&self, answer: &Result<R, Error<ExecuteError<E>>>) -> Classification {
        match answer {
            Ok(_) => Classification::SUCCESS,
            Err(Error::Service(error)) => self.of(error),
            Err(error) if error.as_rejected().is_some() => Classification::REFUSED,
            // It ran out of time while it was under way: written or not.
            Err(_) => Classification::TIMED_OUT.retryable(self.repeatable),
        }
    }
}
