//! A schema for each tenant.

use std::num::NonZeroU32;

use sqlx::{Connection as _, PgConnection, Row as _};

use super::engine::TenantEngine;
use super::id::TenantId;
use crate::log::BoxError;
use crate::postgres::{PostgresStore, PostgresStoreBuilder};

/// What a tenant's schema is called.
const PREFIX: &str = "tenant_";

/// Tenants' logs on PostgreSQL, in a schema each of one database: `tenant_acme`.
///
/// An open tenant has two connections, one more once there was load, those for its reads, of which there is one unless
/// it is [set](Self::with) otherwise, and one more once one is lent: three to five. A server has a hundred by default,
/// which is twenty tenants that are all busy (16 are open at once by default); give it more, or have [fewer open](super::TenantsBuilder::max_open).
///
/// ```no_run
/// use resilience_cqrs::tenant::{PostgresTenants, Tenants};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants = Tenants::new(PostgresTenants::new("postgres://shop@localhost/shop"));
/// let acme = tenants.create("acme").await?; // in the schema `tenant_acme`
/// // A store of this engine, for what only that has.
/// let mut connection = acme.inner().connection().await?;
/// # drop(connection);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PostgresTenants {
    url: String,
    builder: PostgresStoreBuilder,
}

impl PostgresTenants {
    /// Schemas of the database at an address, of which they are made by the user in it.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), builder: PostgresStore::builder().readers(NonZeroU32::MIN).lent(NonZeroU32::MIN) }
    }

    /// How each log is opened; the store's name and schema are the tenant's.
    #[must_use]
    pub fn with(mut self, builder: PostgresStoreBuilder) -> Self {
        self.builder = builder;
        self
    }

    /// The tenant's schema.
    pub fn schema(&self, tenant: &TenantId) -> String {
        format!("{PREFIX}{tenant}")
    }
}

impl TenantEngine for PostgresTenants {
    type Store = PostgresStore;

    async fn exists(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        let mut conn = PgConnection::connect(&self.url).await?;
        let there = sqlx::query("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)");
        let there = there.bind(self.schema(tenant)).fetch_one(&mut conn).await?.try_get(0)?;
        conn.close().await?;
        Ok(there)
    }

    async fn open(&self, tenant: &TenantId) -> Result<PostgresStore, BoxError> {
        let builder = self.builder.clone().name(tenant.as_str().to_owned()).schema(self.schema(tenant));
        Ok(builder.open(&self.url).await?)
    }

    async fn close(&self, store: PostgresStore) {
        store.close().await;
    }

    async fn list(&self) -> Result<Vec<TenantId>, BoxError> {
        let mut conn = PgConnection::connect(&self.url).await?;
        let names = sqlx::query("SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname::text, $1)");
        let rows = names.bind(PREFIX).fetch_all(&mut conn).await?;
        conn.close().await?;
        let mut tenants = Vec::with_capacity(rows.len());
        for row in rows {
            let schema: String = row.try_get(0)?;
            tenants.extend(schema.strip_prefix(PREFIX).and_then(|name| name.parse::<TenantId>().ok()));
        }
        tenants.sort_unstable();
        Ok(tenants)
    }
}

impl std::fmt::Debug for PostgresTenants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the address: there may be a password in it.
        f.debug_struct("PostgresTenants").finish_non_exhaustive()
    }
}
