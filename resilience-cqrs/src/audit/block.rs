//! The chain in rows: a row a block, and one that says how far it goes.

use bytes::Bytes;

use super::chain::{Hash, Seal};
use crate::log::{Condition, Position, RowChange, Space};

/// The space of the row below.
const HEAD: Space = Space::from_static("audit");
/// How far the chain goes: written with each block, and the fence between two who write one.
const HEAD_KEY: &[u8] = b"head";

/// The blocks, by the position of their first event with the highest byte first, so that they are read in order.
pub(super) const BLOCKS: Space = Space::from_static("audit-block");

/// The version of the layout: the first byte of every row.
const LAYOUT: u8 = 1;

/// The entries of consecutive events.
pub(super) struct Block {
    pub(super) first: Position,
    pub(super) entries: Vec<Hash>,
}

impl Block {
    pub(super) fn write(&self) -> RowChange {
        let mut value = Vec::with_capacity(1 + self.entries.len() * 32);
        value.push(LAYOUT);
        self.entries.iter().for_each(|entry| value.extend_from_slice(entry));
        RowChange::Put { space: BLOCKS, key: key(self.first), value: value.into() }
    }

    /// `None` if somebody else has written it.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let first = Position::new(u64::from_be_bytes(key.try_into().ok()?));
        let (layout, entries) = value.split_first()?;
        let (entries, rest) = entries.as_chunks::<32>();
        let whole = *layout == LAYOUT && rest.is_empty() && !entries.is_empty();
        whole.then(|| Self { first, entries: entries.to_vec() })
    }
}

/// The key of the block that begins at a position.
pub(super) fn key(first: Position) -> Bytes {
    Bytes::copy_from_slice(&first.get().to_be_bytes())
}

/// How far the chain goes, as the store has it.
#[derive(Debug)]
pub(super) struct Head {
    row: Option<Bytes>,
    pub(super) seal: Seal,
}

impl Head {
    /// `None` if somebody else has written it.
    pub(super) fn read(row: Option<Bytes>) -> Option<Self> {
        let Some(row) = row else { return Some(Self { row: None, seal: Seal::beginning() }) };
        let (layout, rest) = row.split_first()?;
        let (position, hash) = rest.split_first_chunk::<8>()?;
        let (position, hash) = (u64::from_be_bytes(*position), hash.try_into().ok()?);
        let seal = (*layout == LAYOUT).then(|| Seal::new(Position::new(position), hash))?;
        Some(Self { row: Some(row), seal })
    }

    /// Holds while the chain ends where it did.
    pub(super) fn fence(&self) -> Condition {
        Condition::Row { space: HEAD, key: Bytes::from_static(HEAD_KEY), equals: self.row.clone() }
    }

    pub(super) fn write(seal: &Seal) -> RowChange {
        let mut value = Vec::with_capacity(41);
        value.push(LAYOUT);
        value.extend_from_slice(&seal.position().get().to_be_bytes());
        value.extend_from_slice(&seal.hash());
        RowChange::put(HEAD, HEAD_KEY, value)
    }
}

/// Where the head is.
pub(super) fn head_row() -> (&'static str, &'static [u8]) {
    ("audit", HEAD_KEY)
}
