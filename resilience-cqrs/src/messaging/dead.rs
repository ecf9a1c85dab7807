//! Messages that a consumer could not handle, kept until somebody has mended something.

use std::collections::BTreeMap;

use bytes::Bytes;
use resilience_core::time::WallTime;
use thiserror::Error;

use super::error::describe;
use super::letter::{StoredLetter, encode};
use super::message::{Message, MessageId};
use super::shelf::{Shelf, row_key, storable};
use crate::log::{Append, AppendError, BoxError, Corrupt, ReadError, RowChange, Space};
use crate::store::EventStore;

/// Ids read at once.
const IDS: usize = 512;

/// The dead letters of one consumer: whole messages, with how often they were tried and why they failed.
///
/// They are rows of a store, so they outlive the broker's limits, can be looked at without it, and are written before the
/// message is acknowledged. Those of one key are in order, and are handled again in that order only.
///
/// ```
/// use resilience_cqrs::messaging::{Consumer, MemoryBus, Bus, Message, Poison, Subscribe};
/// use resilience_cqrs::{BoxError, MemoryStore};
/// use tower::service_fn;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, bus) = (MemoryStore::new(), MemoryBus::new());
/// let handler = service_fn(async |message: Message| match message.payload().is_empty() {
///     true => Err(BoxError::from(Poison::new("nothing in it"))),
///     false => Ok(()),
/// });
/// let running = Consumer::builder(store, bus.clone(), "mailer", Subscribe::queue("emails"), handler).start()?;
/// bus.send(Message::new("m1", "emails", "").with_key("ann")).await?;
/// bus.send(Message::new("m2", "emails", "hello").with_key("ann")).await?; // waits behind it
///
/// let dead = running.dead_letters();
/// running.wait_until(|status| status.dead == 2).await;
/// let letters = dead.of_key("ann", None, 10).await?;
/// assert_eq!((letters[0].attempts, letters[0].error.as_str()), (1, "nothing in it"));
/// // Nobody needs the first one.
/// dead.discard(&letters[0]).await?;
/// assert_eq!(running.redrive("ann").await?, 1);
/// running.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetters<S> {
    store: S,
    shelf: Shelf,
    /// The ids of the messages, so that none is buried twice, each with its letter's place.
    ids: Space,
}

/// A message that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What it is in order with: its key, or its id if it has none.
    pub lane: String,
    /// Its place among the letters of the lane.
    pub number: u64,
    /// The message.
    pub message: Message,
    /// How often it was tried; 0 if it waits behind another one.
    pub attempts: u32,
    /// What went wrong the last time.
    pub error: String,
    /// When.
    pub at: WallTime,
    /// Its row, as it was read.
    pub(super) row: Bytes,
}

/// What a lane's first row says: the number of its last letter. It is there as long as the lane has letters, and changes
/// with each one, so it is also what keeps two from changing a lane at once.
const COUNTER: u64 = 0;

impl<S: EventStore> DeadLetters<S> {
    /// The dead letters of the consumer with this name.
    pub fn new(store: S, consumer: &str) -> Self {
        Self { store, shelf: Shelf::new(format!("dead/{consumer}")), ids: format!("dead.ids/{consumer}").into() }
    }

    /// The lanes that have letters, and how many.
    ///
    /// A lane is called like the key of its messages; a message without a key is a lane to itself, called like its id.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::messaging::DeadLetters;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Looked at from anywhere that has the store: neither the bus nor the consumer need run.
    /// let letters = DeadLetters::new(MemoryStore::new(), "mailer");
    /// assert!(letters.counts().await?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn counts(&self) -> Result<BTreeMap<String, u64>, ReadError> {
        let mut counts = self.shelf.counts(&self.store).await?;
        counts.values_mut().for_each(|rows| *rows = rows.saturating_sub(1));
        Ok(counts)
    }

    /// The letters of a lane after number `after`, in order; at most `limit`.
    ///
    /// # Errors
    /// See [`ReadError`]. [`Corrupt`](ReadError::Corrupt) if one of them cannot be read: it is named, and [`stored`](Self::stored)
    /// lists it and the others.
    pub async fn of_key(&self, lane: &str, after: Option<u64>, limit: usize) -> Result<Vec<DeadLetter>, ReadError> {
        let stored = self.stored(lane, after, limit).await?;
        stored.iter().map(|letter| letter.read().map_err(ReadError::Corrupt)).collect()
    }

    /// As [`of_key`](Self::of_key), as they are stored: also those that cannot be read.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn stored(&self, lane: &str, after: Option<u64>, limit: usize) -> Result<Vec<StoredLetter>, ReadError> {
        let lane = storable(lane);
        let rows = self.shelf.of_key(&self.store, &lane, Some(after.unwrap_or(COUNTER)), limit).await?;
        let stored = |(number, bytes)| StoredLetter { lane: lane.clone(), number, bytes };
        Ok(rows.into_iter().map(stored).collect())
    }

    /// Gives a letter up: it is never handled. False if it was gone, or has changed since it was read.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Poison, Subscribe};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let handler = service_fn(async |_: Message| Err::<(), BoxError>(Poison::new("cannot be read").into()));
    /// let to = Subscribe::queue("emails");
    /// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "mailer", to, handler).start()?;
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// running.wait_until(|status| status.dead == 1).await;
    /// let letters = running.dead_letters();
    /// let letter = letters.of_key("m1", None, 1).await?.pop().ok_or("no letter")?;
    /// assert!(letters.discard(&letter).await?);
    /// assert!(!letters.discard(&letter).await?, "somebody was faster, or has handled it");
    /// running.recount().await; // the consumer was not told, and counts anew
    /// running.wait_until(|status| status.dead == 0).await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`DeadLetterError`].
    pub async fn discard(&self, letter: &DeadLetter) -> Result<bool, DeadLetterError> {
        self.remove(&letter.lane, letter.number, &letter.row, Some(&letter.message.id)).await
    }

    /// As [`discard`](Self::discard), whether it can be read or not.
    ///
    /// Of one that cannot, the message's id is looked for among those of all letters.
    ///
    /// # Errors
    /// See [`DeadLetterError`].
    pub async fn discard_stored(&self, letter: &StoredLetter) -> Result<bool, DeadLetterError> {
        let StoredLetter { lane, number, bytes } = letter;
        let id = match letter.read() {
            Ok(letter) => Some(letter.message.id),
            Err(_) => self.id_of(lane, *number).await?,
        };
        self.remove(lane, *number, bytes, id.as_ref()).await
    }

    /// Hands the letters of a lane to `handle`, first to last, until one fails; each is removed when it was handled. Returns
    /// how many were.
    ///
    /// What comes meanwhile for this lane gets behind, and is handled, too. As everywhere, a crash between the handling and
    /// the removal makes one come again. One that cannot be read stays, with those behind it: a later attempt reads it anew.
    ///
    /// [`ConsumerHandle::redrive`](super::ConsumerHandle::redrive) does this with the consumer's own handler, context
    /// and time limit; here is the same for a tool that has none.
    ///
    /// ```
    /// # use resilience_cqrs::messaging::{Consumer, MemoryBus, Bus, Message, Poison, Subscribe};
    /// # use tower::service_fn;
    /// use resilience_cqrs::messaging::{DeadLetterError, DeadLetters};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    /// # let handler = service_fn(async |_: Message| Err::<(), BoxError>(Poison::new("cannot be read").into()));
    /// # let to = Subscribe::queue("emails");
    /// # let consumer = Consumer::builder(store.clone(), bus.clone(), "mailer", to, handler).start()?;
    /// # bus.send(Message::new("m1", "emails", "1").with_key("ann")).await?;
    /// # bus.send(Message::new("m2", "emails", "").with_key("ann")).await?;
    /// # bus.send(Message::new("m3", "emails", "3").with_key("ann")).await?;
    /// # consumer.wait_until(|status| status.dead == 3).await;
    /// # consumer.stop().await?;
    /// // Three letters of Ann's, of which the second one is empty.
    /// let letters = DeadLetters::new(store, "mailer");
    /// let mend = async |message: Message| match message.payload().is_empty() {
    ///     true => Err(BoxError::from("still nothing in it")),
    ///     false => Ok(()),
    /// };
    /// let failed = letters.redrive("ann", mend).await.unwrap_err();
    /// assert!(matches!(failed, DeadLetterError::FailedAgain { number: 2, handled: 1, .. }));
    /// assert_eq!(letters.counts().await?["ann"], 2); // the first is done, the last was not tried
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`DeadLetterError`]; what was handled before stays so.
    pub async fn redrive<Fut>(&self, lane: &str, mut handle: impl FnMut(Message) -> Fut) -> Result<u64, DeadLetterError>
    where
        Fut: Future<Output = Result<(), BoxError>>,
    {
        let mut handled = 0;
        while let Some(stored) = self.stored(lane, None, 1).await?.pop() {
            let unreadable = |source| DeadLetterError::Unreadable { number: stored.number, handled, source };
            let letter = stored.read().map_err(unreadable)?;
            if let Err(error) = handle(letter.message.clone()).await {
                let error = describe(&*error);
                self.blame(&letter, &error).await?;
                return Err(DeadLetterError::FailedAgain { number: letter.number, error, handled });
            }
            if self.discard(&letter).await? {
                handled += 1;
            }
        }
        Ok(handled)
    }

    /// The number of the last letter of a lane, as its counter says it; `None` if it has no letters.
    pub(super) async fn last(&self, lane: &str) -> Result<Option<Bytes>, ReadError> {
        self.shelf.row(&self.store, lane, COUNTER).await
    }

    /// Whether a message is among them.
    pub(super) async fn has(&self, id: &MessageId) -> Result<bool, ReadError> {
        Ok(self.store.row(self.ids.as_str(), id.as_str().as_bytes()).await?.is_some())
    }

    /// Puts a letter behind those of its lane, if the lane is as it was when `last` was asked for.
    pub(super) async fn put(
        &self,
        lane: &str,
        last: Option<Bytes>,
        message: &Message,
        (attempts, error, at): (u32, &str, WallTime),
    ) -> Result<(), AppendError> {
        let number = last.as_deref().map_or(COUNTER, number) + 1;
        let letter = encode(message, attempts, error, at);
        let rows = [
            self.shelf.put(lane, COUNTER, number.to_be_bytes().to_vec()),
            self.shelf.put(lane, number, letter),
            RowChange::put(self.ids.clone(), message.id.as_str().to_owned(), row_key(lane, number)),
        ];
        let unchanged = self.shelf.is(lane, COUNTER, last);
        self.store.append(Append::new().require(unchanged).rows(rows)).await.map(drop)
    }

    /// Removes a letter, and the lane's counter with its last one.
    async fn remove(
        &self,
        lane: &str,
        number: u64,
        row: &Bytes,
        id: Option<&MessageId>,
    ) -> Result<bool, DeadLetterError> {
        loop {
            let Some(last) = self.last(lane).await? else { return Ok(false) };
            let others = self.shelf.of_key(&self.store, lane, Some(COUNTER), 2).await?;
            if !others.iter().any(|(nth, other)| *nth == number && other == row) {
                let now = self.shelf.row(&self.store, lane, number).await?;
                if now.as_ref() != Some(row) {
                    return Ok(false);
                }
            }
            let mut removal = Append::new()
                .require(self.shelf.is(lane, number, Some(row.clone())))
                .row(self.shelf.delete(lane, number))
                .rows(id.map(|id| RowChange::delete(self.ids.clone(), id.as_str().to_owned())));
            if others.len() == 1 {
                // Nothing may have come behind it.
                let unchanged = self.shelf.is(lane, COUNTER, Some(last));
                removal = removal.require(unchanged).row(self.shelf.delete(lane, COUNTER));
            }
            match self.store.append(removal).await {
                Ok(_) => return Ok(true),
                Err(AppendError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whose letter has this place.
    async fn id_of(&self, lane: &str, number: u64) -> Result<Option<MessageId>, ReadError> {
        let (place, mut after) = (row_key(lane, number), None);
        loop {
            let ids = self.store.rows(self.ids.as_str(), after.as_deref(), IDS).await?;
            if let Some((id, _)) = ids.iter().find(|(_, of)| *of == place) {
                return Ok(std::str::from_utf8(id).ok().map(MessageId::from));
            }
            match ids.into_iter().nth(IDS - 1) {
                Some((last, _)) => after = Some(last),
                None => return Ok(None),
            }
        }
    }

    /// Notes that a letter has failed again.
    async fn blame(&self, letter: &DeadLetter, error: &str) -> Result<(), DeadLetterError> {
        let row = encode(&letter.message, letter.attempts.saturating_add(1), error, letter.at);
        let unchanged = self.shelf.is(&letter.lane, letter.number, Some(letter.row.clone()));
        let noted = Append::new().require(unchanged).row(self.shelf.put(&letter.lane, letter.number, row));
        match self.store.append(noted).await {
            // Somebody else had it, too: what they have noted is as good.
            Ok(_) | Err(AppendError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A dead letter was not handled, or not removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// A letter failed again, and stays with those behind it.
    #[error("letter {number} failed again: {error}")]
    FailedAgain {
        /// The letter.
        number: u64,
        /// Why.
        error: String,
        /// The letters handled before it.
        handled: u64,
    },
    /// A letter cannot be read by this program, and stays with those behind it: see [`StoredLetter`].
    #[error("letter {number} cannot be read")]
    Unreadable {
        /// The letter.
        number: u64,
        /// The letters handled before it.
        handled: u64,
        /// What is wrong with it.
        #[source]
        source: Corrupt,
    },
    /// The store did not take the change.
    #[error("the dead letters cannot be changed")]
    Append(#[from] AppendError),
    /// The store could not be read.
    #[error("the dead letters cannot be read")]
    Read(#[from] ReadError),
    /// The consumer has ended.
    #[error("the consumer has ended")]
    Stopped,
}

fn number(counter: &[u8]) -> u64 {
    <[u8; 8]>::try_from(counter).map_or(COUNTER, u64::from_be_bytes)
}
