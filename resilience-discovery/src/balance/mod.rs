//! Sends each call to the less loaded of two endpoints drawn at random, without a lock or a task between.
//!
//! # Why
//!
//! A balancer that owns its endpoints' services has one owner itself: to share it, all calls go through one queue and one
//! task (`Buffer<Balance<..>>`), which costs more than the choice and caps what all cores together can send. A balancer that owns
//! them through a stream of changes fails with the stream, and forgets an endpoint whose readiness failed until somebody lists it again.
//! Here callers share an immutable list, replaced as a whole when the fleet changes; each endpoint's load is one counter; a driver task
//! makes, warms, replaces and retires services, and is on no call's path.
//!
//! # Behaviour
//!
//! How a call finds its endpoint:
//!
//! 1. `poll_ready` draws two different endpoints and takes the one with fewer calls in flight. Two random choices keep the longest queue
//!    within `ln ln n` of the shortest (Mitzenmacher 2001), without the herd that follows when everybody takes the least loaded.
//! 2. It clones that endpoint's service and polls the clone. Ready: the clone is what `call` will use, and it counts as load from here.
//! 3. Not ready: the others are asked, those first that nothing is known against. If nobody is ready, the call stands in line at two endpoints
//!    and also wakes when any other gets ready or the list changes, for as long as [`wait`](BalanceBuilder::wait) and the request's deadline allow.
//! 4. `call` uses exactly the instance that was ready. If its endpoint was removed in between, the answer's future picks another.
//!
//! How endpoints come, go and are avoided:
//!
//! | what happens | what the balancer does |
//! |---|---|
//! | an endpoint is listed | makes its service; polls it until ready, calls or no calls |
//! | listed again, unchanged or with other weight, zone, metadata | keeps service, load and readiness |
//! | listed at another address | makes a second service; swaps when that is ready, after 3 s in any case; the old one drains |
//! | not listed any more | no new calls from the next list on; those in flight finish; then the service is dropped: `endpoint_drained` |
//! | its service is not ready | avoided; polled on behalf of all calls after 10 ms |
//! | its service answers readiness with an error | avoided; made anew after 100 ms, doubling to 30 s, less up to half at random |
//! | its own stack refuses a call | avoided for the refusal's `retry_after` (100 ms without one, 30 s at the most) |
//! | all are avoided | nobody is: avoidance is a preference, and the calls are the way to find out; but whose service broke waits for its new one |
//!
//! The last but one row matters more than it seems. An endpoint behind an open breaker answers at once, has nothing in flight and so wins
//! every comparison: it would draw 2/n of all calls just to refuse them. Put a breaker of its own around each endpoint's service, in the function that
//! makes it, and outlier ejection is that breaker's configuration. An endpoint that fails fast *without* a breaker does attract calls; nothing in
//! "least loaded" can see it.
//!
//! # Example
//!
//! ```
//! use std::net::SocketAddr;
//! use resilience_core::{Error, LiftLayer};
//! use resilience_discovery::{Balance, Discovery, Endpoint, StaticSource};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fleet = [7, 8].map(|host| Endpoint::at(SocketAddr::from(([10, 0, 0, host], 8080))));
//! let discovery = Discovery::builder().name("payments").build(StaticSource::new(fleet))?;
//!
//! // Made per endpoint and address, anew only when it broke; a breaker made in here is the endpoint's own.
//! let payments = Balance::builder().build(&discovery, |endpoint: &Endpoint| {
//!     let address = endpoint.address().clone();
//!     ServiceBuilder::new()
//!         // .layer(breaker.layer()), .layer(TimeoutLayer::new(..)), ...
//!         .layer(LiftLayer)
//!         .service(service_fn(move |amount: u64| {
//!             let address = address.clone();
//!             async move { Ok::<_, std::io::Error>(format!("{amount} booked by {address}")) }
//!         }))
//! })?;
//!
//! // Each task has a clone of its own.
//! let mut mine = payments.clone();
//! let answer = mine.ready().await?.call(12).await?;
//! assert!(answer.starts_with("12 booked by 10.0.0."));
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | `name` | the discovery's | one service, one name |
//! | `timer` | tokio's | `tokio::time::pause` drives it in tests |
//! | `wait` | 3 s, then refused at once until somebody is ready | a restart is bridged, an outage is told; linkerd's failfast |
//! | `seed` | the operating system's entropy | two clients must not choose alike |
//!
//! # Events
//!
//! | event | severity | when |
//! |---|---|---|
//! | `endpoint_added`, `endpoint_removed`, `endpoint_moved` | info | the list changed |
//! | `endpoint_drained` | debug | the last call to a removed or moved endpoint has ended |
//! | `endpoint_avoided` | debug | its own stack refused a call; with for how long |
//! | `endpoint_broken` | warn | its service answered readiness with an error; with the wait |
//! | `no_endpoint` | warn | a call was refused; reason `none_known` or `none_ready`, with how long it waited |
//!
//! # Errors
//!
//! `poll_ready` never fails. A call is refused with [`Reason::NoEndpoint`](resilience_core::Reason::NoEndpoint) when nobody was ready in
//! time, or [`Reason::Deadline`](resilience_core::Reason::Deadline) when the request's own deadline came first. Everything else is the
//! endpoint's own answer, unchanged.
//!
//! # Interplay
//!
//! From the outside in: total timeout, retry, balancer, and then per endpoint its breaker, bulkhead, per-attempt timeout and client. Retries go
//! outside because a second attempt draws again. A breaker around the balancer speaks for the service, one inside for an endpoint. The
//! deadline that a total timeout sets is found in the [context](resilience_core::context), and shortens the wait for an endpoint.
//!
//! # Limits
//!
//! - The endpoints' services must be `Clone + Send + Sync`: callers on several threads clone from one instance. `BoxCloneSyncService` erases types.
//! - Weights are carried, not read: this choice is for equals. So are zones.
//! - Waiting needs the timer's runtime: with tokio's timer, poll within a tokio runtime.

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
