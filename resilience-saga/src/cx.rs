//! What a step knows about itself while it runs.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::kernel::{Epoch, StepKey};
use crate::{IdempotencyKey, SagaId, StepError};

/// The surroundings of one attempt. A cheap clone.
///
/// While the attempt runs, [`resilience_core::context`] says the same to every layer below: the idempotency key, the
/// epoch as fencing token, the saga as correlation id, the attempt, and the deadline if the step has a time limit. An
/// HTTP client with the context layer therefore sends the right headers without the step's help.
#[derive(Clone)]
pub struct Cx {
    pub(crate) saga: SagaId,
    pub(crate) step: StepKey,
    pub(crate) key: IdempotencyKey,
    pub(crate) epoch: Epoch,
    pub(crate) attempt: u32,
    pub(crate) cancel: CancelToken,
    pub(crate) services: Arc<Services>,
}

impl Cx {
    /// The saga.
    pub fn saga(&self) -> &SagaId {
        &self.saga
    }

    /// The step.
    pub fn step(&self) -> &StepKey {
        &self.step
    }

    /// The name of this operation, the same in every attempt: to be sent to the receiver, who recognises a repetition
    /// by it.
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// The owner's number, to be sent along: a receiver that has seen a higher one refuses.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which attempt this is, counted from 1. Not for the receiver: all attempts are the same operation.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Fires when the saga unwinds while this step runs. An undo's token never fires.
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// The service of this type, as given to the engine's builder.
    ///
    /// # Errors
    ///
    /// [`StepError::Rejected`] if there is none: surely nothing was done.
    pub fn service<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, StepError> {
        self.services
            .find()
            .ok_or_else(|| StepError::rejected(format_args!("the engine was given no service {}", type_name::<T>())))
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("key", &self.key)
            .field("epoch", &self.epoch)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// What steps call, by type.
#[derive(Clone, Default)]
pub(crate) struct Services {
    by_type: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Services {
    pub(crate) fn add<T: Send + Sync + 'static>(&mut self, service: Arc<T>) {
        self.by_type.insert(TypeId::of::<T>(), service);
    }

    fn find<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.by_type.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("len", &self.by_type.len()).finish()
    }
}

/// Says whether to stop. A request, not an order: whoever ignores it is dropped when the grace period is over.
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Option<Arc<Shared>>,
}

#[derive(Default)]
struct Shared {
    fired: AtomicBool,
    waiters: Notify,
}

impl CancelToken {
    /// A token that can fire.
    pub(crate) fn new() -> Self {
        Self { shared: Some(Arc::default()) }
    }

    /// A token that never fires.
    pub const fn never() -> Self {
        Self { shared: None }
    }

    pub(crate) fn fire(&self) {
        if let Some(shared) = &self.shared {
            // Release, to pair with the acquire in `is_cancelled`: whoever sees it sees what led to it.
            shared.fired.store(true, Ordering::Release);
            shared.waiters.notify_waiters();
        }
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        // Acquire, to pair with the release in `fire`.
        self.shared.as_ref().is_some_and(|shared| shared.fired.load(Ordering::Acquire))
    }

    /// Completes when it is time to stop; never, for the token of an undo.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let token = self.clone();
        async move {
            let Some(shared) = &token.shared else {
                return std::future::pending().await;
            };
            // Registered before the flag is read, so that a `fire` between the two is not missed.
            let notified = shared.waiters.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !token.is_cancelled() {
                notified.await;
            }
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("is_cancelled", &self.is_cancelled()).finish()
    }
}
