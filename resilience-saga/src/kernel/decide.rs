//! From a state and the time to what comes next.

use super::state::StepState;
use super::{Doubt, Event, Next, Phase, RetryAt, State, Status, StuckCause, Tick, Unknown};

/// What the owner of a saga does next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commands {
    /// To be applied and logged, together; then decide again, until this is empty. Once a `Started` or `UndoStarted` is
    /// durable, its step or undo runs.
    pub append: Vec<Event>,
    /// Steps, by index, whose probe may run. A probe changes nothing, so nothing about it is logged in advance; the owner
    /// runs those that are not yet running.
    pub probe: Vec<usize>,
    /// Whether the steps in progress should stop: the saga unwinds.
    pub cancel: bool,
    /// When to decide again if nothing else happens.
    pub wake_at: Option<Tick>,
}

/// What comes next. Nothing, for a saga that is final, or waits for what is in progress, or for an operator.
pub fn decide(state: &State, now: Tick) -> Commands {
    let mut commands = Commands::default();
    if state.phase.is_final() || state.input.is_none() {
        return commands;
    }
    match state.phase {
        Phase::Unwinding => unwind(state, now, &mut commands),
        _ => go_forward(state, now, &mut commands),
    }
    for (id, step) in state.steps.iter().enumerate() {
        give_up_or_wait(state, id, step, now, &mut commands);
    }
    commands
}

fn go_forward(state: &State, now: Tick, commands: &mut Commands) {
    if state.phase == Phase::Forward && state.plan.has_pivot() && state.all_before_pivot_succeeded() {
        commands.append.push(Event::Pivot {});
        return;
    }
    if state.steps.iter().all(|step| step.status == Status::Succeeded) {
        commands.append.push(Event::Completed {});
        return;
    }
    let mut room = room(state);
    // A stuck step may yet be given up: do not add to what would then have to be undone.
    let hold = state.phase == Phase::Forward && state.stuck().next().is_some();
    for (id, step) in state.steps.iter().enumerate() {
        if room == 0 {
            break;
        }
        let start = match step.status {
            Status::Idle => !hold && state.is_ready(id),
            Status::Due(retry) => retry.at <= now,
            Status::Interrupted if !crashes_too_often(state, step) => match after_crash(state, id, now) {
                AfterCrash::Restart => true,
                AfterCrash::Log(event) => {
                    // It may turn the saga round: decide anew before anything else starts.
                    commands.append.push(event);
                    return;
                }
            },
            _ => false,
        };
        if start {
            room -= 1;
            let attempt = step.attempts + 1;
            commands.append.push(Event::Started { step: state.plan.steps()[id].key.clone(), attempt });
        }
    }
}

fn unwind(state: &State, now: Tick, commands: &mut Commands) {
    let settled = state.settled();
    if !settled.contains(&false) {
        commands.append.push(Event::Compensated {});
        return;
    }
    let mut room = room(state);
    for (id, step) in state.steps.iter().enumerate() {
        let start = match step.status {
            Status::Succeeded | Status::Maybe => state.plan.undoable(id) && state.released(id, &settled),
            Status::UndoDue(retry) => retry.at <= now,
            Status::UndoInterrupted => !crashes_too_often(state, step),
            Status::Interrupted if !crashes_too_often(state, step) => {
                if let AfterCrash::Log(event) = after_crash(state, id, now) {
                    commands.append.push(event);
                }
                false
            }
            _ => false,
        };
        if start && room > 0 {
            room -= 1;
            let attempt = step.undo_attempts + 1;
            commands.append.push(Event::UndoStarted { step: state.plan.steps()[id].key.clone(), attempt });
        }
        commands.cancel |= step.status == Status::Running;
    }
}

/// Whatever applies in both directions: what must be brought before an operator, what is to be probed, what waits.
fn give_up_or_wait(state: &State, id: usize, step: &StepState, now: Tick, commands: &mut Commands) {
    let stuck = |cause: &StuckCause, error| Event::Stuck {
        step: state.plan.steps()[id].key.clone(),
        cause: cause.clone(),
        error,
    };
    match &step.status {
        Status::GivenUp(cause) | Status::UndoGivenUp(cause) => {
            commands.append.push(stuck(cause, step.error.clone().unwrap_or_default()));
        }
        Status::Interrupted | Status::UndoInterrupted if crashes_too_often(state, step) => {
            let error = format!("the process ended {} times while it ran", step.crashes);
            commands.append.push(stuck(&StuckCause::Crashes, error));
        }
        Status::Probing(retry) if retry.at <= now => commands.probe.push(id),
        Status::Due(retry) | Status::Probing(retry) | Status::UndoDue(retry) if retry.at > now => {
            commands.wake_at = Some(commands.wake_at.map_or(retry.at, |at| at.min(retry.at)));
        }
        _ => {}
    }
}

enum AfterCrash {
    /// The next attempt begins at once: the crash was this process's fault, not the receiver's.
    Restart,
    Log(Event),
}

/// What becomes of a step that was in progress when its process ended. Called for interrupted steps only.
fn after_crash(state: &State, id: usize, now: Tick) -> AfterCrash {
    let (plan, step) = (&state.plan.steps()[id], &state.steps[id]);
    let unwinding = state.phase == Phase::Unwinding;
    let next = match plan.unknown {
        Unknown::Escalate => Next::Hold,
        Unknown::Probe => Next::Probe(RetryAt::new(now, std::time::Duration::ZERO)),
        Unknown::RetrySameKey if !unwinding => return AfterCrash::Restart,
        Unknown::RetrySameKey | Unknown::CompensateMaybe => Next::Undo,
    };
    AfterCrash::Log(Event::Unknown {
        step: plan.key.clone(),
        attempt: step.attempts,
        doubt: Doubt::Crash,
        error: "the process ended while it ran".into(),
        next,
    })
}

fn crashes_too_often(state: &State, step: &StepState) -> bool {
    step.crashes >= state.plan.limits().crashes
}

/// How many more steps or undos may run at once.
fn room(state: &State) -> usize {
    let running = state.steps.iter().filter(|step| matches!(step.status, Status::Running | Status::Undoing)).count();
    state.plan.limits().parallel.saturating_sub(running)
}
