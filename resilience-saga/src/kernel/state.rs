//! What a log amounts to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Doubt, Epoch, Payload, Plan, RetryAt, StepKey, StuckCause};

/// A saga as its log says it stands.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) plan: Arc<Plan>,
    pub(super) phase: Phase,
    pub(super) epoch: Epoch,
    pub(super) input: Option<Payload>,
    pub(super) cause: Option<Cause>,
    pub(super) steps: Vec<StepState>,
}

/// Where a saga stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Steps run; a failure can still be compensated.
    Forward,
    /// The pivot is passed: it will complete.
    PastPivot,
    /// Effects are being undone.
    Unwinding,
    /// Every step succeeded.
    Completed,
    /// No effect is left.
    Compensated,
    /// An operator gave it up as it stood.
    Abandoned,
}

impl Phase {
    /// Whether nothing can happen any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Abandoned)
    }
}

/// Why a saga unwinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A step was refused.
    Rejected {
        /// The step.
        step: StepKey,
        /// Why.
        error: String,
    },
    /// A step failed as often as it may.
    Exhausted {
        /// The step.
        step: StepKey,
        /// The last failure.
        error: String,
    },
    /// Nobody knows whether a step took effect, and its policy is to compensate.
    Unknown {
        /// The step.
        step: StepKey,
        /// Why nobody knows.
        doubt: Doubt,
        /// What was seen.
        error: String,
    },
    /// Somebody asked for it.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// An operator gave a stuck step up.
    Operator {
        /// The step.
        step: StepKey,
        /// Why.
        note: String,
    },
}

impl Cause {
    /// The cause as a label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::Exhausted { .. } => "exhausted",
            Self::Unknown { .. } => "unknown",
            Self::Cancelled { .. } => "cancelled",
            Self::Operator { .. } => "operator",
        }
    }

    /// The step that caused it, unless it was a person.
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Rejected { step, .. }
            | Self::Exhausted { step, .. }
            | Self::Unknown { step, .. }
            | Self::Operator { step, .. } => Some(step),
            Self::Cancelled { .. } => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { step, error } => write!(f, "{step} was rejected: {error}"),
            Self::Exhausted { step, error } => write!(f, "{step} failed as often as it may: {error}"),
            Self::Unknown { step, error, .. } => write!(f, "the outcome of {step} is unknown: {error}"),
            Self::Cancelled { reason } => write!(f, "cancelled: {reason}"),
            Self::Operator { step, note } => write!(f, "{step} was given up by an operator: {note}"),
        }
    }
}

/// One step as the log says it stands.
#[derive(Clone, Debug, Default)]
pub struct StepState {
    pub(super) status: Status,
    pub(super) doubt: bool,
    pub(super) attempts: u32,
    pub(super) failures: u32,
    pub(super) panics: u32,
    pub(super) crashes: u32,
    pub(super) undo_attempts: u32,
    pub(super) undo_failures: u32,
    pub(super) output: Option<Payload>,
    pub(super) error: Option<String>,
    pub(super) manual: bool,
}

/// What a step is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Never started.
    #[default]
    Idle,
    /// An attempt is running.
    Running,
    /// The process ended while an attempt was running.
    Interrupted,
    /// The next attempt waits for its time.
    Due(RetryAt),
    /// The probe is to find out what happened, not before its time.
    Probing(RetryAt),
    /// It took effect.
    Succeeded,
    /// It surely had no effect.
    NoEffect,
    /// It was given up, and nobody knows whether it took effect.
    Maybe,
    /// It needs an operator; the log does not say so yet.
    GivenUp(StuckCause),
    /// Its undo is running.
    Undoing,
    /// The process ended while its undo was running.
    UndoInterrupted,
    /// The next attempt to undo it waits for its time.
    UndoDue(RetryAt),
    /// Its undo needs an operator; the log does not say so yet.
    UndoGivenUp(StuckCause),
    /// Its effect is gone.
    Undone,
    /// It needs an operator.
    Stuck(StuckCause),
    /// Its undo needs an operator.
    UndoStuck(StuckCause),
}

impl State {
    /// A saga of this plan with an empty log.
    pub fn new(plan: Arc<Plan>) -> Self {
        let steps = vec![StepState::default(); plan.steps().len()];
        Self { plan, phase: Phase::Forward, epoch: Epoch::default(), input: None, cause: None, steps }
    }

    /// The graph it runs on.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The latest owner in its log.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What it was started with; `None` while its log is empty.
    pub fn input(&self) -> Option<&Payload> {
        self.input.as_ref()
    }

    /// Why it unwinds, if it does.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// A step, by its index in the plan.
    pub fn step(&self, step: usize) -> &StepState {
        &self.steps[step]
    }

    /// What the saga returned, once it is completed.
    pub fn output(&self) -> Option<&Payload> {
        match self.phase {
            Phase::Completed => self.steps[self.plan.result()].output.as_ref(),
            _ => None,
        }
    }

    /// The steps that need an operator, with the reason.
    pub fn stuck(&self) -> impl Iterator<Item = (&StepKey, &StuckCause)> {
        self.plan.steps().iter().zip(&self.steps).filter_map(|(plan, step)| match &step.status {
            Status::Stuck(cause) | Status::UndoStuck(cause) => Some((&plan.key, cause)),
            _ => None,
        })
    }

    /// Whether only an operator can move it: something is stuck, and everything else has come to rest.
    pub fn is_stalled(&self) -> bool {
        !self.phase.is_final()
            && self.stuck().next().is_some()
            && self.steps.iter().all(|step| !step.is_moving())
            && !self.undo_possible()
    }

    /// For each step whether nothing of it is left to undo: it never started, had no effect, was undone, or needs no
    /// undo and the same holds for all that depend on it.
    pub(super) fn settled(&self) -> Vec<bool> {
        let mut settled = vec![false; self.steps.len()];
        for &id in self.plan.order().iter().rev() {
            settled[id] = match self.steps[id].status {
                Status::Idle | Status::NoEffect | Status::Undone => true,
                Status::Succeeded | Status::Maybe if !self.plan.undoable(id) => self.released(id, &settled),
                _ => false,
            };
        }
        settled
    }

    /// Whether nothing that depends on this step stands in the way of its undo.
    pub(super) fn released(&self, step: usize, settled: &[bool]) -> bool {
        self.plan.dependents(step).iter().all(|&dependent| settled[dependent])
    }

    /// Whether every step the given one needs has succeeded.
    pub(super) fn is_ready(&self, step: usize) -> bool {
        let plan = &self.plan.steps()[step];
        (!plan.after_pivot || self.phase == Phase::PastPivot)
            && plan.needs.iter().all(|&need| self.steps[need].status == Status::Succeeded)
    }

    fn undo_possible(&self) -> bool {
        if self.phase != Phase::Unwinding {
            return false;
        }
        let settled = self.settled();
        (0..self.steps.len())
            .any(|id| self.plan.undoable(id) && self.steps[id].is_undoable() && self.released(id, &settled))
    }
}

impl StepState {
    /// What it is doing.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How many attempts were started.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How many attempts to undo it were started.
    pub fn undo_attempts(&self) -> u32 {
        self.undo_attempts
    }

    /// What it returned, if it is known to have taken effect.
    pub fn output(&self) -> Option<&Payload> {
        self.output.as_ref()
    }

    /// The latest failure.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether an operator declared it undone.
    pub fn is_manual(&self) -> bool {
        self.manual
    }

    /// Whether an attempt ended in doubt that no later one has cleared.
    pub fn is_doubtful(&self) -> bool {
        self.doubt
    }

    /// Whether its effect is, or may be, there and nothing has been done about it yet.
    pub(super) fn is_undoable(&self) -> bool {
        matches!(self.status, Status::Succeeded | Status::Maybe)
    }

    /// Whether it will change without help from outside.
    fn is_moving(&self) -> bool {
        match self.status {
            Status::Idle
            | Status::Succeeded
            | Status::NoEffect
            | Status::Maybe
            | Status::Undone
            | Status::Stuck(_)
            | Status::UndoStuck(_) => false,
            Status::Running
            | Status::Interrupted
            | Status::Due(_)
            | Status::Probing(_)
            | Status::GivenUp(_)
            | Status::Undoing
            | Status::UndoInterrupted
            | Status::UndoDue(_)
            | Status::UndoGivenUp(_) => true,
        }
    }
}

impl Status {
    /// The status as one word.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Due(_) => "due",
            Self::Probing(_) => "probing",
            Self::Succeeded => "succeeded",
            Self::NoEffect => "no_effect",
            Self::Maybe => "maybe",
            Self::GivenUp(_) => "given_up",
            Self::Undoing => "undoing",
            Self::UndoInterrupted => "undo_interrupted",
            Self::UndoDue(_) => "undo_due",
            Self::UndoGivenUp(_) => "undo_given_up",
            Self::Undone => "undone",
            Self::Stuck(_) => "stuck",
            Self::UndoStuck(_) => "undo_stuck",
        }
    }
}
