//! Keeps what is known about a fleet.

#[cfg(feature = "tokio")]
mod config;
#[cfg(feature = "tokio")]
mod driver;
mod event;
mod machine;
#[cfg(feature = "tokio")]
mod policy;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "tokio")]
pub use self::config::DiscoveryBuilder;
pub use self::event::Event;
pub use self::machine::{Changes, EndpointSet, Rules};
#[cfg(feature = "tokio")]
pub use self::policy::{Discovery, Subscription};
