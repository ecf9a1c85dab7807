//! Asks once more while an answer takes long, and takes the first that is good.
//!
//! # Why
//!
//! A service whose calls take 10 ms takes a second for one in a hundred: a replica collects its garbage, a disk
//! hesitates, a connection waits behind another's upload. Of a page that needs a hundred such calls, most will meet
//! one. The cure is to ask another replica once the first has taken longer than it usually does (Dean and Barroso, "The
//! Tail at Scale", 2013): the slowest calls then take as long as the delay and a quick second one, for a few per cent
//! more calls.
//!
//! It is also the surest way to bring down a service that is slow because it has too much to do. A [`Hedge`] therefore
//! draws on a [budget](crate::retry::budget), the same as the retries of the same calls; learns its delay so that it is
//! not taken by surprise when everything is slow; and repeats only what may be repeated.
//!
//! # Behaviour
//!
//! ```text
//!            0                delay               answer
//! primary    ├──────────────────┼────────────────────┊╌╌╌╌ dropped, before the caller sees the answer
//! hedge                         ├────────────────────┤ good: it is the caller's
//!            no clock, no timer │ one from the budget, its own instance gets ready, then is called
//! ```
//!
//! The first attempt, the primary, is sent as it would be without a hedge. If it has not been answered after the
//! [`delay`](HedgeBuilder::delay), another joins it, on an instance of its own. What an answer means is up to the
//! [classifier](HedgeLayer::classify):
//!
//! | answer | of the primary | of a hedge |
//! |---|---|---|
//! | good | the caller's; the hedges are dropped | the caller's; the others are dropped |
//! | a failure that may pass | the next attempt is launched at once | the same |
//! | the same, with a `Retry-After` | the next is launched then, if somebody is being asked until then | the same |
//! | a failure that would come again | the caller's, at once | no more attempts; the caller's once the primary has failed |
//! | a refusal of the own stack | no more attempts; those that run go on | the same |
//!
//! So a failing hedge never beats a primary that may still answer, and a caller's mistake is not made three times. Of
//! attempts that all fail, the caller gets the error of the primary: the one that would have come without a hedge. One
//! that would come again tells more, and goes before it; a refusal tells less, since its promise, "never sent", is not
//! true of a call of which another attempt was sent.
//!
//! The delay by [`Quantile`] is learnt from the primaries, those included that were dropped: of these it is known that
//! they took longer. Failures say nothing about it, except a timeout, which says "longer" too.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::hedge::{Hedge, Quantile};
//! use resilience_core::{LiftLayer, context};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # #[allow(clippy::disallowed_methods)] // A service that takes its time.
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let learnt = Quantile { before: Some(Duration::from_millis(50)), ..Quantile::new(0.95) };
//! let hedge = Hedge::builder().name("search").delay(learnt).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(hedge.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |word: &'static str| {
//!         let slow = context::attempt() == 1; // the replica that was asked first
//!         tokio::time::sleep(Duration::from_millis(if slow { 3_000 } else { 10 })).await;
//!         Ok::<_, std::io::Error>(word.len())
//!     }));
//! let start = tokio::time::Instant::now();
//! assert_eq!(service.oneshot("needle").await?, 6);
//! assert_eq!(start.elapsed(), Duration::from_millis(60));
//! # Ok(())
//! # }
//! ```
//!
//! Without tower: [`Hedge::run`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`attempts`](HedgeBuilder::attempts) | 2 in all | one replica in its garbage is likely, two at once are not |
//! | [`delay`](HedgeBuilder::delay) | the 95th percentile of recent calls, none before 100 are known | no constant fits two services, and none fits one for long |
//! | [`budget`](HedgeBuilder::budget) | one of its own: 0.1 hedges a call, 10 saved up | twice what the 95th percentile needs, and no more when everything is slow |
//! | [`dry_run`](HedgeBuilder::dry_run) | off | |
//! | [`classify`](HedgeLayer::classify) | [`ByResult`](crate::ByResult) | errors may pass; our own refusals are not hedged |
//! | [`replay`](HedgeLayer::replay) | by `Clone` | whether a request may be sent twice only its owner knows: set [`hedge_if`](HedgeLayer::hedge_if) where it may not |
//!
//! # Events
//!
//! [`Event`], as `resilience.hedge.*`:
//!
//! | event | when | severity |
//! |---|---|---|
//! | [`Launched`](Event::Launched) | another attempt joined | debug |
//! | [`Won`](Event::Won) | one of several attempts answered the call | debug |
//! | [`Cancelled`](Event::Cancelled) | the others were dropped | debug |
//! | [`Withheld`](Event::Withheld) | another was due, and budget or deadline forbade it | warn |
//! | [`Failed`](Event::Failed) | each of several attempts failed | warn |
//! | [`WouldLaunch`](Event::WouldLaunch) | another would have joined, in a dry run | debug |
//!
//! A call that is answered before its delay makes none.
//!
//! # Errors
//!
//! The pattern has none of its own: what the caller gets is an attempt's answer, unchanged. An error of the readiness
//! of a hedge's instance ends that hedge, which is refunded.
//!
//! # Interplay
//!
//! - Inside the total timeout and the retry; outside of a balancer: that the second attempt goes to another replica is
//!   what makes it quick, and the less loaded of two is seldom the one that hangs.
//! - Inside the circuit breaker, which judges the call and not its losers: a dropped attempt is no answer, and a
//!   breaker within would learn of nothing but the quick ones. [`lint`](crate::lint) tells.
//! - A retry inside multiplies attempts; if there is to be one, let both share a budget: a request then pays in once,
//!   and what both add is what that budget allows.
//! - Inner layers read the number of the attempt from the [context](crate::context::attempt); it counts on from that of
//!   an outer retry.
//! - No attempt is launched past the request's deadline.
//!
//! # Do and don't
//!
//! - Do try it with [`dry_run`](HedgeBuilder::dry_run): [`Snapshot::would_launch`] over the calls is the load it adds.
//! - Do choose a quantile that the slow mode is beyond: if one call in ten is slow, the 95th percentile is that of the
//!   slow ones, and the 85th is where hedging helps.
//! - Don't hedge what is slow because it is large: the second copy is as large.
//! - Don't hedge writes, unless the receiver knows a repetition by its key: a loser is dropped here, not undone there.
//!
//! # Limits
//!
//! A call whose primary answers at once costs a reference count and a copy of the request; it reads no clock, unless
//! the delay is learnt, which takes two readings and a short lock. One that waits makes a timer as well. It allocates
//! nothing until an attempt is launched: that takes a clone of the stack below and two allocations.
//!
//! A call sent while the budget is empty has no copy of its request, and is not hedged even if the budget has recovered
//! when it is due. All attempts of a call are polled by its task: one that blocks the thread holds up the others.
//! Latencies are known to 3 %, rounded up, from a microsecond to an hour, and by calls, not by time: at one call a minute, "recent"
//! is a day.

mod config;
mod contest;
mod delay;
mod event;
#[cfg(feature = "tower")]
mod future;
mod latency;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
mod run;
#[cfg(feature = "tower")]
mod service;
mod session;

pub use self::config::HedgeBuilder;
pub use self::delay::{Delay, Quantile};
pub use self::event::{Cause, Event, Reason};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::HedgeLayer;
pub use self::policy::{Hedge, Snapshot};
pub use self::run::Run;
#[cfg(feature = "tower")]
pub use self::service::HedgeService;

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tower"))]
mod tests;
