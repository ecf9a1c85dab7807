//! Answers in a failing service's place.

mod config;
mod course;
mod event;
#[cfg(feature = "tower")]
mod future;
mod join;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
mod run;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod strategy;

pub use self::config::FallbackBuilder;
pub use self::event::{Event, Reason};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
pub use self::join::{BothFailed, Join, Joined, Merge, Original};
#[cfg(feature = "tower")]
pub use self::layer::{FallbackLayer, OrWhen};
pub use self::policy::{Fallback, Snapshot};
pub use self::run::{Run, RunOr};
#[cfg(feature = "tower")]
pub use self::service::FallbackService;
#[cfg(feature = "tower")]
pub use self::strategy::{Backup, BackupFuture, FromAnswer, FromRequest, Function, NotKept, Strategy, Value};

#[cfg(all(test, not(loom), feature = "tower"))]
mod tests;
