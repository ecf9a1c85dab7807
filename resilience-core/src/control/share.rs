//! Guaranteed shares of a limit.

use std::collections::BTreeMap;

/// A limit in which each part has a share it can always have, and may use what others leave.
///
/// Netflix's partitioned limiter: a part is refused only while the whole is full *and* its own share is. So a part that
/// comes late still gets its share, and the whole may exceed the limit by it.
///
/// ```
/// use resilience_core::control::Shares;
///
/// let mut shares = Shares::new(10, [("batch", 0.3), ("live", 0.7)]);
/// assert!((0..10).all(|_| shares.acquire(&"batch"))); // nobody else is there
/// assert!(!shares.acquire(&"batch"));
/// assert!((0..7).all(|_| shares.acquire(&"live"))); // guaranteed is guaranteed
/// assert!(!shares.acquire(&"live"));
/// assert_eq!(shares.in_flight(), 17);
/// ```
#[derive(Clone, Debug)]
pub struct Shares<K> {
    limit: u32,
    parts: BTreeMap<K, Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    share: f64,
    in_flight: u32,
}

impl<K: Ord> Shares<K> {
    /// A limit, and the share of each part in it, between 0 and 1.
    pub fn new(limit: u32, parts: impl IntoIterator<Item = (K, f64)>) -> Self {
        let parts = parts.into_iter().map(|(key, share)| (key, Part { share, in_flight: 0 })).collect();
        Self { limit, parts }
    }

    /// Takes a slot for a part. False if there is none for it, or no such part.
    pub fn acquire(&mut self, part: &K) -> bool {
        let (total, limit) = (self.in_flight(), self.limit);
        let Some(part) = self.parts.get_mut(part) else { return false };
        if total >= limit && part.in_flight >= guaranteed(limit, part.share) {
            return false;
        }
        part.in_flight += 1;
        true
    }

    /// Gives a slot back.
    pub fn release(&mut self, part: &K) {
        if let Some(part) = self.parts.get_mut(part) {
            part.in_flight = part.in_flight.saturating_sub(1);
        }
    }

    /// Changes the limit, and every share with it.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// The slots a part can always have: at least one.
    pub fn guaranteed(&self, part: &K) -> Option<u32> {
        self.parts.get(part).map(|part| guaranteed(self.limit, part.share))
    }

    /// The slots a part has.
    pub fn part_in_flight(&self, part: &K) -> u32 {
        self.parts.get(part).map_or(0, |part| part.in_flight)
    }

    /// The slots all parts have.
    pub fn in_flight(&self) -> u32 {
        self.parts.values().map(|part| part.in_flight).sum()
    }
}

fn guaranteed(limit: u32, share: f64) -> u32 {
    // A share of 0.7 of 10 is 7, whatever the last bit of the product says.
    ((f64::from(limit) * share - 1e-9).ceil() as u32).max(1)
}
