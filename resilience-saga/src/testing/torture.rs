//! Runs a saga under every schedule.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::MemoryStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schedule::{Crash, Hazard, Mishap, Saboteur, Schedule, When};
use super::store::Frail;
use crate::engine::{EngineBuilder, Outcome};
use crate::kernel::{Event, Undo};
use crate::{Engine, Error, Op, Saga, SagaId};

type Provide<W> = Arc<dyn Fn(&Arc<W>, EngineBuilder<Frail>) -> EngineBuilder<Frail>>;
type Invariant<W, O> = Box<dyn Fn(&W, &Outcome<O>) -> Result<(), String>>;

/// The longest a saga may take, in virtual time: a day, in which every policy with a limit has long met it.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// Time for late effects to arrive before the world is looked at.
const AFTERMATH: Duration = Duration::from_secs(3_600);
/// The key all runs are started with.
const KEY: &str = "torture";

/// Runs a saga under every schedule of mishaps and crashes; see the [module](super).
///
/// All [hazards](Hazard) are on unless switched off. Call it from a plain `#[test]`: it brings its own runtime.
#[must_use = "nothing is run until `exhaustive` is called"]
pub struct Torture<I, O, W> {
    saga: Saga<I, O>,
    input: I,
    world: Arc<dyn Fn() -> W>,
    provide: Vec<Provide<W>>,
    invariants: Vec<Invariant<W, O>>,
    hazards: HashSet<Hazard>,
}

/// Every schedule ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survived {
    /// How many schedules were run.
    pub schedules: usize,
    /// How many ended `Completed`.
    pub completed: usize,
    /// How many ended `Compensated`.
    pub compensated: usize,
}

/// A schedule that did not end well. Both `Display` and `Debug` tell the story.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What went wrong from outside.
    pub schedule: Schedule,
    /// What broke.
    pub why: String,
    /// The saga's log.
    pub log: Vec<Event>,
}

impl<I, O> Torture<I, O, ()> {
    /// The saga, and what it is started with each time.
    pub fn of(saga: &Saga<I, O>, input: I) -> Self {
        Self {
            saga: saga.clone(),
            input,
            world: Arc::new(|| ()),
            provide: Vec::new(),
            invariants: Vec::new(),
            hazards: Hazard::ALL.into(),
        }
    }

    /// Makes the world for one run: the fakes the steps call. It is a service of the engine, and so is whatever
    /// [`service`](Torture::service) takes out of it.
    pub fn world<W: Send + Sync + 'static>(self, world: impl Fn() -> W + 'static) -> Torture<I, O, W> {
        Torture {
            saga: self.saga,
            input: self.input,
            world: Arc::new(world),
            provide: vec![Arc::new(|world, engine| engine.shared_service(world.clone()))],
            invariants: Vec::new(),
            hazards: self.hazards,
        }
    }
}

impl<I, O, W> Torture<I, O, W>
where
    I: Serialize + Clone,
    O: DeserializeOwned,
    W: Send + Sync + 'static,
{
    /// A service the steps ask for by its own type, taken out of the world.
    pub fn service<T: Send + Sync + 'static>(mut self, service: impl Fn(&W) -> Arc<T> + 'static) -> Self {
        self.provide.push(Arc::new(move |world, engine| engine.shared_service(service(world))));
        self
    }

    /// What must hold when a saga has ended and every late effect has arrived. Several may be given.
    pub fn invariant(mut self, holds: impl Fn(&W, &Outcome<O>) -> Result<(), String> + 'static) -> Self {
        self.invariants.push(Box::new(holds));
        self
    }

    /// Switches a hazard off. For steps whose receivers really cannot be protected from it; say so in their contract.
    pub fn without(mut self, hazard: Hazard) -> Self {
        self.hazards.remove(&hazard);
        self
    }

    /// Runs every schedule.
    ///
    /// # Errors
    ///
    /// The first, and so the smallest, schedule that does not end well.
    pub fn exhaustive(self) -> Result<Survived, Failure> {
        hush();
        self.all()
    }

    fn all(&self) -> Result<Survived, Failure> {
        let mut survived = Survived { schedules: 0, completed: 0, compensated: 0 };
        let mut bases = vec![Schedule::default()];
        let mut crashes = Vec::new();
        let mut next = 0;
        while let Some(base) = bases.get(next).cloned() {
            next += 1;
            let run = self.run(&base, &mut survived)?;
            if next == 1 {
                bases.extend(self.mishaps(&run.called));
            }
            if let [(_, Op::Do, Mishap::Reject)] = *base.mishaps {
                bases.extend(self.undo_mishaps(&base, &run.called));
            }
            crashes.push((base, run.records));
        }
        for (base, records) in crashes {
            for when in When::ALL.into_iter().filter(|when| self.hazards.contains(&when.hazard())) {
                for record in 1..=records {
                    let crash = Some(Crash { record, when });
                    self.run(&Schedule { crash, ..base.clone() }, &mut survived)?;
                }
            }
        }
        Ok(survived)
    }

    /// One mishap at each step that was called.
    fn mishaps(&self, called: &[(String, Op)]) -> Vec<Schedule> {
        let mut schedules = Vec::new();
        for mishap in self.wanted() {
            for (step, op) in called {
                let plan = self.saga.plan().find(step).map(|id| &self.saga.plan().steps()[id]);
                // Past the pivot a refusal that holds for good is a saga that goes on for good.
                let endless = mishap == Mishap::Reject && plan.is_some_and(|plan| plan.after_pivot);
                if !endless {
                    schedules.push(Schedule { mishaps: vec![(step.clone(), *op, mishap)], crash: None });
                }
            }
        }
        schedules
    }

    /// One mishap at each undo that a refusal led to.
    fn undo_mishaps(&self, base: &Schedule, called: &[(String, Op)]) -> Vec<Schedule> {
        let mut schedules = Vec::new();
        for (step, op) in called.iter().filter(|(_, op)| *op == Op::Undo) {
            // A late undo would come after a repeated one, and a refused one needs an operator.
            let wanted = self.wanted().filter(|mishap| !matches!(mishap, Mishap::Reject | Mishap::ComeLate));
            for mishap in wanted {
                let mut schedule = base.clone();
                schedule.mishaps.push((step.clone(), *op, mishap));
                schedules.push(schedule);
            }
        }
        schedules
    }

    fn wanted(&self) -> impl Iterator<Item = Mishap> {
        Mishap::ALL.into_iter().filter(|mishap| self.hazards.contains(&mishap.hazard()))
    }

    fn run(&self, schedule: &Schedule, survived: &mut Survived) -> Result<Seen, Failure> {
        let store = MemoryStore::new();
        let failure = |why: String, log| Failure { schedule: schedule.clone(), why, log };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| failure(error.to_string(), Vec::new()))?;
        let result = runtime.block_on(self.one(schedule, store.clone()));
        let (seen, outcome) = result.map_err(|why| failure(why, runtime.block_on(history(&self.saga, &store))))?;
        survived.schedules += 1;
        survived.completed += usize::from(matches!(outcome, Outcome::Completed(_)));
        survived.compensated += usize::from(matches!(outcome, Outcome::Compensated(_)));
        Ok(seen)
    }

    async fn one(&self, schedule: &Schedule, memory: MemoryStore) -> Result<(Seen, Outcome<O>), String> {
        let timer = SharedTimer::default();
        let world = Arc::new((self.world)());
        let saboteur = Arc::new(Saboteur::new(schedule));
        let frail = Frail::new(memory.clone(), schedule.crash);
        let first = self.engine(&world, &saboteur, frail.clone()).await.map_err(|error| error.to_string())?;
        let patience = timer.sleep(PATIENCE);
        let whole = async {
            let mut run = std::pin::pin!(first.run(&self.saga, KEY, self.input.clone()));
            tokio::select! {
                biased;
                outcome = &mut run => return outcome.map_err(|error| error.to_string()),
                () = frail.down() => {}
            }
            let zombie = schedule.crash.is_some_and(|crash| crash.when == When::Zombie);
            if !zombie {
                first.halt();
            }
            // Another process takes over, and whoever asked for the saga asks again.
            let heir = self.engine(&world, &saboteur, Frail::new(memory.clone(), None)).await;
            let heir = heir.map_err(|error| error.to_string())?;
            let outcome = heir.run(&self.saga, KEY, self.input.clone()).await.map_err(|error| error.to_string())?;
            if zombie {
                frail.resume();
                match run.await {
                    Err(Error::Fenced | Error::Stopped) => {}
                    other => {
                        let ended = other.map(|outcome| outcome.label());
                        return Err(format!("the replaced owner was not fenced off, it ended {ended:?}"));
                    }
                }
            }
            Ok(outcome)
        };
        let outcome = tokio::select! {
            biased;
            outcome = whole => outcome?,
            () = patience => return Err("it does not end".into()),
        };
        timer.sleep(AFTERMATH).await;
        self.check(&world, &memory, &outcome).await?;
        Ok((Seen { called: saboteur.called(), records: frail.records() }, outcome))
    }

    async fn check(&self, world: &W, memory: &MemoryStore, outcome: &Outcome<O>) -> Result<(), String> {
        match outcome {
            Outcome::Completed(_) | Outcome::Compensated(_) => {}
            Outcome::Stuck(report) | Outcome::Abandoned(report) => {
                return Err(format!("it needs an operator\n{report}"));
            }
        }
        // A further engine finds a sound log, and nothing left to do.
        let after = Engine::builder(memory.clone()).register(&self.saga).start().await.map_err(|e| e.to_string())?;
        let left = after.unfinished(None).await.map_err(|error| error.to_string())?;
        if !left.is_empty() {
            return Err(format!("it has ended, but is listed as unfinished: {left:?}"));
        }
        let id = SagaId::new(self.saga.plan().name(), KEY).map_err(|error| error.to_string())?;
        let log = after.history(&id).await.map_err(|error| error.to_string())?;
        check_log(&self.saga, &log)?;
        self.invariants.iter().try_for_each(|holds| holds(world, outcome))
    }

    async fn engine(&self, world: &Arc<W>, saboteur: &Arc<Saboteur>, store: Frail) -> Result<Engine<Frail>, Error> {
        let builder = Engine::builder(store).register(&self.saga).seed(1).intercept(saboteur.clone());
        self.provide.iter().fold(builder, |builder, provide| provide(world, builder)).start().await
    }
}

/// What one run shows about the saga.
struct Seen {
    called: Vec<(String, Op)>,
    records: usize,
}

async fn history<I, O>(saga: &Saga<I, O>, store: &MemoryStore) -> Vec<Event> {
    let Ok(id) = SagaId::new(saga.plan().name(), KEY) else {
        return Vec::new();
    };
    crate::engine::load(store, &id).await.map(|(events, _)| events).unwrap_or_default()
}

/// What must hold for every log, told without the kernel: a step starts after all it needs, is undone after all that
/// need it, and nothing is undone after the pivot.
fn check_log<I, O>(saga: &Saga<I, O>, log: &[Event]) -> Result<(), String> {
    let plan = saga.plan();
    let at = |wanted: &dyn Fn(&Event) -> bool| log.iter().position(wanted);
    let pivot = at(&|event| matches!(event, Event::Pivot {}));
    for (id, step) in plan.steps().iter().enumerate() {
        let started = at(&|event| matches!(event, Event::Started { step: s, .. } if *s == step.key));
        let undone = at(&|event| matches!(event, Event::UndoStarted { step: s, .. } if *s == step.key));
        for &need in &step.needs {
            let key = &plan.steps()[need].key;
            let succeeded = at(&|event| matches!(event, Event::Succeeded { step: s, .. } if s == key));
            if started.is_some_and(|started| succeeded.is_none_or(|succeeded| started < succeeded)) {
                return Err(format!("{} was started before {key} had succeeded", step.key));
            }
        }
        if undone.is_some() && pivot.is_some() {
            return Err(format!("{} was undone although the pivot was passed", step.key));
        }
        for &dependent in plan.dependents(id) {
            let dependent = &plan.steps()[dependent];
            let gone = at(&|event| matches!(event, Event::Undone { step: s, .. } if *s == dependent.key));
            let was_undone = at(&|event| matches!(event, Event::UndoStarted { step: s, .. } if *s == dependent.key));
            let must = dependent.undo == Some(Undo::Run) && was_undone.is_some();
            if must && undone.is_some_and(|undone| gone.is_none_or(|gone| undone < gone)) {
                return Err(format!("{} was undone before {}", step.key, dependent.key));
            }
        }
    }
    Ok(())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "when {}:\n  {}\nthe log says:", self.schedule, self.why)?;
        for event in &self.log {
            write!(f, "\n  {event:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl<I, O, W> fmt::Debug for Torture<I, O, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torture").field("saga", &self.saga).field("hazards", &self.hazards).finish_non_exhaustive()
    }
}

/// Keeps the panics this module causes itself off the terminal. Once and for good: the hooks of tests that run side by side
/// could not be taken off in order.
fn hush() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.starts_with("the test panics")) {
                loud(info);
            }
        }));
    });
}
