//! From something that happened to the events that say so.

use std::time::Duration;

use resilience_core::rng::Rng;
use thiserror::Error;

use super::{
    Act, Doubt, Event, Next, Payload, Phase, RetryAt, State, Status, StepKey, StuckCause, Tick, Tries, Unknown,
};
use crate::backoff;

/// How an attempt of a step or of an undo ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attempt {
    /// It took effect and returned this (`null` for an undo).
    Applied(Payload),
    /// It was refused: no effect, now or later, under this key.
    Rejected(String),
    /// No effect this time; another attempt may do. With a hint how long to wait at least.
    Failed(String, Option<Duration>),
    /// Nobody knows.
    Unknown(Doubt, String),
    /// It did not run: what it should read does not fit its type.
    Undecodable(String),
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed<T> {
    /// The step took effect and returned this.
    Applied(T),
    /// The step had no effect, and no attempt made so far will have one.
    NotApplied,
}

/// Something that happened to a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation {
    /// An attempt of a step ended.
    Ended {
        /// The step's index in the plan.
        step: usize,
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        result: Attempt,
    },
    /// The probe of a step answered, or failed.
    Probed {
        /// The step's index in the plan.
        step: usize,
        /// What it found, or why it failed.
        result: Result<Probed<Payload>, String>,
    },
    /// An attempt to undo a step ended.
    UndoEnded {
        /// The step's index in the plan.
        step: usize,
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        result: Attempt,
    },
    /// Somebody asked for the saga to be given up.
    Cancel {
        /// Why.
        reason: String,
    },
    /// An operator acts on a stuck step.
    Resolve {
        /// The step's key.
        step: StepKey,
        /// What to do.
        act: Act,
        /// Who.
        actor: String,
        /// Why.
        note: String,
    },
    /// An operator gives the saga up as it stands.
    Abandon {
        /// Who.
        actor: String,
        /// Why.
        note: String,
    },
}

/// A request the saga cannot follow. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The pivot is passed; the saga will complete.
    #[error("the pivot is passed, the saga will complete")]
    PastPivot,
    /// The saga is over.
    #[error("the saga is over")]
    AlreadyFinished,
    /// The definition has no such step.
    #[error("there is no step {0:?}")]
    UnknownStep(String),
    /// The step is not stuck in a way that this act resolves.
    #[error("{step} is {status}, which this does not resolve")]
    NotStuck {
        /// The step.
        step: StepKey,
        /// What it is doing.
        status: &'static str,
    },
}

/// The events that say what happened, to be applied and logged. None if it makes no difference any more.
///
/// # Errors
///
/// [`Refused`], for requests of people only.
pub fn observe(state: &State, seen: Observation, now: Tick, rng: &mut Rng) -> Result<Vec<Event>, Refused> {
    match seen {
        Observation::Cancel { .. } | Observation::Resolve { .. } | Observation::Abandon { .. }
            if state.phase.is_final() =>
        {
            Err(Refused::AlreadyFinished)
        }
        _ if state.phase.is_final() => Ok(Vec::new()),
        Observation::Ended { step, attempt, result } => Ok(Ended { state, step, now }.events(attempt, result, rng)),
        Observation::Probed { step, result } => Ok(Ended { state, step, now }.probed(result, rng)),
        Observation::UndoEnded { step, attempt, result } => {
            Ok(Ended { state, step, now }.undo_events(attempt, result, rng))
        }
        Observation::Cancel { .. } if state.phase == Phase::PastPivot => Err(Refused::PastPivot),
        Observation::Cancel { .. } if state.phase == Phase::Unwinding => Ok(Vec::new()),
        Observation::Cancel { reason } => Ok(vec![Event::CancelRequested { reason }]),
        Observation::Resolve { step, act, actor, note } => resolve(state, step, act, actor, note),
        Observation::Abandon { actor, note } => Ok(vec![Event::Abandoned { actor, note }]),
    }
}

fn resolve(state: &State, step: StepKey, act: Act, actor: String, note: String) -> Result<Vec<Event>, Refused> {
    let Some(id) = state.plan.find(&step) else {
        return Err(Refused::UnknownStep(step.as_str().to_owned()));
    };
    let unwinding = state.phase == Phase::Unwinding;
    let status = &state.steps[id].status;
    let resolves = match (act, status) {
        (Act::Retry, Status::UndoStuck(_)) => true,
        (Act::Retry, Status::Stuck(_)) => !unwinding,
        (Act::MarkUndone, Status::Stuck(_) | Status::UndoStuck(_)) => unwinding,
        (Act::Undo, Status::Stuck(_)) if state.phase == Phase::PastPivot => return Err(Refused::PastPivot),
        (Act::Undo, Status::Stuck(_)) => true,
        _ => false,
    };
    if !resolves {
        return Err(Refused::NotStuck { step, status: status.label() });
    }
    Ok(vec![Event::Resolved { step, act, actor, note }])
}

/// An attempt that ended.
struct Ended<'a> {
    state: &'a State,
    step: usize,
    now: Tick,
}

impl Ended<'_> {
    fn events(&self, attempt: u32, result: Attempt, rng: &mut Rng) -> Vec<Event> {
        let now = &self.state.steps[self.step];
        if now.status != Status::Running || now.attempts != attempt {
            return Vec::new();
        }
        let step = self.key();
        let event = match result {
            Attempt::Applied(output) => Event::Succeeded { step, attempt, output },
            Attempt::Rejected(error) if self.goes_on_for_ever() => {
                // Past the pivot nothing may be refused for good: the world has to be repaired until it is accepted.
                Event::Failed { step, attempt, error, retry: self.retry(None, rng) }
            }
            Attempt::Rejected(error) => Event::Rejected { step, attempt, error },
            Attempt::Failed(error, after) => Event::Failed { step, attempt, error, retry: self.retry(after, rng) },
            Attempt::Unknown(doubt, error) => {
                let next = self.after_doubt(doubt, rng);
                Event::Unknown { step, attempt, doubt, error, next }
            }
            Attempt::Undecodable(error) => Event::Stuck { step, cause: StuckCause::Undecodable, error },
        };
        vec![event]
    }

    fn probed(&self, result: Result<Probed<Payload>, String>, rng: &mut Rng) -> Vec<Event> {
        let now = &self.state.steps[self.step];
        if !matches!(now.status, Status::Probing(_)) {
            return Vec::new();
        }
        let (step, attempt) = (self.key(), now.attempts);
        let event = match result {
            Ok(Probed::Applied(output)) => Event::Succeeded { step, attempt, output },
            Ok(Probed::NotApplied) => Event::NotApplied { step, attempt, retry: self.retry(None, rng) },
            Err(error) => {
                let next = match self.wait(&self.plan().tries, now.failures, None, rng) {
                    Some(retry) => Next::Probe(retry),
                    None => Next::Undo,
                };
                Event::ProbeFailed { step, attempt, error, next }
            }
        };
        vec![event]
    }

    fn undo_events(&self, attempt: u32, result: Attempt, rng: &mut Rng) -> Vec<Event> {
        let now = &self.state.steps[self.step];
        if now.status != Status::Undoing || now.undo_attempts != attempt {
            return Vec::new();
        }
        let step = self.key();
        let (error, retry) = match result {
            Attempt::Applied(_) => return vec![Event::Undone { step, attempt }],
            Attempt::Undecodable(error) => return vec![Event::Stuck { step, cause: StuckCause::Undecodable, error }],
            // Refused for good: repeating it is of no use.
            Attempt::Rejected(error) => (error, None),
            Attempt::Failed(error, after) => (error, self.wait(&self.plan().undo_tries, now.undo_failures, after, rng)),
            Attempt::Unknown(_, error) => (error, self.wait(&self.plan().undo_tries, now.undo_failures, None, rng)),
        };
        vec![Event::UndoFailed { step, attempt, error, retry }]
    }

    fn after_doubt(&self, doubt: Doubt, rng: &mut Rng) -> Next {
        let (plan, step) = (self.plan(), &self.state.steps[self.step]);
        if doubt == Doubt::Panic && step.panics + 1 >= self.state.plan.limits().panics {
            return Next::Hold;
        }
        if doubt == Doubt::Output {
            // It did take effect, and would answer the same again.
            return if self.goes_on_for_ever() { Next::Hold } else { Next::Undo };
        }
        let retry = self.retry(None, rng);
        match (plan.unknown, retry) {
            (Unknown::Escalate, _) => Next::Hold,
            (Unknown::CompensateMaybe, _) => Next::Undo,
            (Unknown::Probe, _) => Next::Probe(RetryAt::new(self.now, Duration::ZERO)),
            (Unknown::RetrySameKey, Some(retry)) => Next::Retry(retry),
            (Unknown::RetrySameKey, None) => Next::Undo,
        }
    }

    /// When the step is tried again after this failure; never while the saga unwinds.
    fn retry(&self, at_least: Option<Duration>, rng: &mut Rng) -> Option<RetryAt> {
        if self.state.phase == Phase::Unwinding {
            return None;
        }
        self.wait(&self.plan().tries, self.state.steps[self.step].failures, at_least, rng)
    }

    fn wait(&self, tries: &Tries, failures: u32, at_least: Option<Duration>, rng: &mut Rng) -> Option<RetryAt> {
        let failures = failures.saturating_add(1);
        if tries.limit.is_some_and(|limit| failures >= limit.get()) {
            return None;
        }
        let wait = backoff::wait(&tries.backoff, failures, rng).max(at_least.unwrap_or_default());
        Some(RetryAt::new(self.now, wait))
    }

    /// Whether the saga can only go forward for this step.
    fn goes_on_for_ever(&self) -> bool {
        self.plan().after_pivot
    }

    fn plan(&self) -> &super::StepPlan {
        &self.state.plan.steps()[self.step]
    }

    fn key(&self) -> StepKey {
        self.plan().key.clone()
    }
}
