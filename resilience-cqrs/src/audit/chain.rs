//! The chain itself: what an entry is made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::log::{Position, Recorded};

/// An entry of the chain.
pub(super) type Hash = [u8; 32];

/// Before the first event. Named, so that no other use of SHA-256 makes the same entries.
const BEGINNING: &[u8] = b"resilience-cqrs audit chain 1";

/// How far a log is sealed, and the entry there, which stands for everything up to it.
///
/// As text it is the position and the entry in hexadecimal digits: `17:9f86…`; so it fits into a mail, a ticket, or a field
/// of somebody else's log.
///
/// ```
/// use resilience_cqrs::audit::{Seal, seal};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
/// let sealed = seal(&store).await?;
/// let mailed = sealed.to_string();
/// assert!(mailed.starts_with("1:") && mailed.len() == 66);
/// assert_eq!(mailed.parse::<Seal>()?, sealed);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seal {
    position: Position,
    hash: Hash,
}

/// A text is not a [`Seal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a seal is a position, a colon and 64 hexadecimal digits")]
pub struct SealFormat;

impl Seal {
    /// Of a log without events.
    pub fn beginning() -> Self {
        Self { position: Position::ORIGIN, hash: Sha256::digest(BEGINNING).into() }
    }

    pub(super) const fn new(position: Position, hash: Hash) -> Self {
        Self { position, hash }
    }

    /// The last event it stands for.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The entry there.
    pub const fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The seal one event later.
    pub(super) fn and(&self, event: &Recorded) -> Self {
        Self { position: event.position, hash: entry(&self.hash, event) }
    }
}

/// The entry of an event after the entry before it.
///
/// Texts go in with their length, lists with their count, so that no two events are written alike. The time is in whole
/// milliseconds, which is what every engine keeps.
fn entry(former: &Hash, event: &Recorded) -> Hash {
    let Recorded { position, stream, version, kind, tags, payload, metadata, recorded_at } = event;
    let mut hash = Fields(Sha256::new());
    hash.0.update(former);
    hash.number(position.get());
    hash.field(stream.as_str().as_bytes());
    hash.number(version.get());
    hash.field(kind.as_str().as_bytes());
    hash.number(tags.len() as u64);
    tags.iter().for_each(|tag| hash.field(tag.as_str().as_bytes()));
    // Only those that are set: a kind of metadata that is added later changes no entry of before.
    hash.number(metadata.iter().count() as u64);
    for (name, value) in metadata.iter() {
        hash.field(name.as_bytes());
        hash.field(value.as_bytes());
    }
    hash.number(recorded_at.as_unix_millis());
    hash.field(payload);
    hash.0.finalize().into()
}

struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.position)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({self})")
    }
}

impl FromStr for Seal {
    type Err = SealFormat;

    fn from_str(text: &str) -> Result<Self, SealFormat> {
        let (position, digits) = text.split_once(':').ok_or(SealFormat)?;
        let position = position.parse().map_err(|_| SealFormat)?;
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(SealFormat);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| SealFormat)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| SealFormat)?;
        }
        Ok(Self { position: Position::new(position), hash })
    }
}

impl Serialize for Seal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
