//! The keys of this program.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use resilience_core::time::{SharedTimer, Timestamp};
use thiserror::Error;

use super::key::{Key, KeyError};
use super::keys::{KeyState, KeyStore};
use super::personal::{Personal, PersonalData};
use super::subject::{Subject, SubjectId};
use crate::forgetting::Forgetting;

/// Subjects that are forgotten again at once, when a list is applied.
const PAGE: usize = 256;

/// The keys of this program: those of a [`KeyStore`], with the latest kept at hand. Clones are one vault.
pub struct Vault<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    keys: K,
    kept: Mutex<Cache<SubjectId, (KeyState, Timestamp)>>,
    max_age: Duration,
    timer: SharedTimer,
    forgetting: Forgetting,
}

/// Sets up a [`Vault`].
#[derive(Debug)]
pub struct VaultBuilder<K> {
    keys: K,
    cache: NonZeroUsize,
    max_age: Duration,
    timer: SharedTimer,
}

/// There is no key for a subject.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The subject was forgotten. Who comes back is somebody else: give him another name.
    #[error("{subject:?} was forgotten")]
    Forgotten {
        /// The subject.
        subject: SubjectId,
    },
    /// The name is empty, too long or has control characters.
    #[error("{reason}")]
    Name {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The keys could not be asked for.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl<K: KeyStore> Vault<K> {
    /// With the defaults.
    pub fn new(keys: K) -> Self {
        Self::builder(keys).build()
    }

    /// Sets up a vault.
    pub fn builder(keys: K) -> VaultBuilder<K> {
        VaultBuilder {
            keys,
            cache: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            max_age: Duration::from_secs(60),
            timer: SharedTimer::default(),
        }
    }

    /// A subject with its key, which is made, durably, if this is the first that is heard of it.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::privacy::{StoreKeys, Vault, VaultError};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
    /// let name = vault.subject("s-1").await?.seal("Ann".to_owned())?;
    /// // A command that is repeated says the same, so it is recognised by its id.
    /// let again = vault.subject("s-1").await?.seal("Ann".to_owned())?;
    /// assert_eq!(serde_json::to_string(&name)?, serde_json::to_string(&again)?);
    /// vault.forget("s-1").await?;
    /// assert!(matches!(vault.subject("s-1").await, Err(VaultError::Forgotten { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn subject(&self, id: impl Into<SubjectId>) -> Result<Subject, VaultError> {
        let id = id.into();
        id.check().map_err(|reason| VaultError::Name { reason })?;
        let asked = self.shared.timer.now();
        let mut state = self.lookup(std::slice::from_ref(&id)).await?.remove(&id).unwrap_or(KeyState::Unknown);
        if matches!(state, KeyState::Unknown) {
            state = self.shared.keys.create(&id, &Key::generate()?).await?;
            self.keep(&id, &state, asked);
        }
        match state {
            KeyState::Kept(key) => Ok(Subject::new(id, key)),
            KeyState::Forgotten => Err(VaultError::Forgotten { subject: id }),
            // A key store that takes a key and does not have it.
            KeyState::Unknown => Err(KeyError::new(true, "the key that was made is not there").into()),
        }
    }

    /// Destroys the key of a subject, for good: from here on its values read as redacted, wherever they were written, in
    /// this program at once and in others once they ask for the key again. States that are
    /// [kept](crate::aggregate::RepositoryBuilder::keep_states) over a [`PrivateStore`](super::PrivateStore) with this vault
    /// are dropped.
    ///
    /// Whoever reads events through a [`PrivateStore`](super::PrivateStore) uses its
    /// [`forget`](super::PrivateStore::forget) instead, which also tells those who have made something of the values.
    ///
    /// # Errors
    /// [`KeyError`]: it may have been done or not; do it again.
    pub async fn forget(&self, subject: impl Into<SubjectId>) -> Result<(), KeyError> {
        let subject = subject.into();
        self.shared.keys.destroy(&subject).await?;
        self.keep(&subject, &KeyState::Forgotten, self.shared.timer.now());
        self.shared.forgetting.forget(); // After the line above: what is read from here on is redacted.
        Ok(())
    }

    /// Who was forgotten, in the order of their names, after `after`: to be kept with the backups of the keys.
    /// Fewer than `limit` only at the end.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub async fn forgotten(&self, after: Option<&SubjectId>, limit: usize) -> Result<Vec<SubjectId>, KeyError> {
        self.shared.keys.forgotten(after, limit).await
    }

    /// Forgets all of these who are not forgotten yet, and says how many that were: what makes the keys of an old backup
    /// fit to be used.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::privacy::{StoreKeys, Vault};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
    /// for name in ["s-1", "s-2"] {
    ///     vault.forget(name).await?;
    /// }
    /// let list = vault.forgotten(None, 100).await?; // kept beside the backups
    /// let restored = Vault::new(StoreKeys::new(MemoryStore::new()));
    /// assert_eq!(restored.forget_all(list.clone()).await?, 2);
    /// assert_eq!(restored.forget_all(list).await?, 0, "done twice is done once");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`KeyError`]; do it again.
    pub async fn forget_all(&self, subjects: impl IntoIterator<Item = SubjectId>) -> Result<u64, KeyError> {
        let mut subjects = subjects.into_iter().peekable();
        let mut forgotten = 0;
        while subjects.peek().is_some() {
            let page: Vec<_> = subjects.by_ref().take(PAGE).collect();
            let states = self.shared.keys.fetch(&page).await?;
            for (subject, state) in page.iter().zip(states) {
                if !matches!(state, KeyState::Forgotten) {
                    self.forget(subject).await?;
                    forgotten += 1;
                }
            }
        }
        Ok(forgotten)
    }

    /// The key store.
    pub fn keys(&self) -> &K {
        &self.shared.keys
    }

    /// A value that was read past the [`PrivateStore`](super::PrivateStore), with what there is of it.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::privacy::{Personal, StoreKeys, Vault, View};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
    /// let written = serde_json::to_string(&vault.subject("s-1").await?.seal(1987_u32)?)?;
    /// // From a message, say, which has gone past the store.
    /// let year: Personal<u32> = serde_json::from_str(&written)?;
    /// assert_eq!(year.view(), View::Sealed);
    /// assert_eq!(vault.open(year).await?.into_value(), Some(1987));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`KeyError`].
    pub async fn open<T: PersonalData>(&self, value: Personal<T>) -> Result<Personal<T>, KeyError> {
        let subject = value.subject().clone();
        let state = self.lookup(std::slice::from_ref(&subject)).await?.remove(&subject);
        Ok(match state {
            Some(KeyState::Kept(key)) => value.opened(&key),
            Some(KeyState::Forgotten) => value.redacted(),
            Some(KeyState::Unknown) | None => value,
        })
    }

    /// For those who keep states between commands.
    pub(super) fn forgetting(&self) -> Forgetting {
        self.shared.forgetting.clone()
    }

    /// What there is of these subjects: what is kept, if it is not too old, and what the key store says.
    pub(super) async fn lookup(&self, subjects: &[SubjectId]) -> Result<HashMap<SubjectId, KeyState>, KeyError> {
        let asked = self.shared.timer.now();
        let mut found = HashMap::with_capacity(subjects.len());
        let mut unknown = Vec::new();
        {
            let mut kept = self.lock();
            for subject in subjects {
                match kept.get(subject) {
                    Some((KeyState::Forgotten, _)) => drop(found.insert(subject.clone(), KeyState::Forgotten)),
                    Some((state, at)) if asked.since(*at) < self.shared.max_age => {
                        found.insert(subject.clone(), state.clone());
                    }
                    _ => unknown.push(subject.clone()),
                }
            }
            // One that is too old is not kept for whoever reads the memory of this process.
            unknown.iter().for_each(|subject| drop(kept.remove(subject)));
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let states = self.shared.keys.fetch(&unknown).await?;
        for (subject, state) in unknown.into_iter().zip(states) {
            let state = self.keep(&subject, &state, asked);
            found.insert(subject, state);
        }
        Ok(found)
    }

    /// Keeps what was said when it was `asked`, and says what there is: who was forgotten meanwhile stays so.
    fn keep(&self, subject: &SubjectId, state: &KeyState, asked: Timestamp) -> KeyState {
        let mut kept = self.lock();
        if let Some((KeyState::Forgotten, _)) = kept.peek(subject) {
            return KeyState::Forgotten;
        }
        // What is not known is asked again: the key may be made any moment.
        if !matches!(state, KeyState::Unknown) {
            kept.insert(subject.clone(), (state.clone(), asked));
        }
        state.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Cache<SubjectId, (KeyState, Timestamp)>> {
        // Nothing in it depends on anything else in it.
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: KeyStore> VaultBuilder<K> {
    /// The most keys kept at hand, those used most. Default: 10,000, of which each has some 300 bytes.
    #[must_use]
    pub fn cache(mut self, keys: NonZeroUsize) -> Self {
        self.cache = keys;
        self
    }

    /// For how long a key is used before the key store is asked again: how long this program may still read the values of
    /// somebody whom *another* program has forgotten, and keep states for as long again. Zero asks each time, and keeps
    /// none. Default: 60 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::ManualTimer;
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::privacy::{KeyStore, StoreKeys, Vault};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (rows, timer) = (MemoryStore::new(), ManualTimer::new());
    /// let here = Vault::builder(StoreKeys::new(rows.clone())).max_age(Duration::from_secs(10));
    /// let here = here.timer(timer.clone()).build();
    /// let name = here.subject("s-1").await?.seal("Ann".to_owned())?;
    /// StoreKeys::new(rows).destroy(&"s-1".into()).await?; // by another program
    /// assert!(!here.open(name.clone()).await?.is_redacted());
    /// timer.advance(Duration::from_secs(10));
    /// assert!(here.open(name).await?.is_redacted());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// What that is measured by. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// The vault. Nothing that can be set is wrong.
    pub fn build(self) -> Vault<K> {
        let Self { keys, cache, max_age, timer } = self;
        let kept = Mutex::new(Cache::new(cache.get()));
        let forgetting = Forgetting::each(max_age, timer.clone());
        Vault { shared: Arc::new(Shared { keys, kept, max_age, timer, forgetting }) }
    }
}

impl<K> Clone for Vault<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> fmt::Debug for Vault<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("max_age", &self.shared.max_age).finish_non_exhaustive()
    }
}
