//! Durable sagas: work on several services that ends completely done or completely undone, through any crash.
//!
//! An order reserves stock here, takes money there, and ships from a third place, and no transaction spans the three. A
//! saga (Garcia-Molina and Salem, "Sagas", SIGMOD 1987) is the list of these steps with, for each, how it is undone. The
//! hard part is everything in between: the process that ends after the money was taken and before it knew; the answer
//! that is lost; the call that arrives after its own undo; the undo that fails; the second owner who thinks he is the
//! first. This crate is about those.
//!
//! # A checkout
//!
//! ```
//! use std::time::Duration;
//!
//! use resilience_cqrs::MemoryStore;
//! use resilience_saga::testing::Ledger; // a fake receiver that counts
//! use resilience_saga::{Cx, DefinitionError, Effect, Engine, Outcome, Saga, StepError, saga};
//!
//! fn checkout() -> Result<Saga<u64, String>, DefinitionError> {
//!     saga("checkout", 1, |g, order| {
//!         let hold = g
//!             .step("reserve", order, |cx: Cx, _cents: u64| async move { cx.service::<Ledger>()?.call(&cx) })
//!             .undo(|cx, _| async move { cx.service::<Ledger>()?.call(&cx) });
//!         let paid = g
//!             .step("charge", order, |cx, cents| async move {
//!                 cx.service::<Ledger>()?.call(&cx)?; // sends cx.key(), so that a repetition is recognised
//!                 if cents > 10_000 { Err(StepError::rejected("over the limit")) } else { Ok(cents) }
//!             })
//!             .undo(|cx, _charge: Effect<u64>| async move { cx.service::<Ledger>()?.call(&cx) })
//!             .timeout(Duration::from_secs(5))
//!             .after(hold); // else the two would run in parallel
//!         g.pivot(); // nothing above is undone past here, nothing below may give up
//!         g.step("ship", paid, |_, cents| async move { Ok(format!("shipped for {cents}")) }).retriable()
//!     })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let checkout = checkout()?;
//! let engine = Engine::builder(MemoryStore::new()).register(&checkout).service(Ledger::new()).start().await?;
//! let end = engine.run(&checkout, "order-17", 4_200).await?;
//! assert_eq!(end, Outcome::Completed("shipped for 4200".into()));
//! let end = engine.run(&checkout, "order-18", 99_000).await?;
//! assert!(matches!(end, Outcome::Compensated(why) if why.to_string() == "charge was rejected: over the limit"));
//! # Ok(())
//! # }
//! ```
//!
//! In production the store is `resilience_cqrs::SqliteStore`; nothing else changes.
//!
//! # What is promised, and what is asked
//!
//! The engine promises: a saga whose start was acknowledged ends `Completed`, `Compensated` or before an operator, whatever
//! crashes. A step is asked for at least once and always under the same key; what it did is recorded exactly once; its
//! undo starts only when everything that depends on it is gone; two owners never both write.
//!
//! It asks of the receivers: to honour the idempotency key. A receiver with SQLite gets that, and more, from the
//! `barrier` (feature `sqlite`): duplicates, undos without a do, and dos after their undo. And it asks of the author
//! of a step to say which kind of failure it was; see [`StepError`].
//!
//! | an attempt ends | known effect | before the pivot | after it |
//! |---|---|---|---|
//! | `Ok` | yes | recorded, the next steps start | the same |
//! | [`StepError::Rejected`] | no, for good | the saga unwinds | tried again |
//! | [`StepError::Retry`] | no | tried again; at last the saga unwinds | tried again |
//! | [`StepError::Unknown`], time limit, panic, crash | unknown | as its [`Unknown`] policy says | the same, without compensation |
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | attempts of a step | 5 | enough for a hiccup, few enough that the user still waits |
//! | attempts of an undo | 20 | nobody waits for it, and an operator costs more than a retry |
//! | waits | 100 ms doubling to 20 s, full jitter | [`Backoff::default`] |
//! | unknown outcome | retry under the same key | the only policy that can still succeed by itself |
//! | time limit | none | only the author knows what is long |
//! | steps of a saga at once | 32 | [`Limits`] |
//! | panics of a step | 3, then an operator | a bug does not go away by repetition |
//!
//! # Modules
//!
//! - [`kernel`]: the rules, pure. Live run, recovery, inspection and tests are folds over the same events.
//! - [`engine`]: runs sagas on any [`EventStore`](resilience_cqrs::EventStore). What operators do is there too:
//!   [`Engine::stuck`], [`Engine::status`], [`Engine::retry_undo`], [`Engine::mark_undone`], [`Engine::abandon`].
//! - `barrier` (feature `sqlite`): for receivers, in their own transaction.
//! - `testing` (feature `testing`): runs a saga of yours under every crash and mishap, in virtual time.
//!
//! # Limits
//!
//! One process owns the sagas of a store at a time; starting a second one takes them over. Data between steps is JSON.
//! History is kept for ever. There are no signals and no sagas within sagas yet.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub mod barrier;
mod cx;
pub mod engine;
mod error;
mod graph;
mod id;
pub mod kernel;
mod step_error;
#[cfg(any(test, feature = "testing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use self::cx::{CancelToken, Cx};
pub use self::engine::{Engine, EngineBuilder, Outcome, Running};
pub use self::error::Error;
pub use self::graph::{Effect, Graph, Input, Needs, Saga, Step, saga};
pub use self::id::{IdempotencyKey, InvalidId, MAX_START_KEY, Op, SagaId};
pub use self::kernel::{Cause, DefinitionError, Epoch, Limits, Phase, Probed, Refused, Report, StepKey, Unknown};
pub use self::step_error::{Failure, StepError};
pub use resilience_core::retry::{Backoff, Jitter};
