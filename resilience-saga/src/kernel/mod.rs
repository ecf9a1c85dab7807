//! The rules of a saga: pure, without a clock, without I/O.
//!
//! There is one truth about a saga, its log, and one reading of it: [`apply`]. The live run, recovery after a crash,
//! inspection by an operator and the tests all fold the same function over the same events. steno keeps a second copy
//! beside its log and a validator for recovery; both drifted from the executor, and with a failed branch under a join
//! six of fifteen crash points became unrecoverable (oxidecomputer/steno#462). Here recovery *is* the fold, and an
//! impossible log is a value, [`Corrupt`], that parks one saga.
//!
//! | function | from | to |
//! |---|---|---|
//! | [`apply`] | a state and an event | the next state |
//! | [`decide`] | a state and the time | what to log, and what to do, next |
//! | [`observe`] | a state and something that happened | the events that say so |
//!
//! An owner loops: observe what happened, apply; decide, apply, until nothing is left to decide; append all of it as
//! one record; act. An action may run only once its `Started` (or `UndoStarted`) is durable, so the log always knows
//! more than the world does, never less. Since the `Started` of the next step rides in the record that carries
//! the `Succeeded` of the last, a linear saga of N steps takes N+1 records.
//!
//! # The life of a step
//!
//! ```text
//!            Started             Succeeded                      UndoStarted           Undone
//!   Idle ------------> Running ------------> Succeeded ---------------------> Undoing -------> Undone
//!                      |  ^  |  Rejected                        |              |  ^
//!              Failed, |  |  +------------> NoEffect            |   UndoFailed |  | UndoStarted
//!             Unknown  v  |                                     |              v  |
//!                      Due    given up, in doubt: Maybe --------+             UndoDue, at last Stuck
//! ```
//!
//! # Which undo may start
//!
//! The undo of a step may start when each of its dependents is undone, had no effect, or never started. A step without
//! an undo counts as undone as soon as its own dependents do. Undos that do not wait for each other run in parallel.

mod apply;
mod decide;
mod event;
mod mistake;
mod observe;
mod payload;
mod plan;
mod report;
mod state;
mod tick;

pub use self::apply::{Corrupt, apply};
pub use self::decide::{Commands, decide};
pub use self::event::{Act, Doubt, Epoch, Event, Next, StepKey, StuckCause};
pub use self::mistake::DefinitionError;
pub use self::observe::{Attempt, Observation, Probed, Refused, observe};
pub use self::payload::Payload;
pub use self::plan::{Limits, MAX_KEY, MAX_STEPS, Plan, StepPlan, Tries, Undo, Unknown};
pub use self::report::{Report, StepReport};
pub use self::state::{Cause, Phase, State, Status, StepState};
pub use self::tick::{RetryAt, Tick};

#[cfg(test)]
mod tests;
