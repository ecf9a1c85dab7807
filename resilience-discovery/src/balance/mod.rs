//! Sends calls to the less loaded of two endpoints.

mod config;
mod driver;
mod event;
mod future;
mod machine;
mod policy;
mod service;
mod slot;
#[cfg(all(test, not(loom)))]
mod tests;
mod watch;

pub use self::config::BalanceBuilder;
pub use self::event::Event;
pub use self::future::ResponseFuture;
pub use self::policy::{Balance, EndpointStatus, Snapshot};
