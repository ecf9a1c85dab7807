//! Tries again what failed, when that is likely to help and cannot hurt.
//!
//! # Why
//!
//! A failed call is often worth a second one: a connection broke, a leader moved, one replica of three was restarting.
//! It is also how a small failure becomes a large one. Callers that each try three times treble the load on a service
//! that cannot carry what it has; callers that come back at the same moment knock it over again; callers that wait past
//! their own deadline do work for nobody. A [`Retry`] therefore answers four questions before each attempt: would it
//! fare better ([`Classify`](crate::Classify)), may it be sent twice ([`Replay`]), is there time ([`Backoff`], the
//! request's deadline), and can the service afford it ([`RetryBudget`]).
//!
//! # Behaviour
//!
//! After each failed attempt, in this order, so that nothing is paid for a retry that cannot be: it could fare better
//! (`Permanent` otherwise), attempts are left (`Attempts`), a copy of the request is left (`NotReplayable`), the wait ends
//! before the deadline (`Deadline`) and before [`max_elapsed`](RetryBuilder::max_elapsed) (`MaxElapsed`), the budget
//! grants it (`Budget`). A wait that would end past the deadline is not begun: the caller gets the error now.
//!
//! ```text
//!  call ──► attempt ── answered ───────────────────────────────────────────► the answer
//!              ▲  └─── failed ──► worth it, allowed, in time, granted? ─no─► that failure
//!              │                                  │ yes, and paid for
//!              └──────── sent ◄───── waits ◄──────┘
//!                                      └─ dropped before it is sent: refunded
//! ```
//!
//! A request is copied before an attempt only if another can follow it: not for the last one, and not while the budget
//! is empty. A call sent while the budget is empty is therefore not retried, even if the budget has recovered when it
//! fails; in an outage that saves a copy of every request, at the price of a retry here and there.
//!
//! An answer with a `Retry-After` counts as the server asking for less: [`Hint`] bounds the wait,
//! [`throttled_backoff`](RetryBuilder::throttled_backoff) applies, and the budget may have
//! [another price](budget::Kind::Throttled) for it. [`ByHint`] lets refusals of our own stack, a rate limiter's say, be
//! heeded in the same way.
//!
//! Dropping a call drops the attempt or the wait under way. A retry that was paid for and not yet sent is refunded; one
//! that was sent is not.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::LiftLayer;
//! use resilience_core::retry::{Backoff, Retry, RetryBudget};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let budget = RetryBudget::builder().ratio(0.1).reserve(10).build()?;
//! let retry = Retry::builder()
//!     .name("inventory")
//!     .attempts(3)
//!     .backoff(Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2)))
//!     .budget(budget.clone())
//!     .build()?;
//! let service = ServiceBuilder::new()
//!     .layer(retry.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |item: u32| match resilience_core::context::attempt() {
//!         1 => Err(std::io::Error::other("connection reset")),
//!         _ => Ok(item * 2),
//!     }));
//! assert_eq!(service.oneshot(21).await?, 42);
//! assert_eq!(budget.snapshot().withdrawn, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Without tower: [`Retry::run`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`attempts`](RetryBuilder::attempts) | 3 in all | the figure of Google SRE, chapter 21, and of the AWS SDKs: a call that failed three times fails for a reason that more attempts do not remove |
//! | [`backoff`](RetryBuilder::backoff) | exponential, 100 ms to 20 s | long enough for a reconnect, short beside a person's patience; the cap of the AWS SDKs |
//! | jitter | [`Full`](Jitter::Full) | spreads a crowd best for the work it costs (Brooker, 2015) |
//! | [`budget`](RetryBuilder::budget) | one of its own: 0.1 retries a request, 100 saved up | retries without a bound are how an outage outlives its cause |
//! | [`hint`](RetryBuilder::hint) | between the backoff and its cap | a server may slow us down, not put us to sleep for a day |
//! | [`max_elapsed`](RetryBuilder::max_elapsed) | none | the request's deadline binds all layers together |
//! | [`dry_run`](RetryBuilder::dry_run) | off | |
//! | [`classify`](RetryLayer::classify) | [`ByResult`](crate::ByResult) | errors may pass; our own refusals are not retried |
//! | [`replay`](RetryLayer::replay) | by `Clone` | whether a request may be sent twice only its owner knows: set [`retry_if`](RetryLayer::retry_if) where it may not |
//!
//! # Events
//!
//! [`Event`], as `resilience.retry.*`:
//!
//! | event | when | severity |
//! |---|---|---|
//! | [`Retrying`](Event::Retrying) | another attempt was scheduled | warn |
//! | [`Recovered`](Event::Recovered) | an attempt after the first was answered | info |
//! | [`WouldRetry`](Event::WouldRetry) | another attempt would have been scheduled, in a dry run | warn |
//! | [`GaveUp`](Event::GaveUp) | the last failure went to the caller | warn; debug if no retry was in question |
//!
//! A call whose first attempt is answered makes none.
//!
//! # Errors
//!
//! The last attempt's answer is the caller's, unchanged; there is no wrapper to unwrap and no error type of this
//! pattern. Why there was no other attempt, and how many there were, is in [`Event::GaveUp`] and, for the caller, in the
//! [`report`] of the call. An error of the service's readiness before a retry ends the call with that error.
//!
//! One answer is not passed on: the refusal, by the own stack, of an attempt that followed one that was sent. A refusal
//! promises that the call was never sent, and of this call that would be false: the caller gets the answer of the last
//! attempt that was sent.
//!
//! # Interplay
//!
//! - Inside the total timeout, which bounds all attempts; outside the per-attempt one. The deadline of the first is seen
//!   here through the [context](crate::context).
//! - Outside the circuit breaker, which then sees each attempt; a breaker that opens between two attempts ends the call,
//!   since its refusal is not retried.
//! - Retry at one layer only. Of three services in a row that each try three times, the last gets 27 calls. Where two
//!   layers of one program must, let them share a budget.
//! - Inner layers read the number of the attempt from the [context](crate::context::attempt).
//!
//! # Do and don't
//!
//! - Do bound each attempt by a timeout inside: one that hangs is never repeated.
//! - Do say with [`retry_if`](RetryLayer::retry_if) what may be sent twice; over HTTP, `http_layer` knows.
//! - Do let all retries of a process that call one service share a [budget](RetryBudget).
//! - Do try it with [`dry_run`](RetryBuilder::dry_run) where nobody knows how much of the traffic fails:
//!   [`Snapshot::would_retry`] over the calls is the least load it adds.
//! - Don't classify a mistake of the caller as a failure: it fares no better the second time.
//! - Don't answer an outage with more attempts; what helps then is a [circuit breaker](crate::circuit_breaker).
//!
//! # Limits
//!
//! A call whose first attempt is answered costs one reference count and one copy of the request. It allocates nothing,
//! reads no clock (unless `max_elapsed` is set), clones no service, and writes nothing that
//! the instances of different threads share while the budget is full (an instance gets a reference count of its own with
//! its second call). A retry clones the stack below once for the call.
//!
//! Retries are sequential; a slow first attempt is not raced. What runs behind a buffer, on another task, neither sees
//! the attempt's number nor tells a [`report`]. A [`Backoff::sequence`] keeps its first 1,024 delays.

mod backoff;
pub mod budget;
mod config;
mod event;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
mod refused;
#[cfg(feature = "tower")]
mod replay;
mod report;
mod run;
#[cfg(feature = "tower")]
mod service;
mod session;

pub use self::backoff::{Backoff, Jitter, Series};
pub use self::budget::RetryBudget;
pub use self::config::RetryBuilder;
pub use self::event::{Event, Reason};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::RetryLayer;
pub use self::machine::Hint;
pub use self::policy::{Retry, Snapshot};
pub use self::refused::ByHint;
#[cfg(feature = "tower")]
pub use self::replay::{Cloned, Replay, RetryIf};
pub use self::report::{Report, Reported, report};
pub use self::run::Run;
#[cfg(feature = "tower")]
pub use self::service::RetryService;

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tower"))]
mod tests;
