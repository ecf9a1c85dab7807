//! Documents of [yrs], as states of this module.
//!
//! A [`Document`] is a set of named texts, maps and lists that people edit apart, in the format of Yjs, so browsers that
//! use it are replicas too. The engine has its own names for writes and its own rules for what comes of concurrent ones;
//! what is here makes it one [`Merge`] among others, with deltas, so that it can be a field of a
//! [`Replicated`](super::Replicated) state, or be sent by itself.
//!
//! ```
//! use resilience_cqrs::conflict::yrs::Document;
//! use resilience_cqrs::conflict::{Merge, NodeId};
//! use yrs::{GetString, ReadTxn, Text, WriteTxn};
//!
//! let (mut here, mut there) = (Document::new(), Document::new());
//! let hello = here.change(NodeId::new(1), |tx| tx.get_or_insert_text("body").push(tx, "hello"))?;
//! there.merge(hello);
//!
//! // Apart.
//! here.change(NodeId::new(1), |tx| tx.get_or_insert_text("body").push(tx, " world"))?;
//! there.change(NodeId::new(2), |tx| tx.get_or_insert_text("body").insert(tx, 0, "> "))?;
//!
//! // One asks for what it has not, the other sends no more than that.
//! let missing = there.since(&here.version());
//! here.merge(missing);
//! assert_eq!(here.read(|tx| tx.get_text("body").map(|body| body.get_string(tx))), Some("> hello world".into()));
//! # Ok::<_, resilience_cqrs::conflict::yrs::DocumentError>(())
//! ```
//!
//! # Order
//!
//! A delta says what it was made upon, and waits here until that has arrived. The engine would take it at once and fill
//! the gap later; in version 0.28 it then loses changes, which the laws' tests of this module found.
//!
//! [yrs]: https://docs.rs/yrs

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{ClientID, Doc, ReadTxn, StateVector, Transact, Transaction, TransactionMut, Update, WriteTxn};

use super::bytes::Bytes;
use super::{Merge, NodeId, VersionVector};

/// Yjs counts its clients in numbers that JavaScript has.
const MAX_CLIENT: u64 = (1 << 53) - 1;

/// Whose name is on a document that was only merged into: nobody's.
const NOBODY: u64 = 0;

/// A document, or a delta of one: changes that wait for those they were made upon. See the [module](self).
///
/// Documents are equal if they have the same changes.
pub struct Document {
    /// A handle to a document that nobody else has a handle to, without gaps.
    engine: Doc,
    /// Updates by their content, with what each was made upon, which is not all here.
    waiting: BTreeMap<Bytes, VersionVector>,
    refused: Option<String>,
}

impl Document {
    /// An empty document.
    pub fn new() -> Self {
        Self::of(NOBODY)
    }

    /// Makes a change on behalf of a node, and returns it for the other replicas.
    ///
    /// A change by another node than the last one's copies the document, for the engine knows one writer only.
    ///
    /// # Errors
    /// [`DocumentError::Node`] if the node's number is 0 or above 2^53 - 1, the greatest Yjs has.
    pub fn change<T>(
        &mut self,
        node: NodeId,
        change: impl FnOnce(&mut TransactionMut<'_>) -> T,
    ) -> Result<Self, DocumentError> {
        if !(1..=MAX_CLIENT).contains(&node.get()) {
            return Err(DocumentError::Node(node));
        }
        if self.engine.client_id().get() != node.get() {
            *self = self.copy(node.get());
        }
        let before = self.version();
        let update = {
            let mut transaction = self.engine.transact_mut();
            change(&mut transaction);
            transaction.encode_update_v1()
        };
        Ok(Self::delta(update, before))
    }

    /// What this replica has: to be sent to another, to ask for the rest.
    pub fn version(&self) -> VersionVector {
        let state = self.engine.transact().state_vector();
        state.iter().map(|(client, clock)| (NodeId::new(client.get()), u64::from(*clock))).collect()
    }

    /// All changes but those a replica of this version has, to be merged there. The version may be ahead.
    #[must_use]
    pub fn since(&self, version: &VersionVector) -> Self {
        let common = version.common(&self.version());
        let update = self.engine.transact().encode_diff_v1(&state_vector(&common));
        let mut delta = Self::delta(update, common);
        delta.waiting.extend(self.waiting.clone());
        delta
    }

    /// What a peer that speaks Yjs asks with: its state vector (version 1). Sent by it, see [`update_since`](Self::update_since).
    pub fn state_vector(&self) -> Vec<u8> {
        self.engine.transact().state_vector().encode_v1()
    }

    /// What a peer that speaks Yjs is answered: the update (version 1) since its state vector.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if `peer` is no state vector.
    pub fn update_since(&self, peer: &[u8]) -> Result<Vec<u8>, DocumentError> {
        let peer = StateVector::decode_v1(peer).map_err(DocumentError::malformed)?;
        Ok(self.engine.transact().encode_diff_v1(&peer))
    }

    /// Takes in an update (version 1) of a peer that speaks Yjs.
    ///
    /// ```
    /// use resilience_cqrs::conflict::NodeId;
    /// use resilience_cqrs::conflict::yrs::{Document, DocumentError};
    /// use yrs::{Map, WriteTxn};
    ///
    /// let (mut server, mut browser) = (Document::new(), Document::new());
    /// for title in ["Notes", "Old notes"] {
    ///     server.change(NodeId::new(1), |tx| drop(tx.get_or_insert_map("page").insert(tx, "title", title)))?;
    /// }
    /// // As Yjs does it: one says what it has, the other answers with the rest.
    /// let question = browser.state_vector();
    /// browser.apply_update(&server.update_since(&question)?)?;
    /// assert!(browser == server);
    /// assert!(matches!(browser.apply_update(b"not an update"), Err(DocumentError::Malformed(_))));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if it is no update, [`DocumentError::Gap`] if it was made upon changes that are not
    /// here: ask the peer for all since [`state_vector`](Self::state_vector).
    pub fn apply_update(&mut self, update: &[u8]) -> Result<(), DocumentError> {
        let update = Update::decode_v1(update).map_err(DocumentError::malformed)?;
        let here = self.version();
        let lower = update.state_vector_lower();
        if lower.iter().any(|(client, clock)| u64::from(*clock) > here.of(NodeId::new(client.get()))) {
            return Err(DocumentError::Gap);
        }
        let mut transaction = self.engine.transact_mut();
        transaction.apply_update(update).map_err(DocumentError::malformed)?;
        // What another's changes are missing for is not kept: the peer will send it again.
        let pruned = transaction.prune_pending();
        drop(transaction);
        self.settle();
        if pruned.is_some() { Err(DocumentError::Gap) } else { Ok(()) }
    }

    /// Whether changes wait here for others that they were made upon.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reads from the engine.
    pub fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> T) -> T {
        read(&self.engine.transact())
    }

    /// Why the engine did not take in the last delta it refused, if any: two writers under one [`NodeId`] may do that.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn of(client: u64) -> Self {
        Self { engine: Doc::with_client_id(client), waiting: BTreeMap::new(), refused: None }
    }

    fn delta(update: Vec<u8>, made_upon: VersionVector) -> Self {
        let mut delta = Self::new();
        delta.waiting.insert(Bytes(update), made_upon);
        delta.settle();
        delta
    }

    fn copy(&self, client: u64) -> Self {
        let mut copy = Self::of(client);
        copy.take(&self.engine.transact().encode_diff_v1(&StateVector::default()));
        copy.waiting.clone_from(&self.waiting);
        copy.refused.clone_from(&self.refused);
        copy
    }

    /// Takes an update whose past is here.
    fn take(&mut self, update: &[u8]) {
        let taken = match Update::decode_v1(update) {
            Ok(update) => self.engine.transact_mut().apply_update(update).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = taken {
            self.refused = Some(error);
        }
    }

    /// Takes what has waited long enough.
    fn settle(&mut self) {
        loop {
            let here = self.version();
            let ready = self.waiting.extract_if(.., |_, made_upon| here.covers(made_upon)).next();
            let Some((update, _)) = ready else { return };
            self.take(&update.0);
        }
    }
}

fn state_vector(version: &VersionVector) -> StateVector {
    // They came out of such a vector, or are no longer than one that did.
    let clocks = version
        .iter()
        .map(|(node, clock)| (ClientID::new(node.get() & MAX_CLIENT), u32::try_from(clock).unwrap_or(u32::MAX)));
    clocks.collect()
}

impl Merge for Document {
    fn merge(&mut self, other: Self) {
        let own = self.engine.transact().state_vector();
        let update = other.engine.transact().encode_diff_v1(&own);
        self.take(&update);
        for (update, made_upon) in other.waiting {
            self.waiting.entry(update).or_default().merge(made_upon);
        }
        self.settle();
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.waiting == other.waiting && self.engine.transact().snapshot() == other.engine.transact().snapshot()
    }
}

impl Eq for Document {}

/// A document of its own; the engine's handles would be one document.
impl Clone for Document {
    fn clone(&self) -> Self {
        self.copy(self.engine.client_id().get())
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    document: Bytes,
    waiting: Vec<(Bytes, VersionVector)>,
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = Bytes(self.engine.transact().encode_diff_v1(&StateVector::default()));
        let waiting = self.waiting.clone().into_iter().collect();
        Stored { document, waiting }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let mut document = Self::new();
        document.apply_update(&stored.document.0).map_err(de::Error::custom)?;
        for (update, made_upon) in stored.waiting {
            Update::decode_v1(&update.0).map_err(de::Error::custom)?;
            document.waiting.insert(update, made_upon);
        }
        document.settle();
        Ok(document)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("version", &self.version()).field("waiting", &self.waiting.len()).finish()
    }
}

/// Why a document was not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The bytes are not what they are said to be.
    #[error("the bytes are not of a yrs document")]
    Malformed(#[source] yrs::error::Error),
    /// The update was made upon changes that are not here.
    #[error("the update is about changes that have not arrived")]
    Gap,
    /// The node's number is none that Yjs has.
    #[error("node {0} is not between 1 and 2^53 - 1")]
    Node(NodeId),
}

impl DocumentError {
    fn malformed(error: impl Into<yrs::error::Error>) -> Self {
        Self::Malformed(error.into())
    }
}
