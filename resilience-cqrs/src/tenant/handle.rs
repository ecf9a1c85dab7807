//! The log of one tenant.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::error::ForeignTenant;
use super::id::{ForeignPosition, TenantId, TenantPosition};
use crate::forgetting::Forgetting;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Version,
};
use crate::store::{EventStore, Page};

/// The log of one tenant: a store like any other, that stays open while it or a clone of it is held.
///
/// ```
/// use resilience_cqrs::tenant::{ForeignTenant, MemoryTenants, Tenants};
/// use resilience_cqrs::{Append, AppendError, EventStore, Expected, Metadata, NewEvent, Version};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let acme = Tenants::new(MemoryTenants::new()).create("acme").await?;
/// let placed = || NewEvent::new("Placed", "");
/// acme.append(Append::new().events("a", Expected::Any, [placed()])).await?;
/// let stored = acme.read_stream(&"a".into(), Version::EMPTY, 1).await?;
/// assert_eq!(stored[0].metadata.tenant(), Some("acme")); // marked, though nobody said so
/// // Copied from elsewhere with its mark: a mistake that would show one customer another's data.
/// let globex = placed().metadata(Metadata::new().with_tenant("globex"));
/// let refused = acme.append(Append::new().events("a", Expected::Any, [globex])).await;
/// assert!(matches!(refused, Err(AppendError::Refused(error)) if error.is::<ForeignTenant>()));
/// # Ok(()) }
/// ```
pub struct Tenant<S> {
    pub(super) id: TenantId,
    pub(super) store: S,
    /// Says that the log is in use; see `Slot`.
    pub(super) held: Arc<()>,
}

impl<S: EventStore> Tenant<S> {
    /// Whose it is.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// A position of this log, to be given to a client.
    pub fn at(&self, position: Position) -> TenantPosition {
        TenantPosition { tenant: self.id.clone(), position }
    }

    /// What a client was given for this log.
    ///
    /// ```
    /// use resilience_cqrs::tenant::{MemoryTenants, TenantPosition, Tenants};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let acme = Tenants::new(MemoryTenants::new()).create("acme").await?;
    /// let token: TenantPosition = "globex:17".parse()?;
    /// let error = acme.position(&token).unwrap_err();
    /// assert_eq!(error.to_string(), "a position in the log of globex was given to acme");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ForeignPosition`] for what it was given for another: a 403 for whoever sent it.
    pub fn position(&self, token: &TenantPosition) -> Result<Position, ForeignPosition> {
        if token.tenant == self.id {
            return Ok(token.position);
        }
        Err(ForeignPosition { of: token.tenant.clone(), to: self.id.clone() })
    }

    /// The engine's own store, for what only that has (backups, SQL). Not to be kept longer than this.
    pub fn inner(&self) -> &S {
        &self.store
    }
}

impl<S: EventStore> EventStore for Tenant<S> {
    async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        for event in append.streams.iter_mut().flat_map(|part| &mut part.events) {
            match event.metadata.tenant() {
                None => event.metadata = std::mem::take(&mut event.metadata).with_tenant(self.id.shared()),
                Some(tenant) if tenant == self.id.as_str() => {}
                Some(tenant) => {
                    let foreign = ForeignTenant { of: tenant.to_owned(), to: self.id.clone() };
                    return Err(AppendError::Refused(foreign.into()));
                }
            }
        }
        self.store.append(append).await
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.store.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        self.store.read(after, query, limit).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.store.read_stream(stream, after, limit).await
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        self.store.read_streams(streams, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.store.row(space, key).await
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.store.rows(space, after, limit).await
    }

    fn forgetting(&self) -> Forgetting {
        self.store.forgetting()
    }

    fn head(&self) -> Position {
        self.store.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.store.wait_past(position).await
    }
}

impl<S: Clone> Clone for Tenant<S> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), store: self.store.clone(), held: self.held.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for Tenant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("id", &self.id).field("store", &self.store).finish_non_exhaustive()
    }
}
