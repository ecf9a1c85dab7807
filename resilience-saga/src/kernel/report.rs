//! A saga for the eyes of an operator.

use std::fmt;

use serde::Serialize;

use super::{Cause, Doubt, Epoch, Phase, State, StuckCause};

/// What a saga's log amounts to, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// Where the saga stands.
    pub phase: Phase,
    /// Why it unwinds or unwound.
    pub cause: Option<Cause>,
    /// The latest owner.
    pub epoch: Epoch,
    /// Whether only an operator can move it.
    pub stalled: bool,
    /// The steps, in the order of their declaration.
    pub steps: Vec<StepReport>,
}

/// One step of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// The step's key.
    pub step: String,
    /// What it is doing, in one word; see [`Status::label`](super::Status::label).
    pub status: &'static str,
    /// Why it needs an operator, if it does.
    pub stuck: Option<StuckCause>,
    /// Whether its effect is there: `None` if nobody knows.
    pub applied: Option<bool>,
    /// Attempts started.
    pub attempts: u32,
    /// Attempts to undo it started.
    pub undo_attempts: u32,
    /// The latest failure.
    pub error: Option<String>,
    /// Whether an operator declared it undone.
    pub manual: bool,
}

impl State {
    /// The saga for the eyes of an operator.
    pub fn report(&self) -> Report {
        let steps = self.plan.steps().iter().zip(&self.steps).map(|(plan, step)| StepReport {
            step: plan.key.as_str().to_owned(),
            status: step.status.label(),
            stuck: match &step.status {
                super::Status::Stuck(cause) | super::Status::UndoStuck(cause) => Some(cause.clone()),
                _ => None,
            },
            applied: step.applied(),
            attempts: step.attempts,
            undo_attempts: step.undo_attempts,
            error: step.error.clone(),
            manual: step.manual,
        });
        Report {
            definition: self.plan.name().to_string(),
            version: self.plan.version(),
            phase: self.phase,
            cause: self.cause.clone(),
            epoch: self.epoch,
            stalled: self.is_stalled(),
            steps: steps.collect(),
        }
    }
}

impl super::StepState {
    fn applied(&self) -> Option<bool> {
        use super::Status as S;
        match self.status {
            S::Idle | S::NoEffect | S::Undone => Some(false),
            S::Succeeded => Some(true),
            S::Due(_) if !self.doubt => Some(false),
            S::UndoStuck(_) | S::UndoGivenUp(_) | S::UndoDue(_) | S::Undoing | S::UndoInterrupted => None,
            _ => None,
        }
    }
}

impl Report {
    /// The steps that need an operator.
    pub fn stuck(&self) -> impl Iterator<Item = &StepReport> {
        self.steps.iter().filter(|step| step.stuck.is_some())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {:?}, owner {}", self.definition, self.version, self.phase, self.epoch)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        for step in &self.steps {
            let effect = match step.applied {
                Some(true) => "applied",
                Some(false) => "not applied",
                None => "effect unknown",
            };
            write!(f, "\n  {:<20} {:<14} {effect}, {} attempts", step.step, step.status, step.attempts)?;
            if step.undo_attempts > 0 {
                write!(f, ", {} to undo", step.undo_attempts)?;
            }
            if let Some(error) = &step.error {
                write!(f, ": {error}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reported => "reported",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Crash => "crash",
            Self::Cancelled => "cancelled",
            Self::Output => "output",
        })
    }
}
