//! Where keys are kept.

use std::future::Future;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use super::key::{KEY_BYTES, Key, KeyError, Use};
use super::subject::SubjectId;
use crate::log::{Append, AppendError, Condition, Corrupt, ReadError, RowChange, Space};
use crate::store::EventStore;

/// The keys, by subject.
const KEYS: Space = Space::from_static("privacy-key");
/// The subjects that were forgotten.
const FORGOTTEN: Space = Space::from_static("privacy-forgotten");

/// Keys asked for at once.
const AT_ONCE: usize = 16;

/// What a key store has of a subject.
#[derive(Clone, Debug)]
pub enum KeyState {
    /// Its key.
    Kept(Key),
    /// That it was forgotten. This never changes.
    Forgotten,
    /// Nothing: there was no key yet, or it was lost.
    Unknown,
}

/// Keeps a key for each subject, until it is told to destroy it.
///
/// For a key management service of yours. [`StoreKeys`] keeps them in rows of any [`EventStore`].
pub trait KeyStore: Send + Sync + 'static {
    /// What there is of these subjects, in their order.
    ///
    /// # Errors
    /// The store could not be asked; then nothing is known of any of them.
    fn fetch(&self, subjects: &[SubjectId]) -> impl Future<Output = Result<Vec<KeyState>, KeyError>> + Send;

    /// Keeps `key` for a subject of which nothing is known, durably, and says what there is then: another's key, if
    /// somebody was faster, and that it was forgotten, if it was.
    ///
    /// # Errors
    /// The store could not be asked. The key may have been kept.
    fn create(&self, subject: &SubjectId, key: &Key) -> impl Future<Output = Result<KeyState, KeyError>> + Send;

    /// Destroys a subject's key, if there is one, and remembers that, durably and in one step.
    ///
    /// # Errors
    /// The store could not be asked. It may have been done, and doing it again changes nothing.
    fn destroy(&self, subject: &SubjectId) -> impl Future<Output = Result<(), KeyError>> + Send;

    /// The subjects that were forgotten, in the order of their names, after `after`. Fewer than `limit` only at the end.
    ///
    /// # Errors
    /// The store could not be asked.
    fn forgotten(
        &self,
        after: Option<&SubjectId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SubjectId>, KeyError>> + Send;
}

/// Keys in rows of a store, which should be another than that of the events: a backup of the events then has no keys, and
/// keys can be kept for less long than events.
///
/// ```
/// use resilience_cqrs::MemoryStore;
/// use resilience_cqrs::privacy::{Key, KeyState, KeyStore, StoreKeys};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = StoreKeys::new(MemoryStore::new());
/// let ann = "s-1".into();
/// keys.create(&ann, &Key::generate()?).await?;
/// keys.destroy(&ann).await?;
/// // For good: who is forgotten is not given another key.
/// assert!(matches!(keys.create(&ann, &Key::generate()?).await?, KeyState::Forgotten));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct StoreKeys<S> {
    store: S,
    master: Option<Key>,
}

impl<S: EventStore> StoreKeys<S> {
    /// Keys in the rows of a store, as they are.
    pub fn new(store: S) -> Self {
        Self { store, master: None }
    }

    /// Keys in the rows of a store, each encrypted under a master key that is kept elsewhere. Keys that were written
    /// without it, or under another one, cannot be read.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::privacy::{Key, KeyState, KeyStore, StoreKeys};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (rows, master) = (MemoryStore::new(), Key::generate()?);
    /// let ann = ["s-1".into()];
    /// StoreKeys::encrypted(rows.clone(), master.clone()).create(&ann[0], &Key::generate()?).await?;
    /// // With the master key it is there; with another it is not "unknown", which would let a second key be made.
    /// let kept = StoreKeys::encrypted(rows.clone(), master).fetch(&ann).await?;
    /// assert!(matches!(kept[0], KeyState::Kept(_)));
    /// let error = StoreKeys::encrypted(rows, Key::generate()?).fetch(&ann).await.unwrap_err();
    /// assert!(!error.is_retryable());
    /// # Ok(()) }
    /// ```
    pub fn encrypted(store: S, master: Key) -> Self {
        Self { store, master: Some(master) }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    async fn state(&self, subject: SubjectId) -> Result<KeyState, KeyError> {
        // The key first: one that is destroyed in between is remembered by then.
        if let Some(row) = self.store.row(KEYS.as_str(), subject.as_str().as_bytes()).await? {
            let key = self.read(&subject, &row);
            let corrupt = || KeyError::new(false, Corrupt::new(format!("the key of {subject:?} cannot be read")));
            return Ok(KeyState::Kept(key.ok_or_else(corrupt)?));
        }
        let forgotten = self.store.row(FORGOTTEN.as_str(), subject.as_str().as_bytes()).await?.is_some();
        Ok(if forgotten { KeyState::Forgotten } else { KeyState::Unknown })
    }

    fn read(&self, subject: &SubjectId, row: &[u8]) -> Option<Key> {
        match &self.master {
            None => Some(Key::from_bytes(<[u8; KEY_BYTES]>::try_from(row).ok()?)),
            Some(master) => {
                let key = master.decrypt(Use::Wrapped { subject: subject.as_str() }, row)?;
                Some(Key::from_bytes(<[u8; KEY_BYTES]>::try_from(key.as_slice()).ok()?))
            }
        }
    }

    fn write(&self, subject: &SubjectId, key: &Key) -> Result<Bytes, KeyError> {
        match &self.master {
            None => Ok(Bytes::copy_from_slice(key.as_bytes())),
            Some(master) => {
                let used = Use::Wrapped { subject: subject.as_str() };
                Ok(master.encrypt(used, key.as_bytes())?.into())
            }
        }
    }
}

fn row(subject: &SubjectId) -> Bytes {
    Bytes::copy_from_slice(subject.as_str().as_bytes())
}

impl<S: EventStore> KeyStore for StoreKeys<S> {
    async fn fetch(&self, subjects: &[SubjectId]) -> Result<Vec<KeyState>, KeyError> {
        let states: Vec<_> = subjects.iter().map(|subject| self.state(subject.clone())).collect();
        futures::stream::iter(states).buffered(AT_ONCE).try_collect().await
    }

    async fn create(&self, subject: &SubjectId, key: &Key) -> Result<KeyState, KeyError> {
        let append = Append::new()
            .require(Condition::row_absent(KEYS, row(subject)))
            .require(Condition::row_absent(FORGOTTEN, row(subject)))
            .row(RowChange::put(KEYS, row(subject), self.write(subject, key)?));
        match self.store.append(append).await {
            Ok(_) => Ok(KeyState::Kept(key.clone())),
            Err(AppendError::Conflict(_)) => self.state(subject.clone()).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn destroy(&self, subject: &SubjectId) -> Result<(), KeyError> {
        let append = Append::new().row(RowChange::delete(KEYS, row(subject))).row(RowChange::put(
            FORGOTTEN,
            row(subject),
            Bytes::new(),
        ));
        self.store.append(append).await?;
        Ok(())
    }

    async fn forgotten(&self, after: Option<&SubjectId>, limit: usize) -> Result<Vec<SubjectId>, KeyError> {
        let after = after.map(|subject| subject.as_str().as_bytes());
        let rows = self.store.rows(FORGOTTEN.as_str(), after, limit).await?;
        let name = |(key, _): (Bytes, Bytes)| {
            let corrupt = |_| KeyError::new(false, Corrupt::new("the name of somebody forgotten is no text"));
            String::from_utf8(key.into()).map(SubjectId::from).map_err(corrupt)
        };
        rows.into_iter().map(name).collect()
    }
}

impl From<ReadError> for KeyError {
    fn from(error: ReadError) -> Self {
        Self::new(error.is_retryable(), error)
    }
}

impl From<AppendError> for KeyError {
    fn from(error: AppendError) -> Self {
        Self::new(error.is_retryable(), error)
    }
}
