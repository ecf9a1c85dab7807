//! A torture chamber for sagas: every crash at every record, every mishap at every step, in virtual time.
//!
//! A saga is right if it ends well wherever it is cut off, and no author finds that out by thinking. [`Torture`] runs a
//! saga against a world of fakes, first undisturbed, then with one mishap at each call of each step and undo, and each
//! of these again with a crash before and after each record, with a lost acknowledgement of each record, and with an owner
//! that is paused at each record and comes back to life after its successor has finished. It then checks what must
//! always hold, and what the author says must hold. All of it takes a second or two, since no time passes.
//!
//! What fails is reported as the smallest schedule that fails: schedules are tried from the simple to the complex.
//!
//! ```
//! use resilience_saga::testing::{Ledger, Torture};
//! use resilience_saga::{Cx, Effect, StepError, saga};
//!
//! let transfer = saga("transfer", 1, |g, cents| {
//!     let taken = g
//!         .step("withdraw", cents, |cx: Cx, cents: u64| async move {
//!             cx.service::<Ledger>()?.call(&cx)?;
//!             Ok::<_, StepError>(cents)
//!         })
//!         .undo(|cx: Cx, _: Effect<u64>| async move { cx.service::<Ledger>()?.call(&cx) });
//!     g.pivot();
//!     g.step("deposit", taken, |cx: Cx, _| async move { cx.service::<Ledger>()?.call(&cx) }).retriable()
//! })?;
//!
//! let survived = Torture::of(&transfer, 100_u64)
//!     .world(Ledger::new)
//!     .invariant(|ledger, end| ledger.balanced(end))
//!     .exhaustive()
//!     .expect("it survives everything");
//! assert!(survived.schedules > 100);
//! # Ok::<(), resilience_saga::DefinitionError>(())
//! ```

mod ledger;
mod schedule;
mod store;
mod torture;

pub use self::ledger::Ledger;
pub use self::schedule::{Crash, Hazard, Mishap, Schedule, When};
pub use self::torture::{Failure, Survived, Torture};

#[cfg(test)]
mod tests;
