//! Why an engine could not be asked.

use thiserror::Error;

use crate::log::BoxError;

/// The database could not be asked, or did not answer: whether a lease was taken, renewed or released is not known.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use resilience_cqrs::lease::SqliteLeases;
///
/// let error = SqliteLeases::open("/no/such/directory/leases.db").await.unwrap_err();
/// assert!(!error.is_retryable());
/// assert_eq!(error.to_string(), "the leases cannot be asked for");
/// # }
/// # #[cfg(not(feature = "sqlite"))] fn main() {}
/// ```
#[derive(Debug, Error)]
#[error("the leases cannot be asked for")]
pub struct LeaseError {
    retryable: bool,
    source: BoxError,
}

impl LeaseError {
    pub(super) fn new(retryable: bool, source: impl Into<BoxError>) -> Self {
        Self { retryable, source: source.into() }
    }

    /// Whether the same may well succeed a little later: the database was busy, or away.
    ///
    /// An owner need not ask: [`Ownership::keep`](resilience_core::lease::Ownership::keep) goes on asking for as long
    /// as the lease lasts by its own clock, whatever the error says, and stops the work then.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}

#[cfg(feature = "sqlite")]
impl From<rusqlite::Error> for LeaseError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        Self::new(matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)), error)
    }
}

#[cfg(feature = "postgres")]
impl From<sqlx::Error> for LeaseError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().map(|error| error.code().unwrap_or_default().into_owned());
        let retryable = match code {
            // The server said something: that it goes or comes (57P), has no room for a connection (53), or that the
            // transaction was the victim of others.
            Some(code) => code.starts_with("57P") || code.starts_with("53") || matches!(&*code, "40001" | "40P01"),
            // It said nothing.
            None => !matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::Decode(_)),
        };
        Self::new(retryable, error)
    }
}
