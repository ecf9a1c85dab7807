//! A receiver that does everything right, and counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Outcome;
use crate::kernel::Epoch;
use crate::{Cx, Op, StepError};

/// A fake receiver with a [barrier](https://en.dtm.pub/practice/barrier.html) in memory: duplicates change nothing, an
/// undo without its "do" blocks it, a replaced owner is refused. It counts effects and calls by step.
///
/// One ledger stands for all receivers of one saga.
#[derive(Debug, Default)]
pub struct Ledger {
    steps: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    applied: bool,
    undone: bool,
    calls: u32,
    undo_calls: u32,
    /// How often the business itself ran: once at most, if the barrier works.
    effects: u32,
    epoch: Epoch,
    keys: Vec<String>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does or undoes the step this call is for.
    ///
    /// # Errors
    ///
    /// [`StepError::Rejected`] if it was undone before it came, or comes from a replaced owner.
    pub fn call(&self, cx: &Cx) -> Result<(), StepError> {
        let mut steps = self.lock();
        let latest = steps.values().map(|entry| entry.epoch).max().unwrap_or_default();
        let entry = steps.entry(cx.step().to_string()).or_default();
        let key = cx.key().to_string();
        if !entry.keys.contains(&key) {
            entry.keys.push(key);
        }
        match cx.key().op() {
            Op::Do => entry.calls += 1,
            Op::Undo => entry.undo_calls += 1,
        }
        if cx.epoch() < latest {
            return Err(StepError::rejected("another owner has taken over"));
        }
        entry.epoch = cx.epoch();
        match cx.key().op() {
            Op::Do if entry.undone => return Err(StepError::rejected("it was undone before it came")),
            Op::Do if !entry.applied => {
                entry.applied = true;
                entry.effects += 1;
            }
            Op::Do => {}
            Op::Undo => {
                entry.applied = false;
                entry.undone = true;
            }
        }
        Ok(())
    }

    /// Whether the effect of a step is there.
    pub fn is_applied(&self, step: &str) -> bool {
        self.lock().get(step).is_some_and(|entry| entry.applied)
    }

    /// How often the step was called.
    pub fn calls(&self, step: &str) -> u32 {
        self.lock().get(step).map_or(0, |entry| entry.calls)
    }

    /// How often its undo was called.
    pub fn undo_calls(&self, step: &str) -> u32 {
        self.lock().get(step).map_or(0, |entry| entry.undo_calls)
    }

    /// Whether everything that was ever called is in force after `Completed`, and nothing after `Compensated`, and nothing
    /// took effect twice.
    ///
    /// # Errors
    ///
    /// What is not as it should be.
    pub fn balanced<O>(&self, outcome: &Outcome<O>) -> Result<(), String> {
        for (step, entry) in &*self.lock() {
            if entry.effects > 1 {
                return Err(format!("{step} took effect {} times", entry.effects));
            }
            if entry.keys.len() > 2 {
                return Err(format!("{step} was called under more than one key: {:?}", entry.keys));
            }
            match outcome {
                Outcome::Completed(_) if !entry.applied => return Err(format!("{step} is not in force")),
                Outcome::Compensated(_) if entry.applied => return Err(format!("the effect of {step} is left")),
                _ => {}
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
