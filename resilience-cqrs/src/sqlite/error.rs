//! What SQLite says, in the terms of the contract.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;
use thiserror::Error;

use crate::log::{AppendError, Corrupt, ReadError, Unavailable, Written};

/// A store could not be opened. Nothing in the file was changed.
///
/// ```
/// use resilience_cqrs::sqlite::{OpenError, SqliteStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("notes.txt");
/// std::fs::write(&path, "Milk, bread, and so on, for as long as it takes to be taken for something. ".repeat(10))?;
/// assert!(matches!(SqliteStore::open(&path).await, Err(OpenError::NotADatabase { .. })));
/// assert!(std::fs::read_to_string(&path)?.starts_with("Milk"));
/// # Ok(()) }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store, in this process or another one, has the file open.
    #[error("{} is open elsewhere: one store at a time may append to it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else than a SQLite database, or its header is damaged.
    #[error("{} is not a database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version of this crate.
    #[error("the log has layout version {}, this program knows {supported}", found.map_or("?".into(), |v| v.to_string()))]
    Schema {
        /// The layout's version in the file; `None` if it does not say.
        found: Option<i64>,
        /// The version this program knows.
        supported: i64,
    },
    /// The log in the file contradicts itself.
    #[error("the log is corrupt")]
    Corrupt(#[source] Corrupt),
    /// The SQLite library is older than 3.51.3, which fixed a bug that can corrupt a WAL with several connections
    /// (sqlite.org, "The WAL-Reset Bug").
    #[error("SQLite {found} is too old, 3.51.3 is needed")]
    Library {
        /// The library's version.
        found: &'static str,
    },
    /// The file system cannot hold a write-ahead log: it must be a local one.
    #[error("the file system of {} does not support a write-ahead log", path.display())]
    NoWal {
        /// The file.
        path: PathBuf,
    },
    /// The file or its lock file cannot be opened.
    #[error("cannot open {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refused for another reason.
    #[error("cannot open the log")]
    Sqlite(#[from] rusqlite::Error),
}

/// A query of your own on a read model failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The query.
    #[error("the query failed")]
    Sql(#[source] rusqlite::Error),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What can go wrong between our statements and their result.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Corrupt(Corrupt),
    /// SQLite undid the transaction after an error in what somebody ran inside it.
    Undone,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Corrupt> for Fault {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// What a fault means for the store.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// No room; what was begun is undone, later attempts may fit.
    Full,
    /// Held up; what was begun is undone, later attempts may succeed.
    Later(Unavailable),
    /// The medium failed. What it holds is no longer known, so nothing more may be written through this store: an
    /// `fsync` that failed once can succeed the next time without having written what it lost (Rebello et al., "Can
    /// Applications Recover from fsync Failures?", USENIX ATC 2020).
    Broken(Unavailable),
    /// The file contradicts itself.
    Corrupt(Corrupt),
}

impl Fault {
    pub(super) fn meaning(self) -> Meaning {
        let unavailable = |reason: &str, retryable| Unavailable {
            reason: reason.into(),
            written: Written::No,
            retryable,
            source: None,
        };
        let error = match self {
            Self::Corrupt(corrupt) => return Meaning::Corrupt(corrupt),
            Self::Undone => return Meaning::Later(unavailable("an error inside another append undid this one", true)),
            Self::Sqlite(error) => error,
        };
        let mut meaning = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => return Meaning::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Meaning::Later(unavailable("the database is locked by another connection", true))
            }
            Some(ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted) => {
                Meaning::Later(unavailable("the operation was cut short", true))
            }
            // Our own statements break no constraint of our own tables unless somebody else wrote to them.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
                return Meaning::Corrupt(Corrupt::new(error.to_string()));
            }
            _ => Meaning::Broken(unavailable("the medium failed, the store must be opened again", false)),
        };
        if let Meaning::Later(unavailable) | Meaning::Broken(unavailable) = &mut meaning {
            unavailable.source = Some(Arc::new(error));
        }
        meaning
    }
}

impl Meaning {
    /// Whether the store must not write any more.
    pub(super) fn ends_writing(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Corrupt(_))
    }

    /// The same, for an append that was in the transaction whose commit failed.
    pub(super) fn at_commit(self) -> Self {
        match self {
            Self::Broken(unavailable) => Self::Broken(Unavailable { written: Written::Unknown, ..unavailable }),
            other => other,
        }
    }

    /// The same, for an append that came after.
    pub(super) fn afterwards(self) -> Self {
        match self {
            Self::Broken(unavailable) => Self::Broken(Unavailable { written: Written::No, ..unavailable }),
            other => other,
        }
    }

    pub(super) fn into_append_error(self) -> AppendError {
        match self {
            Self::Full => AppendError::Full,
            Self::Later(unavailable) | Self::Broken(unavailable) => AppendError::Unavailable(unavailable),
            Self::Corrupt(corrupt) => AppendError::Corrupt(corrupt),
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault.meaning() {
            Meaning::Full => Self::Unavailable(Unavailable {
                reason: "no room for a temporary file".into(),
                written: Written::No,
                retryable: true,
                source: None,
            }),
            // A read that failed says nothing about the next one.
            Meaning::Later(unavailable) | Meaning::Broken(unavailable) => {
                Self::Unavailable(Unavailable { reason: "a read failed".into(), retryable: true, ..unavailable })
            }
            Meaning::Corrupt(corrupt) => Self::Corrupt(corrupt),
        }
    }
}
