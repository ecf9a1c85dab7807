//! Setting up a store.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use resilience_core::Name;
use resilience_core::event::{Listeners, Sink};
use resilience_core::time::SharedTimer;

use super::{OpenError, SqliteStore, open};

/// Sets up a [`SqliteStore`].
///
/// | setting | default | why |
/// |---|---|---|
/// | [`name`](Self::name) | `event_store` | one store is the usual case |
/// | [`readers`](Self::readers) | 4, at most one a processor | reads are short; more only queue at the processor |
/// | [`lock_wait`](Self::lock_wait) | 5 s | an orderly restart overlaps for a moment, a mistake does not pass |
/// | [`busy_timeout`](Self::busy_timeout) | 5 s | tools that write to read models hold the database for milliseconds |
/// | [`max_size`](Self::max_size) | none | the disk's own limit |
/// | [`erase`](Self::erase) | no | only keys need it, and it costs a commit as much again |
/// | [`timer`](Self::timer) | tokio's | |
#[derive(Clone, Debug)]
pub struct SqliteStoreBuilder {
    pub(super) name: Name,
    pub(super) readers: Option<NonZeroUsize>,
    pub(super) lock_wait: Duration,
    pub(super) busy_timeout: Duration,
    pub(super) max_bytes: Option<u64>,
    pub(super) erase: bool,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<super::tests::Faults>,
}

impl SqliteStoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("event_store"),
            readers: None,
            lock_wait: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(5),
            max_bytes: None,
            erase: false,
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// The name it goes by in events and logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// How many reads may run at once, each on a thread and a connection of its own.
    ///
    /// Reads beyond that wait their turn, and nobody's runtime thread with them. A [query of your
    /// own](SqliteStore::read_sql) has a reader for as long as it runs, so leave room for the others beside long ones.
    #[must_use]
    pub fn readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = Some(readers);
        self
    }

    /// How long opening waits for another store to give up the file.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::SqliteStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("bank.db");
    /// let first = SqliteStore::open(&path).await?;
    /// // One file, one store: a second one is told so, at once if it does not want to wait for the first to end.
    /// assert!(SqliteStore::builder().lock_wait(Duration::ZERO).open(&path).await.is_err());
    /// first.close().await;
    /// assert!(SqliteStore::builder().lock_wait(Duration::ZERO).open(&path).await.is_ok());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// How long the writer waits for another connection's transaction on the same file.
    #[must_use]
    pub fn busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// The size in bytes the database file may reach; appends beyond are refused as
    /// [`Full`](crate::AppendError::Full), and go on once there is room. Rounded to pages of 4 KiB.
    ///
    /// The write-ahead log beside it comes on top: some 4 MiB in idle times and 32 MiB under load, more while a long
    /// read holds it back.
    ///
    /// ```
    /// use resilience_cqrs::{Append, AppendError, EventStore, Expected, NewEvent, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("bank.db");
    /// let store = SqliteStore::builder().max_size(256 << 10).open(path).await?;
    /// let large = || Append::new().events("a", Expected::Any, [NewEvent::new("Scanned", vec![0; 100 << 10])]);
    /// store.append(large()).await?;
    /// let full = loop {
    ///     if let Err(error) = store.append(large()).await {
    ///         break error;
    ///     }
    /// };
    /// assert!(matches!(full, AppendError::Full));
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Small", "")])).await?; // has room
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Whether the file is to hold nothing any more of rows that were deleted or replaced: freed bytes are overwritten with
    /// zeros, and the write-ahead log is brought over and cut after each batch of appends. For keys that are to be gone
    /// when they are [destroyed](crate::privacy); what the file system and the medium keep of it is out of reach.
    ///
    /// A reader of another program that is in the middle of something holds back the cut until a later append.
    ///
    /// ```
    /// use resilience_cqrs::privacy::{StoreKeys, Vault};
    /// use resilience_cqrs::SqliteStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("keys.db");
    /// // Of the keys, and of nothing else: events are not erased, so theirs is a file without.
    /// let keys = SqliteStore::builder().erase(true).open(path).await?;
    /// let vault = Vault::new(StoreKeys::new(keys));
    /// vault.subject("s-1").await?;
    /// vault.forget("s-1").await?; // and nothing of the key is in the file
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn erase(mut self, erase: bool) -> Self {
        self.erase = erase;
        self
    }

    /// The clock: of `recorded_at`, of events, and of waiting for the lock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Adds a sink for [`Event`](super::Event)s.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::Arc;
    /// use resilience_core::event::{Event, Sink};
    /// use resilience_cqrs::{Append, EventStore, Expected, NewEvent, SqliteStore, sqlite};
    ///
    /// /// How many commits there were: fewer than appends, under load.
    /// #[derive(Default)]
    /// struct Commits(AtomicU64);
    ///
    /// impl Sink for Commits {
    ///     fn on_event(&self, event: &Event<'_>) {
    ///         if let Some(sqlite::Event::Committed { took, .. }) = event.fact() {
    ///             assert!(!took.is_zero());
    ///             self.0.fetch_add(1, Ordering::Relaxed);
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("bank.db");
    /// let commits = Arc::new(Commits::default());
    /// let store = SqliteStore::builder().listener(commits.clone()).open(path).await?;
    /// let one = || Append::new().events("a", Expected::Any, [NewEvent::new("Paid", "5")]);
    /// let _ = tokio::join!(store.append(one()), store.append(one()), store.append(one()));
    /// store.close().await; // events are told after the answers
    /// assert!((1..=3).contains(&commits.0.load(Ordering::Relaxed)));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// Opens the store, making the file if it is not there.
    ///
    /// # Errors
    /// See [`OpenError`]; the file is left as it was.
    pub async fn open(self, path: impl Into<PathBuf>) -> Result<SqliteStore, OpenError> {
        open::open(self, path.into()).await
    }
}
