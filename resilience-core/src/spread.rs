//! A map in parts, and which of them a key is kept in, for a fraction of what the map's own hash costs.
//!
//! A map that strangers choose the keys of needs a hash they cannot aim at, and SipHash takes a good part of the time of
//! a keyed call. Nothing of the kind hangs on the part: keys that met in one would share a lock and a bound, no more.
//! So the part is chosen by multiplying and folding the halves (as in wyhash and foldhash), from a seed that nobody
//! outside of the process knows.

use std::hash::{Hash, Hasher};

use crate::rng::Rng;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};

/// What is kept for each key, in parts with a lock each, so that threads with different keys seldom meet.
pub(crate) struct Parts<P> {
    parts: Box<[Part<P>]>,
    /// How many of them hold keys. Written with all of them locked.
    in_use: AtomicUsize,
    spread: Spread,
}

/// On a cache line of its own, for the same reason.
#[repr(align(128))]
struct Part<P>(Mutex<P>);

/// Keys a part has at least, if there are that many.
#[cfg(not(loom))]
const PART_KEYS: usize = 64;
#[cfg(loom)]
const PART_KEYS: usize = 1;

/// So many that threads seldom meet in one.
#[cfg(not(loom))]
const MOST_PARTS: usize = 64;
#[cfg(loom)]
const MOST_PARTS: usize = 2;

/// Where keys are kept, and how many of them, when there may be so many in all.
pub(crate) struct Placement<'a> {
    spread: &'a Spread,
    count: usize,
    bound: usize,
}

impl<P> Parts<P> {
    /// Parts for at most `bound` keys; `part` makes one for a number of them.
    pub(crate) fn new(bound: usize, part: impl Fn(usize) -> P) -> Self {
        let spread = Spread::new();
        let placement = Placement::new(&spread, bound);
        let parts = (0..MOST_PARTS).map(|index| Part(Mutex::new(part(placement.share(index))))).collect();
        let in_use = AtomicUsize::new(placement.count);
        Self { parts, in_use, spread }
    }

    /// The part that `key` is kept in, locked.
    #[inline]
    pub(crate) fn lock<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, P> {
        loop {
            // Relaxed, both: what was read before the lock is a guess, and the lock says whether it was right, since it is
            // held by whoever writes.
            let count = self.in_use.load(Ordering::Relaxed);
            let part = lock(&self.parts[self.spread.index(key, count)].0);
            if self.in_use.load(Ordering::Relaxed) == count {
                return part;
            }
        }
    }

    /// Each part, those without keys too.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Mutex<P>> {
        self.parts.iter().map(|part| &part.0)
    }

    /// Changes how many keys there may be, if `still` says so. `change` gets all parts at once, locked, and moves those
    /// keys that have another place now.
    pub(crate) fn resize_if<R>(
        &self,
        bound: usize,
        still: impl FnOnce(&[MutexGuard<'_, P>]) -> bool,
        change: impl FnOnce(&mut [MutexGuard<'_, P>], &Placement<'_>) -> R,
    ) -> Option<R> {
        // In one order, and nobody else holds more than one: they cannot wait for each other.
        let mut parts: Vec<_> = self.iter().map(lock).collect();
        if !still(&parts) {
            return None;
        }
        let placement = Placement::new(&self.spread, bound);
        self.in_use.store(placement.count, Ordering::Relaxed);
        Some(change(&mut parts, &placement))
    }
}

impl<'a> Placement<'a> {
    fn new(spread: &'a Spread, bound: usize) -> Self {
        Self { spread, count: (bound / PART_KEYS).clamp(1, MOST_PARTS), bound }
    }

    /// The index of the part that `key` is kept in.
    pub(crate) fn index<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        self.spread.index(key, self.count)
    }

    /// How many keys the part at `index` may have.
    pub(crate) fn share(&self, index: usize) -> usize {
        let (count, bound) = (self.count, self.bound);
        // The remainder goes to the first ones, so that together they are exact.
        if index < count { bound / count + usize::from(index < bound % count) } else { 0 }
    }
}

/// Spreads keys over parts.
pub(crate) struct Spread {
    seed: u64,
}

impl Spread {
    #[cfg(not(loom))]
    pub(crate) fn new() -> Self {
        Self { seed: Rng::from_entropy().next_u64() }
    }

    /// A model is run again and again, and must do the same each time.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { seed: Rng::seeded(7).next_u64() }
    }

    /// The index of `key`'s part among `count`.
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

    /// Parts bound what they keep: were they filled unevenly, some keys would be pushed out early.
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
    fn the_shares_of_all_parts_are_the_bound_whatever_it_is() {
        let spread = Spread::new();
        for bound in (1..300).chain([4_095, 4_096, 65_537, usize::MAX]) {
            let placement = Placement::new(&spread, bound);
            assert!((0..placement.count).all(|index| placement.share(index) > 0), "{bound}: a part that keeps nothing");
            let sum = (0..MOST_PARTS).map(|index| placement.share(index)).sum::<usize>();
            assert_eq!(sum, bound);
        }
    }

    #[test]
    fn every_part_is_within_bounds_whatever_the_count() {
        let spread = Spread::new();
        for count in 1..70 {
            assert!((0..1_000).all(|key| spread.index(&key, count) < count));
        }
    }
}
