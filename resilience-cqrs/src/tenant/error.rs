//! Why a tenant's log is not to be had.

use thiserror::Error;

use super::id::{InvalidTenant, TenantId};
use crate::log::BoxError;

/// A tenant's log is not to be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The name is not one of a tenant.
    #[error(transparent)]
    Name(#[from] InvalidTenant),
    /// Nobody has made this tenant.
    #[error("there is no tenant {tenant}")]
    Unknown {
        /// The name.
        tenant: TenantId,
    },
    /// As many as may be are open, and all of them are in use.
    #[error("{open} tenants are open and in use")]
    TooMany {
        /// How many.
        open: usize,
    },
    /// The engine cannot open it, or find out whether it is there.
    #[error("the log of {tenant} cannot be opened")]
    Open {
        /// Whose it is.
        tenant: TenantId,
        /// What the engine says.
        source: BoxError,
    },
    /// The engine cannot say which tenants there are.
    #[error("the tenants cannot be listed")]
    List(#[source] BoxError),
    /// The tenants were closed.
    #[error("the tenants are closed")]
    Closed,
}

impl TenantError {
    /// Whether the same may succeed a little later, with nobody having to mend anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::TooMany { .. })
    }
}

/// An event that is marked as one tenant's was appended to another's log. Comes as
/// [`AppendError::Refused`](crate::AppendError::Refused).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an event of {of} was appended to the log of {to}")]
pub struct ForeignTenant {
    /// What the event's metadata says.
    pub of: String,
    /// Whose log it is.
    pub to: TenantId,
}
