//! Answers in a failing service's place.
//!
//! # Why
//!
//! Most pages can do without most of what is on them: bestsellers instead of what was chosen for this customer,
//! yesterday's price instead of today's, the order from the archive instead of the database. A breaker that refuses in
//! a microsecond is of use only if somebody then says something else in time. A [`Fallback`] is that somebody: it
//! stands outside of the policies that refuse, and gives another answer in place of their refusals and of the service's
//! failures.
//!
//! # Behaviour
//!
//! ```text
//!            ┌ readiness fails ┐
//! request ─► service ─────────┴─ failure, timeout, refusal, poor answer ─► fallback ─┬─► its answer
//!               └─► its answer                                                       └─► fails too: both errors
//! ```
//!
//! What it answers with is said where it is put to use, and so cannot be forgotten:
//!
//! | | answers with | can fail | keeps the request |
//! |---|---|---|---|
//! | [`value`](Fallback::value) | always the same | | |
//! | [`from_answer`](Fallback::from_answer) | what a function makes of the failure | | |
//! | [`function`](Fallback::function) | the same, in time | yes | |
//! | [`from_request`](Fallback::from_request) | the same, of the request too | yes | a copy |
//! | [`service`](Fallback::service) | another service | yes | a copy |
//! | [`layer`](Fallback::layer) | a [`Strategy`] of your own | as it says | if told |
//!
//! Replaced are refusals of the own stack, timeouts and other failures, each of which the [builder](FallbackBuilder)
//! can leave out; [`or_when`](FallbackLayer::or_when) adds responses that count as failures. What the
//! [classifier](FallbackLayer::classify) ignores, a caller's own mistake above all, is an answer and stays.
//!
//! A service that fails to get ready is answered for as well: the error is kept, the service is taken to be ready, and
//! the call is the fallback's. For the next call the service is asked again.
//!
//! # Example
//!
//! ```
//! use resilience_core::circuit_breaker::CircuitBreaker;
//! use resilience_core::fallback::Fallback;
//! use resilience_core::LiftLayer;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fallback = Fallback::builder().name("recommendations").build()?;
//! let breaker = CircuitBreaker::builder().name("recommendations").build()?;
//! let recommendations = ServiceBuilder::new()
//!     .layer(fallback.value(vec!["bestseller"]))
//!     .layer(breaker.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |_customer: u32| Ok::<_, std::io::Error>(vec!["socks", "shoes"])));
//! assert_eq!(recommendations.clone().oneshot(17).await?, ["socks", "shoes"]);
//! breaker.isolate(); // nobody is asked any more
//! assert_eq!(recommendations.oneshot(17).await?, ["bestseller"]);
//! assert_eq!(fallback.snapshot().refused, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Without tower: [`Fallback::run`] and [`Fallback::run_or`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`refusals`](FallbackBuilder::refusals) | replaced | nothing was sent: this is what a fallback is for |
//! | [`timeouts`](FallbackBuilder::timeouts) | replaced | the caller has waited enough; leave them out before a second service that writes |
//! | [`failures`](FallbackBuilder::failures) | replaced | |
//! | [`dry_run`](FallbackBuilder::dry_run) | off | |
//! | [`classify`](FallbackLayer::classify) | [`ByResult`](crate::ByResult) | every error is a failure or a refusal |
//! | [`replay`](FallbackLayer::replay) | by `Clone`, where a request is wanted | |
//! | both fail | [`Joined`] where the fallback can fail | neither error may hide the other |
//!
//! # Events
//!
//! [`Event`], as `resilience.fallback.*`, each with the reason `refused`, `timed_out` or `failed`:
//!
//! | event | when | severity |
//! |---|---|---|
//! | [`FellBack`](Event::FellBack) | the fallback was asked | info |
//! | [`FailedToo`](Event::FailedToo) | it failed as well | error |
//! | [`Withheld`](Event::Withheld) | it wanted the request, of which there was no copy | warn |
//! | [`WouldFallBack`](Event::WouldFallBack) | it would have been asked, in a dry run | info |
//!
//! # Errors
//!
//! The error type stays the service's, as everywhere in a stack, and so when both fail two errors must become one. How
//! is known to the error alone, and so it is asked for at compile time: by [`Join`], which boxed errors have
//! ([`BothFailed`]: the fallback's error, with the original as its source), as [`Error`](crate::Error) over them has,
//! and for which an enum takes a variant with both; or by [`join`](FallbackLayer::join) or
//! [`original`](FallbackLayer::original) on the layer. A pair as the error type was not chosen: every layer outside
//! would have to know it, to recognise a refusal. A poor answer whose fallback fails is the caller's: it is one.
//!
//! # Interplay
//!
//! - Outermost, or just inside of what serves the caller: inside of a retry or a breaker it would make failures look
//!   like successes, which [`lint`](crate::lint) tells.
//! - A backup is a service like any other: give it a timeout and a bulkhead of its own, and no retry.
//! - Outside of the total timeout, what falls back has no deadline any more; a backup's own timeout is then its only
//!   one.
//!
//! # Do and don't
//!
//! - Do watch [`FellBack`](Event::FellBack): a fallback is how an outage lasts for a week without anybody's notice.
//! - Do use it every day, or test it as often: a path that runs in outages alone does not run.
//! - Don't fall back to something slower or smaller for all of the traffic: the backup falls next. A limit in front of
//!   it refuses in time.
//! - Don't replace what says "no": a missing permission is not an outage.
//!
//! # Limits
//!
//! A call that succeeds costs a reference count, and a copy of the request if the strategy wants one; it allocates
//! nothing, reads no clock and takes no lock. One that falls back locks the strategy for the time of its clone. The
//! future has room for call or fallback, whichever is larger. The services are of one error type, which is a parameter
//! of the layer.

mod config;
mod course;
mod event;
#[cfg(feature = "tower")]
mod future;
mod join;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
mod run;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod strategy;

pub use self::config::FallbackBuilder;
pub use self::event::{Event, Reason};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
pub use self::join::{BothFailed, Join, Joined, Merge, Original};
#[cfg(feature = "tower")]
pub use self::layer::{FallbackLayer, OrWhen};
pub use self::policy::{Fallback, Snapshot};
pub use self::run::{Run, RunOr};
#[cfg(feature = "tower")]
pub use self::service::FallbackService;
#[cfg(feature = "tower")]
pub use self::strategy::{Backup, BackupFuture, FromAnswer, FromRequest, Function, NotKept, Strategy, Value};

#[cfg(all(test, not(loom), feature = "tower"))]
mod tests;
