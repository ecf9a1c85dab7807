//! How far a relay has got, and whose it is.

use bytes::Bytes;

use crate::log::{Condition, Corrupt, Position, RowChange, Space};

/// The space of the checkpoints, keyed by the relay's name.
pub(super) const SPACE: Space = Space::from_static("outbox");

/// The row that moves with each batch. Each relay that takes the outbox over counts `owner` up, so a commit of the one
/// before finds a row it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) position: Position,
    pub(super) owner: u64,
}

impl Checkpoint {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let corrupt = || Corrupt::new("an outbox's checkpoint cannot be read");
        let (position, owner) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let owner = <[u8; 8]>::try_from(owner).map_err(|_| corrupt())?;
        Ok(Self { position: Position::new(u64::from_be_bytes(*position)), owner: u64::from_be_bytes(owner) })
    }

    fn encode(self) -> Bytes {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.position.get().to_be_bytes());
        bytes[8..].copy_from_slice(&self.owner.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }

    /// Holds while the checkpoint is where this owner left it.
    pub(super) fn fence(self, name: &str) -> Condition {
        Condition::Row { space: SPACE, key: Bytes::copy_from_slice(name.as_bytes()), equals: Some(self.encode()) }
    }

    pub(super) fn write(self, name: &str) -> RowChange {
        RowChange::Put { space: SPACE, key: Bytes::copy_from_slice(name.as_bytes()), value: self.encode() }
    }
}
