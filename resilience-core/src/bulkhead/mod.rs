//! A limit on the calls that run at once, with a short queue in front.
//!
//! # Why
//!
//! A dependency that becomes slow holds every call longer, and soon all the tasks, connections and memory of its caller
//! are waiting for it. A bulkhead gives each dependency its own share: so many calls at once, so many waiting, and a
//! refusal for the rest while there is still capacity to do something else.
//!
//! # Behaviour
//!
//! The limit is hard: at no moment do more calls hold a permit, whatever is raced, cancelled or resized. Slots go to
//! waiters in the order of a [`Discipline`], that of their arrival if nothing else is said, and no newcomer overtakes them
//! outside of the queue. Without waiters, a permit costs one
//! compare-exchange when it is taken and one when it is given back; only callers who wait share a lock, and waiting
//! allocates nothing once the queue has grown (a longest wait or a deadline adds a timer of its own).
//!
//! A permit is given back when the answer is there, when the call is dropped, when it panics, and when a service that
//! was ready is dropped without a call. A waiter may leave at any time; a slot it was just given goes to the next.
//!
//! As a layer, the permit is taken in `poll_ready`, before the inner service is asked whether it is ready: a caller in
//! the queue holds no inner permit. Where slots and queue are full, the service is ready at once, and the `call` that
//! follows is refused.
//!
//! ```text
//!                 limit not reached
//!  call ──────────────────────────────────────────► runs ──► its permit is given back
//!    │                                               ▲               │
//!    │ limit reached     ┌──────────────┐  next by   │   somebody    │ nobody
//!    ├─────────────────► │ queue places │ discipline │     waits     │  waits
//!    │                   └──────────────┘ ───────────┴───────◄───────┴──────► the slot is free
//!    │                     │        │
//!    │ queue full          │ leaves │ refused: max_wait, deadline, queue_delay, displaced
//!    ▼                     ▼        ▼
//!  refused: full
//! ```
//!
//! # Disciplines
//!
//! In what order calls wait matters little while a queue is short, and much while it stands:
//!
//! | you have | discipline |
//! |---|---|
//! | short bursts, or somebody to be fair to | `fifo`, with a `max_wait` |
//! | callers that give up after a while, and overload that lasts | `adaptive_lifo`: the newest are still wanted |
//! | a queue that must be long for bursts and must not stand | `codel` |
//! | callers that send deadlines, and differ in them | `deadline_first` |
//! | callers that send their criticality | `priority` |
//!
//! Deadline and criticality are those of the [context](crate::context) in which the wait begins. The decision is taken
//! when a slot is freed; a slot for which somebody waits is in nobody's reach until the queue has named its next owner, so
//! that those who are given up on the way cost nothing but their own refusal.
//!
//! # Example
//!
//! ```
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::{Error, LiftLayer, Reason};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # futures::executor::block_on(async {
//! let reports = Bulkhead::builder().name("reports").limit(1).build()?;
//! let mut service = ServiceBuilder::new()
//!     .layer(reports.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |page: u32| Ok::<_, std::io::Error>(page + 1)));
//!
//! let running = service.ready().await.unwrap().call(1);
//! let refused = service.ready().await.unwrap().call(2).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused by reports: all 1 slots taken and 0 calls waiting");
//! assert_eq!(running.await.unwrap(), 2);
//! assert_eq!(service.ready().await.unwrap().call(3).await.unwrap(), 4);
//! # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | `limit` | none, must be given | it is the capacity of the dependency, which only its user knows |
//! | `queue` | 0 | a queue hides overload; ask for it where bursts are short |
//! | `max_wait` | none: until the deadline | a queue of `queue` calls is bounded already |
//! | `discipline` | `fifo` | fair, and asks for neither clock nor context |
//! | `dry_run` | off | on, it counts and tells what it would do, and does nothing |
//! | `name` | `bulkhead` | |
//! | `timer` | tokio's | so that `tokio::time::pause` drives it |
//!
//! # Events
//!
//! [`Event`], as `resilience.bulkhead.*`: `admitted` with the wait and `released` with the time held, both as histograms,
//! too; `queued` with the discipline; `rejected` (warning) with its reason; `resized` (info); in a dry run `would_queue` and `would_reject`. With a listener the clock is read
//! when a permit is taken and given back; without one, only for waits that have an end and by disciplines of time.
//!
//! # Errors
//!
//! All of them are [`Rejected`](crate::Rejected): the call was not sent.
//!
//! | reason | when |
//! |---|---|
//! | [`Full`](crate::Reason::Full) | there is neither slot nor place |
//! | [`QueueTimeout`](crate::Reason::QueueTimeout) | it waited for `max_wait` |
//! | [`Deadline`](crate::Reason::Deadline) | its deadline came while it waited |
//! | [`QueueDelay`](crate::Reason::QueueDelay) | its turn came late while everybody waited too long (`codel`); it says when that is judged anew |
//! | [`Displaced`](crate::Reason::Displaced) | a more critical call took its place (`priority`) |
//!
//! The deadline is that of the [context](crate::context) in which the wait begins. Under a layer that waits for
//! readiness inside a call, as a retry does for its later attempts, that is the call's own; in front of a call,
//! `poll_ready` sees what the caller's [`scope`](crate::context::Context::scope) has set, but not yet the limit of a
//! timeout layer outside, which begins with the call. Set `max_wait` where that gap matters.
//!
//! # Interplay
//!
//! Put it inside retry and circuit breaker, so that each attempt takes its own permit and an open circuit takes none,
//! and outside of a per-attempt timeout, whose time should not pass in the queue. A breaker outside does not count its
//! refusals, and a retry outside does not repeat them: they are the own stack's.
//!
//! Where callers should not be able to take all slots from each other, give each a share: [`partitioned`].
//!
//! # Do and don't
//!
//! - Do keep the queue short: what waits in it longer than `limit` calls take is served for nobody.
//! - Do give each dependency its own: a bulkhead around everything is a lock.
//! - Do try a limit out with `dry_run`, and read `would_queue` and `would_reject`.
//! - Don't take a permit inside a call that holds one of the same bulkhead: two such calls wait for each other.
//! - Don't choose `priority` where strangers say how critical they are: read that only from those who may be believed.
//! - Don't use `deadline_first` where deadlines are missing: who has none waits for all who have one.
//!
//! # Limits
//!
//! 4,194,303 calls at once and 1,048,575 that wait. A service that is ready holds its permit, so keep the time between
//! readiness and call short. The body of a streamed response is not covered: the permit goes back with its head.

mod acquire;
mod config;
mod discipline;
mod event;
#[cfg(feature = "tower")]
mod future;
mod gate;
#[cfg(feature = "tower")]
mod layer;
mod machine;
pub mod partitioned;
mod policy;
#[cfg(feature = "tower")]
mod service;
mod shared;

pub use self::acquire::{Acquire, Call};
pub use self::config::BulkheadBuilder;
pub use self::discipline::Discipline;
pub use self::event::Event;
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::BulkheadLayer;
pub use self::policy::{Bulkhead, Permit, Snapshot, Totals};
#[cfg(feature = "tower")]
pub use self::service::BulkheadService;

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
