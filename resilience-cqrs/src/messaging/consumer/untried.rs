//! Deliveries that a consumer has given back without having tried their message.
//!
//! A bus counts deliveries, and there is none that could be told that one did not count: JetStream keeps `num_delivered` when a
//! message is given back. So the consumer notes it, in a row, before it gives the message back, and whoever gets it next takes
//! the number off. The row is read for messages that come again, and written by a stop; whatever goes well first time needs
//! neither.

use std::time::Duration;

use bytes::Bytes;
use resilience_core::time::WallTime;

use crate::log::{Append, AppendError, ReadError, RowChange, Space};
use crate::messaging::message::MessageId;
use crate::store::EventStore;

/// After which a row is of a message that was settled elsewhere, or is not in the bus any more.
const AGE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Rows looked at when a consumer starts.
const PAGE: usize = 256;

/// How many deliveries of each message did not count, by its id.
#[derive(Debug)]
pub(super) struct Untried<S> {
    store: S,
    space: Space,
}

impl<S: EventStore> Untried<S> {
    pub(super) fn new(store: S, consumer: &str) -> Self {
        Self { store, space: format!("untried/{consumer}").into() }
    }

    /// How many deliveries of a message did not count.
    pub(super) async fn of(&self, message: &MessageId) -> Result<u32, ReadError> {
        let row = self.store.row(self.space.as_str(), message.as_str().as_bytes()).await?;
        Ok(row.map_or(0, |row| decode(&row).0))
    }

    /// One more delivery of each of these did not count. They are in our hands, so nobody else changes their rows.
    pub(super) async fn note(&self, messages: &[MessageId], now: WallTime) -> Result<(), AppendError> {
        let mut noted = Append::new();
        for message in messages {
            // Where it cannot be read it cannot be written either, and the append says why.
            let deliveries = self.of(message).await.unwrap_or(0).saturating_add(1);
            let row = encode(deliveries, now.as_unix_millis());
            noted = noted.row(RowChange::put(self.space.clone(), message.as_str().to_owned(), row));
        }
        self.store.append(noted).await.map(drop)
    }

    /// It is settled for good. A row that stays, because the store is down, goes when it is old.
    pub(super) async fn forget(&self, message: &MessageId) {
        let row = RowChange::delete(self.space.clone(), message.as_str().to_owned());
        let _ = self.store.append(Append::new().row(row)).await;
    }

    /// Removes what is old, as far as one look shows it.
    pub(super) async fn sweep(&self, now: WallTime) {
        let before = now.as_unix_millis().saturating_sub(u64::try_from(AGE.as_millis()).unwrap_or(u64::MAX));
        let Ok(rows) = self.store.rows(self.space.as_str(), None, PAGE).await else { return };
        let old = rows.into_iter().filter(|(_, row)| decode(row).1 < before);
        let old: Vec<_> = old.map(|(message, _)| RowChange::delete(self.space.clone(), message)).collect();
        if !old.is_empty() {
            let _ = self.store.append(Append::new().rows(old)).await; // Another start does it.
        }
    }
}

fn encode(deliveries: u32, at: u64) -> Vec<u8> {
    [&deliveries.to_be_bytes()[..], &at.to_be_bytes()].concat()
}

/// A row that cannot be read says nothing, and is old.
fn decode(row: &Bytes) -> (u32, u64) {
    let (deliveries, at) = row.split_first_chunk::<4>().map_or((0, &[][..]), |(n, at)| (u32::from_be_bytes(*n), at));
    <[u8; 8]>::try_from(at).map_or((0, 0), |at| (deliveries, u64::from_be_bytes(at)))
}
