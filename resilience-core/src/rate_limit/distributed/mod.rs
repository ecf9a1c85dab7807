//! One quota for several nodes.
//!
//! # Why
//!
//! What a partner allows, it allows all of your nodes together. A fixed share for each refuses on a busy node what an idle
//! one does not use, and is wrong after the next deployment. To ask a shared store about every call costs a round trip
//! each, and the store must be as available as the service. So a node takes permits from the store by the handful, spends
//! them by itself, and it is said beforehand what happens when the store does not answer.
//!
//! # Behaviour
//!
//! ```text
//! call ──► handful not empty and fresh? ──yes──► spend one: a short lock
//!              │ no
//!              ▼ one asks, the others wait for what it gets
//!          store.take(handful) ──granted──► spend one, keep the rest for a while
//!              │            └──none────────► refused, with the store's `retry_after`
//!              └─ late, or an error ────────► as `when_unavailable` says
//! ```
//!
//! The store decides how many permits there are, and so the nodes together never spend more than the quota. What a node
//! has taken and not spent [in time](DistributedRateLimiterBuilder::keep_for) is lost to all: at most a handful a node.
//!
//! [`PermitStore`] is one method; [`LocalStore`] keeps it in process, for tests and for one node.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::rate_limit::DistributedRateLimiter;
//! use resilience_core::rate_limit::distributed::LocalStore;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = LocalStore::new();
//! let node = || {
//!     let limiter = DistributedRateLimiter::builder(store.clone());
//!     limiter.name("partner").quota(100, Duration::from_secs(1)).burst(100).handful(10).build()
//! };
//! let (east, west) = (node()?, node()?);
//! for _ in 0..50 {
//!     east.acquire().await?;
//!     west.acquire().await?;
//! }
//! assert!(east.acquire().await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`quota`](DistributedRateLimiterBuilder::quota) | none, must be given | only its user knows what was agreed |
//! | [`burst`](DistributedRateLimiterBuilder::burst) | the quota's permits | as in one process |
//! | [`handful`](DistributedRateLimiterBuilder::handful) | a hundredth of the burst, at least 1 | a hundred round trips a burst, and little that is lost |
//! | [`keep_for`](DistributedRateLimiterBuilder::keep_for) | the quota's time | longer, and others' permits would be spent in two periods |
//! | [`patience`](DistributedRateLimiterBuilder::patience) | 50 ms | a limiter must not be the slowest part of a call |
//! | [`when_unavailable`](DistributedRateLimiterBuilder::when_unavailable) | admit | a limit protects; it should not be what brings the service down |
//! | [`dry_run`](DistributedRateLimiterBuilder::dry_run) | off | |
//!
//! # Events
//!
//! [`Event`], as `resilience.rate_limit.*`: `taken` with what the store granted, `rejected`, in a dry run `would_reject`
//! instead, and `unavailable` when the store did not answer.
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with [`RateLimited`](crate::Reason::RateLimited), and the store's `retry_after`;
//! [`Deadline`](crate::Reason::Deadline) or [`Full`](crate::Reason::Full) for who cannot wait for the store's answer.
//!
//! # Interplay
//!
//! As the limiter of one process: inside retry and circuit breaker, to keep to what a partner allows; outermost, to protect a
//! service. What a store may take is bounded here, by [`patience`](DistributedRateLimiterBuilder::patience); it is part of
//! the time of any timeout outside.
//!
//! # Do and don't
//!
//! - Do choose a handful that a node spends in well under a second.
//! - Do put a [circuit breaker](crate::circuit_breaker) into a store that is a network away: late is worse than refused.
//! - Don't admit when unavailable where the limit guards money.
//!
//! # Limits
//!
//! Permits are spent one by one. A store's clock decides, where it has one.

mod config;
mod event;
mod policy;
#[cfg(feature = "tower")]
mod service;
mod store;

pub use self::config::{DistributedRateLimiterBuilder, WhenUnavailable};
pub use self::event::Event;
pub use self::policy::{DistributedRateLimiter, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::{DistributedRateLimiterLayer, DistributedRateLimiterService, ResponseFuture};
pub use self::store::{LocalStore, PermitStore, Quota, Taken};

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
