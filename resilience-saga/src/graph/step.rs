//! The handle of a step, by which it is tuned and needed.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use resilience_core::Name;
use serde::de::DeserializeOwned;

use super::needs::Wiring;
use super::{Graph, Needs, Undo, Unknown};
use crate::kernel::{DefinitionError, Payload, Probed};
use crate::{Backoff, Cx, IdempotencyKey, StepError};

/// The handle of a declared step: tunes it, and stands for its output where other steps need it.
///
/// A copy; the lifetime ties it to its graph, so it cannot leave the closure that defines the saga.
#[must_use = "a step before the pivot says how it is undone, one after it that it is retriable"]
pub struct Step<'g, T> {
    pub(super) graph: &'g Graph,
    pub(super) id: usize,
    types: PhantomData<fn() -> T>,
}

/// What an undo is told about the effect it is to take back.
///
/// ```
/// use resilience_saga::{Effect, IdempotencyKey};
///
/// let key: IdempotencyKey = "checkout/order-17/charge/do".parse()?;
/// assert_eq!(Effect::Applied("charge-1").applied(), Some("charge-1"));
/// assert_eq!(Effect::<&str>::Maybe { key }.applied(), None);
/// # Ok::<(), resilience_saga::InvalidId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// The step took effect and returned this.
    Applied(T),
    /// The step may have taken effect, may yet, or may never have: nobody knows. The undo must bring about that it has
    /// no effect *and will have none*, which a receiver behind a barrier does by itself.
    Maybe {
        /// The key under which the step was asked for.
        key: IdempotencyKey,
    },
}

impl<T> Effect<T> {
    /// What the step returned, if that is known.
    pub fn applied(self) -> Option<T> {
        match self {
            Self::Applied(output) => Some(output),
            Self::Maybe { .. } => None,
        }
    }
}

impl<'g, T> Step<'g, T> {
    pub(super) fn new(graph: &'g Graph, id: usize) -> Self {
        Self { graph, id, types: PhantomData }
    }

    /// Its index, if it is a step of this graph.
    pub(super) fn id_in(self, graph: &Graph) -> Option<usize> {
        std::ptr::eq(self.graph, graph).then_some(self.id)
    }

    /// Says that the effect needs no undo, and why.
    pub fn no_undo(self, reason: impl Into<Name>) -> Self {
        self.graph.edit(self.id, |step| step.plan.undo = Some(Undo::None(reason.into())));
        self
    }

    /// Says that it may be repeated until it succeeds, without limit. Needed after the pivot.
    pub fn retriable(self) -> Self {
        self.graph.edit(self.id, |step| step.plan.tries.limit = None);
        self
    }

    /// How many attempts there are, and the waits between them. Default 5, 100 ms doubling up to 20 s with full jitter.
    ///
    /// For a [`retriable`](Self::retriable) step give the waits with [`backoff`](Self::backoff).
    pub fn retry(self, attempts: NonZeroU32, backoff: Backoff) -> Self {
        self.graph.edit(self.id, |step| step.plan.tries.limit = Some(attempts));
        self.backoff(backoff)
    }

    /// The waits between attempts.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.graph.edit(self.id, |step| step.plan.tries.backoff = backoff);
        self
    }

    /// How many attempts the undo has before an operator is asked, and the waits between them. Default 20, 100 ms
    /// doubling up to 20 s with full jitter: a few minutes.
    pub fn undo_retry(self, attempts: NonZeroU32, backoff: Backoff) -> Self {
        self.graph.edit(self.id, |step| {
            step.plan.undo_tries.limit = Some(attempts);
            step.plan.undo_tries.backoff = backoff;
        });
        self
    }

    /// The time limit of one attempt of the step or its undo. Default none. What exceeds it is dropped, and its outcome
    /// is unknown.
    pub fn timeout(self, limit: Duration) -> Self {
        self.graph.edit(self.id, |step| step.plan.timeout = Some(limit));
        self
    }

    /// What becomes of an attempt of which nobody knows whether it took effect. Default
    /// [`Unknown::RetrySameKey`].
    pub fn unknown(self, policy: Unknown) -> Self {
        self.graph.edit(self.id, |step| step.plan.unknown = policy);
        self
    }

    /// Starts it only after other steps too, without taking their outputs.
    pub fn after<D: Needs<'g>>(self, needs: D) -> Self {
        let mut wiring = Wiring::new(self.graph);
        let _ = needs.wire(&mut wiring);
        let foreign = wiring.foreign;
        let mut key = None;
        self.graph.edit(self.id, |step| {
            step.plan.needs.extend(wiring.steps());
            key = Some(step.plan.key.clone());
        });
        if let Some(step) = key.filter(|_| foreign) {
            self.graph.draft.borrow_mut().blame(DefinitionError::ForeignHandle { step });
        }
        self
    }
}

impl<'g, T: DeserializeOwned + Send + 'static> Step<'g, T> {
    /// How its effect is taken back.
    ///
    /// Runs when the saga unwinds and the step took effect or may have; never if it was rejected or never started. It is
    /// repeated until it returns `Ok`, so it must be idempotent.
    pub fn undo<F, Fut>(self, undo: F) -> Self
    where
        F: Fn(Cx, Effect<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        self.undo_with((), move |cx, effect, ()| undo(cx, effect))
    }

    /// How its effect is taken back, for an undo that needs to read the saga's input or outputs of steps this one
    /// depends on.
    pub fn undo_with<D, F, Fut>(self, reads: D, undo: F) -> Self
    where
        D: Needs<'g>,
        F: Fn(Cx, Effect<T>, D::Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        let mut wiring = Wiring::new(self.graph);
        let reader = reads.wire(&mut wiring);
        let foreign = wiring.foreign;
        let mut key = None;
        let id = self.id;
        self.graph.edit(id, |step| {
            step.plan.undo = Some(Undo::Run);
            step.code.set_undo(id, reader, undo);
            step.undo_reads = wiring.sources;
            key = Some(step.plan.key.clone());
        });
        if let Some(step) = key.filter(|_| foreign) {
            self.graph.draft.borrow_mut().blame(DefinitionError::ForeignHandle { step });
        }
        self
    }

    /// Finds out what became of attempts with unknown outcome, and makes that this step's policy. `cx.key()` is the key
    /// of the step.
    ///
    /// The answer [`Probed::NotApplied`] must hold for good: no attempt made so far may take effect later.
    pub fn probe<F, Fut>(self, probe: F) -> Self
    where
        T: serde::Serialize,
        F: Fn(Cx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Probed<T>, StepError>> + Send + 'static,
    {
        self.graph.edit(self.id, |step| {
            step.plan.unknown = Unknown::Probe;
            step.code.set_probe(move |cx| {
                let found = probe(cx);
                async move {
                    Ok(match found.await? {
                        Probed::Applied(output) => {
                            Probed::Applied(Payload::encode(&output).map_err(StepError::unknown)?)
                        }
                        Probed::NotApplied => Probed::NotApplied,
                    })
                }
            });
        });
        self
    }
}

impl<T> Clone for Step<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Step<'_, T> {}

impl<T> fmt::Debug for Step<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("id", &self.id).finish()
    }
}
