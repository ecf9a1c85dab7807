//! Works the chain out anew and finds where it differs.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::block::{BLOCKS, Block, Head, head_row};
use super::chain::{Hash, Seal};
use crate::log::{Position, Query, ReadError, Recorded};
use crate::store::EventStore;

/// Events read at once.
const PAGE: usize = 512;
/// Blocks read at once.
const ROWS: usize = 16;

/// The log is what it was when it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Up to where that is said.
    pub seal: Seal,
    /// How many events came after it, of which nothing is said.
    pub unsealed: u64,
}

/// The log is not what it was when it was sealed.
///
/// ```
/// use resilience_cqrs::audit::{Evidence, Tampered};
/// use resilience_cqrs::Position;
///
/// let found = Tampered { position: Position::new(17), evidence: Evidence::Event };
/// assert_eq!(found.to_string(), "the log has been changed at 17: the event is another than was sealed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the log has been changed at {position}: {evidence}")]
pub struct Tampered {
    /// The first event of which that was found. Of those before it, all is as it was.
    pub position: Position,
    /// What was found.
    pub evidence: Evidence,
}

/// What was found where the log is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The event is another than the one that was sealed.
    Event,
    /// The event was sealed, and is not there.
    Missing,
    /// The event was sealed, and the store cannot read it.
    Unreadable,
    /// The entry of the event in the chain was changed, or is gone. As far as the later entries tell, the event was not.
    Entry,
    /// Events and entries fit, but not a seal that was kept elsewhere: everything was written anew, from this event or a
    /// later one on, at most up to that seal.
    Rewritten {
        /// The seal's position.
        through: Position,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event => f.write_str("the event is another than was sealed"),
            Self::Missing => f.write_str("the event is gone"),
            Self::Unreadable => f.write_str("the event cannot be read"),
            Self::Entry => f.write_str("its entry in the chain is another, or gone"),
            Self::Rewritten { through } => write!(f, "log and chain were written anew, before or at {through}"),
        }
    }
}

/// A log could not be found to be what it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is not.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// It cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
}

/// Checks the whole log against its chain.
///
/// Reads what the store would answer. Appends and sealers may go on meanwhile: what they add is not looked at.
///
/// ```
/// use resilience_cqrs::audit::{seal, verify};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
/// // Nobody has sealed anything: nothing is wrong, and nothing is said.
/// let verified = verify(&store).await?;
/// assert_eq!((verified.seal.position(), verified.unsealed), (Position::ORIGIN, 1));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`VerifyError::Tampered`] with the first event that is not what it was; [`VerifyError::Read`] if the store could not be
/// asked.
pub async fn verify<S: EventStore>(store: &S) -> Result<Verified, VerifyError> {
    verify_against(store, []).await
}

/// Checks the whole log against its chain, and against seals that were kept elsewhere.
///
/// A seal of a position that the chain has not reached is checked against the events alone, so one seal kept elsewhere is
/// enough to check a log whose rows are gone.
///
/// ```
/// use resilience_cqrs::audit::{seal, verify_against};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Paid", "5")])).await?;
/// // Printed, and put into a drawer.
/// let drawer = seal(&store).await?.to_string();
/// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Paid", "7")])).await?;
/// // A year later: the log has grown, and begins as it did.
/// let verified = verify_against(&store, [drawer.parse()?]).await?;
/// assert_eq!(verified.seal.position().get(), 1);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`verify`].
pub async fn verify_against<S: EventStore>(
    store: &S,
    seals: impl IntoIterator<Item = Seal>,
) -> Result<Verified, VerifyError> {
    let mut known = BTreeMap::new();
    for seal in seals {
        if known.insert(seal.position(), seal).is_some_and(|other| other != seal) {
            // Two seals that contradict each other: one of them is not of this log.
            return Err(tampered(seal.position(), Evidence::Rewritten { through: seal.position() }).into());
        }
    }
    let head = head_of(store).await?;
    let mut walk = Walk { events: Events::new(store), at: Seal::beginning(), good: Position::ORIGIN, known };
    walk.check_known()?;
    let mut blocks = Blocks { store, queue: VecDeque::new(), after: None };
    while walk.at.position() < head.seal.position() {
        let next = walk.at.position().next();
        let block = blocks.next().await?.and_then(|(key, value)| Block::read(&key, &value));
        let block = block.filter(|block| block.first == next).ok_or_else(|| tampered(next, Evidence::Entry))?;
        for (nth, entry) in block.entries.iter().enumerate() {
            let following = match block.entries.get(nth + 1) {
                Some(following) => Following::Entry(*following),
                None => Following::Block,
            };
            walk.step(entry, following, &mut blocks, &head.seal).await?;
        }
    }
    if head.seal != walk.at {
        // A block goes beyond what the chain says of itself, or the chain ends with something else.
        return Err(tampered(head.seal.position().max(Position::new(1)), Evidence::Entry).into());
    }
    // Blocks after the end are of a chain that was longer, whose end somebody has set back. Unless it has grown since it
    // was asked for: a block and the end beyond it are one commit, so the end is asked for again after the block was seen.
    if blocks.next().await?.is_some() && head_of(store).await?.seal == head.seal {
        return Err(tampered(head.seal.position().next(), Evidence::Entry).into());
    }
    let seal = walk.at;
    walk.finish().await?;
    Ok(Verified { seal, unsealed: store.head().since(seal.position()) })
}

fn tampered(position: Position, evidence: Evidence) -> Tampered {
    Tampered { position, evidence }
}

async fn head_of<S: EventStore>(store: &S) -> Result<Head, VerifyError> {
    let (space, key) = head_row();
    let unreadable = || tampered(Position::new(1), Evidence::Entry);
    match store.row(space, key).await {
        Ok(row) => Ok(Head::read(row).ok_or_else(unreadable)?),
        Err(ReadError::Corrupt(_)) => Err(unreadable().into()),
        Err(error) => Err(error.into()),
    }
}

/// What comes after an entry in the chain.
enum Following {
    /// An entry of the same block.
    Entry(Hash),
    /// The next block, or the end.
    Block,
}

/// Goes along log and chain.
struct Walk<'s, S> {
    events: Events<'s, S>,
    /// Up to here, events and entries agree.
    at: Seal,
    /// Up to here, they also agree with what was kept elsewhere.
    good: Position,
    known: BTreeMap<Position, Seal>,
}

impl<S: EventStore> Walk<'_, S> {
    async fn step(
        &mut self,
        entry: &Hash,
        following: Following,
        blocks: &mut Blocks<'_, S>,
        head: &Seal,
    ) -> Result<(), VerifyError> {
        let position = self.at.position().next();
        let event = self.events.next(position).await?.ok_or_else(|| tampered(position, Evidence::Missing))?;
        let found = self.at.and(&event);
        if found.hash() == *entry {
            self.at = found;
            return Ok(self.check_known()?);
        }
        // Either the event was changed or its entry. The entry after it was made from both.
        let following = match following {
            Following::Entry(entry) => Some(entry),
            Following::Block if head.position() == position => None,
            Following::Block => {
                let block = blocks.next().await?.and_then(|(key, value)| Block::read(&key, &value));
                block.and_then(|block| block.entries.first().copied())
            }
        };
        let event_is_as_it_was = match following {
            Some(following) => match self.events.next(position.next()).await {
                Ok(Some(next)) => found.and(&next).hash() == following,
                _ => false,
            },
            None => *head == found,
        };
        let evidence = if event_is_as_it_was { Evidence::Entry } else { Evidence::Event };
        Err(tampered(position, evidence).into())
    }

    fn check_known(&mut self) -> Result<(), Tampered> {
        let Some(seal) = self.known.remove(&self.at.position()) else { return Ok(()) };
        if seal == self.at {
            self.good = seal.position();
            return Ok(());
        }
        Err(tampered(self.good.next(), Evidence::Rewritten { through: seal.position() }))
    }

    /// Checks the events beyond the chain for which there are seals.
    async fn finish(mut self) -> Result<(), VerifyError> {
        while !self.known.is_empty() {
            let position = self.at.position().next();
            let event = self.events.next(position).await?.ok_or_else(|| tampered(position, Evidence::Missing))?;
            self.at = self.at.and(&event);
            self.check_known()?;
        }
        Ok(())
    }
}

/// The events, one after the other.
struct Events<'s, S> {
    store: &'s S,
    queue: VecDeque<Recorded>,
    /// How many to read at once: one, from where the store could not read several.
    page: usize,
}

impl<'s, S: EventStore> Events<'s, S> {
    fn new(store: &'s S) -> Self {
        Self { store, queue: VecDeque::new(), page: PAGE }
    }

    /// The event at a position, which is the one after the last asked for; `None` if it is not there.
    async fn next(&mut self, position: Position) -> Result<Option<Recorded>, VerifyError> {
        let before = Position::new(position.get().saturating_sub(1));
        while self.queue.is_empty() {
            match self.store.read(before, &Query::all(), self.page).await {
                Ok(page) if page.events.is_empty() => return Ok(None),
                Ok(page) => self.queue.extend(page.events),
                Err(ReadError::Corrupt(_)) if self.page > 1 => self.page = 1,
                Err(ReadError::Corrupt(_)) => return Err(tampered(position, Evidence::Unreadable).into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.queue.pop_front().filter(|event| event.position == position))
    }
}

/// The blocks, one after the other.
struct Blocks<'s, S> {
    store: &'s S,
    queue: VecDeque<(Bytes, Bytes)>,
    after: Option<Bytes>,
}

impl<S: EventStore> Blocks<'_, S> {
    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, VerifyError> {
        if self.queue.is_empty() {
            let after = self.after.as_deref();
            let rows = match self.store.rows(BLOCKS.as_str(), after, ROWS).await {
                Ok(rows) => rows,
                Err(ReadError::Corrupt(_)) => {
                    // Those before the one that cannot be read are read one by one, each by its key.
                    return self.single().await;
                }
                Err(error) => return Err(error.into()),
            };
            self.queue.extend(rows);
        }
        let row = self.queue.pop_front();
        if let Some((key, _)) = &row {
            self.after = Some(key.clone());
        }
        Ok(row)
    }

    async fn single(&mut self) -> Result<Option<(Bytes, Bytes)>, VerifyError> {
        match self.store.rows(BLOCKS.as_str(), self.after.as_deref(), 1).await {
            Ok(rows) => {
                let row = rows.into_iter().next();
                if let Some((key, _)) = &row {
                    self.after = Some(key.clone());
                }
                Ok(row)
            }
            Err(ReadError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
