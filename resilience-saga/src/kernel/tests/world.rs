//! A saga's owner and its world, without time or threads: everything that can happen is a draw of one generator.

use std::sync::Arc;
use std::time::Duration;

use resilience_core::rng::Rng;

use crate::kernel::*;

/// What a receiver knows of one step: a barrier, a refusal, a count.
#[derive(Clone, Debug, Default)]
pub(super) struct Receiver {
    pub(super) applied: bool,
    refused: bool,
    blocked: bool,
    /// A call is still on its way and will take effect, if it is let in.
    late: bool,
    pub(super) calls: u32,
    pub(super) undo_calls: u32,
}

/// How bad the world is, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    pub(super) reject: u64,
    pub(super) fail: u64,
    pub(super) doubt: u64,
    pub(super) panic: u64,
    pub(super) undo_fails: u64,
    pub(super) crash: u64,
    pub(super) cancel: u64,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) odds: Odds,
    pub(super) receivers: Vec<Receiver>,
    pub(super) log: Vec<Event>,
    pub(super) state: State,
    plan: Arc<Plan>,
    now: Tick,
    in_flight: Vec<(usize, u32, Kind)>,
    epoch: u64,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Do,
    Undo,
    Probe,
}

impl World {
    pub(super) fn new(plan: Plan, odds: Odds, seed: u64) -> Self {
        let plan = Arc::new(plan);
        let mut world = Self {
            rng: Rng::seeded(seed),
            odds,
            receivers: vec![Receiver::default(); plan.steps().len()],
            log: Vec::new(),
            state: State::new(plan.clone()),
            plan,
            now: Tick::from_millis(1_000_000),
            in_flight: Vec::new(),
            epoch: 1,
            cancelled: false,
        };
        let created = Event::Created {
            definition: world.plan.name().to_string(),
            version: world.plan.version(),
            graph: world.plan.hash(),
            epoch: Epoch(1),
            at: world.now,
            input: Payload::encode(&()).unwrap(),
        };
        world.append(vec![created]);
        world
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    /// Appends what was observed together with all that follows, as one record; then acts on it. Or crashes before, or
    /// in between.
    fn append(&mut self, observed: Vec<Event>) {
        let mut record = Vec::new();
        let tell = |state: &mut State, event: Event, record: &mut Vec<Event>| {
            apply(state, &event).unwrap_or_else(|corrupt| panic!("{corrupt}\n{event:?}\n{state:#?}"));
            record.push(event);
        };
        for event in observed {
            tell(&mut self.state, event, &mut record);
        }
        loop {
            let commands = decide(&self.state, self.now);
            for step in commands.probe {
                if !self.in_flight.contains(&(step, 0, Kind::Probe)) {
                    self.in_flight.push((step, 0, Kind::Probe));
                }
            }
            if commands.append.is_empty() {
                break;
            }
            for event in commands.append {
                tell(&mut self.state, event, &mut record);
            }
        }
        let crash = self.odds.crash > 0 && !self.log.is_empty() && self.chance(self.odds.crash);
        if crash && self.chance(50) {
            return self.crash();
        }
        for event in &record {
            self.check_event(event);
            self.log.push(event.clone());
        }
        if crash {
            return self.crash();
        }
        for event in record {
            match event {
                Event::Started { step, attempt } => {
                    self.in_flight.push((self.plan.find(&step).unwrap(), attempt, Kind::Do));
                }
                Event::UndoStarted { step, attempt } => {
                    self.in_flight.push((self.plan.find(&step).unwrap(), attempt, Kind::Undo));
                }
                _ => {}
            }
        }
    }

    /// The process ends. Whatever was in flight took effect or not; the state is what the log says.
    fn crash(&mut self) {
        for (step, _, kind) in std::mem::take(&mut self.in_flight) {
            if self.chance(50) {
                match kind {
                    Kind::Do => _ = self.call(step),
                    Kind::Undo => _ = self.call_undo(step),
                    Kind::Probe => {}
                }
            }
        }
        self.state = self.fold();
        if self.state.phase().is_final() {
            return;
        }
        self.epoch += 1;
        self.append(vec![Event::Adopted { epoch: Epoch(self.epoch), at: self.now }]);
    }

    /// The log, folded afresh.
    pub(super) fn fold(&self) -> State {
        let mut state = State::new(self.plan.clone());
        for event in &self.log {
            apply(&mut state, event).expect("the log is one that was written");
        }
        state
    }

    /// One thing happens. Whether anything can.
    pub(super) fn step(&mut self) -> bool {
        assert_eq!(format!("{:?}", self.fold()), format!("{:?}", self.state), "the log and the live state differ");
        if self.state.phase().is_final() {
            return false;
        }
        // Calls on their way may arrive at any time.
        let late = self.rng.below(self.receivers.len() as u64) as usize;
        if self.receivers[late].late && self.chance(30) {
            self.arrive(late);
        }
        if !self.cancelled && self.chance(self.odds.cancel) {
            self.cancelled = true;
            let seen = Observation::Cancel { reason: "changed my mind".into() };
            match observe(&self.state, seen, self.now, &mut self.rng) {
                Ok(events) => self.append(events),
                Err(refused) => assert_eq!(refused, Refused::PastPivot),
            }
            return true;
        }
        if self.in_flight.is_empty() {
            return self.wait_or_resolve();
        }
        let next = self.rng.below(self.in_flight.len() as u64) as usize;
        let (step, attempt, kind) = self.in_flight.swap_remove(next);
        let seen = match kind {
            Kind::Do => Observation::Ended { step, attempt, result: self.call(step) },
            Kind::Undo => Observation::UndoEnded { step, attempt, result: self.call_undo(step) },
            Kind::Probe => Observation::Probed { step, result: self.call_probe(step) },
        };
        let events = observe(&self.state, seen, self.now, &mut self.rng).expect("only people are refused");
        self.append(events);
        true
    }

    fn wait_or_resolve(&mut self) -> bool {
        if let Some(at) = decide(&self.state, self.now).wake_at {
            self.now = at;
            self.append(Vec::new());
            return true;
        }
        let stuck: Vec<(StepKey, StuckCause)> =
            self.state.stuck().map(|(step, cause)| (step.clone(), cause.clone())).collect();
        assert!(self.state.is_stalled(), "nothing to do, and nothing stuck:\n{:#?}", self.state);
        let (step, _) = stuck[self.rng.below(stuck.len() as u64) as usize].clone();
        let id = self.plan.find(&step).unwrap();
        let act = [Act::Retry, Act::MarkUndone, Act::Undo][self.rng.below(3) as usize];
        let resolve = Observation::Resolve { step, act, actor: "op".into(), note: "seen to".into() };
        if let Ok(events) = observe(&self.state, resolve, self.now, &mut self.rng) {
            if act == Act::MarkUndone {
                // The operator saw to it, as they say.
                self.receivers[id].applied = false;
                self.receivers[id].late = false;
            }
            self.append(events);
        }
        true
    }

    fn arrive(&mut self, step: usize) {
        let receiver = &mut self.receivers[step];
        receiver.late = false;
        if !receiver.blocked && !receiver.refused {
            receiver.applied = true;
        }
    }

    fn call(&mut self, step: usize) -> Attempt {
        self.receivers[step].calls += 1;
        if self.chance(self.odds.panic) {
            return Attempt::Unknown(Doubt::Panic, "panicked".into());
        }
        if self.chance(self.odds.fail) {
            return Attempt::Failed("busy".into(), None);
        }
        let receiver = &self.receivers[step];
        let refuses = receiver.refused || (!receiver.applied && !self.plan.steps()[step].after_pivot);
        if receiver.refused || (refuses && self.chance(self.odds.reject)) {
            let receiver = &mut self.receivers[step];
            receiver.refused = true;
            receiver.late = false;
            return Attempt::Rejected("no".into());
        }
        if self.chance(self.odds.doubt) {
            if self.chance(50) {
                self.arrive(step);
            } else {
                self.receivers[step].late = true;
            }
            return Attempt::Unknown(Doubt::Timeout, "no answer".into());
        }
        self.arrive(step);
        if self.receivers[step].blocked {
            return Attempt::Rejected("too late".into());
        }
        Attempt::Applied(Payload::encode(&step).unwrap())
    }

    fn call_undo(&mut self, step: usize) -> Attempt {
        self.receivers[step].undo_calls += 1;
        if self.chance(self.odds.undo_fails) {
            return Attempt::Failed("busy".into(), None);
        }
        let lost = self.chance(self.odds.undo_fails);
        let receiver = &mut self.receivers[step];
        receiver.applied = false;
        receiver.blocked = true;
        if lost {
            Attempt::Unknown(Doubt::Reported, "lost".into())
        } else {
            Attempt::Applied(Payload::encode(&()).unwrap())
        }
    }

    fn call_probe(&mut self, step: usize) -> Result<Probed<Payload>, String> {
        if self.chance(self.odds.fail) {
            return Err("busy".into());
        }
        let receiver = &mut self.receivers[step];
        if receiver.applied {
            return Ok(Probed::Applied(Payload::encode(&step).unwrap()));
        }
        // "Not applied" is a promise: what is still on its way is turned away.
        receiver.late = false;
        Ok(Probed::NotApplied)
    }

    /// What must hold when an event becomes durable, told from the log alone.
    fn check_event(&self, event: &Event) {
        let said = |wanted: &dyn Fn(&Event) -> bool| self.log.iter().any(wanted);
        match event {
            Event::UndoStarted { step, .. } => {
                assert!(!said(&|event| matches!(event, Event::Pivot {})), "I5: {step} is undone after the pivot");
                let id = self.plan.find(step).unwrap();
                self.check_dependents(id, step);
            }
            Event::Started { step, .. } => {
                let plan = &self.plan.steps()[self.plan.find(step).unwrap()];
                for &need in &plan.needs {
                    let key = &self.plan.steps()[need].key;
                    let succeeded = said(&|event| matches!(event, Event::Succeeded { step, .. } if step == key));
                    assert!(succeeded || self.state.steps[need].status == Status::Succeeded, "{step} before {key}");
                }
            }
            _ => {}
        }
    }

    /// I4: every dependent that started and is undoable was undone, or is known to have had no effect.
    fn check_dependents(&self, id: usize, undone: &StepKey) {
        for &dependent in self.plan.dependents(id) {
            let key = &self.plan.steps()[dependent].key;
            if self.plan.undoable(dependent) {
                let last = self.log.iter().rev().find(|event| mentions(event, key));
                let gone = match last {
                    None => true,
                    Some(Event::Undone { .. } | Event::Rejected { .. } | Event::Failed { .. }) => true,
                    Some(Event::NotApplied { .. } | Event::Resolved { act: Act::MarkUndone, .. }) => true,
                    Some(_) => false,
                };
                // In the same record it may have become so: the state has seen more than the log.
                let settled =
                    matches!(self.state.steps[dependent].status, Status::Idle | Status::NoEffect | Status::Undone);
                assert!(gone || settled, "I4: {undone} is undone before {key}: {last:?}");
            }
            self.check_dependents(dependent, undone);
        }
    }

    /// What must hold at the end.
    pub(super) fn check_end(&mut self) {
        for step in 0..self.receivers.len() {
            if self.receivers[step].late {
                self.arrive(step);
            }
        }
        let phase = self.state.phase();
        for (receiver, plan) in self.receivers.iter().zip(self.plan.steps()) {
            match phase {
                Phase::Completed => assert!(receiver.applied, "I2: {} did not take effect", plan.key),
                Phase::Compensated if plan.undo == Some(Undo::Run) => {
                    assert!(!receiver.applied, "I3: the effect of {} is left", plan.key);
                }
                Phase::Compensated => {}
                _ => panic!("I1: it ended {phase:?}"),
            }
        }
    }
}

fn mentions(event: &Event, key: &StepKey) -> bool {
    serde_json::to_value(event)
        .ok()
        .and_then(|value| value.as_object()?.values().next()?.get("step")?.as_str().map(|step| step == key.as_str()))
        .unwrap_or(false)
}

/// Quick retries, so that limits are met.
pub(super) fn step(key: &str, needs: &[usize]) -> StepPlan {
    let mut step = StepPlan::new(key.to_owned());
    step.needs = needs.to_vec();
    step.undo = Some(Undo::Run);
    step.tries.backoff = resilience_core::retry::Backoff::constant(Duration::from_millis(10));
    step.undo_tries.backoff = step.tries.backoff.clone();
    step
}
