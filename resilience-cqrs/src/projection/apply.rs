//! Taking in a batch and committing it with its checkpoint.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use resilience_core::time::SharedTimer;

use super::checkpoint::{Advance, Claim};
use super::park::{Parking, storable};
use super::rows::Rows;
use crate::log::{Append, AppendError, BoxError, Query, ReadError, Recorded, RowChange};
use crate::store::EventStore;

/// A read model kept in rows of the store.
pub trait Projection: Send + Sync + 'static {
    /// Its name, which its checkpoint goes by. A model that is to be built anew gets a new one: `orders@2`.
    fn name(&self) -> &str;

    /// The events it is made of. Others do not reach it, and its checkpoint moves past them.
    fn query(&self) -> Query;

    /// What must be taken in in order: when an event cannot be, later ones of the same key wait. By default its stream.
    ///
    /// Two events that must not overtake each other need the same key. A key is also what
    /// [partitions](super::PartitionedBuilder) are made of, so of partitioned models no row is changed by events of two
    /// keys.
    fn key(&self, event: &Recorded) -> String {
        event.stream.as_str().to_owned()
    }

    /// Takes in one event.
    ///
    /// Called again for the same event when the batch could not be committed, with what the first call changed undone;
    /// so effects belong into `rows` and nowhere else. Only this projection may change the rows it reads.
    ///
    /// An error is for what will not be different tomorrow: a payload that cannot be read, a rule that it breaks. An
    /// error of [`Rows::get`] is passed on, and is not held against the event.
    ///
    /// # Errors
    /// Any: the event is parked. A panic counts as one.
    fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// How a kind of projection takes in a batch. Implemented by the kinds of this module, and by nobody else.
pub trait Apply<S: EventStore>: sealed::Sealed<S> {}

impl<S: EventStore, A: sealed::Sealed<S>> Apply<S> for A {}

/// A batch to take in.
#[derive(Debug)]
pub struct Step {
    pub(super) events: Vec<Recorded>,
    /// The keys that are parked already.
    pub(super) held: HashSet<String>,
    /// What an event that fails now was tried before.
    pub(super) attempts: u32,
    pub(super) advance: Advance,
    /// Changed along with the checkpoint.
    pub(super) rows: Vec<RowChange>,
}

/// Why a batch was not committed.
#[derive(Debug)]
pub enum StepError {
    /// The append.
    Append(AppendError),
    /// A read of the rows.
    Read(ReadError),
    /// The checkpoint is not where this runner left it.
    Moved,
}

impl From<AppendError> for StepError {
    fn from(error: AppendError) -> Self {
        match error {
            // The checkpoint is the only condition there is.
            AppendError::Conflict(_) => Self::Moved,
            error => Self::Append(error),
        }
    }
}

pub(super) mod sealed {
    use super::{
        Append, AppendError, Claim, EventStore, Future, Parking, Query, Recorded, SharedTimer, Step, StepError,
    };

    pub trait Sealed<S: EventStore>: Send + Sync + 'static {
        fn name(&self) -> &str;
        fn query(&self) -> Query;
        fn key(&self, event: &Recorded) -> String;
        /// Takes over the runner's clock.
        fn on_timer(&mut self, timer: &SharedTimer) {
            let _ = timer;
        }
        /// Makes what it needs to be there.
        fn prepare(&self, store: &S) -> impl Future<Output = Result<(), AppendError>> + Send {
            let _ = store;
            async { Ok(()) }
        }
        /// Makes the checkpoint its runner's.
        fn claim(&self, store: &S, claim: Claim) -> impl Future<Output = Result<(), AppendError>> + Send {
            async move { store.append(Append::from(claim)).await.map(|_| ()) }
        }
        /// Commits the step and says which events are parked by it.
        fn step(&self, store: &S, step: Step) -> impl Future<Output = Result<Vec<Parking>, StepError>> + Send;
    }
}

/// A [`Projection`], as the runner sees it.
#[derive(Debug)]
pub struct Keyed<P>(pub(super) Arc<P>);

impl<P> Clone for Keyed<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: EventStore, P: Projection> sealed::Sealed<S> for Keyed<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn query(&self) -> Query {
        self.0.query()
    }

    fn key(&self, event: &Recorded) -> String {
        self.0.key(event)
    }

    async fn step(&self, store: &S, step: Step) -> Result<Vec<Parking>, StepError> {
        let Step { events, mut held, attempts, advance, rows: further } = step;
        let mut rows = Rows::new(store);
        let mut parked = Vec::new();
        for event in &events {
            let key = storable(self.0.key(event));
            if held.contains(&key) {
                parked.push(Parking::behind(key, event.position));
                continue;
            }
            let applied = AssertUnwindSafe(self.0.apply(event, &mut rows)).catch_unwind().await;
            if let Some(failure) = rows.take_failure() {
                return Err(StepError::Read(failure));
            }
            let error = match applied {
                Ok(Ok(())) => {
                    rows.keep();
                    continue;
                }
                Ok(Err(error)) => describe(&*error),
                Err(_) => "the projection panicked".into(),
            };
            rows.discard();
            held.insert(key.clone());
            parked.push(Parking::failed(key, event.position, attempts + 1, &error));
        }
        let name = self.0.name();
        let append = Append::from(&advance).rows(further).rows(rows.into_changes());
        let append = append.rows(parked.iter().map(|parking| parking.write(name)));
        store.append(append).await?;
        Ok(parked)
    }
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
