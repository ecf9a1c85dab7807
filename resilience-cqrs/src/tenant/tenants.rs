//! The logs that are open.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::TenantEngine;
use super::error::TenantError;
use super::handle::Tenant;
use super::id::TenantId;
use crate::log::BoxError;

/// The tenants of a program. Clones are the same tenants.
///
/// One program has one of these for each place that tenants are in: on SQLite, two would want the same files.
pub struct Tenants<E: TenantEngine> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: TenantEngine> {
    engine: E,
    max_open: usize,
    slots: Mutex<Slots<E::Store>>,
}

struct Slots<S> {
    of: HashMap<TenantId, Arc<Slot<S>>>,
    /// How many have a store, or are about to. Never more than `max_open`.
    open: usize,
    /// Counts up with each use, to find what was not used for longest.
    uses: u64,
    closed: bool,
}

/// The place of one tenant's log.
struct Slot<S> {
    /// Locked while the log is opened or closed, so that neither happens twice at once.
    state: tokio::sync::Mutex<State<S>>,
    /// A clone of this is in each [`Tenant`], and in each call that wants to make one. Invariant: it is only cloned from
    /// here under the lock of the slots, so a count of one there means that nobody has the log and nobody is to get it.
    held: Arc<()>,
    used: Mutex<u64>,
}

enum State<S> {
    Closed,
    Open(S),
    /// Whoever closed it may have given up. It has its place until it is known to be closed.
    Closing(S),
}

/// A slot, and what says that it is in use.
type Holding<S> = (Arc<Slot<S>>, Arc<()>);

/// Sets up [`Tenants`].
#[derive(Debug)]
pub struct TenantsBuilder<E> {
    engine: E,
    max_open: NonZeroUsize,
}

impl<E> TenantsBuilder<E> {
    /// The most logs open at once. Default: 16.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use resilience_cqrs::tenant::{MemoryTenants, TenantError, Tenants};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tenants = Tenants::builder(MemoryTenants::new()).max_open(NonZeroUsize::MIN).build();
    /// let acme = tenants.create("acme").await?;
    /// // The one place is taken, for as long as somebody holds the tenant that has it.
    /// let refused = tenants.create("globex").await.unwrap_err();
    /// assert!(matches!(refused, TenantError::TooMany { open: 1 }) && refused.is_retryable());
    /// drop(acme);
    /// tenants.create("globex").await?;
    /// assert_eq!(tenants.open(), 1); // acme's was closed for it
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_open(mut self, logs: NonZeroUsize) -> Self {
        self.max_open = logs;
        self
    }

    /// The tenants. Nothing that can be set is wrong.
    pub fn build(self) -> Tenants<E>
    where
        E: TenantEngine,
    {
        let slots = Slots { of: HashMap::new(), open: 0, uses: 0, closed: false };
        let max_open = self.max_open.get();
        Tenants { shared: Arc::new(Shared { engine: self.engine, max_open, slots: Mutex::new(slots) }) }
    }
}

impl<E: TenantEngine> Tenants<E> {
    /// With the defaults.
    pub fn new(engine: E) -> Self {
        Self::builder(engine).build()
    }

    /// Sets up tenants.
    pub fn builder(engine: E) -> TenantsBuilder<E> {
        TenantsBuilder { engine, max_open: NonZeroUsize::MIN.saturating_add(15) }
    }

    /// The log of a tenant, opened if it is not open.
    ///
    /// Dropped before it completes, nothing is left half open: the next one that asks goes on from there.
    ///
    /// # Errors
    /// See [`TenantError`].
    pub async fn of(&self, name: &str) -> Result<Tenant<E::Store>, TenantError> {
        self.get(name.parse()?, false).await
    }

    /// The log of a tenant, made if it is not there.
    ///
    /// # Errors
    /// See [`TenantError`].
    pub async fn create(&self, name: &str) -> Result<Tenant<E::Store>, TenantError> {
        self.get(name.parse()?, true).await
    }

    /// All tenants there are, open or not, in the order of their names.
    ///
    /// # Errors
    /// [`TenantError::List`].
    pub async fn list(&self) -> Result<Vec<TenantId>, TenantError> {
        self.shared.engine.list().await.map_err(TenantError::List)
    }

    /// How many logs are open.
    pub fn open(&self) -> usize {
        self.slots().open
    }

    /// Where the logs are.
    pub fn engine(&self) -> &E {
        &self.shared.engine
    }

    /// Closes all logs, those in use as well, and opens none again.
    ///
    /// ```
    /// use resilience_cqrs::tenant::{MemoryTenants, TenantError, Tenants};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tenants = Tenants::new(MemoryTenants::new());
    /// tenants.create("acme").await?;
    /// tenants.close().await;
    /// assert!(matches!(tenants.of("acme").await, Err(TenantError::Closed)));
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) {
        let slots: Vec<_> = {
            let mut slots = self.slots();
            slots.closed = true;
            slots.of.values().cloned().collect()
        };
        for slot in slots {
            self.finish(&mut *slot.state.lock().await).await;
        }
    }

    async fn get(&self, id: TenantId, make: bool) -> Result<Tenant<E::Store>, TenantError> {
        let (slot, held) = self.hold(&id)?;
        let mut state = slot.state.lock().await;
        if let State::Open(store) = &*state {
            return Ok(Tenant { id, store: store.clone(), held });
        }
        // Closing => Closed: whoever began it has given up.
        self.finish(&mut state).await;
        let failed = |source: BoxError| TenantError::Open { tenant: id.clone(), source };
        // Before there is a place for it: a name that nobody has made puts nobody else out.
        if !make && !self.shared.engine.exists(&id).await.map_err(failed)? {
            return Err(TenantError::Unknown { tenant: id });
        }
        let mut place = self.place().await?;
        let opened = self.shared.engine.open(&id).await.map_err(failed)?;
        if self.slots().closed {
            // Whoever closes has not seen this one, or waits for it; either way it is not to stay.
            self.shared.engine.close(opened).await;
            return Err(TenantError::Closed);
        }
        *state = State::Open(opened.clone());
        place.taken = true;
        Ok(Tenant { id, store: opened, held })
    }

    /// The slot of a tenant, in use from now on.
    fn hold(&self, id: &TenantId) -> Result<Holding<E::Store>, TenantError> {
        let mut slots = self.slots();
        if slots.closed {
            return Err(TenantError::Closed);
        }
        slots.uses += 1;
        let uses = slots.uses;
        // Those that were asked for in vain are not kept.
        slots.of.retain(|other, slot| other == id || !slot.is_empty_and_unused());
        let slot = slots.of.entry(id.clone()).or_insert_with(|| Arc::new(Slot::new())).clone();
        slot.set_used(uses);
        let held = slot.held.clone();
        Ok((slot, held))
    }

    /// A place for one more log, for which another may have to go.
    async fn place(&self) -> Result<Place<'_, E>, TenantError> {
        loop {
            let mut idle = {
                let mut slots = self.slots();
                if slots.open < self.shared.max_open {
                    slots.open += 1;
                    return Ok(Place { tenants: self, taken: false });
                }
                slots.idle()
            };
            if !self.close_one(&mut idle).await {
                return Err(TenantError::TooMany { open: self.shared.max_open });
            }
        }
    }

    /// Closes one of these, the last first, unless somebody has taken them up meanwhile.
    async fn close_one(&self, idle: &mut Vec<Arc<Slot<E::Store>>>) -> bool {
        while let Some(slot) = idle.pop() {
            // One that is locked is being opened or closed, and so is not idle. Nobody waits here for a lock while holding
            // one, so nobody waits in a circle.
            let Ok(mut state) = slot.state.try_lock() else { continue };
            // Whoever holds it from now on waits for the lock, and finds it closed.
            let unused = {
                let _slots = self.slots();
                Arc::strong_count(&slot.held) == 1
            };
            if unused && !matches!(*state, State::Closed) {
                self.finish(&mut state).await;
                return true;
            }
        }
        false
    }

    /// Closes the log, if it is not closed, and gives its place back. Given up before that, it is as it was, but that nobody
    /// gets the store any more: the next one closes it.
    async fn finish(&self, state: &mut State<E::Store>) {
        let (State::Open(store) | State::Closing(store)) = &*state else { return };
        let store = store.clone();
        *state = State::Closing(store.clone());
        self.shared.engine.close(store).await;
        *state = State::Closed;
        self.slots().open -= 1;
    }

    /// Whose logs are open.
    #[cfg(test)]
    pub(super) fn open_now(&self) -> std::collections::BTreeSet<TenantId> {
        let slots = self.slots();
        let open =
            slots.of.iter().filter(|(_, slot)| slot.state.try_lock().is_ok_and(|it| matches!(*it, State::Open(_))));
        open.map(|(id, _)| id.clone()).collect()
    }

    fn slots(&self) -> MutexGuard<'_, Slots<E::Store>> {
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the open logs; given back when this is dropped, unless it was taken for good.
struct Place<'t, E: TenantEngine> {
    tenants: &'t Tenants<E>,
    taken: bool,
}

impl<E: TenantEngine> Drop for Place<'_, E> {
    fn drop(&mut self) {
        if !self.taken {
            self.tenants.slots().open -= 1;
        }
    }
}

impl<S> Slots<S> {
    /// The slots that nobody holds, the one not used for longest last.
    fn idle(&self) -> Vec<Arc<Slot<S>>> {
        let unused = self.of.values().filter(|slot| Arc::strong_count(&slot.held) == 1);
        let mut idle: Vec<_> = unused.cloned().collect();
        idle.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.used()));
        idle
    }
}

impl<S> Slot<S> {
    fn new() -> Self {
        Self { state: tokio::sync::Mutex::new(State::Closed), held: Arc::new(()), used: Mutex::new(0) }
    }

    fn is_empty_and_unused(&self) -> bool {
        Arc::strong_count(&self.held) == 1 && self.state.try_lock().is_ok_and(|state| matches!(*state, State::Closed))
    }

    fn used(&self) -> u64 {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_used(&self, uses: u64) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = uses;
    }
}

impl<E: TenantEngine> Clone for Tenants<E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<E: TenantEngine> fmt::Debug for Tenants<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants")
            .field("open", &self.open())
            .field("max_open", &self.shared.max_open)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryTenants;
    use super::*;

    /// Between being chosen to go and being closed, a log is asked for. Whoever asked has it, and keeps it.
    #[tokio::test]
    async fn a_log_that_was_chosen_to_go_stays_if_somebody_asks_for_it_first() {
        let tenants = Tenants::new(MemoryTenants::new());
        drop(tenants.create("acme").await.unwrap());
        let mut idle = tenants.slots().idle();
        let held = tenants.of("acme").await.unwrap();
        assert!(idle.len() == 1 && !tenants.close_one(&mut idle).await);
        assert_eq!(tenants.open(), 1);
        drop(held);
        let mut idle = tenants.slots().idle();
        assert!(tenants.close_one(&mut idle).await);
        assert_eq!(tenants.open(), 0);
    }
}
