//! Setting up a store.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use resilience_core::Name;
use resilience_core::event::{Listeners, Sink};
use resilience_core::time::SharedTimer;

use super::{OpenError, RedbStore, open};

/// Sets up a [`RedbStore`].
///
/// | setting | default | why |
/// |---|---|---|
/// | [`name`](Self::name) | `event_store` | one store is the usual case |
/// | [`readers`](Self::readers) | 4, at most one a processor | reads are short; more only queue at the processor |
/// | [`cache`](Self::cache) | 128 MiB | enough for the inner pages of a large log; redb's own default is 1 GiB |
/// | [`lock_wait`](Self::lock_wait) | 5 s | an orderly restart overlaps for a moment, a mistake does not pass |
/// | [`quick_repair`](Self::quick_repair) | off | it makes each commit dearer |
/// | [`verify_on_open`](Self::verify_on_open) | off | it reads the whole file |
/// | [`timer`](Self::timer) | tokio's | |
#[derive(Clone, Debug)]
pub struct RedbStoreBuilder {
    pub(super) name: Name,
    pub(super) readers: Option<NonZeroUsize>,
    pub(super) cache_bytes: usize,
    pub(super) lock_wait: Duration,
    pub(super) quick_repair: bool,
    pub(super) verify: bool,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<super::tests::Faults>,
}

impl RedbStoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("event_store"),
            readers: None,
            cache_bytes: 128 << 20,
            lock_wait: Duration::from_secs(5),
            quick_repair: false,
            verify: false,
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

    /// How many reads may run at once, each on a thread of its own.
    #[must_use]
    pub fn readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = Some(readers);
        self
    }

    /// The memory, in bytes, that pages of the file may take.
    ///
    /// A larger file is read as before; what is not kept is read from the file system's own cache, or the medium.
    #[must_use]
    pub fn cache(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How long opening waits for another store to give up the file.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::RedbStore;
    /// use resilience_cqrs::redb::OpenError;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("bank.redb");
    /// let first = RedbStore::open(&path).await?;
    /// let second = RedbStore::builder().lock_wait(Duration::ZERO).open(&path).await;
    /// assert!(matches!(second, Err(OpenError::Locked { .. })));
    /// first.close().await;
    /// RedbStore::builder().lock_wait(Duration::ZERO).open(&path).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// Whether a file that was not closed is opened again at once. Otherwise that takes about as long as reading it, which
    /// at some gigabytes is a minute; with it each commit writes more, and is two syncs in place of one.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use resilience_cqrs::RedbStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("bank.redb");
    /// // A service that must be back in a second after a kill, with a log of gigabytes and few appends.
    /// let builder = RedbStore::builder().quick_repair(true).cache(512 << 20).readers(NonZeroUsize::MIN);
    /// let store = builder.open(path).await?;
    /// store.close().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn quick_repair(mut self, on: bool) -> Self {
        self.quick_repair = on;
        self
    }

    /// Whether opening reads the whole file and compares the checksum of every page. Otherwise damage is found when
    /// something that lies there is asked for.
    #[must_use]
    pub fn verify_on_open(mut self, on: bool) -> Self {
        self.verify = on;
        self
    }

    /// The clock: of `recorded_at`, of events, and of waiting for the lock.
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

    /// Opens the store, making the file if it is not there.
    ///
    /// Dropped before it completes, the file is given up once it has been opened, which after a kill may take a while.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(self, path: impl Into<PathBuf>) -> Result<RedbStore, OpenError> {
        open::open(self, path.into()).await
    }
}
