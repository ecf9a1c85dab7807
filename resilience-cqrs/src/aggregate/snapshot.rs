//! States written down now and then, so that long streams need not be folded from the start.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::repository::Loaded;
use crate::forgetting::Epoch;
use crate::log::{Append, AppendError, BoxError, Condition, ReadError, RowChange, Space, StreamId, Version, digest_of};
use crate::store::EventStore;

/// The space of the snapshots, keyed by stream.
const SPACE: Space = Space::from_static("snapshot");

/// Snapshots written at the same time. A writer more than this is not waited for: a later command will do it.
const WRITERS: usize = 4;

/// When the state of an aggregate is written down, and how it is known to be of this program's making.
///
/// A snapshot is a row beside the log, one for each aggregate, and only ever a shortcut: everything in it follows from the
/// events, and without it they are folded from the first.
///
/// - It says how many events are folded into it, not how long the command was: an event is taken in once.
/// - It goes by a fingerprint. One with another fingerprint is not looked at, but replaced by the next.
/// - It is written after the command is answered. Whether that succeeds concerns nobody but [`Repository::snapshots`].
/// - An older one never replaces a newer one of the same fingerprint. While two releases run side by side, each replaces the
///   other's, and folds more than it would alone.
///
/// The fingerprint is of the label given here, the stream's name, and the names and types of the fields of the default
/// state. What the default does not show (the fields of an enum's other cases, of the elements of an empty list), and
/// what `evolve` makes of an event, it does not know: whoever changes that changes the label.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
/// use std::num::NonZeroU64;
/// use resilience_cqrs::MemoryStore;
/// use resilience_cqrs::aggregate::{Repository, Snapshots};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let every = NonZeroU64::new(100).unwrap();
/// let counters: Repository<Counter, _> =
///     Repository::builder(MemoryStore::new()).snapshots(Snapshots::every(every, "counter-1")).build();
/// for _ in 0..250 {
///     counters.execute("1", &1).await?;
/// }
/// while counters.snapshots().written == 0 {
///     tokio::task::yield_now().await; // it is written by a task of its own
/// }
/// assert_eq!(counters.load("1").await?.state.0, 250);
/// assert!(counters.snapshots().used > 0);
/// # Ok(()) }
/// ```
///
/// [`Repository::snapshots`]: super::Repository::snapshots
#[derive(Clone, Debug)]
pub struct Snapshots {
    every: NonZeroU64,
    label: String,
}

impl Snapshots {
    /// A snapshot whenever a stream has grown beyond another multiple of `every` events. `label` is part of the
    /// fingerprint: change it when `evolve` changes.
    ///
    /// A hundred is customary: fewer than some fifty events are folded faster than a snapshot is read.
    pub fn every(every: NonZeroU64, label: impl Into<String>) -> Self {
        Self { every, label: label.into() }
    }
}

/// What has become of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// Written.
    pub written: u64,
    /// Not written since a newer one was there, or four were being written.
    pub skipped: u64,
    /// Not written since the state could not be serialized or the store did not take it.
    pub failed: u64,
    /// Loaded from.
    pub used: u64,
    /// Not loaded from: of another fingerprint, or unreadable.
    pub ignored: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    used: AtomicU64,
    ignored: AtomicU64,
}

/// A snapshot as it is stored: fingerprint and version, eight bytes each with the highest first, and the state in JSON.
struct Stored<'a> {
    fingerprint: u64,
    version: u64,
    state: &'a [u8],
}

impl<'a> Stored<'a> {
    fn split(row: &'a [u8]) -> Option<Self> {
        let (fingerprint, rest) = row.split_first_chunk()?;
        let (version, state) = rest.split_first_chunk()?;
        Some(Self { fingerprint: u64::from_be_bytes(*fingerprint), version: u64::from_be_bytes(*version), state })
    }
}

/// The snapshots of one kind of aggregate.
pub(super) struct Keeper<D> {
    every: NonZeroU64,
    fingerprint: u64,
    // Here, so that aggregates without snapshots need not be serializable.
    encode: fn(&mut Vec<u8>, &D) -> serde_json::Result<()>,
    decode: fn(&[u8]) -> serde_json::Result<D>,
    counters: Arc<Counters>,
    writers: Arc<Semaphore>,
}

/// A state on its way to the store.
struct Draft {
    stream: StreamId,
    fingerprint: u64,
    version: Version,
    value: Bytes,
}

impl<D> Keeper<D> {
    pub(super) fn new(snapshots: &Snapshots, stream: &str) -> Self
    where
        D: Default + Serialize + DeserializeOwned,
    {
        let mut shape = format!("{}\u{0}{stream}\u{0}", snapshots.label);
        // A state that cannot be serialized has no snapshots either, so its shape does not matter.
        describe(&serde_json::to_value(D::default()).unwrap_or_default(), &mut shape);
        Self {
            every: snapshots.every,
            fingerprint: digest_of(shape.as_bytes()),
            encode: |row, state| serde_json::to_writer(row, state),
            decode: |state| serde_json::from_slice(state),
            counters: Arc::default(),
            writers: Arc::new(Semaphore::new(WRITERS)),
        }
    }

    pub(super) fn counts(&self) -> SnapshotCounts {
        let Counters { written, skipped, failed, used, ignored } = &*self.counters;
        // Relaxed: statistics.
        let [written, skipped, failed, used, ignored] =
            [written, skipped, failed, used, ignored].map(|counter| counter.load(Ordering::Relaxed));
        SnapshotCounts { written, skipped, failed, used, ignored }
    }

    /// The state to fold on from.
    pub(super) async fn read<S: EventStore>(
        &self,
        store: &S,
        stream: &StreamId,
    ) -> Result<Option<Loaded<D>>, ReadError> {
        let Some(row) = store.row(SPACE.as_str(), stream.as_str().as_bytes()).await? else { return Ok(None) };
        let stored = Stored::split(&row).filter(|stored| stored.fingerprint == self.fingerprint);
        let loaded = stored.and_then(|Stored { version, state, .. }| {
            let (state, version) = ((self.decode)(state).ok()?, Version::new(version));
            Some(Loaded { state, version, epoch: Epoch::default() })
        });
        let counter = if loaded.is_some() { &self.counters.used } else { &self.counters.ignored };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(loaded)
    }

    /// Writes a snapshot in the background if the stream has grown beyond a multiple of `every` since `before`.
    pub(super) fn grown<S: EventStore>(&self, store: &S, stream: &StreamId, before: Version, loaded: &Loaded<D>) {
        let passed = |version: Version| version.get() / self.every;
        if passed(loaded.version) <= passed(before) {
            return;
        }
        let (Ok(writer), Ok(runtime)) =
            (self.writers.clone().try_acquire_owned(), tokio::runtime::Handle::try_current())
        else {
            self.counters.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let draft = match self.draft(stream, loaded) {
            Ok(draft) => draft,
            Err(error) => return failed(&self.counters, stream, &error),
        };
        let (store, counters) = (store.clone(), self.counters.clone());
        drop(runtime.spawn(async move {
            let _writer = writer;
            match draft.write(&store).await {
                Ok(true) => drop(counters.written.fetch_add(1, Ordering::Relaxed)),
                Ok(false) => drop(counters.skipped.fetch_add(1, Ordering::Relaxed)),
                Err(error) => failed(&counters, &draft.stream, &*error),
            }
        }));
    }

    fn draft(&self, stream: &StreamId, loaded: &Loaded<D>) -> serde_json::Result<Draft> {
        let (fingerprint, version) = (self.fingerprint, loaded.version);
        let mut value = Vec::with_capacity(256);
        value.extend(fingerprint.to_be_bytes());
        value.extend(version.get().to_be_bytes());
        (self.encode)(&mut value, &loaded.state)?;
        Ok(Draft { stream: stream.clone(), fingerprint, version, value: value.into() })
    }
}

impl Draft {
    /// Writes it over an older one, or one of another fingerprint; false if a newer one is there.
    async fn write<S: EventStore>(&self, store: &S) -> Result<bool, BoxError> {
        let key = Bytes::copy_from_slice(self.stream.as_str().as_bytes());
        loop {
            let there = store.row(SPACE.as_str(), &key).await?;
            let stored = there.as_deref().and_then(Stored::split);
            let mine = stored.filter(|stored| stored.fingerprint == self.fingerprint);
            if mine.is_some_and(|stored| stored.version >= self.version.get()) {
                return Ok(false);
            }
            let guard = Condition::Row { space: SPACE, key: key.clone(), equals: there };
            let append = Append::new().require(guard).row(RowChange::put(SPACE, key.clone(), self.value.clone()));
            match store.append(append).await {
                Ok(_) => return Ok(true),
                // Somebody else wrote one: perhaps an older one.
                Err(AppendError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn failed(counters: &Counters, stream: &StreamId, error: &dyn fmt::Display) {
    counters.failed.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(%stream, %error, "snapshot not written");
}

/// The names and types in a value, without what is in them.
fn describe(value: &serde_json::Value, into: &mut String) {
    use serde_json::Value;
    match value {
        Value::Null => into.push('?'),
        Value::Bool(_) => into.push('b'),
        Value::Number(number) => into.push(if number.is_f64() { 'f' } else { 'i' }),
        Value::String(_) => into.push('s'),
        Value::Array(items) => {
            into.push('[');
            items.iter().for_each(|item| describe(item, into));
            into.push(']');
        }
        Value::Object(fields) => {
            into.push('{');
            for (name, value) in fields {
                into.push_str(name);
                into.push(':');
                describe(value, into);
                into.push(',');
            }
            into.push('}');
        }
    }
}

impl<D> fmt::Debug for Keeper<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("every", &self.every).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
