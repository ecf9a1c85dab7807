//! Events that wait until somebody has mended what keeps them from being taken in.

use std::collections::BTreeMap;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::log::Recorded;
use crate::log::{Position, ReadError, RowChange, Space, digest_of};
use crate::store::EventStore;

/// The space of parked events, keyed by projection, key and position. The events themselves stay where they are, in the
/// log, byte for byte.
pub(super) const SPACE: Space = Space::from_static("projection.parked");

/// Longest key kept as it is; a longer one is cut and made distinct by its fingerprint.
const KEY_BYTES: usize = 480;
/// Longest text of an error that is kept.
const ERROR_BYTES: usize = 1024;
/// Rows read at once.
const PAGE: usize = 512;

/// Why an event is parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// How often it was tried; 0 for one that waits behind another.
    pub(super) attempts: u32,
    /// What went wrong the last time.
    pub(super) error: String,
}

/// An event to be parked.
#[derive(Clone, Debug)]
pub struct Parking {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) note: Note,
}

impl Parking {
    pub(super) fn failed(key: String, position: Position, attempts: u32, error: &str) -> Self {
        let mut error = error.to_owned();
        error.truncate(error.floor_char_boundary(ERROR_BYTES));
        Self { key, position, note: Note { attempts, error } }
    }

    pub(super) fn behind(key: String, position: Position) -> Self {
        Self { key, position, note: Note { attempts: 0, error: "an earlier event of its key is parked".into() } }
    }

    pub(super) fn write(&self, projection: &str) -> RowChange {
        // A struct of a number and a text always has a JSON form.
        let note = serde_json::to_vec(&self.note).unwrap_or_default();
        RowChange::put(SPACE, row_key(projection, &self.key, self.position), note)
    }
}

pub(super) fn remove(projection: &str, key: &str, position: Position) -> RowChange {
    RowChange::delete(SPACE, row_key(projection, key, position))
}

/// A key in the form it is stored under.
pub(super) fn storable(key: String) -> String {
    if key.len() <= KEY_BYTES {
        return key;
    }
    let cut = key.floor_char_boundary(KEY_BYTES - 17);
    format!("{}~{:016x}", &key[..cut], digest_of(key.as_bytes()))
}

/// Parks what belongs to keys that are parked already; the rest is to be taken in.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn set_apart(
    events: Vec<Recorded>,
    held: &HashSet<String>,
    key: impl Fn(&Recorded) -> String,
) -> (Vec<Parking>, Vec<Recorded>) {
    if held.is_empty() {
        return (Vec::new(), events);
    }
    let mut parked = Vec::new();
    let mut rest = Vec::with_capacity(events.len());
    for event in events {
        let key = storable(key(&event));
        match held.contains(&key) {
            true => parked.push(Parking::behind(key, event.position)),
            false => rest.push(event),
        }
    }
    (parked, rest)
}

/// `projection`, 0, `key`, 0, position: a projection's name has no control characters, so its rows are together, and the
/// rows of one key are in the order of the log.
fn row_key(projection: &str, key: &str, position: Position) -> Bytes {
    let mut bytes = prefix(projection, key);
    bytes.extend_from_slice(&position.get().to_be_bytes());
    bytes.into()
}

fn prefix(projection: &str, key: &str) -> Vec<u8> {
    [projection.as_bytes(), b"\0", key.as_bytes(), b"\0"].concat()
}

/// The key and position of a row of this projection.
fn parse(projection: &str, row: &[u8]) -> Option<(String, Position)> {
    let rest = row.strip_prefix(projection.as_bytes())?.strip_prefix(b"\0")?;
    let (rest, position) = rest.split_last_chunk::<8>()?;
    let key = std::str::from_utf8(rest.strip_suffix(b"\0")?).ok()?;
    Some((key.to_owned(), Position::new(u64::from_be_bytes(*position))))
}

/// How many events of each key are parked.
pub(super) async fn load<S: EventStore>(store: &S, projection: &str) -> Result<BTreeMap<String, u64>, ReadError> {
    let mut parked = BTreeMap::new();
    let mut after = [projection.as_bytes(), b"\0"].concat();
    loop {
        let rows = store.rows(SPACE.as_str(), Some(&after), PAGE).await?;
        for (row, _) in &rows {
            let Some((key, _)) = parse(projection, row) else { return Ok(parked) };
            *parked.entry(key).or_insert(0) += 1;
        }
        match rows.last() {
            Some((row, _)) if rows.len() == PAGE => after = row.to_vec(),
            _ => return Ok(parked),
        }
    }
}

/// A parked event as it is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) position: Position,
    pub(super) note: Note,
    /// The row's key and value.
    pub(super) row: (Bytes, Bytes),
}

/// The first parked event of a key.
pub(super) async fn first<S: EventStore>(store: &S, projection: &str, key: &str) -> Result<Option<Stored>, ReadError> {
    let mut after = prefix(projection, key);
    loop {
        let rows = store.rows(SPACE.as_str(), Some(&after), PAGE).await?;
        for (row, value) in &rows {
            match parse(projection, row) {
                Some((of, position)) if of == key => {
                    let note = serde_json::from_slice(value).unwrap_or(Note { attempts: 0, error: String::new() });
                    return Ok(Some(Stored { position, note, row: (row.clone(), value.clone()) }));
                }
                // Another key that goes on with a zero byte lies among them.
                _ if row.starts_with(&prefix(projection, key)) => {}
                _ => return Ok(None),
            }
        }
        match rows.last() {
            Some((row, _)) if rows.len() == PAGE => after = row.to_vec(),
            _ => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_keys_that_contain_each_other_are_told_apart() {
        for key in ["a", "a\0", "a\0b", "", "\0\0"] {
            let row = row_key("p@1", key, Position::new(258));
            assert_eq!(parse("p@1", &row), Some((key.to_owned(), Position::new(258))));
            assert_eq!(parse("p@", &row), None);
            assert_eq!(parse("p@11", &row), None);
        }
    }

    #[test]
    fn a_long_key_is_cut_at_a_character_and_stays_distinct() {
        let long = |last: &str| storable("ä".repeat(300) + last);
        assert!(long("a").len() <= KEY_BYTES && long("a") != long("b"));
        assert_eq!(storable("short".into()), "short");
    }
}
