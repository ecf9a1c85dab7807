//! Which shard of a map a key is kept in, for a fraction of what the map's own hash costs.
//!
//! A map that strangers choose the keys of needs a hash they cannot aim at, and SipHash takes a good part of the time of
//! a keyed call. Nothing of the kind hangs on the shard: keys that met in one would share a lock and a bound, no more.
//! So the shard is chosen by multiplying and folding the halves (as in wyhash and foldhash), from a seed that nobody
//! outside of the process knows.

use std::hash::{Hash, Hasher};

use crate::rng::Rng;

/// Spreads keys over shards.
pub(crate) struct Spread {
    seed: u64,
}

impl Spread {
    pub(crate) fn new() -> Self {
        Self { seed: Rng::from_entropy().next_u64() }
    }

    /// The index of `key`'s shard among `count`.
    #[inline]
    pub(crate) fn index<Q: Hash + ?Sized>(&self, key: &Q, count: usize) -> usize {
        let mut state = Folding(self.seed);
        key.hash(&mut state);
        // Multiply-shift instead of a remainder: below `count` for every hash.
        ((u128::from(state.0) * count as u128) >> 64) as usize
    }
}

struct Folding(u64);

impl Folding {
    #[inline]
    fn fold(&mut self, word: u64) {
        // 2^64 / the golden ratio, made odd: its bits are spread evenly.
        let product = u128::from(self.0 ^ word) * 0x9E37_79B9_7F4A_7C15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.fold(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.fold(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Shards bound what they keep: were they filled unevenly, some keys would be pushed out early.
    fn fullest<Q: Hash>(keys: impl Iterator<Item = Q>) -> usize {
        let spread = Spread { seed: 7 };
        let mut shards = [0; 64];
        keys.for_each(|key| shards[spread.index(&key, 64)] += 1);
        shards.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn keys_that_differ_little_are_spread_as_by_chance() {
        // A mean of 100 in each, a deviation of 10.
        assert!(fullest(0..6_400_u64) < 150);
        assert!(fullest((0..6_400_u64).map(|key| key << 32)) < 150);
        assert!(fullest((0..6_400).map(|key| format!("tenant-{key}"))) < 150);
        assert!(fullest((0..6_400_u32).map(|key| (key / 80, key % 80))) < 150);
    }

    #[test]
    fn every_shard_is_within_bounds_whatever_the_count() {
        let spread = Spread::new();
        for count in 1..70 {
            assert!((0..1_000).all(|key| spread.index(&key, count) < count));
        }
    }
}
