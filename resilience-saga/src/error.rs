//! How the engine fails.

use std::sync::Arc;

use resilience_core::{ConfigError, Name};
use resilience_cqrs::{AppendError, ReadError};
use thiserror::Error;

use crate::kernel::Refused;
use crate::{InvalidId, SagaId};

/// Why the engine could not do what it was asked.
///
/// How a *saga* ends, well or badly, is no error of the engine; see [`Outcome`](crate::Outcome).
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine was built without this definition or with another version of it.
    #[error("{definition} version {version} is not registered")]
    NotRegistered {
        /// The definition's name.
        definition: Name,
        /// The version asked for.
        version: u32,
    },
    /// The key cannot be the key of a saga.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// A saga with this key exists, started with another input. Nothing was started.
    #[error("{id} was started with another input")]
    KeyConflict {
        /// The saga that exists.
        id: SagaId,
    },
    /// The input cannot be written down, or is longer than the definition's limit for outputs.
    #[error("the input cannot be stored: {why}")]
    Input {
        /// Why.
        why: String,
    },
    /// The saga completed, but what it returned does not fit the type any more.
    #[error("the output of {id} does not fit its type: {why}")]
    Output {
        /// The saga.
        id: SagaId,
        /// Why.
        why: String,
    },
    /// The engine is shutting down, or was dropped. The saga, if it exists, goes on when the next engine starts.
    #[error("the engine has stopped")]
    Stopped,
    /// Another process has taken the sagas over. This engine does nothing more.
    #[error("another process has taken the sagas over")]
    Fenced,
    /// There is no such saga.
    #[error("there is no saga {id}")]
    NotFound {
        /// The id.
        id: SagaId,
    },
    /// The saga cannot do what was asked of it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The saga was made by a definition this engine does not have: another version, or another graph under the same
    /// version. It is left alone.
    #[error("{id} does not belong to the definitions of this engine: {why}")]
    Incompatible {
        /// The saga.
        id: SagaId,
        /// What does not fit.
        why: String,
    },
    /// The saga's log contradicts itself. It is left alone.
    #[error("the log of {id} is corrupt at record {record}: {why}")]
    Corrupt {
        /// The saga.
        id: SagaId,
        /// Which record of the saga, counted from 1.
        record: u64,
        /// What is wrong.
        why: String,
    },
    /// The store refused, for good, to write.
    #[error("the store refused a record")]
    Append(#[source] Arc<AppendError>),
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// The engine was configured with a value that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
