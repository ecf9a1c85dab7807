//! Where the logs are.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::id::TenantId;
use crate::log::BoxError;
use crate::memory::MemoryStore;
use crate::store::EventStore;

/// Makes, finds, opens and closes the logs of tenants.
///
/// ```
/// use resilience_cqrs::tenant::{MemoryTenants, TenantEngine, TenantId, Tenants};
/// use resilience_cqrs::{BoxError, MemoryStore};
///
/// /// Opens no more than the tenants that have paid.
/// struct Paying(MemoryTenants, Vec<TenantId>);
///
/// impl TenantEngine for Paying {
///     type Store = MemoryStore;
///
///     async fn exists(&self, tenant: &TenantId) -> Result<bool, BoxError> {
///         self.0.exists(tenant).await
///     }
///
///     async fn open(&self, tenant: &TenantId) -> Result<MemoryStore, BoxError> {
///         if !self.1.contains(tenant) {
///             return Err("no contract".into());
///         }
///         self.0.open(tenant).await
///     }
///
///     async fn close(&self, store: MemoryStore) {
///         self.0.close(store).await;
///     }
///
///     async fn list(&self) -> Result<Vec<TenantId>, BoxError> {
///         self.0.list().await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants = Tenants::new(Paying(MemoryTenants::new(), vec!["acme".parse()?]));
/// tenants.create("acme").await?;
/// assert_eq!(tenants.create("globex").await.unwrap_err().to_string(), "the log of globex cannot be opened");
/// # Ok(()) }
/// ```
pub trait TenantEngine: Send + Sync + 'static {
    /// The store of one tenant.
    type Store: EventStore;

    /// Whether the tenant's log was made.
    ///
    /// # Errors
    /// The engine's own.
    fn exists(&self, tenant: &TenantId) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Opens the tenant's log, making it if it is not there. Not called for one that is open.
    ///
    /// # Errors
    /// The engine's own.
    fn open(&self, tenant: &TenantId) -> impl Future<Output = Result<Self::Store, BoxError>> + Send;

    /// Closes the log. It may be opened again once this has completed. If this is dropped before, it is called again.
    fn close(&self, store: Self::Store) -> impl Future<Output = ()> + Send;

    /// The tenants whose logs were made, in the order of their names.
    ///
    /// # Errors
    /// The engine's own.
    fn list(&self) -> impl Future<Output = Result<Vec<TenantId>, BoxError>> + Send;
}

/// Tenants' logs in memory, for tests. Closing one loses nothing; the last clone of this takes all with it.
///
/// ```
/// use std::num::NonZeroUsize;
/// use resilience_cqrs::tenant::{MemoryTenants, Tenants};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants = Tenants::builder(MemoryTenants::new()).max_open(NonZeroUsize::MIN).build();
/// for name in ["acme", "globex", "initech"] {
///     tenants.create(name).await?;
/// }
/// assert_eq!(tenants.list().await?.len(), 3);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryTenants {
    stores: Arc<Mutex<BTreeMap<TenantId, MemoryStore>>>,
}

impl MemoryTenants {
    /// No tenants yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn stores(&self) -> MutexGuard<'_, BTreeMap<TenantId, MemoryStore>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TenantEngine for MemoryTenants {
    type Store = MemoryStore;

    async fn exists(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        Ok(self.stores().contains_key(tenant))
    }

    async fn open(&self, tenant: &TenantId) -> Result<MemoryStore, BoxError> {
        Ok(self.stores().entry(tenant.clone()).or_default().clone())
    }

    async fn close(&self, _: MemoryStore) {}

    async fn list(&self) -> Result<Vec<TenantId>, BoxError> {
        Ok(self.stores().keys().cloned().collect())
    }
}
