//! Durable sagas with typed steps, compensations and crash recovery.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub mod barrier;
mod cx;
pub mod engine;
mod error;
mod graph;
mod id;
pub mod kernel;
mod step_error;
#[cfg(any(test, feature = "testing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use self::cx::{CancelToken, Cx};
pub use self::engine::{Engine, EngineBuilder, Outcome, Running};
pub use self::error::Error;
pub use self::graph::{Effect, Graph, Input, Needs, Saga, Step, saga};
pub use self::id::{IdempotencyKey, InvalidId, MAX_START_KEY, Op, SagaId};
pub use self::kernel::{Cause, DefinitionError, Epoch, Limits, Phase, Probed, Refused, Report, StepKey, Unknown};
pub use self::step_error::{Failure, StepError};
pub use resilience_core::retry::{Backoff, Jitter};
