//! Resilience patterns as policy objects and tower layers.
//!
//! A service that calls other services needs a handful of policies between the two: time limits, retries within a
//! budget, circuit breakers, limits on concurrency. This crate has them as objects that can be named, shared and
//! inspected, and as [tower] layers over them, with one clock, one error vocabulary, one request context and one form of
//! events for all.
//!
//! [tower]: https://docs.rs/tower
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod bulkhead;
pub mod circuit_breaker;
mod classify;
pub mod context;
mod error;
pub mod event;
#[cfg(feature = "tower")]
mod lift;
mod name;
pub mod observe;
pub mod retry;
pub mod rng;
#[allow(dead_code, unused_imports, unreachable_pub)] // A façade: which half a build uses depends on its features.
mod sync;
pub mod time;
pub mod timeout;

pub use self::classify::{ByResult, Class, Classification, Classify};
pub use self::error::{AsRejected, ConfigError, Elapsed, Error, Reason, Rejected};
#[cfg(feature = "tower")]
pub use self::lift::{LiftFuture, LiftLayer, LiftService, LowerFuture, LowerLayer, LowerService};
pub use self::name::Name;

/// The README's example compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
