//! A file for each tenant.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine::TenantEngine;
use super::id::TenantId;
use crate::log::BoxError;
use crate::sqlite::{SqliteStore, SqliteStoreBuilder};

/// What a tenant's file is called: so that none is a name that a system keeps for itself (`con`, `nul`), and other files in
/// the directory are not taken for one.
const PREFIX: &str = "tenant-";
const SUFFIX: &str = ".db";

/// Tenants' logs in SQLite, in a file each: `tenant-acme.db` in one directory.
///
/// To delete a tenant, delete its files while it is not open. To move one, move them.
///
/// ```
/// use resilience_cqrs::tenant::{SqliteTenants, Tenants};
/// use resilience_cqrs::{Append, EventStore, Expected, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let tenants = Tenants::new(SqliteTenants::new(directory.path()));
/// let acme = tenants.create("acme").await?;
/// let done = acme.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
/// tenants.close().await;
///
/// let tenants = Tenants::new(SqliteTenants::new(directory.path()));
/// assert_eq!(tenants.of("acme").await?.head(), done.last);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteTenants {
    directory: PathBuf,
    builder: SqliteStoreBuilder,
}

impl SqliteTenants {
    /// Files in a directory, which is there.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), builder: SqliteStore::builder() }
    }

    /// How each file is opened; the store's name is the tenant's.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use resilience_cqrs::SqliteStore;
    /// use resilience_cqrs::tenant::{SqliteTenants, Tenants};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// // Of many tenants each gets one reader, and a gigabyte.
    /// let each = SqliteStore::builder().readers(NonZeroUsize::MIN).max_size(1 << 30);
    /// let tenants = Tenants::new(SqliteTenants::new(directory.path()).with(each));
    /// let acme = tenants.create("acme").await?;
    /// assert_eq!(acme.inner().path(), directory.path().join("tenant-acme.db"));
    /// assert_eq!(acme.inner().name().as_str(), "acme"); // in events and logs
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, builder: SqliteStoreBuilder) -> Self {
        self.builder = builder;
        self
    }

    /// The tenant's file.
    pub fn path(&self, tenant: &TenantId) -> PathBuf {
        self.directory.join(format!("{PREFIX}{tenant}{SUFFIX}"))
    }
}

impl TenantEngine for SqliteTenants {
    type Store = SqliteStore;

    async fn exists(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        Ok(self.path(tenant).try_exists()?)
    }

    async fn open(&self, tenant: &TenantId) -> Result<SqliteStore, BoxError> {
        Ok(self.builder.clone().name(tenant.as_str().to_owned()).open(self.path(tenant)).await?)
    }

    async fn close(&self, store: SqliteStore) {
        store.close().await;
    }

    async fn list(&self) -> Result<Vec<TenantId>, BoxError> {
        let mut tenants = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            tenants.extend(tenant_of(Path::new(&entry?.file_name())));
        }
        tenants.sort_unstable();
        Ok(tenants)
    }
}

fn tenant_of(file: &Path) -> Option<TenantId> {
    file.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}
