//! Runs sagas, each to its end, through whatever crashes.

mod act;
mod action;
mod builder;
mod clock;
mod event;
mod log;
mod operate;
mod outcome;
mod recovery;
mod run;
mod shared;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use resilience_cqrs::EventStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(any(test, feature = "testing"))]
pub(crate) use self::action::Intercept;
pub use self::builder::EngineBuilder;
pub use self::event::Event;
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::log::load;
pub use self::operate::{Standing, Summary};
pub use self::outcome::{Outcome, Running};
pub use self::recovery::Recovery;
use self::shared::Shared;
use crate::kernel::{Epoch, Payload};
use crate::{Error, Saga, SagaId};

/// Runs the sagas of one store.
///
/// A saga is a stream in the store; the engine appends to it what it decides, and acts only on what is durable. Whoever
/// starts an engine on the same store takes over what the last one left, wherever it stopped: see
/// [`EngineBuilder::start`]. A clone is the same engine; when the last clone is dropped it stops at once, as in a crash.
///
/// ```
/// use resilience_cqrs::MemoryStore;
/// use resilience_saga::{Engine, Outcome, StepError, saga};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let double = saga("double", 1, |g, n| g.check("twice", n, |_cx, n: u32| async move { Ok(2 * n) }))?;
/// let engine = Engine::builder(MemoryStore::new()).register(&double).start().await?;
/// assert_eq!(engine.run(&double, "one", 21).await?, Outcome::Completed(42));
/// // The key names the piece of business: asking again is asking for the same.
/// assert_eq!(engine.run(&double, "one", 21).await?, Outcome::Completed(42));
/// assert!(engine.run(&double, "one", 22).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Engine<S> {
    shared: Arc<Shared<S>>,
    /// Stops the engine with the last clone.
    guard: Arc<Guard<S>>,
}

struct Guard<S>(Arc<Shared<S>>);

impl<S> Drop for Guard<S> {
    fn drop(&mut self) {
        self.0.halt();
    }
}

impl<S: EventStore> Engine<S> {
    /// Sets up an engine on a store. Give the sagas a store (or a file) of their own: every unfinished saga in it belongs
    /// to this engine.
    pub fn builder(store: S) -> EngineBuilder<S> {
        EngineBuilder::new(store)
    }

    fn new(shared: Arc<Shared<S>>) -> Self {
        tokio::spawn(recovery::recover(shared.clone()));
        Self { guard: Arc::new(Guard(shared.clone())), shared }
    }

    /// Runs a saga to its end. The same as [`start`](Self::start) and then [`Running::wait`].
    ///
    /// Dropping the future changes nothing for the saga.
    ///
    /// # Errors
    ///
    /// As those of the two.
    pub async fn run<I, O>(&self, definition: &Saga<I, O>, key: &str, input: I) -> Result<Outcome<O>, Error>
    where
        I: Serialize,
        O: DeserializeOwned,
    {
        self.start(definition, key, input).await?.wait().await
    }

    /// Starts a saga, and returns once its creation is durable: from then on it runs to its end through any crash.
    ///
    /// `key` is the caller's name for the piece of business. If a saga of this definition was started with the same key
    /// and the same input, in whatever process and however long ago, this is that saga. Waits while as many sagas are in
    /// memory as may be.
    ///
    /// # Errors
    ///
    /// [`Error::KeyConflict`] if it was started with another input; otherwise if the definition is not registered, the
    /// key or the input cannot be stored, the store refuses, or the engine has stopped.
    pub async fn start<I, O>(&self, definition: &Saga<I, O>, key: &str, input: I) -> Result<Running<O>, Error>
    where
        I: Serialize,
    {
        let plan = definition.plan();
        let definition = self.shared.registered(plan.name(), plan.version())?;
        let id = SagaId::new(plan.name(), key)?;
        let input = Payload::encode(&input).map_err(|error| Error::Input { why: error.to_string() })?;
        let (bytes, limit) = (input.as_str().len(), plan.limits().output);
        if bytes > limit {
            return Err(Error::Input { why: format!("it has {bytes} bytes, at most {limit} may be") });
        }
        let ended = self.shared.clone().start(&id, &definition, &input).await?;
        Ok(Running { id, ended, output: PhantomData })
    }

    /// This owner's number.
    pub fn epoch(&self) -> Epoch {
        self.shared.log.epoch
    }

    /// How many sagas are in memory.
    pub fn live(&self) -> usize {
        self.shared.live()
    }

    /// Waits until everything the last owner left has been looked at: taken over, left to an operator, or parked.
    ///
    /// # Errors
    ///
    /// If the store could not be read, or the engine stopped.
    pub async fn recovered(&self) -> Result<Recovery, Error> {
        self.shared.recovered().await
    }

    /// Stops in good order: starts nothing new, lets what is in progress end and records how it did. The next engine
    /// then finds nothing in doubt.
    ///
    /// Whether all of it ended within `grace`; what did not is dropped, as in a crash. Later calls on this engine fail
    /// with [`Error::Stopped`].
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.shared.drain();
        let in_time = tokio::select! {
            biased;
            () = self.shared.empty() => true,
            () = self.shared.clock.timer().sleep(grace) => false,
        };
        self.shared.halt();
        in_time
    }

    /// Stops at once, as a crash would: what is in progress is dropped wherever it is.
    pub fn halt(&self) {
        self.shared.halt();
    }
}

impl<S> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), guard: self.guard.clone() }
    }
}

impl<S> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.shared.name)
            .field("epoch", &self.shared.log.epoch)
            .field("live", &self.shared.live())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
