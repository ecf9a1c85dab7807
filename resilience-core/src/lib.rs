//! Resilience patterns as policy objects and tower layers.
//!
//! A service that calls other services needs a handful of policies between the two: time limits, retries within a
//! budget, circuit breakers, limits on concurrency and on rates. This crate has them as objects that can be named,
//! shared and inspected, and as [tower] layers over them, with one clock, one error vocabulary, one request context and
//! one form of events for all.
//!
//! | you see | you want |
//! |---|---|
//! | calls that never come back | [`timeout`] |
//! | failures that pass by themselves | [`retry`], within a [budget](retry::RetryBudget) |
//! | one call in a hundred that takes a hundred times as long | [`hedge`], within the same budget |
//! | a dependency that is down, and callers that wait for it | [`circuit_breaker`] |
//! | one slow dependency that eats all threads or connections | [`bulkhead`] |
//! | a bulkhead whose right limit nobody knows, or not for long | [`adaptive_limit`] |
//! | a caller that could do with less, and gets nothing | [`fallback`] |
//! | more calls than can be done in time | [`load_shed`] |
//! | more calls in a time than were agreed, or than one caller should make | [`rate_limit`] |
//! | many small calls that cost as much as one large one | [`batch`] |
//! | the same question over and over, or an answer that would still do | `cache` (feature `cache`) |
//! | two owners of what only one may own, after a pause or a partition | [`lease`], and its fence |
//! | a load balancer that sends work to what cannot do it, a supervisor that restarts what is well | [`health`] |
//! | an outage, and nobody who can see or close a circuit | [`registry`] |
//! | settings that must change without a release | `config` (feature `serde`) |
//! | layers of which each is right, in an order that does harm | [`lint`] |
//! | failures that nobody has seen yet | [`chaos`] |
//!
//! # A policy is an object
//!
//! The thing to create, name, share and inspect is the policy: clones of a [`CircuitBreaker`] are one breaker. It works
//! alone (`breaker.call(future).await`) and as a layer (`breaker.layer()`); what a layer makes shares the policy.
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::circuit_breaker::CircuitBreaker;
//! use resilience_core::timeout::TimeoutLayer;
//! use resilience_core::LiftLayer;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::builder().name("stock").consecutive_failures(5).build()?;
//! let bulkhead = Bulkhead::builder().name("stock").limit(32).build()?;
//! let stock = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(1)))
//!     .layer(breaker.layer())
//!     .layer(bulkhead.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |sku: &'static str| Ok::<_, std::io::Error>((sku, 7))));
//! assert_eq!(stock.oneshot("socks").await?, ("socks", 7));
//! assert_eq!(bulkhead.snapshot().in_flight, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! From the outside in: [`fallback`], total timeout, [`retry`], [`circuit_breaker`], [`hedge`], [`bulkhead`], per-attempt timeout, [`LiftLayer`],
//! service. Retry outside the breaker, so that each attempt is judged and an open circuit ends the retries; the breaker
//! outside the bulkhead, so that its refusals are not taken for failures of the service; a time limit for each attempt
//! inside, one for the caller's patience outside.
//!
//! # Errors
//!
//! A layer does not wrap the error of what it protects: it asks that the error can be made [`From`] a [`Rejected`]
//! (refused here, never sent) and, where it times out, from an [`Elapsed`] (effect unknown). [`LiftLayer`] turns a
//! service's `E` into [`Error<E>`] once, innermost; an enum of your own or `Box<dyn Error + Send + Sync>` needs no lift.
//!
//! # Time
//!
//! Every policy lives by a [`Timer`](time::Timer): tokio's by default, so `tokio::time::pause` drives them all in tests,
//! or a [`ManualTimer`](time::ManualTimer). Decisions use monotonic time only.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `tokio` | yes | the default timer |
//! | `tower` | yes | layers, services |
//! | `cache` | | `cache`, over the map of the crate `quick_cache` |
//! | `tracing` | | [events](event) as `tracing` events |
//! | `metrics` | | events as `metrics` counters, gauges and histograms |
//! | `http` | | the [context] in HTTP and gRPC headers, what statuses mean, refusals as responses |
//! | `tonic` | | `tonic::Status` as the error of a stack |
//! | `serde` | | policies set up by data: `config` |
//! | `toml`, `json` | | such data from files, with errors that name line and field |
//!
//! Without any, the rules and policy objects remain, for another runtime's timer.
//!
//! [tower]: https://docs.rs/tower
//! [`CircuitBreaker`]: circuit_breaker::CircuitBreaker
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod adaptive_limit;
pub mod batch;
pub mod bulkhead;
#[cfg(all(feature = "cache", not(loom)))]
pub mod cache;
pub mod chaos;
pub mod circuit_breaker;
mod classify;
#[cfg(all(feature = "serde", not(loom)))]
pub mod config;
pub mod context;
pub mod control;
mod error;
pub mod event;
pub mod fallback;
#[cfg(any(feature = "cache", loom))]
mod flight;
#[cfg(feature = "http")]
pub mod grpc;
pub mod health;
pub mod hedge;
mod held;
#[cfg(feature = "http")]
pub mod http;
mod json;
pub mod lease;
#[cfg(feature = "tower")]
mod lift;
pub mod lint;
pub mod load_shed;
mod name;
pub mod observe;
#[cfg(feature = "tower")]
mod oneshot;
#[cfg(feature = "tower")]
mod prototype;
pub mod rate_limit;
pub mod registry;
mod rejected;
pub mod retry;
pub mod rng;
mod spread;
#[allow(dead_code, unused_imports, unreachable_pub)] // A façade: which half a build uses depends on its features.
mod sync;
#[allow(dead_code)] // As above.
mod tally;
pub mod time;
pub mod timeout;
mod unwind;

pub use self::classify::{ByResult, Class, Classification, Classify};
pub use self::error::{AsRejected, ConfigError, Elapsed, Error};
#[cfg(feature = "tower")]
pub use self::lift::{LiftFuture, LiftLayer, LiftService, LowerFuture, LowerLayer, LowerService};
pub use self::name::Name;
pub use self::rejected::{Reason, Rejected};

/// The README's example compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
