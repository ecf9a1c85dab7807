//! The graph of a saga without its code: what the rules need to know about a definition.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{DefinitionError, StepKey};
use crate::Backoff;
use resilience_core::Name;

/// The most steps a definition may have.
pub const MAX_STEPS: usize = 4096;

/// The longest key of a step and the longest name of a definition, in bytes.
pub const MAX_KEY: usize = 64;

/// How often and how patiently something is tried.
#[derive(Clone, Debug)]
pub struct Tries {
    /// How many attempts may fail before it is given up; `None` for as many as it takes.
    pub limit: Option<NonZeroU32>,
    /// The waits between them.
    pub backoff: Backoff,
}

/// What becomes of an attempt of which nobody knows whether it took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unknown {
    /// Try again under the same idempotency key. The default: it is right whenever the receiver honours the key, and
    /// only repeating can end in success without help from outside.
    #[default]
    RetrySameKey,
    /// Ask the receiver, with the probe of the definition.
    Probe,
    /// Give up and unwind; the undo is told that the effect is uncertain.
    CompensateMaybe,
    /// Stop and wait for an operator.
    Escalate,
}

/// How a step's effect goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// By the code given in the definition.
    Run,
    /// Not at all, for a stated reason.
    None(Name),
}

/// One step of a [`Plan`].
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Its key.
    pub key: StepKey,
    /// The steps that must have succeeded before it starts, as indices into the plan.
    pub needs: Vec<usize>,
    /// How its effect goes away; must be stated for steps before the pivot, must not be for steps after it.
    pub undo: Option<Undo>,
    /// Whether it comes after the pivot.
    pub after_pivot: bool,
    /// How it is retried. Steps after the pivot must have no limit.
    pub tries: Tries,
    /// How its undo is retried.
    pub undo_tries: Tries,
    /// What becomes of an attempt with unknown outcome.
    pub unknown: Unknown,
    /// The time limit of an attempt.
    pub timeout: Option<Duration>,
}

impl StepPlan {
    /// A step with the default policies.
    pub fn new(key: impl Into<StepKey>) -> Self {
        Self {
            key: key.into(),
            needs: Vec::new(),
            undo: None,
            after_pivot: false,
            tries: Tries { limit: Some(DEFAULT_TRIES), backoff: Backoff::default() },
            undo_tries: Tries { limit: Some(DEFAULT_UNDO_TRIES), backoff: Backoff::default() },
            unknown: Unknown::default(),
            timeout: None,
        }
    }
}

/// Attempts of a step before it is given up: enough for a hiccup, few enough that the user still waits.
const DEFAULT_TRIES: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Attempts of an undo before an operator is asked: nobody waits for it, and a person costs more than a retry.
const DEFAULT_UNDO_TRIES: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// The limits of a whole saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps and undos of one saga that may run at once. Default 32.
    pub parallel: usize,
    /// Panics of one step that are retried before it is stuck. Default 3, counting the last.
    pub panics: u32,
    /// Ends of the process during one step (or its undo) before it is stuck, since it may be what ends it. Default 100.
    pub crashes: u32,
    /// The longest output of a step, in bytes of JSON. Default 1 MiB.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parallel: 32, panics: 3, crashes: 100, output: 1 << 20 }
    }
}

/// A definition's graph, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    name: Name,
    version: u32,
    steps: Vec<StepPlan>,
    dependents: Vec<Vec<usize>>,
    /// The steps in an order in which each comes after all it needs.
    order: Vec<usize>,
    index: HashMap<StepKey, usize>,
    result: usize,
    pivot: bool,
    limits: Limits,
    hash: u64,
}

impl Plan {
    /// Checks a graph. `result` is the step whose output is the saga's; `pivot` whether there is one (it may stand after
    /// the last step).
    ///
    /// # Errors
    ///
    /// See [`DefinitionError`].
    pub fn new(
        name: impl Into<Name>,
        version: u32,
        steps: Vec<StepPlan>,
        result: usize,
        pivot: bool,
        limits: Limits,
    ) -> Result<Self, DefinitionError> {
        let name = name.into();
        check_key(&name)?;
        if steps.is_empty() || steps.len() > MAX_STEPS || result >= steps.len() {
            return Err(DefinitionError::Size { steps: steps.len() });
        }
        if limits.parallel == 0 || limits.panics == 0 || limits.crashes == 0 || limits.output == 0 {
            return Err(DefinitionError::Limits);
        }
        let mut index = HashMap::with_capacity(steps.len());
        for (id, step) in steps.iter().enumerate() {
            check_key(&step.key)?;
            if index.insert(step.key.clone(), id).is_some() {
                return Err(DefinitionError::DuplicateKey { step: step.key.clone() });
            }
            check_step(step, &steps)?;
        }
        let dependents = dependents(&steps);
        let order = order(&steps, &dependents)?;
        let hash = hash(&name, version, &steps, result, pivot);
        Ok(Self { name, version, steps, dependents, order, index, result, pivot, limits, hash })
    }

    /// The definition's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The definition's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The steps, in the order of their declaration.
    pub fn steps(&self) -> &[StepPlan] {
        &self.steps
    }

    /// The index of the step with this key.
    pub fn find(&self, key: &str) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The steps that need this one.
    pub fn dependents(&self, step: usize) -> &[usize] {
        &self.dependents[step]
    }

    /// The step whose output is the saga's.
    pub fn result(&self) -> usize {
        self.result
    }

    /// Whether the saga has a point of no return.
    pub fn has_pivot(&self) -> bool {
        self.pivot
    }

    /// The limits of the whole saga.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The hash of everything that decides how a log is read: keys, edges, pivot, which steps have an undo. Policies
    /// (retries, time limits) are not in it, so they may change without a new version.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Whether the step has code that undoes it.
    pub(crate) fn undoable(&self, step: usize) -> bool {
        self.steps[step].undo == Some(Undo::Run)
    }
}

fn check_key(key: &str) -> Result<(), DefinitionError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(allowed) {
        return Err(DefinitionError::InvalidKey { key: key.to_owned() });
    }
    Ok(())
}

fn check_step(step: &StepPlan, steps: &[StepPlan]) -> Result<(), DefinitionError> {
    let key = || step.key.clone();
    for &need in &step.needs {
        let Some(needed) = steps.get(need) else {
            return Err(DefinitionError::ForeignHandle { step: key() });
        };
        if needed.after_pivot && !step.after_pivot {
            return Err(DefinitionError::AcrossPivot { step: key(), needs: needed.key.clone() });
        }
    }
    match (step.after_pivot, &step.undo) {
        (false, None) => Err(DefinitionError::MissingUndo { step: key() }),
        (true, Some(Undo::Run)) => Err(DefinitionError::UselessUndo { step: key() }),
        (true, _) if step.tries.limit.is_some() => Err(DefinitionError::NotRetriable { step: key() }),
        (true, _) if step.unknown == Unknown::CompensateMaybe => {
            Err(DefinitionError::CompensatesAfterPivot { step: key() })
        }
        _ => Ok(()),
    }
}

fn dependents(steps: &[StepPlan]) -> Vec<Vec<usize>> {
    let mut dependents = vec![Vec::new(); steps.len()];
    for (id, step) in steps.iter().enumerate() {
        for &need in &step.needs {
            if !dependents[need].contains(&id) {
                dependents[need].push(id);
            }
        }
    }
    dependents
}

/// Kahn's algorithm ("Topological sorting of large networks", 1962).
fn order(steps: &[StepPlan], dependents: &[Vec<usize>]) -> Result<Vec<usize>, DefinitionError> {
    let mut missing: Vec<usize> = vec![0; steps.len()];
    for &dependent in dependents.iter().flatten() {
        missing[dependent] += 1;
    }
    let mut order: Vec<usize> = (0..steps.len()).filter(|&id| missing[id] == 0).collect();
    let mut done = 0;
    while let Some(&id) = order.get(done) {
        done += 1;
        for &dependent in &dependents[id] {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    match (0..steps.len()).find(|&id| missing[id] > 0) {
        Some(id) => Err(DefinitionError::Cycle { step: steps[id].key.clone() }),
        None => Ok(order),
    }
}

/// FNV-1a, 64 bits: fixed for all time and platforms, which the standard library's hashers are not.
fn hash(name: &str, version: u32, steps: &[StepPlan], result: usize, pivot: bool) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |part: &str| {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    add(name);
    add(&version.to_string());
    // Sorted by key, edges by key: moving a declaration changes nothing.
    let mut sorted: Vec<&StepPlan> = steps.iter().collect();
    sorted.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
    for step in sorted {
        add(&step.key);
        let mut needs: Vec<&str> = step.needs.iter().map(|&need| steps[need].key.as_str()).collect();
        needs.sort_unstable();
        needs.dedup();
        needs.into_iter().for_each(&mut add);
        add(match (step.after_pivot, step.undo == Some(Undo::Run)) {
            (true, _) => "/after",
            (false, true) => "/undo",
            (false, false) => "/keep",
        });
    }
    add(&steps[result].key);
    add(if pivot { "/pivot" } else { "/none" });
    hash
}
