//! A limit on the calls in a time.
//!
//! # Why
//!
//! A service that is paid by the call, a partner that allows a hundred requests a second, a login form somebody tries
//! passwords on: what must be bounded there is not how many calls run at once but how many begin. A rate limiter gives
//! out permits at a steady pace, lets short bursts pass, and tells whoever comes too soon exactly when to come back.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::rate_limit::RateLimiter;
//! use resilience_core::time::ManualTimer;
//! use resilience_core::{Error, LiftLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # futures::executor::block_on(async {
//! let partner = RateLimiter::builder().name("partner").quota(2, Duration::from_secs(1)).timer(ManualTimer::new()).build()?;
//! let mut service = ServiceBuilder::new()
//!     .layer(partner.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |page: u32| Ok::<_, std::io::Error>(page + 1)));
//!
//! assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 2);
//! assert_eq!(service.ready().await.unwrap().call(2).await.unwrap(), 3);
//! let refused = service.ready().await.unwrap().call(3).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused by partner: rate limit reached, retry after 500ms");
//! # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
//! ```
//!
//! # Behaviour
//!
//! ```text
//!  burst 3, a permit a second        ● admitted   ○ refused   ◌ waits
//!
//!  time     0 s              1 s           1.6 s   2 s
//!  permits  3  2  1  0       1  0          0       1
//!  calls    ●  ●  ●  ○       ●  ○          ◌ ────► ●
//!                    └ come back in 1 s    └ with a `max_wait`: the next permit is its own
//! ```
//!
//! Permits come back one by one, `per / permits` apart, up to `burst`. In no stretch of time are more permits due than
//! the burst and what the quota yields in that stretch, whatever is raced, cancelled or changed; intervals are rounded up
//! to an eighth of a nanosecond, so the pace is never above the quota. This is the generic cell rate algorithm; the state
//! is one word, and a permit is one compare-exchange.
//!
//! With a `max_wait`, a caller who finds no permit reserves the next one and sleeps until it is due: its time is known
//! at once, so there is one timer for each caller, nobody is woken in vain, and nobody overtakes. A caller whose time
//! would come too late is refused at once, with the time it would have been. A caller that leaves gives its permit back
//! if nobody has a place behind it; from the middle of the line it cannot, as those behind it keep the times they were
//! told, and its permit is lost.
//!
//! A call may cost several permits. More than the burst are refused at once: there never will be as many.
//!
//! As a layer, the permit is spent by `call`, so a service that was ready and was dropped has cost nothing. Without a `max_wait`,
//! `poll_ready` looks, and where the call would be refused the service is ready at once and the refusal is the answer of
//! the call. With one, the wait is in `poll_ready`, before the inner service is asked whether it is ready; a service that
//! is kept after that for longer than one interval gives its permit back, and its call takes its chance as a newcomer:
//! permits cannot be hoarded.
//!
//! # For each key
//!
//! [`RateLimiterBuilder::build_keyed`] makes a [`KeyedRateLimiter`]: a quota for each user, address or tenant, in bounded
//! memory. As a layer, it asks a function of yours whose request it is; the permit is spent, and the refusal made, by
//! `call`. Quota and bound change while it is in use, and nobody who has spent its permits gets them back by that.
//!
//! # Found out, or shared
//!
//! [`ClientRateLimiter`] finds the rate a server does not throttle. [`DistributedRateLimiter`] keeps one quota on several
//! nodes, over a [`PermitStore`] they share.
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | `quota` | none, must be given | only its user knows what was agreed |
//! | `burst` | the quota's permits | who has been quiet for a while may use what it was given; 1 spaces calls evenly |
//! | `max_wait` | zero: refused at once | a wait hides overload; ask for it where callers can wait |
//! | `max_keys` | 1,048,576 | for keyed limiters: keys remembered at once |
//! | `dry_run` | off | on, it counts and tells what it would do, and does nothing |
//! | `name` | `rate_limit` | |
//! | `timer` | tokio's | so that `tokio::time::pause` drives it |
//!
//! # Errors
//!
//! All of them are [`Rejected`](crate::Rejected): the call was not sent. Each says when there would have been a permit,
//! but the last.
//!
//! | reason | when |
//! |---|---|
//! | [`RateLimited`](crate::Reason::RateLimited) | there is no permit within `max_wait` |
//! | [`Deadline`](crate::Reason::Deadline) | there is one, but not before the deadline in the [context](crate::context) |
//! | [`RateLimited`](crate::Reason::RateLimited) without `retry_after` | the call costs more than the burst |
//!
//! # Events
//!
//! [`Event::Admitted`], [`Event::Queued`], [`Event::Rejected`], [`Event::Cancelled`], [`Event::QuotaChanged`]; in a dry
//! run [`Event::WouldQueue`] and [`Event::WouldReject`].
//!
//! # Interplay
//!
//! To keep to what a partner allows, put it inside retry and circuit breaker, so that each attempt takes its own permit
//! and an open circuit takes none. To protect your own service, put it outermost: what is refused should cost nothing.
//! A rate says nothing of how long calls take; where that matters, add a [`bulkhead`](crate::bulkhead).
//!
//! # Do and don't
//!
//! - Do set the burst to what whoever is behind can take at one moment; with a burst of 1, calls are spaced evenly.
//! - Do send on [`retry_after`](crate::Rejected::retry_after): who knows when to come back need not try.
//! - Don't share an agreed quota among nodes by dividing it where traffic is uneven: see [`distributed`].
//! - Don't limit by a key that costs nothing to change: who may have ten thousand addresses has ten thousand quotas.
//!
//! # Limits
//!
//! Quotas of up to 8 permits a nanosecond, and bursts that come back within four years. An admission reads the clock. A
//! keyed limiter does not wait, and refuses new keys when it remembers
//! [`max_keys`](RateLimiterBuilder::max_keys) that are not full again. The limit is that of one process.

pub mod client;
mod config;
pub mod distributed;
mod event;
mod future;
mod keyed;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
mod reservation;
#[cfg(feature = "tower")]
mod service;
mod shared;

pub use self::client::ClientRateLimiter;
pub use self::config::RateLimiterBuilder;
pub use self::distributed::{DistributedRateLimiter, PermitStore};
pub use self::event::Event;
pub use self::future::{Acquire, ResponseFuture};
pub use self::keyed::{KeyedRateLimiter, KeyedSnapshot};
#[cfg(feature = "tower")]
pub use self::keyed::{KeyedRateLimiterLayer, KeyedRateLimiterService};
#[cfg(feature = "tower")]
pub use self::layer::RateLimiterLayer;
pub use self::policy::{RateLimiter, Snapshot, Totals};
pub use self::reservation::Reservation;
#[cfg(feature = "tower")]
pub use self::service::RateLimiterService;

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
