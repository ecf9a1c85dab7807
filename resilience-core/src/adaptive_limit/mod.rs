//! A limit on the calls that run at once which finds itself.

mod acquire;
mod config;
mod event;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod overload;
mod permit;
mod policy;
mod reserve;
mod rule;
#[cfg(feature = "tower")]
mod service;
mod window;

pub use self::acquire::{Acquire, Call};
pub use self::config::{Abandoned, AdaptiveLimitBuilder};
pub use self::event::{Cause, Event};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::AdaptiveLimitLayer;
pub use self::overload::ByOverload;
pub use self::permit::Permit;
pub use self::policy::{AdaptiveLimit, Snapshot};
pub use self::rule::Rule;
#[cfg(feature = "tower")]
pub use self::service::AdaptiveLimitService;
pub use self::window::Figure;

#[cfg(all(test, feature = "tokio", not(loom)))]
mod tests;
