//! The engine that an address names.

use bytes::Bytes;
use thiserror::Error;

use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Version,
};
use crate::memory::MemoryStore;
#[cfg(feature = "postgres")]
use crate::postgres::{self, PostgresStore};
#[cfg(feature = "redb")]
use crate::redb::{self, RedbStore};
#[cfg(feature = "sqlite")]
use crate::sqlite::{self, SqliteStore};
use crate::store::{EventStore, Page};

/// A store of the engine that its address names, for programs whose setting it is.
///
/// | address | engine |
/// |---|---|
/// | `memory:` | [`MemoryStore`], empty and new at each opening |
/// | `sqlite:bank.db`, `sqlite:///var/lib/bank.db` | `SqliteStore` (feature `sqlite`), a path as the program would open it |
/// | `redb:bank.redb`, `redb:///var/lib/bank.redb` | `RedbStore` (feature `redb`), likewise |
/// | `postgres://user@host/database?schema=bank` | `PostgresStore` (feature `postgres`), as sqlx reads it; `schema` is where the log is |
///
/// What only one engine has (backups, SQL of your own) is behind the variant.
///
/// ```
/// use resilience_cqrs::{Append, AnyStore, EventStore, Expected, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = AnyStore::open(&std::env::var("STORE").unwrap_or("memory:".into())).await?;
/// store.append(Append::new().events("account-1", Expected::NoStream, [NewEvent::new("Opened", "")])).await?;
///
/// let wrong = AnyStore::open("mongodb://localhost/bank").await.unwrap_err();
/// assert_eq!(wrong.to_string(), "no engine is called `mongodb`; an address begins with memory:, sqlite:, redb: or postgres:");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyStore {
    /// In memory.
    Memory(MemoryStore),
    /// In one file.
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    /// In one file, without SQL.
    #[cfg(feature = "redb")]
    Redb(RedbStore),
    /// On a server.
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
}

/// No store could be opened at an address. The text has no more of the address than its scheme: there may be a password in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address names no engine.
    #[error("no engine is called `{scheme}`; an address begins with memory:, sqlite:, redb: or postgres:")]
    Unknown {
        /// What stands before the colon, or nothing.
        scheme: String,
    },
    /// The engine is there, but not in this program.
    #[error("{scheme} needs the feature `{scheme}` of resilience-cqrs, without which this program was built")]
    NotBuilt {
        /// The engine and the feature.
        scheme: &'static str,
    },
    /// The address lacks what the engine needs.
    #[error("an address of {scheme} must have {needs}")]
    Incomplete {
        /// The engine.
        scheme: &'static str,
        /// What is not there.
        needs: &'static str,
    },
    /// SQLite.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenError),
    /// redb.
    #[cfg(feature = "redb")]
    #[error(transparent)]
    Redb(#[from] redb::OpenError),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
}

impl AnyStore {
    /// Opens the store at `address` with its engine's defaults.
    ///
    /// ```
    /// use resilience_cqrs::{AddressError, AnyStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // What is misspelt is told, and nothing of the address, in which there may be a password.
    /// for (address, says) in [
    ///     ("bank.db", "no engine is called ``; an address begins with memory:, sqlite:, redb: or postgres:"),
    ///     ("sqlite:", "an address of sqlite must have the path of a file"),
    /// ] {
    ///     assert_eq!(AnyStore::open(address).await.unwrap_err().to_string(), says);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`AddressError`].
    pub async fn open(address: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = address.split_once(':').unwrap_or(("", address));
        match scheme {
            "memory" => Ok(Self::Memory(MemoryStore::new())),
            "sqlite" => in_file(rest.strip_prefix("//").unwrap_or(rest)).await,
            "redb" => in_redb(rest.strip_prefix("//").unwrap_or(rest)).await,
            "postgres" | "postgresql" => on_server(address).await,
            // Without a scheme it is a path, or anything else; it is not said again.
            _ => Err(AddressError::Unknown { scheme: scheme.into() }),
        }
    }

    /// Takes no more appends, finishes those that wait, and gives up the file or the connections.
    pub async fn close(&self) {
        match self {
            Self::Memory(_) => {}
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.close().await,
            #[cfg(feature = "redb")]
            Self::Redb(store) => store.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.close().await,
        }
    }
}

#[cfg(feature = "sqlite")]
async fn in_file(path: &str) -> Result<AnyStore, AddressError> {
    // To SQLite an empty name is a file that is removed at the end, and this one a store that nobody else can read.
    if path.is_empty() || path == ":memory:" {
        return Err(AddressError::Incomplete { scheme: "sqlite", needs: "the path of a file" });
    }
    Ok(AnyStore::Sqlite(SqliteStore::open(path).await?))
}

#[cfg(not(feature = "sqlite"))]
async fn in_file(_: &str) -> Result<AnyStore, AddressError> {
    Err(AddressError::NotBuilt { scheme: "sqlite" })
}

#[cfg(feature = "redb")]
async fn in_redb(path: &str) -> Result<AnyStore, AddressError> {
    if path.is_empty() {
        return Err(AddressError::Incomplete { scheme: "redb", needs: "the path of a file" });
    }
    Ok(AnyStore::Redb(RedbStore::open(path).await?))
}

#[cfg(not(feature = "redb"))]
async fn in_redb(_: &str) -> Result<AnyStore, AddressError> {
    Err(AddressError::NotBuilt { scheme: "redb" })
}

#[cfg(feature = "postgres")]
async fn on_server(address: &str) -> Result<AnyStore, AddressError> {
    let (url, schema) = without_schema(address);
    let builder = match schema {
        Some("") => return Err(AddressError::Incomplete { scheme: "postgres", needs: "a name after `schema=`" }),
        Some(schema) => PostgresStore::builder().schema(schema),
        None => PostgresStore::builder(),
    };
    Ok(AnyStore::Postgres(builder.open(&url).await?))
}

/// The address as sqlx knows it, and the schema, which it does not know.
#[cfg(feature = "postgres")]
fn without_schema(address: &str) -> (String, Option<&str>) {
    let Some((base, options)) = address.split_once('?') else { return (address.into(), None) };
    let schema = options.split('&').find_map(|option| option.strip_prefix("schema="));
    let others: Vec<_> = options.split('&').filter(|option| !option.starts_with("schema=")).collect();
    let url = if others.is_empty() { base.into() } else { format!("{base}?{}", others.join("&")) };
    (url, schema)
}

#[cfg(not(feature = "postgres"))]
async fn on_server(_: &str) -> Result<AnyStore, AddressError> {
    Err(AddressError::NotBuilt { scheme: "postgres" })
}

macro_rules! engine {
    ($any:expr, $store:ident => $answer:expr) => {
        match $any {
            AnyStore::Memory($store) => $answer,
            #[cfg(feature = "sqlite")]
            AnyStore::Sqlite($store) => $answer,
            #[cfg(feature = "redb")]
            AnyStore::Redb($store) => $answer,
            #[cfg(feature = "postgres")]
            AnyStore::Postgres($store) => $answer,
        }
    };
}

impl EventStore for AnyStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        engine!(self, store => store.append(append).await)
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        engine!(self, store => store.committed(command).await)
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        engine!(self, store => store.read(after, query, limit).await)
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        engine!(self, store => store.read_stream(stream, after, limit).await)
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        engine!(self, store => store.read_streams(streams, limit).await)
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        engine!(self, store => store.row(space, key).await)
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        engine!(self, store => store.rows(space, after, limit).await)
    }

    fn head(&self) -> Position {
        engine!(self, store => store.head())
    }

    async fn wait_past(&self, position: Position) -> Position {
        engine!(self, store => store.wait_past(position).await)
    }
}
