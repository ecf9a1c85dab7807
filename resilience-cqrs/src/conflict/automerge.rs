//! Documents of [automerge], as states of this module.
//!
//! A [`Document`] is a tree of maps, lists and texts that people edit apart. The engine has its own names for writes and
//! its own rules for what comes of concurrent ones; what is here makes it one [`Merge`] among others, with deltas, so
//! that it can be a field of a [`Replicated`](super::Replicated) state, or be sent by itself.
//!
//! ```
//! use automerge::transaction::Transactable;
//! use automerge::{ROOT, ReadDoc};
//! use resilience_cqrs::conflict::automerge::Document;
//! use resilience_cqrs::conflict::{Merge, NodeId};
//!
//! let (mut here, mut there) = (Document::new(), Document::new());
//! let title = here.change(NodeId::new(1), |tx| tx.put(ROOT, "title", "Notes"))?;
//! there.merge(title);
//!
//! // Apart.
//! here.change(NodeId::new(1), |tx| tx.put(ROOT, "done", false))?;
//! there.change(NodeId::new(2), |tx| tx.put(ROOT, "owner", "Ann"))?;
//!
//! // One asks for what it has not, the other sends no more than that.
//! let missing = there.since(&here.version()).to_bytes();
//! here.merge(Document::load(&missing)?);
//! assert_eq!(here.engine().keys(ROOT).collect::<Vec<_>>(), ["done", "owner", "title"]);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! [automerge]: https://docs.rs/automerge

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use automerge::transaction::Transaction;
use automerge::{ActorId, Automerge, AutomergeError, ChangeHash, LoadOptions, OnPartialLoad, ReadDoc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::bytes::Bytes;
use super::{Merge, NodeId};

/// A document, or a delta of one: changes whose predecessors may not be here yet. See the [module](self).
///
/// Documents are equal if they have the same changes. Stored by serde as [bytes](Self::to_bytes).
#[derive(Clone, Default)]
pub struct Document {
    engine: Automerge,
    refused: Option<Arc<AutomergeError>>,
}

impl Document {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    /// The document, or delta, of these bytes.
    ///
    /// # Errors
    /// [`LoadError`] if they are not whole, or nothing of automerge.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let strict = LoadOptions::new().on_partial_load(OnPartialLoad::Error);
        let engine = match Automerge::load_with_options(bytes, strict) {
            // Read to its end, and all there is to say against it is that it is a delta.
            Err(AutomergeError::MissingDeps) => {
                let lenient = LoadOptions::new().on_partial_load(OnPartialLoad::Ignore);
                Automerge::load_with_options(bytes, lenient)
            }
            loaded => loaded,
        };
        Ok(Self { engine: engine.map_err(LoadError)?, refused: None })
    }

    /// Makes a change on behalf of a node, and returns it for the other replicas.
    ///
    /// # Errors
    /// Whatever `change` fails with; then nothing has changed.
    pub fn change<E>(
        &mut self,
        node: NodeId,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let before = self.engine.get_heads();
        self.engine.set_actor(ActorId::from(node.get().to_be_bytes()));
        self.engine.transact(change).map_err(|failure| failure.error)?;
        let mut delta = Self::new();
        delta.take(self.engine.get_changes(&before));
        Ok(delta)
    }

    /// What this replica has: to be sent to another, to ask for the rest.
    pub fn version(&self) -> Version {
        let mut version = Version::default();
        for change in self.engine.get_changes_meta(&[]) {
            let count = version.changes.entry(Bytes(change.actor.to_bytes().to_vec())).or_default();
            *count = change.seq.max(*count);
        }
        version
    }

    /// All changes but those a replica of this version has, to be merged there. The version may be ahead.
    ///
    /// It looks at every change of the document, and copies only those that are missing.
    #[must_use]
    pub fn since(&self, version: &Version) -> Self {
        let mut missing = self.engine.get_changes(&[]);
        missing.retain(|change| {
            let known = version.changes.get(&Bytes(change.actor_id().to_bytes().to_vec()));
            known.is_none_or(|known| change.seq() > *known)
        });
        let mut delta = Self::new();
        delta.take(missing);
        delta
    }

    /// The whole document in automerge's own format, what waits for its predecessors included.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.engine.save()
    }

    /// Whether changes wait here for others that they were made upon.
    ///
    /// ```
    /// use automerge::transaction::Transactable;
    /// use automerge::{ROOT, ReadDoc};
    /// use resilience_cqrs::conflict::automerge::Document;
    /// use resilience_cqrs::conflict::{Merge, NodeId};
    ///
    /// let (node, mut here, mut there) = (NodeId::new(1), Document::new(), Document::new());
    /// let first = here.change(node, |tx| tx.put(ROOT, "title", "Notes"))?;
    /// let second = here.change(node, |tx| tx.put(ROOT, "title", "Old notes"))?;
    /// // The second comes first. It is kept, and shows once what it was made upon has come.
    /// there.merge(second);
    /// assert!(there.is_waiting() && there.engine().keys(ROOT).next().is_none());
    /// there.merge(first);
    /// assert!(!there.is_waiting() && there == here);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_waiting(&self) -> bool {
        !self.engine.get_missing_deps(&[]).is_empty()
    }

    /// The engine, to read from.
    pub fn engine(&self) -> &Automerge {
        &self.engine
    }

    /// The last merge that the engine refused, if any: two writers under one [`NodeId`] do that. The document is then as
    /// it was before.
    pub fn refused(&self) -> Option<&AutomergeError> {
        self.refused.as_deref()
    }

    fn take(&mut self, changes: Vec<automerge::Change>) {
        if let Err(error) = self.engine.apply_changes(changes) {
            self.refused = Some(Arc::new(error));
        }
    }

    /// What makes it this document: its last changes, which name all before them, and what is waited for.
    fn identity(&self) -> (Vec<ChangeHash>, Vec<ChangeHash>) {
        let mut missing = self.engine.get_missing_deps(&[]);
        missing.sort_unstable();
        (self.engine.get_heads(), missing)
    }
}

impl Merge for Document {
    fn merge(&mut self, other: Self) {
        if other.is_waiting() {
            // What waits is to be had as bytes only.
            if let Err(error) = self.engine.load_incremental(&other.to_bytes()) {
                self.refused = Some(Arc::new(error));
            }
        } else {
            self.take(self.engine.get_changes_added(&other.engine));
        }
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Document {}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(self.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::load(&Bytes::deserialize(deserializer)?.0).map_err(de::Error::custom)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("heads", &self.engine.get_heads())
            .field("waiting", &self.is_waiting())
            .finish()
    }
}

/// What a replica has: how many changes of each writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version {
    #[serde(with = "super::pairs")]
    changes: BTreeMap<Bytes, u64>,
}

/// Bytes are no document.
#[derive(Debug, Error)]
#[error("the bytes are not an automerge document")]
pub struct LoadError(#[source] AutomergeError);
