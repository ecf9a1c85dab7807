//! Definitions: a graph of steps, with their code.

mod code;
mod mermaid;
mod needs;
mod step;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use resilience_core::Name;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernel::{DefinitionError, Limits, Plan, StepPlan, Undo, Unknown};
use crate::{Cx, StepError};

pub(crate) use self::code::{Action, StepCode};
pub(crate) use self::mermaid::flowchart;
pub use self::needs::{Input, Needs};
use self::needs::{Source, Wiring};
pub use self::step::{Effect, Step};

/// Defines a saga: a name, a version, and a closure that declares the steps and returns the one whose output is the
/// saga's.
///
/// Steps are wired by the handles they take: a step that takes another's handle gets its output and starts after it,
/// steps without a path between them run in parallel. [`Step::after`] adds an order where no data flows. The version must
/// grow with every change of the graph (keys, edges, pivot, which steps have an undo); policies may change freely.
///
/// ```
/// use resilience_saga::{Cx, Effect, StepError, saga};
///
/// let checkout = saga("checkout", 1, |g, order| {
///     let hold = g
///         .step("reserve", order, |_cx: Cx, sku: String| async move { Ok::<_, StepError>(format!("hold of {sku}")) })
///         .undo(|_cx, _hold: Effect<String>| async { Ok(()) });
///     let paid = g
///         .step("charge", order, |_cx, _sku| async { Ok(42_u64) })
///         .undo(|_cx, _charge| async { Ok(()) })
///         .after(hold);
///     g.pivot();
///     g.step("ship", (hold, paid), |_cx, (hold, cents)| async move { Ok(format!("{hold} for {cents}")) }).retriable()
/// })?;
/// assert!(checkout.to_mermaid().starts_with("flowchart TD"));
/// # Ok::<(), resilience_saga::DefinitionError>(())
/// ```
///
/// # Errors
///
/// See [`DefinitionError`].
pub fn saga<I, O, F>(name: impl Into<Name>, version: u32, define: F) -> Result<Saga<I, O>, DefinitionError>
where
    I: Serialize + DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
    F: for<'g> FnOnce(&'g Graph, Input<'g, I>) -> Step<'g, O>,
{
    let graph = Graph { draft: RefCell::default() };
    let result = {
        let result = define(&graph, Input::new(&graph));
        result.id_in(&graph)
    };
    graph.finish(name.into(), version, result)
}

/// The definition of a saga that takes an `I` and returns an `O`. A cheap clone.
pub struct Saga<I, O> {
    erased: Arc<Erased>,
    types: PhantomData<fn(I) -> O>,
}

/// A definition without its types.
pub(crate) struct Erased {
    pub(crate) plan: Arc<Plan>,
    pub(crate) code: Vec<StepCode>,
}

impl<I, O> Saga<I, O> {
    /// The graph without its code.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.erased.plan
    }

    /// The graph as a [Mermaid](https://mermaid.js.org) flowchart.
    pub fn to_mermaid(&self) -> String {
        flowchart(&self.erased.plan, None)
    }

    pub(crate) fn erased(&self) -> &Arc<Erased> {
        &self.erased
    }
}

impl<I, O> Clone for Saga<I, O> {
    fn clone(&self) -> Self {
        Self { erased: self.erased.clone(), types: PhantomData }
    }
}

impl<I, O> fmt::Debug for Saga<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga")
            .field("name", self.erased.plan.name())
            .field("version", &self.erased.plan.version())
            .field("steps", &self.erased.plan.steps().len())
            .finish()
    }
}

/// Where steps are declared; handed to the closure given to [`saga`].
pub struct Graph {
    draft: RefCell<Draft>,
}

#[derive(Default)]
struct Draft {
    steps: Vec<StepDraft>,
    pivot: bool,
    limits: Limits,
    /// The first mistake.
    error: Option<DefinitionError>,
}

struct StepDraft {
    plan: StepPlan,
    code: StepCode,
    /// What the undo reads, to be checked once the graph is complete.
    undo_reads: Vec<Source>,
}

impl Graph {
    /// Declares a step: its key, what it takes, and what it does.
    ///
    /// The key names the step in the log and in idempotency keys, for ever. The output must survive a round trip through
    /// JSON: steps that need it read it from the log, perhaps in another process.
    ///
    /// Before the [pivot](Self::pivot), say how it is undone: [`Step::undo`] or [`Step::no_undo`]. After it, that it
    /// can be repeated until it succeeds: [`Step::retriable`].
    pub fn step<'g, D, T, F, Fut>(&'g self, key: impl Into<Name>, needs: D, run: F) -> Step<'g, T>
    where
        D: Needs<'g>,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(Cx, D::Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StepError>> + Send + 'static,
    {
        let mut plan = StepPlan::new(key.into());
        let mut wiring = Wiring::new(self);
        let reader = needs.wire(&mut wiring);
        plan.needs = wiring.steps();
        let key = plan.key.clone();
        let mut draft = self.draft.borrow_mut();
        if wiring.foreign {
            draft.blame(DefinitionError::ForeignHandle { step: key });
        }
        plan.after_pivot = draft.pivot;
        let code = StepCode::new(reader, run);
        draft.steps.push(StepDraft { plan, code, undo_reads: Vec::new() });
        Step::new(self, draft.steps.len() - 1)
    }

    /// Declares a step that only looks: it has no effect, so there is nothing to undo.
    pub fn check<'g, D, T, F, Fut>(&'g self, key: impl Into<Name>, needs: D, run: F) -> Step<'g, T>
    where
        D: Needs<'g>,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(Cx, D::Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StepError>> + Send + 'static,
    {
        self.step(key, needs, run).no_undo("a check has no effect")
    }

    /// The point of no return, after everything declared so far and before everything declared later.
    ///
    /// Once every step above has succeeded, nothing is undone any more and nothing below may fail for good: it is
    /// repeated until it succeeds. A saga without a pivot can be compensated until its last step has succeeded.
    ///
    /// After Mehrotra et al., "A transaction model for multidatabase systems" (ICDCS 1992).
    ///
    /// ```
    /// use resilience_saga::{DefinitionError, StepError, saga};
    ///
    /// let careless = saga("ship", 1, |g, order| {
    ///     g.pivot();
    ///     g.step("ship", order, |_cx, n: u32| async move { Ok::<_, StepError>(n) }) // may give up
    /// });
    /// assert!(matches!(careless, Err(DefinitionError::NotRetriable { step }) if step == "ship"));
    /// ```
    pub fn pivot(&self) {
        let mut draft = self.draft.borrow_mut();
        if draft.pivot {
            draft.blame(DefinitionError::TwoPivots);
        }
        draft.pivot = true;
    }

    /// Sets the limits of the whole saga.
    pub fn limits(&self, limits: Limits) {
        self.draft.borrow_mut().limits = limits;
    }

    fn edit(&self, step: usize, edit: impl FnOnce(&mut StepDraft)) {
        if let Some(step) = self.draft.borrow_mut().steps.get_mut(step) {
            edit(step);
        }
    }

    fn finish<I, O>(self, name: Name, version: u32, result: Option<usize>) -> Result<Saga<I, O>, DefinitionError> {
        let draft = self.draft.into_inner();
        if let Some(error) = draft.error {
            return Err(error);
        }
        let reads: Vec<Vec<Source>> = draft.steps.iter().map(|step| step.undo_reads.clone()).collect();
        let (plans, code): (Vec<StepPlan>, Vec<StepCode>) =
            draft.steps.into_iter().map(|step| (step.plan, step.code)).unzip();
        for (plan, code) in plans.iter().zip(&code) {
            if plan.unknown == Unknown::Probe && !code.has_probe() {
                return Err(DefinitionError::MissingProbe { step: plan.key.clone() });
            }
        }
        let result = result.ok_or_else(|| DefinitionError::ForeignHandle { step: "result".into() })?;
        let plan = Plan::new(name, version, plans, result, draft.pivot, draft.limits)?;
        check_undo_reads(&plan, &reads)?;
        Ok(Saga { erased: Arc::new(Erased { plan: Arc::new(plan), code }), types: PhantomData })
    }
}

impl Draft {
    fn blame(&mut self, error: DefinitionError) {
        self.error.get_or_insert(error);
    }
}

/// An undo may read what its step could have read: the outputs of its ancestors, which are there for sure.
fn check_undo_reads(plan: &Plan, reads: &[Vec<Source>]) -> Result<(), DefinitionError> {
    for (id, reads) in reads.iter().enumerate() {
        let mut ancestors = vec![false; plan.steps().len()];
        let mut open = vec![id];
        while let Some(step) = open.pop() {
            for &need in &plan.steps()[step].needs {
                if !std::mem::replace(&mut ancestors[need], true) {
                    open.push(need);
                }
            }
        }
        for read in reads {
            if let Source::Step(read) = *read
                && !ancestors[read]
            {
                let (step, reads) = (plan.steps()[id].key.clone(), plan.steps()[read].key.clone());
                return Err(DefinitionError::UndoReads { step, reads });
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("steps", &self.draft.borrow().steps.len()).finish()
    }
}

#[cfg(test)]
mod tests;
