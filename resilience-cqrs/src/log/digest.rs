//! A fingerprint of what an append writes, to tell a second attempt from a second command under the same id.

use super::{Append, RowChange};

/// FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv): stable for ever, which the standard library's hashers are
/// not, and these numbers are stored. It guards against mistakes, not against an adversary.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a field, with its length, so that `ab|c` is not `a|bc`.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u64).to_le_bytes());
        self.raw(bytes);
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }

    fn raw(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The fingerprint of some bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::new();
    hash.field(bytes);
    hash.finish()
}

/// The fingerprint of events and row changes. Not of expectations, conditions and metadata: a second attempt reads again
/// and is made later, yet is the same command.
pub(super) fn of_append(append: &Append) -> u64 {
    let mut hash = Fnv::new();
    for part in &append.streams {
        hash.field(part.stream.as_str().as_bytes());
        for event in &part.events {
            hash.field(event.kind.as_str().as_bytes());
            for tag in &event.tags {
                hash.field(tag.as_str().as_bytes());
            }
            hash.field(&event.payload);
        }
    }
    for row in &append.rows {
        match row {
            RowChange::Put { space, key, value } => {
                hash.field(space.as_str().as_bytes());
                hash.field(key);
                hash.field(value);
            }
            RowChange::Delete { space, key } => {
                hash.field(space.as_str().as_bytes());
                hash.field(key);
                hash.raw(&[0xff]);
            }
        }
    }
    hash.finish()
}
