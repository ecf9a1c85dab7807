//! Setting up a repository.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::repository::{Loaded, Repository, Shared};
use super::snapshot::{Keeper, Snapshots};
use super::unseen::Unseen;
use super::{Decider, EventCodec, Json};
use crate::pace::Pace;
use crate::states::States;
use crate::store::EventStore;

/// Sets up a [`Repository`].
pub struct RepositoryBuilder<D, S, C = Json> {
    shared: Shared<D, S, C>,
}

impl<D: Decider, S: EventStore> RepositoryBuilder<D, S> {
    pub(super) fn new(store: S) -> Self {
        let pace = Pace::default();
        let shared = Shared { store, codec: Json, pace, states: None, unseen: Unseen::default(), snapshots: None };
        Self { shared }
    }
}

impl<D: Decider, S: EventStore, C> RepositoryBuilder<D, S, C> {
    /// How events are written down. Default: [`Json`].
    #[must_use]
    pub fn codec<K: EventCodec<D::Event>>(self, codec: K) -> RepositoryBuilder<D, S, K> {
        let Shared { store, pace, states, unseen, snapshots, .. } = self.shared;
        RepositoryBuilder { shared: Shared { store, codec, pace, states, unseen, snapshots } }
    }

    /// How often a command is tried when others append to its stream at the same time, the first attempt included.
    ///
    /// Default: 5. Of n writers on one stream one wins each round, so a stream that needs more has a problem of design.
    #[must_use]
    pub fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.shared.pace.set_attempts(attempts);
        self
    }

    /// The longest wait before the second attempt, and before any; in between it doubles, and the wait is drawn evenly
    /// from zero to it ("full jitter", Brooker, "Exponential Backoff And Jitter", 2015). Default: 2 ms, 100 ms.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.shared.pace.base = base;
        self.shared.pace.cap = cap;
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

    /// Keeps the latest states of this many aggregates between commands, by how often they are used. Default: none.
    ///
    /// A command on a kept state reads nothing: it is decided on that state and appended at that version. If somebody
    /// else has appended since, the store says so, and what was missed is folded in as after any conflict. Only a command
    /// that would be refused, or that has nothing to do, asks the store first whether the state is still the latest; so
    /// an answer is never given on an old one, whoever else writes. Where most aggregates without a kept state turn out to be
    /// new, the next is taken for new and not read either, on the same terms. What a store
    /// [is to forget](crate::EventStore::forgetting) goes: of private ones, all states each time that somebody is forgotten,
    /// and each [`max_age`](crate::privacy::VaultBuilder::max_age). A log that was put back to an older state (from a
    /// backup) while the program runs is another log: start the program anew.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
    /// use std::num::NonZeroUsize;
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let most = NonZeroUsize::new(10_000).unwrap();
    /// let here: Repository<Counter, _> = Repository::builder(store.clone()).keep_states(most).build();
    /// let elsewhere: Repository<Counter, _> = Repository::new(store);
    /// here.execute("1", &1).await?;
    /// elsewhere.execute("1", &5).await?;
    /// // On the kept state this would be below zero.
    /// assert_eq!(here.execute("1", &-6).await?.state.0, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn keep_states(mut self, most: NonZeroUsize) -> Self
    where
        D: Clone,
    {
        let forgetting = self.shared.store.forgetting();
        self.shared.states = Some(States::new(most, |loaded: &Loaded<D>| loaded.clone(), forgetting));
        self
    }

    /// Writes states down now and then, and folds on from them. Default: never.
    #[must_use]
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self
    where
        D: Serialize + DeserializeOwned,
    {
        self.shared.snapshots = Some(Keeper::new(&snapshots, D::STREAM));
        self
    }

    /// The repository. Nothing that can be set is wrong.
    pub fn build(self) -> Repository<D, S, C> {
        Repository { shared: Arc::new(self.shared) }
    }
}

impl<D: Decider, S: fmt::Debug, C> fmt::Debug for RepositoryBuilder<D, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryBuilder").field("stream", &D::STREAM).field("shared", &self.shared).finish()
    }
}
