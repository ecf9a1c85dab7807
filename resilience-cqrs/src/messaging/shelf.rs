//! What is set aside: rows of one space in the order of their keys and numbers, for those that wait until somebody asks.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::log::{Condition, ReadError, RowChange, Space, digest_of};
use crate::store::EventStore;

/// Longest key kept as it is; a longer one is cut and made distinct by its fingerprint.
const KEY_BYTES: usize = 480;
/// Rows read at once, of which each may have a whole message in it.
const PAGE: usize = 64;
const _: () = assert!(PAGE * super::limits::PAYLOAD_BYTES <= 64 << 20, "a page of letters is in memory as a whole");

/// A space whose rows are named by a key and a number.
#[derive(Clone, Debug)]
pub(super) struct Shelf(Space);

impl Shelf {
    pub(super) fn new(space: String) -> Self {
        Self(Space::from(space))
    }

    pub(super) fn put(&self, key: &str, number: u64, value: impl Into<Bytes>) -> RowChange {
        RowChange::put(self.0.clone(), row_key(key, number), value)
    }

    /// Holds while the row is as it was read.
    pub(super) fn is_still(&self, key: &str, number: u64, value: Bytes) -> Condition {
        Condition::row_is(self.0.clone(), row_key(key, number), value)
    }

    pub(super) fn delete(&self, key: &str, number: u64) -> RowChange {
        RowChange::delete(self.0.clone(), row_key(key, number))
    }

    /// Holds while the row has this value, or is not there.
    pub(super) fn is(&self, key: &str, number: u64, equals: Option<Bytes>) -> Condition {
        Condition::Row { space: self.0.clone(), key: row_key(key, number), equals }
    }

    /// The value of one row.
    pub(super) async fn row<S: EventStore>(
        &self,
        store: &S,
        key: &str,
        number: u64,
    ) -> Result<Option<Bytes>, ReadError> {
        store.row(self.0.as_str(), &row_key(key, number)).await
    }

    /// How many rows each key has.
    pub(super) async fn counts<S: EventStore>(&self, store: &S) -> Result<BTreeMap<String, u64>, ReadError> {
        let mut counts = BTreeMap::new();
        let mut after = None;
        loop {
            let rows = store.rows(self.0.as_str(), after.as_deref(), PAGE).await?;
            for (key, _) in rows.iter().filter_map(|(row, _)| parse(row)) {
                *counts.entry(key).or_insert(0) += 1;
            }
            match rows.last() {
                Some((row, _)) if rows.len() == PAGE => after = Some(row.clone()),
                _ => return Ok(counts),
            }
        }
    }

    /// The rows of a key after number `after`, in order; at most `limit`.
    pub(super) async fn of_key<S: EventStore>(
        &self,
        store: &S,
        key: &str,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let prefix = prefix(key);
        let mut from = after.map_or_else(|| prefix.clone(), |number| row_key(key, number).to_vec());
        let mut found = Vec::new();
        loop {
            let rows = store.rows(self.0.as_str(), Some(&from), limit.clamp(1, PAGE)).await?;
            for (row, value) in &rows {
                match parse(row) {
                    Some((of, number)) if of == key => found.push((number, value.clone())),
                    // Another key that goes on with a zero byte lies among them.
                    _ if row.starts_with(&prefix) => {}
                    _ => return Ok(found),
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            match rows.last() {
                Some((row, _)) if rows.len() == limit.clamp(1, PAGE) => from = row.to_vec(),
                _ => return Ok(found),
            }
        }
    }

    /// The first row of a key.
    pub(super) async fn first<S: EventStore>(&self, store: &S, key: &str) -> Result<Option<(u64, Bytes)>, ReadError> {
        Ok(self.of_key(store, key, None, 1).await?.pop())
    }
}

/// A key in the form it is stored under.
pub(super) fn storable(key: &str) -> String {
    cut(key.to_owned(), KEY_BYTES)
}

/// A text in a form that may be a name: a longer one is cut and made distinct by its fingerprint.
pub(super) fn name(text: String) -> String {
    cut(text, crate::log::limits::NAME_BYTES)
}

fn cut(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let end = text.floor_char_boundary(bytes - 17);
    format!("{}~{:016x}", &text[..end], digest_of(text.as_bytes()))
}

/// `key`, 0, number: the rows of one key are together, in the order of their numbers.
pub(super) fn row_key(key: &str, number: u64) -> Bytes {
    let mut bytes = prefix(key);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn prefix(key: &str) -> Vec<u8> {
    [key.as_bytes(), b"\0"].concat()
}

fn parse(row: &[u8]) -> Option<(String, u64)> {
    let (rest, number) = row.split_last_chunk::<8>()?;
    let key = std::str::from_utf8(rest.strip_suffix(b"\0")?).ok()?;
    Some((key.to_owned(), u64::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Append, MemoryStore};

    #[tokio::test]
    async fn keys_that_contain_each_other_are_told_apart() {
        let (store, shelf) = (MemoryStore::new(), Shelf::new("s".into()));
        let keys = ["a", "a\0", "a\0b", "", "\0\0", "b"];
        for (n, key) in keys.into_iter().enumerate() {
            let rows = (0..3).map(|number| shelf.put(key, number * 256, n.to_string()));
            store.append(Append::new().rows(rows)).await.unwrap();
        }
        for (n, key) in keys.into_iter().enumerate() {
            let value = Bytes::from(n.to_string());
            let all = shelf.of_key(&store, key, None, 10).await.unwrap();
            assert_eq!(all, [(0, value.clone()), (256, value.clone()), (512, value.clone())], "{key:?}");
            assert_eq!(shelf.of_key(&store, key, Some(0), 1).await.unwrap(), [(256, value.clone())]);
            assert_eq!(shelf.first(&store, key).await.unwrap(), Some((0, value)));
        }
        assert_eq!(shelf.first(&store, "c").await.unwrap(), None);
        let counts = shelf.counts(&store).await.unwrap();
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (6, 18));
    }
}
