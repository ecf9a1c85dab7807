//! What PostgreSQL says, in the terms of the contract.

use std::sync::Arc;

use sqlx::postgres::{PgDatabaseError, PgSeverity};
use thiserror::Error;

use crate::log::{AppendError, Corrupt, Position, ReadError, Unavailable, Written};

/// Why a store could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address cannot be read.
    #[error("the address of the database is not one of PostgreSQL")]
    Url(#[source] sqlx::Error),
    /// The server is older than the engine was tested on.
    #[error("PostgreSQL {found} is too old, {oldest} is needed")]
    Server {
        /// The server's major version.
        found: i32,
        /// The oldest that will do.
        oldest: i32,
    },
    /// The tables are those of another version of this crate.
    #[error("the log has layout version {}, this program knows {supported}", found.map_or("?".into(), |v| v.to_string()))]
    Schema {
        /// What is there; `None` if it cannot be told.
        found: Option<i64>,
        /// What this version of the crate reads and writes.
        supported: i64,
    },
    /// The name of the schema is one that the server would cut to 63 bytes without a word, or take for another: two logs
    /// would be one.
    #[error("a schema's name has 1 to 63 bytes, none of them NUL, and is not `$user`")]
    SchemaName,
    /// The server cannot be reached, or refused.
    #[error("cannot open the log")]
    Database(#[from] sqlx::Error),
}

/// The log is not the one that this store has known, and has told others of. Lasting: the store answers nothing else until
/// it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the log went back: events were acknowledged up to {last}, and after {found} they are lost or are others; open the \
     store again"
)]
pub(super) struct WentBack {
    /// The last position that was known to be durable.
    pub(super) last: Position,
    /// Where the log that is there parts from the one that was.
    pub(super) found: Position,
}

impl From<WentBack> for Unavailable {
    fn from(lost: WentBack) -> Self {
        Self { reason: lost.to_string(), written: Written::No, retryable: false, source: None }
    }
}

/// What went wrong in a transaction or a query.
#[derive(Debug)]
pub(super) enum Fault {
    Database(sqlx::Error),
    Corrupt(Corrupt),
    WentBack(WentBack),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Corrupt> for Fault {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<WentBack> for Fault {
    fn from(lost: WentBack) -> Self {
        Self::WentBack(lost)
    }
}

impl Fault {
    /// The SQLSTATE, if the server said something.
    fn state(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// What contradicts itself, if that is what it is: the log, its tables (a column is not what it was made as), or the
    /// server's files (XX001 and XX002).
    fn corruption(&self) -> Option<Corrupt> {
        use sqlx::Error as E;
        match self {
            Self::Corrupt(corrupt) => Some(corrupt.clone()),
            Self::WentBack(_) => None,
            Self::Database(
                error @ (E::Decode(_)
                | E::ColumnDecode { .. }
                | E::ColumnNotFound(_)
                | E::ColumnIndexOutOfBounds { .. }),
            ) => Some(Corrupt::new(error.to_string())),
            Self::Database(error) => {
                let damaged = self.state().is_some_and(|state| matches!(&*state, "XX001" | "XX002"));
                damaged.then(|| Corrupt::new(error.to_string()))
            }
        }
    }

    /// How grave the server says it is, if it said something.
    fn severity(&self) -> Option<PgSeverity> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity)
            }
            _ => None,
        }
    }

    /// Whether the connection is of no use any more: the server did not answer, or said that it is going.
    pub(super) fn loses_connection(&self) -> bool {
        // An error that ends the session, or the server with it: whatever its state says about the statement (a panic in
        // the middle of a commit has that of a full or a broken disk), it says nothing about the transaction.
        let ends = matches!(self.severity(), Some(PgSeverity::Fatal | PgSeverity::Panic));
        match self {
            _ if self.corruption().is_some() => false,
            Self::Corrupt(_) | Self::WentBack(_) => false,
            // 57P01..57P03: the server shuts down, crashed, or cannot be connected to now; 08: connection exceptions.
            Self::Database(_) => {
                ends || self.state().is_none_or(|state| state.starts_with("57P") || state.starts_with("08"))
            }
        }
    }

    /// Whether the same transaction may well succeed at once, or find a conflict that can be told of: it was the victim
    /// of a deadlock or of a serialization failure, or somebody who does not take the lock was faster with a key (by
    /// state, never by text; it may come from any statement, and from the commit).
    pub(super) fn is_transient(&self) -> bool {
        self.state().is_some_and(|state| matches!(&*state, "23505" | "40001" | "40P01" | "55P03"))
    }

    /// Whether the server refused a value, so that the fault is one append's and not the log's.
    pub(super) fn is_about_data(&self) -> bool {
        self.state().is_some_and(|state| state.starts_with("22") || state.starts_with("54"))
    }

    /// The error of an append; `written` says what is known of it if the connection was lost.
    pub(super) fn into_append_error(self, written: Written) -> AppendError {
        if let Some(corrupt) = self.corruption() {
            return AppendError::Corrupt(corrupt);
        }
        let state = self.state();
        let lost = self.loses_connection();
        let error = match self {
            Self::Corrupt(corrupt) => return AppendError::Corrupt(corrupt),
            Self::WentBack(lost) => return AppendError::Unavailable(lost.into()),
            Self::Database(error) => error,
        };
        let source: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
        match state.as_deref() {
            // 53100 disk full, 53400 configuration limit.
            Some("53100" | "53400") if !lost => AppendError::Full,
            // Our own statements break no constraint of our own tables unless somebody else wrote to them.
            Some(state) if !lost && state.starts_with("23") => AppendError::Corrupt(Corrupt::new(source.to_string())),
            Some(state) if !lost && (state.starts_with("22") || state.starts_with("54")) => {
                AppendError::Refused(Box::new(Shared(source)))
            }
            _ => AppendError::Unavailable(Unavailable {
                reason: if lost { "the connection to the server was lost" } else { "the server refused" }.into(),
                written: if lost { written } else { Written::No },
                retryable: true,
                source: Some(source),
            }),
        }
    }
}

/// An error with several owners, as one.
#[derive(Debug, Error)]
#[error(transparent)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        if let Some(corrupt) = fault.corruption() {
            return Self::Corrupt(corrupt);
        }
        match fault {
            Fault::Corrupt(corrupt) => Self::Corrupt(corrupt),
            Fault::WentBack(lost) => Self::Unavailable(lost.into()),
            Fault::Database(error) => Self::Unavailable(Unavailable {
                reason: "a read failed".into(),
                written: Written::No,
                retryable: true,
                source: Some(Arc::new(error)),
            }),
        }
    }
}
