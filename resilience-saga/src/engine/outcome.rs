//! How a saga ended, for whoever waits for it.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::kernel::{Cause, Payload, Report};
use crate::{Error, SagaId};

/// How a saga ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// Every step succeeded; this is what the saga returned.
    Completed(O),
    /// It was given up, and no effect is left.
    Compensated(Cause),
    /// It needs an operator. It has not ended, but nobody should wait for it.
    Stuck(Report),
    /// An operator gave it up as it stood.
    Abandoned(Report),
}

impl<O> Outcome<O> {
    /// What the saga returned, if it completed.
    ///
    /// ```
    /// use resilience_saga::Outcome;
    ///
    /// let end = Outcome::Completed(42);
    /// assert_eq!(end.label(), "completed");
    /// assert_eq!(end.completed(), Some(42));
    /// ```
    pub fn completed(self) -> Option<O> {
        match self {
            Self::Completed(output) => Some(output),
            _ => None,
        }
    }

    /// The outcome as a label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Compensated(_) => "compensated",
            Self::Stuck(_) => "stuck",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

/// An outcome without its type, or why there is none.
pub(crate) type Ended = Result<Outcome<Payload>, Error>;

/// A saga that was started: its creation is durable, whatever becomes of this handle. A cheap clone.
#[derive(Debug)]
pub struct Running<O> {
    pub(super) id: SagaId,
    pub(super) ended: watch::Receiver<Option<Ended>>,
    pub(super) output: PhantomData<fn() -> O>,
}

impl<O> Running<O> {
    /// The saga.
    pub fn id(&self) -> &SagaId {
        &self.id
    }

    /// Waits for its end. Dropping this wait changes nothing for the saga.
    ///
    /// # Errors
    ///
    /// If the engine stops or loses the saga before its end, or the output does not fit its type.
    pub async fn wait(&self) -> Result<Outcome<O>, Error>
    where
        O: DeserializeOwned,
    {
        let mut ended = self.ended.clone();
        let ended = match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Err(Error::Stopped)),
            // The run was dropped without a word: its runtime shut down.
            Err(_) => Err(Error::Stopped),
        };
        Ok(match ended? {
            Outcome::Completed(output) => Outcome::Completed(
                output.decode().map_err(|error| Error::Output { id: self.id.clone(), why: error.to_string() })?,
            ),
            Outcome::Compensated(cause) => Outcome::Compensated(cause),
            Outcome::Stuck(report) => Outcome::Stuck(report),
            Outcome::Abandoned(report) => Outcome::Abandoned(report),
        })
    }
}

impl<O> Clone for Running<O> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), ended: self.ended.clone(), output: PhantomData }
    }
}
