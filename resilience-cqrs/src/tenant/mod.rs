//! A log for each tenant, with an order of its own.
//!
//! # Why
//!
//! Tenants in one log are kept apart by a condition in every query, and one query without it shows one customer another's
//! data. They share an order, so they share its writer, its backups, and the hour in which one of them imports a million
//! events. Here a tenant is a log: a file, or a schema of a database. What is asked of it cannot answer for another, one is
//! backed up, moved and deleted without the others, and none waits behind another's writes.
//!
//! # Behaviour
//!
//! - A tenant's log is opened when it is first asked for, and closed when another needs its place and nobody holds it.
//!   No more than [`max_open`](TenantsBuilder::max_open) are open at once.
//! - A [name](TenantId) is checked where it comes in, and has nothing that a file system or a database could take for
//!   anything else: small letters, digits, `-` and `_`.
//! - A tenant has to be [made](Tenants::create) before it is [asked for](Tenants::of): a request that names any tenant
//!   makes no file.
//! - A [position](TenantPosition) that leaves the program goes with its tenant's name, and is refused by every other
//!   tenant. As a bare number it would be *some* position there, and a read would wait for it, or not wait at all.
//! - An event that is marked as another tenant's is refused; one that is not marked is marked.
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::tenant::{MemoryTenants, TenantError, TenantPosition, Tenants};
//! use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Position};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tenants = Tenants::new(MemoryTenants::new());
//! tenants.create("acme").await?;
//! tenants.create("globex").await?;
//! let acme = tenants.of("acme").await?;
//! let done = acme.append(Append::new().events("order-1", Expected::NoStream, [NewEvent::new("Placed", "")])).await?;
//!
//! // Each has an order of its own.
//! let globex = tenants.of("globex").await?;
//! assert_eq!((acme.head(), globex.head()), (done.last, Position::ORIGIN));
//! // What a client was given for one is of no use with another.
//! let token = acme.at(done.last).to_string();
//! let token: TenantPosition = token.parse()?;
//! assert_eq!(acme.position(&token)?, done.last);
//! assert!(globex.position(&token).is_err());
//! // Nor is a name that nobody has made, or that is a path.
//! assert!(matches!(tenants.of("initech").await, Err(TenantError::Unknown { .. })));
//! assert!(matches!(tenants.of("../acme").await, Err(TenantError::Name(_))));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | [`TenantsBuilder::max_open`] | 16 | a store has threads, files and connections of its own: on SQLite up to five threads; on PostgreSQL three to five connections, and a server lets 100 in unless told otherwise |
//!
//! # Errors
//!
//! [`TenantError`]: of the name, of a tenant that is not there, of an engine that cannot open it, and that too many are in
//! use. [`ForeignPosition`] for a position of another tenant.
//!
//! # Do and don't
//!
//! - Do hold a [`Tenant`] for as long as something runs on it, a projection for instance: what is held is not closed.
//! - Do take a tenant's name from what the request is authorised for, and not from what it asks for.
//! - Do have the tenant in the names of relays that share a bus (`shop-acme`): the ids of their messages are made of name and
//!   position, and what has the id of another tenant's message is taken for that one, come again.
//! - Do give each tenant keys of its own for personal data (a `privacy::Vault` whose key store is in the tenant's place), or
//!   subjects names that no other tenant's have: one name is one key, and is forgotten for all who share it.
//! - Don't keep the engine's own store of a tenant longer than the [`Tenant`]: it may be closed behind your back.
//!
//! # Limits
//!
//! Nothing spans tenants: no append, no query, no projection. A program that has more tenants in use at once than it can
//! have open has to be several programs. Whoever is at the database itself sees all of them.

mod engine;
mod error;
mod handle;
mod id;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tenants;
#[cfg(test)]
mod tests;

pub use self::engine::{MemoryTenants, TenantEngine};
pub use self::error::{ForeignTenant, TenantError};
pub use self::handle::Tenant;
pub use self::id::{ForeignPosition, InvalidPosition, InvalidTenant, TenantId, TenantPosition};
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresTenants;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteTenants;
pub use self::tenants::{Tenants, TenantsBuilder};
