//! Where decisions of one kind are made.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;

use super::Model;
use super::decide::{Decided, Decision, Seen};
use crate::aggregate::{EventCodec, ExecuteError, Json};
use crate::log::Query;
use crate::pace::Pace;
use crate::states::States;
use crate::store::EventStore;

/// Decisions on models of one kind, on a store. Clones share everything.
///
/// See the [module](super) for an example.
pub struct Decisions<M, S, C = Json> {
    pub(super) shared: Arc<Shared<M, S, C>>,
}

pub(super) struct Shared<M, S, C> {
    pub(super) store: S,
    pub(super) codec: C,
    pub(super) pace: Pace,
    pub(super) models: Option<States<Query, Seen<M>>>,
}

/// Sets up [`Decisions`].
pub struct DecisionsBuilder<M, S, C = Json> {
    shared: Shared<M, S, C>,
}

impl<M: Model, S: EventStore> Decisions<M, S> {
    /// Decisions on `store`, the events in JSON.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// Sets up decisions.
    pub fn builder(store: S) -> DecisionsBuilder<M, S> {
        DecisionsBuilder { shared: Shared { store, codec: Json, pace: Pace::default(), models: None } }
    }
}

impl<M: Model, S: EventStore, C> DecisionsBuilder<M, S, C> {
    /// How events are written down. Default: [`Json`].
    #[must_use]
    pub fn codec<K: EventCodec<M::Event>>(self, codec: K) -> DecisionsBuilder<M, S, K> {
        let Shared { store, pace, models, .. } = self.shared;
        DecisionsBuilder { shared: Shared { store, codec, pace, models } }
    }

    /// How often a decision is tried while matching events come in, the first attempt included. Default: 5.
    ///
    /// Then the decision fails as a [conflict](ExecuteError::Conflict), which a caller may repeat: nothing was written.
    #[must_use]
    pub fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.shared.pace.set_attempts(attempts);
        self
    }

    /// The longest wait before the second attempt, and before any; in between it doubles, and the wait is drawn evenly
    /// from zero to it. Default: 2 ms, 100 ms.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.shared.pace.base = base;
        self.shared.pace.cap = cap;
        self
    }

    /// Keeps the models of this many queries between decisions, by how often they are used. Default: none.
    ///
    /// As with [kept states](crate::aggregate::RepositoryBuilder::keep_states), an append made on a kept model is checked
    /// by the store, and a refusal is only given on a model that was the latest after the question came; and what is to be
    /// forgotten is. A log that was put
    /// back to an older state (from a backup) while the program runs is another log: start the program anew.
    #[must_use]
    pub fn keep_models(mut self, most: NonZeroUsize) -> Self
    where
        M: Clone,
    {
        let forgetting = self.shared.store.forgetting();
        self.shared.models = Some(States::new(most, |seen: &Seen<M>| seen.clone(), forgetting));
        self
    }

    /// What the waits are made of. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.shared.pace.timer = timer.into();
        self
    }

    /// Fixes the randomness of the waits, for tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.shared.pace.rng = SharedRng::seeded(seed);
        self
    }

    /// The decisions. Nothing that can be set is wrong.
    pub fn build(self) -> Decisions<M, S, C> {
        Decisions { shared: Arc::new(self.shared) }
    }
}

impl<M: Model, S: EventStore, C: EventCodec<M::Event>> Decisions<M, S, C> {
    /// Decides by `rule` on the events that `query` matches, and appends what it says unless a matching event has come in
    /// between; then it decides again. Shorthand for [`on`](Self::on) without further ado.
    ///
    /// Dropped before it completes, it was made or not; [`once`](Decision::once) tells on the next attempt.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn decide<E>(
        &self,
        query: Query,
        rule: impl FnMut(&M) -> Result<Vec<M::Event>, E>,
    ) -> Result<Decided<M>, ExecuteError<E>> {
        self.on(query).decide(rule).await
    }

    /// A decision to come on the events of `query`, to be given metadata or a command id first.
    pub fn on(&self, query: Query) -> Decision<'_, M, S, C> {
        Decision::new(self, query)
    }

    /// The store they are on.
    pub fn store(&self) -> &S {
        &self.shared.store
    }
}

impl<M, S, C> Clone for Decisions<M, S, C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<M, S: fmt::Debug, C> fmt::Debug for Decisions<M, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

impl<M, S: fmt::Debug, C> fmt::Debug for DecisionsBuilder<M, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { store, pace, models, .. } = &self.shared;
        f.debug_struct("DecisionsBuilder")
            .field("store", store)
            .field("pace", pace)
            .field("models", models)
            .finish_non_exhaustive()
    }
}
