//! A limit on the calls that run at once which finds itself.
//!
//! # Why
//!
//! How many calls at once a service can take is known to nobody for long: it changes with each release, each instance and
//! each slow disk behind it. Set too high, a bulkhead lets a queue grow in the service until answers come too late to be
//! of use; set too low, it refuses what could have been done. But calls tell: while there is room, one more call at once
//! does not make the others take longer, and once there is none, it does. So the limit follows what calls show, as the
//! window of a TCP connection does.
//!
//! # Behaviour
//!
//! The gate is that of a [bulkhead](crate::bulkhead), and as hard. What calls show is gathered in windows, and each window
//! is shown to a rule of [`control`](crate::control):
//!
//! ```text
//!  calls ──► gate ──► run ──► round trips, losses ──► window ──► rule ──► limit ──┐
//!              ▲                                                                 │
//!              └───────────────── grows by little, shrinks by much ◄─────────────┘
//! ```
//!
//! | rule | goes by | for |
//! |---|---|---|
//! | [Vegas](AdaptiveLimitBuilder::vegas), the default | the round trip against that of the idle service | short queues; needs nothing to be set |
//! | [AIMD](AdaptiveLimitBuilder::aimd) | lost calls, and round trips above a bound you set | services that say when they are overloaded |
//! | [Gradient2](AdaptiveLimitBuilder::gradient2) | the round trip against its long average | services whose work changes by the minute; under overload that lasts, its queue grows slowly |
//! | [your own](AdaptiveLimitBuilder::custom) | | |
//!
//! Whatever the rule:
//!
//! - **A limit that is not used does not grow.** Calls one at a time say nothing about a hundred at once.
//! - **One congestion lowers it once.** Twenty calls in flight that fail together are one piece of news: after the limit
//!   went down, only calls that began since then count.
//! - **A lost call ends its window**: bad news does not wait.
//! - **What calls take without a queue is measured, not remembered.** The least round trip ever seen is a lucky one, or
//!   that of a path that is gone. When calls take longer, or now and then, the limit is halved for about four round trips
//!   ([`Cause::Probing`]), and what they take then is averaged into what others are compared with. Where the limit is not
//!   used, this costs nothing, because nothing need be lowered.
//! - **Errors say nothing**, unless you classify them: by default an answer is a success, a timeout a loss
//!   ([`ByOverload`]).
//!
//! Part of the limit is kept for what is more critical: see [`reserve`](AdaptiveLimitBuilder::reserve).
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::Class;
//! use resilience_core::adaptive_limit::{AdaptiveLimit, Rule};
//! use resilience_core::time::ManualTimer;
//!
//! let timer = ManualTimer::new();
//! let rule = Rule::Aimd { backoff: 0.5, timeout: Duration::from_millis(40) };
//! let limit = AdaptiveLimit::builder().name("search").rule(rule).initial(4).timer(timer.clone()).build()?;
//! for _ in 0..10 {
//!     let calls: Vec<_> = std::iter::from_fn(|| limit.try_acquire().ok()).collect();
//!     timer.advance(Duration::from_millis(30)); // answers come in time, and all four slots were used
//!     calls.into_iter().for_each(|call| call.settle(Class::Success));
//! }
//! assert!(limit.snapshot().limit > 4);
//! let calls: Vec<_> = std::iter::from_fn(|| limit.try_acquire().ok()).collect();
//! timer.advance(Duration::from_millis(500));
//! calls.into_iter().for_each(|call| call.settle(Class::Failure)); // timed out, all of them
//! assert_eq!(limit.snapshot().limit, 3); // halved once
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | rule | [`Rule::VEGAS`] | nothing about the service need be known |
//! | [`initial`](AdaptiveLimitBuilder::initial) | 20 | Netflix's; it finds a hundred in a second or two |
//! | [`min`](AdaptiveLimitBuilder::min) | 3 | Envoy's: from fewer, nothing can be learned |
//! | [`max`](AdaptiveLimitBuilder::max) | 1,000 | Netflix's |
//! | [`window`](AdaptiveLimitBuilder::window) | 100 ms to 1 s | twice the round trip within these: news of the last change is in |
//! | [`samples`](AdaptiveLimitBuilder::samples) | 10 | Netflix's: fewer are chance |
//! | [`figure`](AdaptiveLimitBuilder::figure) | the median | Envoy's: one stalled call does not move it |
//! | [`abandoned`](AdaptiveLimitBuilder::abandoned) | as nothing | callers hang up, hedges lose; set it where a timeout outside drops calls |
//! | [`reserve`](AdaptiveLimitBuilder::reserve) | a tenth for `SheddablePlus`, a fifth for `Critical` | what is marked as sheddable is refused first, and the others hardly ever; the limit grows around it, so that it costs no throughput; unmarked calls are critical |
//! | [`queue`](AdaptiveLimitBuilder::queue) | 0 | the limit is there to keep queues short |
//! | [`max_wait`](AdaptiveLimitBuilder::max_wait) | none: until the deadline | a queue is bounded already |
//! | [`discipline`](AdaptiveLimitBuilder::discipline) | `fifo` | fair, and asks for neither clock nor context |
//! | [`dry_run`](AdaptiveLimitBuilder::dry_run) | off | |
//!
//! # Events
//!
//! [`Event`], as `resilience.adaptive_limit.*`: `limit_changed` with its [`Cause`], `rejected` (warning) with its reason,
//! in a dry run `would_reject`.
//!
//! # Errors
//!
//! As a bulkhead's: [`Rejected`](crate::Rejected) with [`Full`](crate::Reason::Full), whose `limit` is what calls of this
//! criticality may use, and from a queue [`QueueTimeout`](crate::Reason::QueueTimeout) and
//! [`Deadline`](crate::Reason::Deadline), under some [disciplines](crate::bulkhead::Discipline)
//! [`QueueDelay`](crate::Reason::QueueDelay) and [`Displaced`](crate::Reason::Displaced), too.
//!
//! # Interplay
//!
//! In a client, in the place of a bulkhead: inside retry and circuit breaker, outside of the timeout of an attempt, so that
//! a timed-out attempt is a loss and not a call that was dropped. In a server, outermost, in front of what it protects. Not
//! twice in a row: two that measure each other's queues push each other down.
//!
//! # Do and don't
//!
//! - Do classify refusals of the service as failures, where it says so (HTTP 503 and 429).
//! - Do send criticalities with requests, where some could be done without: what is kept for the others is of use only then.
//! - Don't put it around calls that wait for something other than the service, such as long polls and streams: their round
//!   trip is no queue.
//! - Don't expect it to learn from a few calls a minute.
//!
//! # Limits
//!
//! One process learns from its own calls. A call reads the clock twice; its end takes a short lock, and a window's end
//! sorts at most 256 round trips. A simulated server with room for 50 calls of 10 ms, offered twice its capacity, is found
//! within a second or two: the limit settles at 55, 99 % of the capacity is used, and the 99th percentile is 13 ms
//! (`src/adaptive_limit/tests/simulation.rs`).

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

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, feature = "tokio", not(loom)))]
mod tests;
