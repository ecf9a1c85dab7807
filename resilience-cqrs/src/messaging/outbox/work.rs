//! What an event is to become, and getting it there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use resilience_core::Name;
use serde::{Deserialize, Serialize};

use super::put::Outbox;
use crate::log::{BoxError, Metadata, Position, ReadError, Recorded};
use crate::messaging::codec;
use crate::messaging::error::describe;
use crate::messaging::message::{Message, Outgoing};
use crate::messaging::shelf::storable;
use crate::store::EventStore;

/// Makes a message of an event.
pub(super) type Map = Arc<dyn Fn(&Recorded) -> Result<Option<Outgoing>, BoxError> + Send + Sync>;

/// Longest text of an error that is kept.
const ERROR_BYTES: usize = 1024;

/// One message to be sent, or why there is none.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) position: Position,
    /// What is in order: the message's key, its id if it has none, or the event's stream if no message could be made.
    pub(super) lane: String,
    pub(super) message: Result<Message, String>,
    /// The message's own row, which goes when it is sent.
    pub(super) row: Option<Bytes>,
}

/// Why a message is parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// How often it was tried; 0 for one that waits behind another.
    pub(super) attempts: u32,
    /// What went wrong the last time.
    pub(super) error: String,
}

impl Note {
    pub(super) fn failed(attempts: u32, error: &str) -> Self {
        let mut error = error.to_owned();
        error.truncate(error.floor_char_boundary(ERROR_BYTES));
        Self { attempts, error }
    }

    pub(super) fn behind() -> Self {
        Self { attempts: 0, error: "an earlier message of its key is parked".into() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // A struct of a number and a text always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or(Self { attempts: 0, error: String::new() })
    }
}

/// What the event is to become; `None` if it concerns nobody.
pub(super) async fn task<S: EventStore>(
    store: &S,
    relay: &Name,
    outbox: &Outbox,
    map: &Map,
    event: &Recorded,
) -> Result<Option<Task>, ReadError> {
    let position = event.position;
    if outbox.is_mark(event) {
        let row = event.payload.clone();
        let message = match store.row(outbox.space(), &row).await? {
            Some(bytes) => codec::decode(&bytes).map_err(|corrupt| corrupt.to_string()),
            None => Err("the message is not there: its row was removed".into()),
        };
        let lane = message.as_ref().map_or_else(|_| storable(&String::from_utf8_lossy(&row)), lane);
        return Ok(Some(Task { position, lane, message, row: Some(row) }));
    }
    let made = catch_unwind(AssertUnwindSafe(|| map(event)));
    let message = match made {
        Ok(Ok(None)) => return Ok(None),
        Ok(Ok(Some(made))) => Ok(complete(made, event, relay)),
        Ok(Err(error)) => Err(describe(&*error)),
        Err(_) => Err("the mapping panicked".into()),
    };
    let lane = message.as_ref().map_or_else(|_| storable(event.stream.as_str()), lane);
    Ok(Some(Task { position, lane, message, row: None }))
}

fn complete(mut made: Outgoing, event: &Recorded, relay: &Name) -> Message {
    if made.key.is_none() {
        made.key = Some(event.stream.as_str().into());
    }
    if made.metadata == Metadata::new() {
        made.metadata = event.metadata.clone();
    }
    made.with_id(format!("{relay}-{}", event.position))
}

fn lane(message: &Message) -> String {
    storable(message.key().unwrap_or(message.id.as_str()))
}
