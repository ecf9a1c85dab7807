//! From a state and an event to the next state.

use thiserror::Error;

use super::{Act, Cause, Doubt, Event, Next, Phase, RetryAt, State, Status, StepKey, StuckCause};

/// A log that no saga can have written, at its first impossible event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{event} is impossible here: {why}")]
pub struct Corrupt {
    /// The event's name.
    pub event: &'static str,
    /// What it contradicts.
    pub why: String,
}

type Applied = Result<(), String>;

/// Folds one event into the state.
///
/// The state is unchanged if the event is impossible.
///
/// # Errors
///
/// [`Corrupt`] if the event cannot follow what the state has seen.
pub fn apply(state: &mut State, event: &Event) -> Result<(), Corrupt> {
    state.fold(event).map_err(|why| Corrupt { event: event.name(), why })
}

impl State {
    fn fold(&mut self, event: &Event) -> Applied {
        match event {
            Event::Created { .. } => return self.created(event),
            _ if self.input.is_none() => return Err("the log does not begin with `created`".into()),
            _ if self.phase.is_final() => return Err(format!("the saga is {:?}", self.phase)),
            _ => {}
        }
        match event {
            Event::Created { .. } => Ok(()),
            Event::Adopted { epoch, at } => {
                if *epoch <= self.epoch {
                    return Err(format!("epoch {epoch} does not follow {}", self.epoch));
                }
                self.epoch = *epoch;
                self.interrupt(*at);
                Ok(())
            }
            Event::Started { step, attempt } => self.started(step, *attempt),
            Event::Succeeded { step, attempt, output } => {
                let step = self.attempted(step, *attempt)?;
                let step = &mut self.steps[step];
                step.status = Status::Succeeded;
                step.doubt = false;
                step.output = Some(output.clone());
                Ok(())
            }
            Event::Rejected { step: key, attempt, error } => {
                let step = self.attempted(key, *attempt)?;
                self.before_pivot()?;
                self.failed(step, error, Status::NoEffect);
                self.steps[step].doubt = false;
                self.unwind(|| Cause::Rejected { step: key.clone(), error: error.clone() });
                Ok(())
            }
            Event::Failed { step: key, attempt, error, retry } => {
                let step = self.attempted(key, *attempt)?;
                self.retry_or_give_up(step, key, error, *retry)
            }
            Event::NotApplied { step: key, attempt, retry } => {
                let step = self.attempted(key, *attempt)?;
                let error = self.steps[step].error.clone().unwrap_or_default();
                let doubt = std::mem::replace(&mut self.steps[step].doubt, false);
                let applied = self.retry_or_give_up(step, key, &error, *retry);
                if applied.is_err() {
                    self.steps[step].doubt = doubt;
                }
                applied
            }
            Event::Unknown { step: key, attempt, doubt, error, next } => {
                let step = self.attempted(key, *attempt)?;
                self.doubted(step, key, *doubt, error, *next)
            }
            Event::ProbeFailed { step: key, attempt, error, next } => {
                let step = self.attempted(key, *attempt)?;
                self.doubted(step, key, Doubt::Reported, error, *next)
            }
            Event::Pivot {} => {
                if self.phase != Phase::Forward || !self.plan.has_pivot() || !self.all_before_pivot_succeeded() {
                    return Err("not every step before the pivot has succeeded".into());
                }
                self.phase = Phase::PastPivot;
                Ok(())
            }
            Event::CancelRequested { reason } => {
                self.before_pivot()?;
                self.unwind(|| Cause::Cancelled { reason: reason.clone() });
                Ok(())
            }
            Event::UndoStarted { step, attempt } => self.undo_started(step, *attempt),
            Event::Undone { step, attempt } => {
                let step = self.undoing(step, *attempt)?;
                self.steps[step].status = Status::Undone;
                Ok(())
            }
            Event::UndoFailed { step, attempt, error, retry } => {
                let id = self.undoing(step, *attempt)?;
                let step = &mut self.steps[id];
                step.undo_failures += 1;
                step.error = Some(error.clone());
                step.status = match retry {
                    Some(retry) => Status::UndoDue(*retry),
                    None => Status::UndoGivenUp(StuckCause::Undo),
                };
                Ok(())
            }
            Event::Stuck { step, cause, error } => self.stuck_at(step, cause, error),
            Event::Resolved { step, act, note, .. } => self.resolved(step, *act, note),
            Event::Completed {} => {
                let end = if self.plan.has_pivot() { Phase::PastPivot } else { Phase::Forward };
                if self.phase != end || self.steps.iter().any(|step| step.status != Status::Succeeded) {
                    return Err("not every step has succeeded".into());
                }
                self.phase = Phase::Completed;
                Ok(())
            }
            Event::Compensated {} => {
                if self.phase != Phase::Unwinding || self.settled().contains(&false) {
                    return Err("an effect is left".into());
                }
                self.phase = Phase::Compensated;
                Ok(())
            }
            Event::Abandoned { .. } => {
                self.phase = Phase::Abandoned;
                Ok(())
            }
        }
    }

    fn created(&mut self, event: &Event) -> Applied {
        let Event::Created { definition, version, graph, epoch, input, .. } = event else {
            return Ok(());
        };
        if self.input.is_some() {
            return Err("the log has begun already".into());
        }
        if (definition.as_str(), *version, *graph) != (self.plan.name().as_str(), self.plan.version(), self.plan.hash())
        {
            return Err(format!("it was made by another graph than this {definition} {version}"));
        }
        self.epoch = *epoch;
        self.input = Some(input.clone());
        Ok(())
    }

    /// Whatever was in progress is in doubt; whatever waits does not wait longer than it would have.
    fn interrupt(&mut self, at: super::Tick) {
        for step in &mut self.steps {
            match &mut step.status {
                Status::Running => {
                    step.status = Status::Interrupted;
                    step.doubt = true;
                    step.crashes += 1;
                }
                Status::Undoing => {
                    step.status = Status::UndoInterrupted;
                    step.crashes += 1;
                }
                Status::Due(retry) | Status::Probing(retry) | Status::UndoDue(retry) => *retry = retry.adopted(at),
                _ => {}
            }
        }
    }

    fn started(&mut self, key: &StepKey, attempt: u32) -> Applied {
        let id = self.find(key)?;
        let step = &self.steps[id];
        if self.phase == Phase::Unwinding {
            return Err("the saga unwinds".into());
        }
        let startable = match step.status {
            Status::Idle => self.is_ready(id),
            Status::Due(_) | Status::Interrupted => true,
            _ => false,
        };
        if !startable || attempt != step.attempts + 1 {
            return Err(format!("{key} is {} after {} attempts", step.status.label(), step.attempts));
        }
        let step = &mut self.steps[id];
        step.attempts = attempt;
        step.status = Status::Running;
        Ok(())
    }

    fn retry_or_give_up(&mut self, step: usize, key: &StepKey, error: &str, retry: Option<RetryAt>) -> Applied {
        match retry {
            Some(_) if self.phase == Phase::Unwinding => Err("the saga unwinds".into()),
            Some(retry) => {
                self.failed(step, error, Status::Due(retry));
                Ok(())
            }
            None => {
                self.before_pivot()?;
                let status = if self.steps[step].doubt { Status::Maybe } else { Status::NoEffect };
                self.failed(step, error, status);
                self.unwind(|| Cause::Exhausted { step: key.clone(), error: error.to_owned() });
                Ok(())
            }
        }
    }

    fn doubted(&mut self, step: usize, key: &StepKey, doubt: Doubt, error: &str, next: Next) -> Applied {
        let status = match next {
            Next::Retry(_) if self.phase == Phase::Unwinding => return Err("the saga unwinds".into()),
            Next::Retry(retry) => Status::Due(retry),
            Next::Probe(retry) => Status::Probing(retry),
            Next::Undo => {
                self.before_pivot()?;
                Status::Maybe
            }
            Next::Hold if doubt == Doubt::Panic => Status::GivenUp(StuckCause::Panics),
            Next::Hold => Status::GivenUp(StuckCause::Unknown(doubt)),
        };
        // A probe that fails says nothing new about a panic.
        if doubt == Doubt::Panic {
            self.steps[step].panics += 1;
        }
        self.steps[step].doubt = true;
        self.failed(step, error, status);
        if next == Next::Undo {
            self.unwind(|| Cause::Unknown { step: key.clone(), doubt, error: error.to_owned() });
        }
        Ok(())
    }

    fn undo_started(&mut self, key: &StepKey, attempt: u32) -> Applied {
        let id = self.find(key)?;
        let step = &self.steps[id];
        let startable = match step.status {
            Status::Succeeded | Status::Maybe => self.released(id, &self.settled()),
            Status::UndoDue(_) | Status::UndoInterrupted => true,
            _ => false,
        };
        if self.phase != Phase::Unwinding || !self.plan.undoable(id) || !startable || attempt != step.undo_attempts + 1
        {
            return Err(format!("{key} is {} after {} attempts to undo", step.status.label(), step.undo_attempts));
        }
        let step = &mut self.steps[id];
        step.undo_attempts = attempt;
        step.status = Status::Undoing;
        Ok(())
    }

    fn stuck_at(&mut self, key: &StepKey, cause: &StuckCause, error: &str) -> Applied {
        let id = self.find(key)?;
        let step = &mut self.steps[id];
        step.status = match step.status {
            Status::Running | Status::Interrupted | Status::GivenUp(_) => Status::Stuck(cause.clone()),
            Status::Undoing | Status::UndoInterrupted | Status::UndoGivenUp(_) => Status::UndoStuck(cause.clone()),
            _ => return Err(format!("{key} is {}", step.status.label())),
        };
        step.error = Some(error.to_owned());
        Ok(())
    }

    fn resolved(&mut self, key: &StepKey, act: Act, note: &str) -> Applied {
        let id = self.find(key)?;
        let unwinding = self.phase == Phase::Unwinding;
        let step = &mut self.steps[id];
        let now = RetryAt { at: super::Tick::default(), after: std::time::Duration::ZERO };
        match (act, &step.status) {
            (Act::Retry, Status::UndoStuck(_)) => {
                step.status = Status::UndoDue(now);
                (step.undo_failures, step.crashes) = (0, 0);
            }
            (Act::Retry, Status::Stuck(_)) if !unwinding => {
                step.status = Status::Due(now);
                (step.failures, step.panics, step.crashes) = (0, 0, 0);
            }
            (Act::MarkUndone, Status::Stuck(_) | Status::UndoStuck(_)) if unwinding => {
                step.status = Status::Undone;
                step.manual = true;
            }
            (Act::Undo, Status::Stuck(_)) if self.phase != Phase::PastPivot => {
                step.status = Status::Maybe;
                step.crashes = 0;
                self.unwind(|| Cause::Operator { step: key.clone(), note: note.to_owned() });
            }
            (_, status) => return Err(format!("{key} is {}", status.label())),
        }
        Ok(())
    }

    /// The step whose attempt this is, if it is the one in progress.
    fn attempted(&self, key: &StepKey, attempt: u32) -> Result<usize, String> {
        let id = self.find(key)?;
        let step = &self.steps[id];
        match step.status {
            Status::Running | Status::Interrupted | Status::Probing(_) if step.attempts == attempt => Ok(id),
            _ => Err(format!("{key} is {} at attempt {}", step.status.label(), step.attempts)),
        }
    }

    /// The step whose undo this is, if it is the one in progress.
    fn undoing(&self, key: &StepKey, attempt: u32) -> Result<usize, String> {
        let id = self.find(key)?;
        let step = &self.steps[id];
        match step.status {
            Status::Undoing if step.undo_attempts == attempt => Ok(id),
            _ => Err(format!("{key} is {} at attempt {} to undo", step.status.label(), step.undo_attempts)),
        }
    }

    fn find(&self, key: &StepKey) -> Result<usize, String> {
        self.plan.find(key).ok_or_else(|| format!("there is no step {key}"))
    }

    fn before_pivot(&self) -> Applied {
        match self.phase {
            Phase::PastPivot => Err("the pivot is passed".into()),
            _ => Ok(()),
        }
    }

    fn failed(&mut self, step: usize, error: &str, status: Status) {
        let step = &mut self.steps[step];
        step.failures += 1;
        step.error = Some(error.to_owned());
        step.status = status;
    }

    /// Turns round. What waits for another attempt will not get one.
    fn unwind(&mut self, cause: impl FnOnce() -> Cause) {
        if self.phase == Phase::Unwinding {
            return;
        }
        self.phase = Phase::Unwinding;
        self.cause = Some(cause());
        for step in &mut self.steps {
            if let Status::Due(_) = step.status {
                step.status = if step.doubt { Status::Maybe } else { Status::NoEffect };
            }
        }
    }

    pub(super) fn all_before_pivot_succeeded(&self) -> bool {
        let steps = self.plan.steps().iter().zip(&self.steps);
        steps.filter(|(plan, _)| !plan.after_pivot).all(|(_, step)| step.status == Status::Succeeded)
    }
}
