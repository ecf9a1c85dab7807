//! What can be wrong with a definition.

use thiserror::Error;

use super::{MAX_KEY, MAX_STEPS, StepKey};

/// A definition that cannot work. Found when it is made, never later.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// A name or key is empty, longer than [`MAX_KEY`] bytes, or has characters other than `a-z A-Z 0-9 . _ -`.
    #[error("{key:?} is not a key: 1 to {MAX_KEY} characters of a-z, A-Z, 0-9, '.', '_' and '-'")]
    InvalidKey {
        /// The key.
        key: String,
    },
    /// Two steps have the same key.
    #[error("two steps are called {step:?}")]
    DuplicateKey {
        /// Their key.
        step: StepKey,
    },
    /// A handle of another graph was used.
    #[error("step {step:?} uses a handle of another definition")]
    ForeignHandle {
        /// The step that uses it.
        step: StepKey,
    },
    /// A step needs itself, directly or through others.
    #[error("step {step:?} needs itself")]
    Cycle {
        /// A step on the cycle.
        step: StepKey,
    },
    /// A step before the pivot says neither how it is undone nor why it need not be.
    #[error("step {step:?} comes before the pivot and has neither `undo` nor `no_undo`")]
    MissingUndo {
        /// The step.
        step: StepKey,
    },
    /// A step after the pivot has an undo, which would never run.
    #[error("step {step:?} comes after the pivot, where nothing is undone")]
    UselessUndo {
        /// The step.
        step: StepKey,
    },
    /// A step after the pivot is not declared retriable.
    #[error("step {step:?} comes after the pivot and is not declared `retriable`")]
    NotRetriable {
        /// The step.
        step: StepKey,
    },
    /// A step after the pivot would compensate when its outcome is unknown.
    #[error("step {step:?} comes after the pivot and cannot compensate an unknown outcome")]
    CompensatesAfterPivot {
        /// The step.
        step: StepKey,
    },
    /// A step before the pivot needs one after it.
    #[error("step {step:?} comes before the pivot and needs {needs:?}, which comes after it")]
    AcrossPivot {
        /// The step.
        step: StepKey,
        /// What it needs.
        needs: StepKey,
    },
    /// An undo reads the output of a step that its own step does not depend on.
    #[error("the undo of {step:?} reads {reads:?}, which {step:?} does not depend on")]
    UndoReads {
        /// The step.
        step: StepKey,
        /// What its undo reads.
        reads: StepKey,
    },
    /// The unknown-policy is `Probe`, but no probe was given.
    #[error("step {step:?} is to be probed but has no `probe`")]
    MissingProbe {
        /// The step.
        step: StepKey,
    },
    /// No step, or more than [`MAX_STEPS`].
    #[error("a saga has 1 to {MAX_STEPS} steps, not {steps}")]
    Size {
        /// How many were declared.
        steps: usize,
    },
    /// The pivot was declared twice.
    #[error("a saga has one pivot")]
    TwoPivots,
    /// A limit is zero.
    #[error("limits must be above zero")]
    Limits,
}
