//! Which runner a key belongs to, when several share a projection.

use std::fmt;
use std::num::NonZeroU32;

use crate::log::digest_of;

/// One of so many parts of a projection's keys.
///
/// A key belongs to the part that its fingerprint leaves as the remainder of a division by the number of parts. The
/// fingerprint is FNV-1a of 64 bits (Fowler, Noll, Vo) over the key's length in eight bytes, lowest first, and the key; it
/// never changes, since checkpoints depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share {
    index: u32,
    of: NonZeroU32,
}

impl Share {
    /// All shares there are of so many.
    pub(super) fn all(of: NonZeroU32) -> impl Iterator<Item = Self> {
        (0..of.get()).map(move |index| Self { index, of })
    }

    pub(super) const fn index(self) -> u32 {
        self.index
    }

    pub(super) const fn of(self) -> NonZeroU32 {
        self.of
    }

    pub(super) fn owns(self, key: &str) -> bool {
        digest_of(key.as_bytes()) % u64::from(self.of.get()) == u64::from(self.index)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checkpoints in databases depend on these numbers: a release that changes one takes events in twice.
    #[test]
    fn a_key_belongs_to_the_same_share_for_ever() {
        let eight = NonZeroU32::new(8).unwrap();
        let owner = |key: &str| Share::all(eight).find(|share| share.owns(key)).unwrap().index();
        let found: Vec<u32> = ["", "a", "b", "account-1", "account-2", "ä"].map(owner).to_vec();
        assert_eq!(found, [5, 7, 2, 1, 0, 0]);
    }

    #[test]
    fn each_key_has_one_owner_and_owners_have_about_as_many() {
        let seven = NonZeroU32::new(7).unwrap();
        let mut owned = [0; 7];
        for key in (0..70_000).map(|n| format!("account-{n}")) {
            let owners: Vec<u32> = Share::all(seven).filter(|share| share.owns(&key)).map(Share::index).collect();
            assert_eq!(owners.len(), 1);
            owned[owners[0] as usize] += 1;
        }
        assert!(owned.iter().all(|owned| (9_500..10_500).contains(owned)), "{owned:?}");
    }
}
