//! How far a projection has got, and whose it is.

use bytes::Bytes;

use super::park;
use super::share::Share;
use crate::log::{Append, Condition, Corrupt, Position, ReadError, RowChange, Space};
use crate::store::EventStore;

/// The space of the checkpoints, keyed by the projection's name.
pub(super) const SPACE: Space = Space::from_static("projection");

/// The row that moves with each batch. Each runner that takes the projection over counts `owner` up, so a commit of the
/// one before finds a row it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) position: Position,
    pub(super) owner: u64,
}

impl Checkpoint {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let corrupt = || Corrupt::new("a projection's checkpoint cannot be read");
        let (position, owner) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let owner = <[u8; 8]>::try_from(owner).map_err(|_| corrupt())?;
        Ok(Self { position: Position::new(u64::from_be_bytes(*position)), owner: u64::from_be_bytes(owner) })
    }

    pub(super) fn encode(self) -> Bytes {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.position.get().to_be_bytes());
        bytes[8..].copy_from_slice(&self.owner.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }

    /// The checkpoint under a key, if there is one.
    pub(super) async fn load<S: EventStore>(store: &S, key: &[u8]) -> Result<Option<Self>, ReadError> {
        let row = store.row(SPACE.as_str(), key).await?;
        row.map(|row| Self::decode(&row)).transpose().map_err(ReadError::Corrupt)
    }
}

/// The key of a checkpoint: the projection's name, and which share of its keys, if it is run in several.
pub(super) fn key(name: &str, share: Option<Share>) -> Bytes {
    match share {
        None => Bytes::copy_from_slice(name.as_bytes()),
        Some(share) => format!("{name}#{share}").into(),
    }
}

pub(super) fn condition(key: Bytes, equals: Option<Checkpoint>) -> Condition {
    Condition::Row { space: SPACE, key, equals: equals.map(Checkpoint::encode) }
}

/// Moves a checkpoint, if it is where its owner left it.
#[derive(Clone, Debug)]
pub(super) struct Advance {
    pub(super) key: Bytes,
    pub(super) from: Checkpoint,
    pub(super) to: Checkpoint,
    /// The row of the parked event that is taken in, which must be there still, with this value. A replay does not move the
    /// checkpoint, so without it an attempt whose answer was lost could still be committed after the next one.
    pub(super) parked: Option<(Bytes, Bytes)>,
}

impl From<&Advance> for Append {
    fn from(Advance { key, from, to, parked }: &Advance) -> Self {
        let still = parked.iter().map(|(row, note)| Condition::row_is(park::SPACE, row.clone(), note.clone()));
        let fenced = Self::new().require(condition(key.clone(), Some(*from)));
        still.fold(fenced, Self::require).row(RowChange::put(SPACE, key.clone(), to.encode()))
    }
}

/// Makes a checkpoint somebody's who found it like this.
#[derive(Clone, Debug)]
pub struct Claim {
    pub(super) key: Bytes,
    pub(super) found: Option<Checkpoint>,
    pub(super) to: Checkpoint,
}

impl From<Claim> for Append {
    fn from(Claim { key, found, to }: Claim) -> Self {
        Self::new().require(condition(key.clone(), found)).row(RowChange::put(SPACE, key, to.encode()))
    }
}
