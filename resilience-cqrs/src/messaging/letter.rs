//! Dead letters as they are stored.

use bytes::Bytes;
use resilience_core::time::WallTime;
use serde::{Deserialize, Serialize};

use super::codec;
use super::dead::DeadLetter;
use super::message::Message;
use crate::log::Corrupt;

/// Longest text of an error that is kept.
const ERROR_BYTES: usize = 1024;

/// A dead letter as it is stored, whether this program can read it or not.
///
/// What cannot be read was written by a later release, or is damaged. It stays where it is, with those behind it, until a
/// program that can read it [redrives](super::DeadLetters::redrive) its lane, or somebody gives it up.
///
/// ```
/// use resilience_cqrs::messaging::DeadLetters;
/// use resilience_cqrs::{EventStore, MemoryStore};
///
/// # async fn give_up_what_nobody_can_read(store: MemoryStore) -> Result<(), Box<dyn std::error::Error>> {
/// let dead = DeadLetters::new(store, "mailer");
/// for letter in dead.stored("ann", None, 100).await? {
///     if let Err(damaged) = letter.read() {
///         eprintln!("{damaged}: {:?}", letter.bytes); // to be looked at by somebody
///         dead.discard_stored(&letter).await?;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLetter {
    /// What it is in order with: its key, or its id if it has none.
    pub lane: String,
    /// Its place among the letters of the lane.
    pub number: u64,
    /// What is stored: two JSON objects, the note with attempts and error and the message without its payload, and then the
    /// payload as it came.
    pub bytes: Bytes,
}

impl StoredLetter {
    /// The letter.
    ///
    /// # Errors
    /// That it cannot be read, by this program.
    pub fn read(&self) -> Result<DeadLetter, Corrupt> {
        decode(&self.lane, self.number, self.bytes.clone())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    attempts: u32,
    error: String,
    at: u64,
}

/// The note, then the message.
pub(super) fn encode(message: &Message, attempts: u32, error: &str, at: WallTime) -> Vec<u8> {
    let mut error = error.to_owned();
    error.truncate(error.floor_char_boundary(ERROR_BYTES));
    // Numbers and a text always have a JSON form.
    let note = serde_json::to_vec(&Note { attempts, error, at: at.as_unix_millis() }).unwrap_or_default();
    [note, codec::encode(message)].concat()
}

fn decode(lane: &str, number: u64, row: Bytes) -> Result<DeadLetter, Corrupt> {
    let corrupt = || Corrupt::new(format!("letter {number} of {lane:?} cannot be read"));
    let (Note { attempts, error, at }, message) = codec::split(&row).ok_or_else(corrupt)?;
    let message = codec::decode(&row.slice_ref(message)).map_err(|_| corrupt())?;
    let at = WallTime::from_unix_millis(at);
    Ok(DeadLetter { lane: lane.to_owned(), number, message, attempts, error, at, row: row.clone() })
}
