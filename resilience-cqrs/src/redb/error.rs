//! What redb says, in the terms of the contract.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use redb::StorageError;
use thiserror::Error;

use crate::log::{AppendError, Corrupt, ReadError, Unavailable, Written};

/// A store could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store, in this process or another one, has the file open.
    #[error("{} is open elsewhere: one store at a time may have it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else than a redb database, or its header is damaged.
    #[error("{} is not a database of redb", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version of this crate.
    #[error("the log has layout version {}, this program knows {supported}", found.map_or("?".into(), |v| v.to_string()))]
    Schema {
        /// The layout's version in the file; `None` if it does not say.
        found: Option<u64>,
        /// The version this program knows.
        supported: u64,
    },
    /// The file has the format of an earlier redb.
    #[error("the file has redb's format {found}, which is to be upgraded by the redb that wrote it")]
    Format {
        /// Its format.
        found: u8,
    },
    /// The log in the file contradicts itself.
    #[error("the log is corrupt")]
    Corrupt(#[source] Corrupt),
    /// The file cannot be opened, read or written.
    #[error("cannot open {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What can go wrong between our calls and their result.
#[derive(Debug)]
pub(super) enum Fault {
    Redb(redb::Error),
    Corrupt(Corrupt),
}

impl From<Corrupt> for Fault {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

macro_rules! faults {
    ($($error:ty),*) => {
        $(
            impl From<$error> for Fault {
                fn from(error: $error) -> Self {
                    Self::Redb(error.into())
                }
            }
        )*
    };
}

faults!(StorageError, redb::TableError, redb::TransactionError, redb::CommitError, redb::SetDurabilityError);

/// What a fault means for the store.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// The medium failed. What it holds is no longer known, and redb itself refuses to go on.
    Broken(Unavailable),
    /// The file contradicts itself.
    Corrupt(Corrupt),
}

impl Fault {
    /// Something that redb takes for impossible, which a damaged file can bring about all the same.
    pub(super) fn panicked() -> Self {
        Self::Corrupt(Corrupt::new("redb met what it takes for impossible, and panicked: the file is damaged"))
    }

    pub(super) fn meaning(self) -> Meaning {
        let error = match self {
            Self::Corrupt(corrupt) => return Meaning::Corrupt(corrupt),
            Self::Redb(error) => error,
        };
        match error {
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
                Meaning::Broken(Unavailable {
                    reason: "the medium failed, the store must be opened again".into(),
                    written: Written::No,
                    retryable: false,
                    source: Some(Arc::new(error)),
                })
            }
            // Our tables are of the types we open them with, and used by one transaction at a time.
            error => Meaning::Corrupt(Corrupt::new(error.to_string())),
        }
    }
}

impl Meaning {
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
            Self::Broken(unavailable) => AppendError::Unavailable(unavailable),
            Self::Corrupt(corrupt) => AppendError::Corrupt(corrupt),
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault.meaning() {
            Meaning::Broken(unavailable) => Self::Unavailable(Unavailable {
                reason: "a read failed; if it goes on failing, the store must be opened again".into(),
                retryable: true,
                ..unavailable
            }),
            Meaning::Corrupt(corrupt) => Self::Corrupt(corrupt),
        }
    }
}
