//! A store whose personal values are opened when they are read.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::{Key, KeyError, Use, of_this_process};
use super::keys::{KeyState, KeyStore};
use super::subject::SubjectId;
use super::token::{self, Form, Token};
use super::vault::Vault;
use crate::forgetting::Forgetting;
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Condition, Conflict, Corrupt, EventType, Expected, NewEvent,
    Position, Query, ReadError, Recorded, RowChange, StreamId, Unavailable, Version, Violation, Written,
};
use crate::store::{EventStore, Page};

/// The type of the event that says that somebody was forgotten.
pub const SUBJECT_FORGOTTEN: EventType = EventType::from_static("SubjectForgotten");

/// The stream of those events.
const STREAM: StreamId = StreamId::from_static("privacy-forgotten");

/// What the command is called by which somebody is forgotten; followed by the name. Not what a program would call one of
/// its own, for that would be another command under the same id.
const FORGET: &str = "resilience-cqrs/privacy/forget/";

/// Events read at once when those who were forgotten are looked up.
const PAGE: usize = 512;

/// What the event says.
///
/// ```
/// use resilience_cqrs::aggregate::{EventCodec, Json};
/// use resilience_cqrs::privacy::{SUBJECT_FORGOTTEN, SubjectForgotten};
/// use resilience_cqrs::{BoxError, Recorded};
///
/// /// In a projection that has taken names out of events.
/// fn forget(event: &Recorded, names: &mut std::collections::HashMap<String, String>) -> Result<(), BoxError> {
///     if event.kind == SUBJECT_FORGOTTEN {
///         let SubjectForgotten { subject } = Json.decode(event)?;
///         names.remove(&subject);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectForgotten {
    /// Who was.
    pub subject: String,
}

/// A store in front of another, which opens personal values in what is read, and lets none out in what is written.
///
/// Whatever takes an [`EventStore`] takes this one: repositories with their snapshots, decisions, projections and what
/// reads their rows. Keys are asked for before a page is handed on, all of a page at once, so decoding one needs none.
///
/// Between here and [`Personal`](super::Personal) values are encrypted under a key of this process. So the bytes of an event
/// say nothing to whom they are handed, logged or sent on, only the type does; and whoever puts the ciphertext of
/// somebody's value into a field of his own, which is not personal, gets no value back.
///
/// ```
/// use resilience_cqrs::privacy::{Personal, PrivateStore, StoreKeys, Vault, View};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
/// let store = PrivateStore::open(MemoryStore::new(), vault.clone()).await?;
/// let name = vault.subject("s-1").await?.seal("Ann".to_owned())?;
/// let registered = NewEvent::new("Registered", serde_json::to_vec(&name)?);
/// store.append(Append::new().events("customer-1", Expected::Any, [registered])).await?;
/// // The same event, read in front of the keys and past them.
/// let through = store.read_stream(&"customer-1".into(), Version::EMPTY, 1).await?;
/// let past = store.inner().read_stream(&"customer-1".into(), Version::EMPTY, 1).await?;
/// let read = |payload| serde_json::from_slice::<Personal<String>>(payload);
/// assert_eq!(read(&through[0].payload)?.get().map(String::as_str), Some("Ann"));
/// assert_eq!(read(&past[0].payload)?.view(), View::Sealed);
/// # Ok(()) }
/// ```
pub struct PrivateStore<S, K> {
    inner: S,
    vault: Vault<K>,
}

/// The log and the keys could not be brought together, or somebody could not be forgotten.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// The keys could not be asked for, or the name is none that a subject has. The log may say that the subject was
    /// forgotten, and its key may be there still.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The log may not say that the subject was forgotten; the key was not touched.
    #[error("the log does not take that somebody was forgotten")]
    Append(#[source] AppendError),
    /// The log could not be read.
    #[error("the log cannot be read")]
    Read(#[source] ReadError),
}

impl<S: EventStore, K: KeyStore> PrivateStore<S, K> {
    /// A store with its keys. Everybody who was forgotten according to the log is forgotten by the key store too, which
    /// knows that already, unless it was restored from a backup.
    ///
    /// # Errors
    /// See [`ForgetError`].
    pub async fn open(inner: S, vault: Vault<K>) -> Result<Self, ForgetError> {
        let store = Self { inner, vault };
        store.forget_again().await?;
        Ok(store)
    }

    /// Forgets a subject: appends a [`SUBJECT_FORGOTTEN`] for those who have kept something that is not a
    /// [`Personal`](super::Personal) (an index of names, a letter that waits to be sent), and destroys its key.
    ///
    /// Once the log says it, it will be done: what is cut short in between, by a crash for instance, is finished by the next
    /// [`open`](Self::open).
    ///
    /// ```
    /// use resilience_cqrs::privacy::{PrivateStore, SUBJECT_FORGOTTEN, StoreKeys, Vault};
    /// use resilience_cqrs::{EventStore, MemoryStore, Position, Query};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = PrivateStore::open(MemoryStore::new(), Vault::new(StoreKeys::new(MemoryStore::new()))).await?;
    /// store.forget("s-1").await?;
    /// assert!(store.forget("s-1").await?.already_committed);
    /// // What a projection hears that has made an index of names.
    /// let said = store.read(Position::ORIGIN, &Query::types([SUBJECT_FORGOTTEN]), 10).await?;
    /// assert_eq!(said.events[0].tags, ["subject:s-1"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ForgetError`]: do it again, until it says that it is done. Done twice is done once.
    pub async fn forget(&self, subject: impl Into<SubjectId>) -> Result<Appended, ForgetError> {
        let subject = subject.into();
        subject.check().map_err(|reason| KeyError::new(false, reason))?;
        let said = SubjectForgotten { subject: subject.as_str().to_owned() };
        let payload = serde_json::to_vec(&said).map_err(|error| KeyError::new(false, error))?;
        let event = NewEvent::new(SUBJECT_FORGOTTEN, payload).tag(subject.tag());
        let append = Append::new().events(STREAM, Expected::Any, [event]).command_id(format!("{FORGET}{subject}"));
        // Before the key is gone: it can still be destroyed by whoever reads this, but nobody could say it afterwards.
        let appended = self.inner.append(append).await.map_err(ForgetError::Append)?;
        self.vault.forget(&subject).await?;
        Ok(appended)
    }

    /// Has the key store forget everybody who was forgotten according to the log, and says how many it did not know of.
    ///
    /// For keys that were restored while this store was open; [`open`](Self::open) does it too.
    ///
    /// ```
    /// use resilience_cqrs::privacy::{PrivateStore, StoreKeys, Vault};
    /// use resilience_cqrs::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log = MemoryStore::new();
    /// let store = PrivateStore::open(log.clone(), Vault::new(StoreKeys::new(MemoryStore::new()))).await?;
    /// store.forget("s-1").await?;
    /// // The keys of last week, in which she still has one. Nobody need remember to clean them.
    /// let restored = Vault::new(StoreKeys::new(MemoryStore::new()));
    /// restored.subject("s-1").await?;
    /// PrivateStore::open(log, restored.clone()).await?;
    /// assert!(restored.subject("s-1").await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ForgetError`].
    pub async fn forget_again(&self) -> Result<u64, ForgetError> {
        let (mut at, mut forgotten) = (Position::ORIGIN, 0);
        let query = Query::types([SUBJECT_FORGOTTEN]);
        loop {
            let page = self.inner.read(at, &query, PAGE).await.map_err(ForgetError::Read)?;
            let mut subjects = Vec::with_capacity(page.events.len());
            for event in page.events.iter().filter(|event| event.stream == STREAM) {
                let said = serde_json::from_slice::<SubjectForgotten>(&event.payload);
                let corrupt = |_| Corrupt::new(format!("event {} does not say who was forgotten", event.position));
                let said = said.map_err(|error| ForgetError::Read(ReadError::Corrupt(corrupt(error))))?;
                subjects.push(SubjectId::from(said.subject));
            }
            forgotten += self.vault.forget_all(subjects).await?;
            at = page.next;
            if page.is_last() {
                return Ok(forgotten);
            }
        }
    }

    /// The vault.
    pub fn vault(&self) -> &Vault<K> {
        &self.vault
    }

    /// The store behind it, with values as they are at rest: for a relay to others, a copy, a chain of hashes.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Opens the values in some payloads, all keys at once.
    async fn open_all<'b>(&self, payloads: impl Iterator<Item = &'b mut Bytes> + Send) -> Result<(), KeyError> {
        let mut with_values = Vec::new();
        let mut subjects = BTreeSet::new();
        for payload in payloads {
            // In whatever form: bytes that were read here may have got there by another way, and their transit is over.
            // What names nobody is somebody's text, of which no key store is asked.
            let names = token::find(payload).filter_map(|(_, token)| token.subject()).map(SubjectId::from);
            let names: Vec<_> = names.filter(|name| name.check().is_ok()).collect();
            let any = !names.is_empty();
            subjects.extend(names);
            if any {
                with_values.push(payload);
            }
        }
        if with_values.is_empty() {
            return Ok(());
        }
        let subjects: Vec<_> = subjects.into_iter().collect();
        let keys = self.vault.lookup(&subjects).await?;
        let process = of_this_process()?;
        for payload in with_values {
            let opened = token::replace(payload, |token| {
                let subject = token.subject()?;
                match keys.get(&SubjectId::from(subject.as_str()))? {
                    KeyState::Kept(key) => open(token, &subject, key, process),
                    KeyState::Forgotten => Some(token.to(Form::Forgotten, &[])),
                    KeyState::Unknown => Some(token.to(Form::Sealed, &[])),
                }
            });
            if let Some(opened) = opened {
                *payload = opened;
            }
        }
        Ok(())
    }

    async fn open_conflict(&self, conflict: &mut Conflict) -> Result<(), KeyError> {
        let mut payloads = Vec::new();
        for violation in &mut conflict.violations {
            match violation {
                Violation::Stream { missed, .. } | Violation::Matched { missed, .. } => {
                    payloads.extend(missed.events.iter_mut().map(|event| &mut event.payload));
                }
                Violation::Row { actual, .. } => payloads.extend(actual),
            }
        }
        self.open_all(payloads.into_iter()).await
    }
}

/// From the subject's key to that of this process; `None` if it is not a value under that key.
fn open(token: Token<'_>, subject: &str, key: &Key, process: &Key) -> Option<String> {
    let plain = key.decrypt(Use::Value { subject }, &token.ciphertext()?)?;
    let transit = process.encrypt(Use::Transit { subject, sealed: token.sealed }, &plain).ok()?;
    Some(token.to(Form::Opened, &transit))
}

/// As values are at rest.
fn close(append: &mut Append) {
    let events = append.streams.iter_mut().flat_map(|part| &mut part.events);
    events.for_each(|event| token::close(&mut event.payload));
    for change in &mut append.rows {
        if let RowChange::Put { value, .. } = change {
            token::close(value);
        }
    }
    for condition in &mut append.conditions {
        if let Condition::Row { equals: Some(value), .. } = condition {
            token::close(value);
        }
    }
}

fn unavailable(error: KeyError) -> Unavailable {
    Unavailable {
        reason: error.to_string(),
        written: Written::No,
        retryable: error.is_retryable(),
        source: Some(std::sync::Arc::new(error)),
    }
}

impl<S: EventStore, K: KeyStore> EventStore for PrivateStore<S, K> {
    async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        close(&mut append);
        match self.inner.append(append).await {
            Err(AppendError::Conflict(mut conflict)) => match self.open_conflict(&mut conflict).await {
                Ok(()) => Err(AppendError::Conflict(conflict)),
                Err(error) => Err(AppendError::Unavailable(unavailable(error))),
            },
            result => result,
        }
    }

    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.inner.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let mut page = self.inner.read(after, query, limit).await?;
        self.open_all(page.events.iter_mut().map(|event| &mut event.payload)).await?;
        Ok(page)
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let mut events = self.inner.read_stream(stream, after, limit).await?;
        self.open_all(events.iter_mut().map(|event| &mut event.payload)).await?;
        Ok(events)
    }

    async fn read_streams(
        &self,
        streams: &[(StreamId, Version)],
        limit: usize,
    ) -> Result<Vec<Vec<Recorded>>, ReadError> {
        let mut all = self.inner.read_streams(streams, limit).await?;
        self.open_all(all.iter_mut().flatten().map(|event| &mut event.payload)).await?;
        Ok(all)
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let mut row = self.inner.row(space, key).await?;
        self.open_all(row.iter_mut()).await?;
        Ok(row)
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let mut rows = self.inner.rows(space, after, limit).await?;
        self.open_all(rows.iter_mut().map(|(_, value)| value)).await?;
        Ok(rows)
    }

    fn forgetting(&self) -> Forgetting {
        self.vault.forgetting()
    }

    fn head(&self) -> Position {
        self.inner.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.inner.wait_past(position).await
    }
}

impl From<KeyError> for ReadError {
    fn from(error: KeyError) -> Self {
        Self::Unavailable(unavailable(error))
    }
}

impl<S: Clone, K> Clone for PrivateStore<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), vault: self.vault.clone() }
    }
}

impl<S: fmt::Debug, K> fmt::Debug for PrivateStore<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}
