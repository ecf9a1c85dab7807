//! A limit on how long an answer may take, that every layer below can see.
//!
//! # Why
//!
//! A timeout that only its own layer knows about wastes the work of all the others: a retry below it starts an attempt
//! that can never be used, a queue holds a caller who has long given up. So this layer does two things. It drops the
//! call when time is up, and it puts the deadline into the [request context](crate::context), where retries, queues and
//! the layers that write headers read what is left.
//!
//! # Behaviour
//!
//! Time counts from the first poll of the answer, which in every ordinary use is the moment of the call, to the poll
//! that finds the answer. Nothing is measured until something has to wait: a call answered at its first poll reads no
//! clock and makes no timer. If the answer and the end of time come in the same poll, the answer wins. Tokio's timers
//! tick in milliseconds and never early, so under that timer the end comes up to a millisecond late.
//!
//! ```text
//!  poll_ready        call, first poll                     limit
//!  ├─ not counted ───┼──────────── counted ───────────────┤ the call is dropped, then Elapsed is seen
//!  ├─ counted, with covers_readiness ─────────────────────┤ never sent: Rejected; sent: Elapsed
//!                    ├──────────── counted ───────────────┤╌╌╌╌╌╌╌╌╌╌ goes on, with detached
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::timeout::TimeoutLayer;
//! use resilience_core::{Error, LiftLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(2)))
//!     .layer(LiftLayer)
//!     .service(service_fn(async |wait: bool| {
//!         if wait {
//!             std::future::pending::<()>().await;
//!         }
//!         Ok::<_, std::io::Error>("an answer")
//!     }));
//! assert_eq!(service.clone().oneshot(false).await.unwrap(), "an answer");
//! let late = service.oneshot(true).await.unwrap_err();
//! assert_eq!(late.to_string(), "no answer within 2s");
//! # assert!(late.is_elapsed());
//! # });
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | `limit` | none, must be given | no figure is right for both a cache and a report |
//! | `reconfigurable` | off | a limit that may change is one that clones share, and each call reads |
//! | `dry_run` | off | on, it counts and tells what it would do, and does nothing |
//! | `name` | `timeout` | |
//! | `timer` | tokio's | so that `tokio::time::pause` drives it |
//! | `TimeoutLayer::limit_by` | the one limit for all | a request, or its context, may ask for another |
//! | `TimeoutLayer::covers_readiness` | off | before the call nobody knows whose time runs; see there |
//! | `TimeoutLayer::detached` | off | a call nobody waits for should end |
//!
//! # Events
//!
//! [`Event`], as `resilience.timeout.*`: `elapsed`, and `rejected` with its reason; in a dry run `would_elapse`
//! and `would_reject`. All are warnings.
//!
//! # Errors
//!
//! | error | when | was the call sent? |
//! |---|---|---|
//! | [`Elapsed`](crate::Elapsed) | time ran out | yes: its effect is unknown |
//! | [`Rejected`](crate::Rejected) with [`Reason::Deadline`](crate::Reason::Deadline) | the deadline in the context had already passed | no |
//!
//! The call's future is dropped before the error can be seen, so whatever it held is free by then.
//!
//! # Interplay
//!
//! The earliest deadline wins. A timeout inside another one shows the layers below it the smaller of both; a deadline
//! that a server took from a request's headers and set with [`Context`](crate::context::Context) ends calls under this
//! layer, too, and is reported as [`Elapsed`](crate::Elapsed) with this layer's own limit. Outside a retry the limit
//! holds for all attempts together, inside for each of them.
//!
//! # Do and don't
//!
//! - Do set two: one for the caller's patience outside of a retry, one for each attempt inside.
//! - Do let [`Elapsed`](crate::Elapsed) mean "unknown": repeat only what may be repeated.
//! - Don't make an inner limit longer than the outer one: it never comes to that.
//!
//! # Limits
//!
//! A call is dropped, not interrupted: one that blocks its thread is found late when it yields, and a server that works
//! on an abandoned request does not stop by itself; send it the deadline (over HTTP and gRPC: `http::InjectLayer`).
//! Readiness is covered on request only: tower asks a service whether it is ready before there is a call whose time
//! could run. Where instances are one caller's each, `TimeoutLayer::covers_readiness` counts from the first "not yet";
//! elsewhere bound that wait where it arises, with [`Bulkhead`](crate::bulkhead::Bulkhead)'s queue and `max_wait`.

mod config;
#[cfg(feature = "tower")]
mod detached;
mod event;
mod future;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod limit;
mod machine;
mod policy;
#[cfg(feature = "tower")]
mod readiness;
#[cfg(feature = "tower")]
mod service;

pub use self::config::TimeoutBuilder;
#[cfg(feature = "tower")]
pub use self::detached::{DetachedFuture, DetachedLayer, DetachedService};
pub use self::event::Event;
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::TimeoutLayer;
#[cfg(feature = "tower")]
pub use self::limit::{Limit, Own};
pub use self::policy::{Timeout, Trial};
#[cfg(feature = "tower")]
pub use self::readiness::{ReadinessFuture, ReadinessLayer, ReadinessService};
#[cfg(feature = "tower")]
pub use self::service::TimeoutService;

#[cfg(all(test, loom, feature = "tower"))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio", feature = "tower"))]
mod tests;
