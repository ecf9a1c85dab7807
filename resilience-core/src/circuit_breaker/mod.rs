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
//! calls in a [window] (a time, or [the last N calls][count]) failed, or [was slow][slow], and there were
//! [enough of them][minimum]; a success can be what makes them enough. A call that hangs is slow as soon as it has taken
//! too long, and is counted once, whenever it ends. *Open*: calls are refused for [a while][open_for], which may
//! [grow][factor], be [drawn][jitter], be asked of [a rule of yours][each], or follow what the server said; the refusal
//! says how long. *Half-open*: [a few][probes] calls pass, the rest is refused. The verdict falls as soon as the remaining
//! probes cannot change it, and at the latest after [a limit][half_open_for]: probes that hang open the circuit again. With
//! a [ramp], the traffic then comes back by stages. By hand: [isolated](CircuitBreaker::isolate),
//! [disabled](CircuitBreaker::disable), [only counting](CircuitBreaker::metrics_only), open [for](CircuitBreaker::open_for)
//! or [until](CircuitBreaker::open_until) a time; many at once by a [`ManualControl`].
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
//! | [`undecided`](CircuitBreakerBuilder::undecided) | opens | what did not answer in time has not recovered |
//! | [`open_factor`][factor], [`open_jitter`][jitter] | 1, 0 | one process that probes every five seconds harms nobody |
//! | [`open_at_most`](CircuitBreakerBuilder::open_at_most) | 1 min | an outage that is over should be noticed |
//! | [`honour_hints`](CircuitBreakerBuilder::honour_hints) | yes | the server knows best, within the bound above |
//! | [`slow_calls`][slow], [`ramp`] | off | what is slow, and what is cold, differs from service to service |
//! | [`abandoned`](CircuitBreakerBuilder::abandoned) | when nothing else | see [`Abandoned`] |
//! | [`max_keys`](CircuitBreakerBuilder::max_keys) | 65,536 | for [keyed](#for-each-key) breakers: more dependencies than most services have, in some tens of megabytes |
//! | [`dry_run`](CircuitBreakerBuilder::dry_run) | off | on, it counts and tells what it would do, and lets every call pass |
//! | [`evaluate`](CircuitBreakerBuilder::evaluate), [`late`](CircuitBreakerBuilder::late), [`ignored`](CircuitBreakerBuilder::ignored) | everything, dropped, neutral | the safest of what others do; [`exact`] reaches all of it |
//!
//! # For each key
//!
//! [`KeyedCircuitBreaker`] keeps a circuit for each host, tenant or route, in bounded memory. One breaker for all of them
//! opens for the healthy ones too; a layer for each is a map you would have to bound yourself. Rules and bound change while
//! it is in use ([`KeyedCircuitBreaker::reconfigure`]), for keys there are and for those to come; a circuit that is open
//! outlives any bound.
//!
//! # Events
//!
//! [`Event`], as `resilience.circuit_breaker.*`: `opened` (error), `half_opened` (warning), `ramped` and `closed` (info),
//! `isolated`, `disabled` and `metrics_only` (warning), each with the cause as `reason` and the state one-hot; `rejected`
//! and, in a dry run, `would_reject` with the reason; `would_open` of a circuit that only counts; `settled` with its class,
//! `abandoned` and `stale` for single calls. Transitions reach listeners in the order in which they happened.
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
//! # Do and don't
//!
//! - Do classify: a 404 is no failure, a 503 is. What says nothing should count for nothing.
//! - Do watch [slow calls][slow] where timeouts are long: a rule of failures waits for the first timeout to be over.
//! - Do try thresholds out with [`dry_run`](CircuitBreakerBuilder::dry_run) first, and read what would have been refused.
//! - Don't put one breaker in front of a balancer of many endpoints: what is down is one of them.
//! - Don't retry around an open circuit in a loop; its refusal says when to come back.
//!
//! # Limits
//!
//! Failures in a row are counted up to 16,383, and calls given up up to 8,191. A window's bucket holds about a million calls a core before it starts to
//! halve its counts, which keeps the rate. A circuit that opens does not wake tasks that already wait for the inner
//! service's readiness.
//!
//! [consecutive]: CircuitBreakerBuilder::consecutive_failures
//! [rate]: CircuitBreakerBuilder::failure_rate
//! [window]: CircuitBreakerBuilder::window
//! [count]: CircuitBreakerBuilder::count_window
//! [slow]: CircuitBreakerBuilder::slow_calls
//! [factor]: CircuitBreakerBuilder::open_factor
//! [jitter]: CircuitBreakerBuilder::open_jitter
//! [each]: CircuitBreakerBuilder::open_for_each
//! [ramp]: CircuitBreakerBuilder::ramp
//! [`ramp`]: CircuitBreakerBuilder::ramp
//! [minimum]: CircuitBreakerBuilder::minimum_calls
//! [open_for]: CircuitBreakerBuilder::open_for
//! [probes]: CircuitBreakerBuilder::probes
//! [half_open_for]: CircuitBreakerBuilder::half_open_for

mod by_hand;
mod config;
mod control;
mod event;
pub mod exact;
mod future;
mod keyed;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod permit;
mod policy;
mod profile;
mod ring;
#[cfg(feature = "tower")]
mod service;
mod settle;
pub(crate) mod shards;
mod shared;
mod slow;
mod snapshot;
mod state;
mod wait;
pub(crate) mod window;
mod word;

pub use self::config::{Abandoned, CircuitBreakerBuilder};
pub use self::control::ManualControl;
pub use self::event::Event;
pub use self::exact::{Evaluate, Ignored, Late, Target};
pub use self::future::ResponseFuture;
pub use self::keyed::{KeyedCircuitBreaker, KeyedSnapshot};
#[cfg(feature = "tower")]
pub use self::layer::{CircuitBreakerLayer, KeyedCircuitBreakerLayer};
pub use self::permit::Permit;
pub use self::policy::CircuitBreaker;
#[cfg(feature = "tower")]
pub use self::service::{CircuitBreakerService, KeyedCircuitBreakerService};
pub use self::snapshot::Snapshot;
pub use self::state::{Cause, Opening, State, Transition};

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom)))]
mod tests;
