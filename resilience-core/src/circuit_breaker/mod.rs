//! Stops calling a dependency that is down, and finds out when it is back.
//!
//! # Why
//!
//! A call to a dead dependency costs its caller a timeout, a connection and a slot of some bulkhead, and costs the
//! dependency the load that keeps it down. After a few of them the next answer is known in advance. A circuit breaker
//! gives that answer at once, for a while, and then lets a few calls through to learn whether it still holds.
//!
//! # Behaviour
//!
//! ```text
//!            failures                    wait is over
//!  Closed ─────────────► Open ───────────────────────────► HalfOpen
//!    ▲                    ▲                                  │   │
//!    │                    └── enough probes failed, ─────────┘   │
//!    │                        or undecided in time               │
//!    └─────────────────── enough probes succeeded ───────────────┘
//! ```
//!
//! *Closed*: calls pass. The circuit opens after [so many failures in a row][consecutive], or when [a share][rate] of the
//! calls in a [window] failed and there were [enough of them][minimum]; a success can be what makes them enough.
//! *Open*: calls are refused for [a while][open_for]; the refusal says how long. *Half-open*: [a few][probes] calls pass,
//! the rest is refused. The verdict falls as soon as the remaining probes cannot change it, and at the latest after
//! [a limit][half_open_for]: probes that hang open the circuit again. *Isolated*: [by hand](CircuitBreaker::isolate).
//!
//! An admitted call carries a [`Permit`] stamped with the generation of the state it was admitted in. When the state has
//! changed by the time the answer comes, the answer counts for nothing: a straggler from before the outage neither closes
//! a circuit that is probing nor opens one that has recovered. A dropped permit gives a probe's place back.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::circuit_breaker::{CircuitBreaker, State};
//! use resilience_core::{Error, LiftLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::builder()
//!     .name("payments")
//!     .consecutive_failures(3)
//!     .open_for(Duration::from_secs(5))
//!     .build()?;
//!
//! let mut payments = ServiceBuilder::new()
//!     .layer(breaker.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |up: bool| if up { Ok("paid") } else { Err(std::fmt::Error) }));
//!
//! for _ in 0..3 {
//!     assert_eq!(payments.ready().await?.call(false).await, Err(Error::Service(std::fmt::Error)));
//! }
//! let refused = payments.ready().await?.call(true).await.unwrap_err();
//! assert_eq!(refused.retry_after(), Some(Duration::from_secs(5)));
//!
//! tokio::time::advance(Duration::from_secs(5)).await;
//! for _ in 0..2 {
//!     assert_eq!(payments.ready().await?.call(true).await, Ok("paid")); // two good probes of three decide
//! }
//! assert_eq!(breaker.state(), State::Closed);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`failure_rate`][rate] | 0.5 | half the replicas are gone, and retries had their chance |
//! | [`window`][window] | 30 s | long enough to see low traffic, short enough to forget |
//! | [`minimum_calls`][minimum] | 20 | three unlucky calls at night are not an outage |
//! | [`open_for`][open_for] | 5 s | a restart takes about as long |
//! | [`probes`][probes] | 3 | one lucky answer does not decide |
//! | [`probe_failure_rate`](CircuitBreakerBuilder::probe_failure_rate) | 0.5 | as while closed |
//! | [`half_open_for`][half_open_for] | 10 s | a hung probe must not block recovery for ever |
//! | [`abandoned`](CircuitBreakerBuilder::abandoned) | when nothing else | see [`Abandoned`] |
//!
//! # Events
//!
//! [`Event`], as `resilience.circuit_breaker.*`: `opened` (error), `half_opened` (warning), `closed` (info), `isolated`
//! (warning), each with the cause as `reason` and the state one-hot; `rejected` with its reason; `settled` with its
//! class, `abandoned` and `stale` for single calls. Transitions reach listeners in the order in which they happened.
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with [`Open`](crate::Reason::Open), [`Probing`](crate::Reason::Probing) or
//! [`Isolated`](crate::Reason::Isolated). An open circuit's refusal says the rest of the wait as `retry_after`; the others
//! cannot know. The service's errors pass unchanged.
//!
//! # Interplay
//!
//! Inside retry, so that every attempt is judged and an open circuit ends the retries at once. Outside bulkhead and
//! per-attempt timeout, so that what they refuse is not taken for a failure of the service (refusals of the own stack are
//! ignored) and what they cut short is. Under a total timeout, dropped calls count by [`Abandoned`].
//!
//! # Limits
//!
//! Failures in a row are counted up to 16,383. A window's bucket holds about a million calls a core before it starts to
//! halve its counts, which keeps the rate. A circuit that opens does not wake tasks that already wait for the inner
//! service's readiness.
//!
//! [consecutive]: CircuitBreakerBuilder::consecutive_failures
//! [rate]: CircuitBreakerBuilder::failure_rate
//! [window]: CircuitBreakerBuilder::window
//! [minimum]: CircuitBreakerBuilder::minimum_calls
//! [open_for]: CircuitBreakerBuilder::open_for
//! [probes]: CircuitBreakerBuilder::probes
//! [half_open_for]: CircuitBreakerBuilder::half_open_for

mod config;
mod event;
pub mod exact;
mod future;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod permit;
mod policy;
#[cfg(feature = "tower")]
mod service;
pub(crate) mod shards;
pub(crate) mod window;

pub use self::config::{Abandoned, CircuitBreakerBuilder};
pub use self::event::Event;
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::CircuitBreakerLayer;
pub use self::machine::{Cause, State, Transition};
pub use self::permit::Permit;
pub use self::policy::{CircuitBreaker, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::CircuitBreakerService;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
