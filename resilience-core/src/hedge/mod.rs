//! Asks once more while an answer takes long, and takes the first that is good.

mod config;
mod contest;
mod delay;
mod event;
#[cfg(feature = "tower")]
mod future;
mod latency;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
mod run;
#[cfg(feature = "tower")]
mod service;
mod session;

pub use self::config::HedgeBuilder;
pub use self::delay::{Delay, Quantile};
pub use self::event::{Cause, Event, Reason};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::HedgeLayer;
pub use self::policy::{Hedge, Snapshot};
pub use self::run::Run;
#[cfg(feature = "tower")]
pub use self::service::HedgeService;

#[cfg(all(test, not(loom), feature = "tower"))]
mod tests;
