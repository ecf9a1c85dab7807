//! Setting up a store.

use std::num::NonZeroU32;
use std::time::Duration;

use resilience_core::Name;
use resilience_core::event::{Listeners, Sink};
use resilience_core::time::SharedTimer;

use super::{OpenError, PostgresStore, open};

/// Sets up a [`PostgresStore`].
///
/// | setting | default | why |
/// |---|---|---|
/// | [`name`](Self::name) | `event_store` | one store is the usual case |
/// | [`schema`](Self::schema) | the connection's | the log's tables may lie beside yours or apart |
/// | [`readers`](Self::readers) | 4 | a server has few connections, and many programs want some |
/// | [`lent`](Self::lent) | 4 | as many as there are readers, beside them: what a borrower does must not reach a reader |
/// | [`poll`](Self::poll) | 1 s | only if a wake-up was lost: the server forgets them when a connection breaks |
/// | [`timer`](Self::timer) | tokio's | |
///
/// ```no_run
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use resilience_cqrs::PostgresStore;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// // Ten processes of this and a server of a hundred connections: 3 + 3 + 2 each, at most.
/// let (readers, lent) = (NonZeroU32::new(3).ok_or("zero")?, NonZeroU32::new(2).ok_or("zero")?);
/// let store = PostgresStore::builder()
///     .schema("bank")
///     .readers(readers)
///     .lent(lent)
///     .poll(Duration::from_millis(500))
///     .open("postgres://bank@localhost/bank?sslmode=verify-full")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStoreBuilder {
    pub(super) name: Name,
    pub(super) schema: Option<String>,
    pub(super) readers: NonZeroU32,
    pub(super) lent: NonZeroU32,
    pub(super) poll: Duration,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

impl PostgresStoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("event_store"),
            schema: None,
            readers: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            lent: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            poll: Duration::from_secs(1),
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
        }
    }

    /// The name it goes by in events and logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// The schema the log's tables are in; made if it is not there. Each schema is a log of its own: one for the
    /// application's events, one for its sagas, one a tenant. A name has at most 63 bytes, for the server cuts the rest.
    ///
    /// ```no_run
    /// use resilience_cqrs::PostgresStore;
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// // Two logs, with an order and a lock each: neither waits for the other.
    /// let url = "postgres://shop@localhost/shop";
    /// let orders = PostgresStore::builder().schema("orders").open(url).await?;
    /// let sagas = PostgresStore::builder().schema("sagas").open(url).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// The connections for reads, beside one that writes, one that listens, and, once there was load, one that makes
    /// durable what was [written ahead of the disk](super#ahead-of-the-disk).
    ///
    /// Reads beyond that wait for one. Reads of streams that are asked for at the same time share one.
    #[must_use]
    pub fn readers(mut self, readers: NonZeroU32) -> Self {
        self.readers = readers;
        self
    }

    /// The most connections [lent](PostgresStore::connection) at once; projections in SQL borrow theirs, too. Made when they
    /// are asked for.
    #[must_use]
    pub fn lent(mut self, connections: NonZeroU32) -> Self {
        self.lent = connections;
        self
    }

    /// How often the head is asked for, besides when the server says that it has moved.
    ///
    /// How late a reader in this process may be, at most, if the wake-up by `NOTIFY` was lost.
    #[must_use]
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every;
        self
    }

    /// The clock: of `recorded_at`, of events, and of waiting between attempts to connect.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Adds a sink for [`Event`](super::Event)s.
    #[must_use]
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// Opens the log in the database at `url` (`postgres://user@host/database`), making its tables if they are not there.
    ///
    /// Must be called in a tokio runtime with time and I/O, which the store goes on to use: calls may then come from
    /// anywhere.
    ///
    /// ```
    /// use resilience_cqrs::PostgresStore;
    /// use resilience_cqrs::postgres::OpenError;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // What is wrong with the settings is found before any server is asked.
    /// let url = "postgres://bank@localhost/bank";
    /// assert!(matches!(PostgresStore::open("mysql://localhost/bank").await, Err(OpenError::Url(_))));
    /// let long = PostgresStore::builder().schema("s".repeat(64)).open(url).await;
    /// assert!(matches!(long, Err(OpenError::SchemaName)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`OpenError`]; the database is left as it was.
    pub async fn open(self, url: &str) -> Result<PostgresStore, OpenError> {
        open::open(self, url).await
    }
}
