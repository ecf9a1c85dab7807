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
    /// The slots all parts have.
    in_flight: u32,
    /// Parts that have fewer slots than they can always have.
    unmet: usize,
    parts: BTreeMap<K, Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    /// `None` for one that gets what others leave.
    share: Option<f64>,
    guaranteed: u32,
    in_flight: u32,
}

impl<K: Ord> Shares<K> {
    /// A limit, and the share of each part in it, between 0 and 1.
    pub fn new(limit: u32, parts: impl IntoIterator<Item = (K, f64)>) -> Self {
        let part = |share| Part { share: Some(share), guaranteed: guaranteed(limit, share), in_flight: 0 };
        let parts: BTreeMap<_, _> = parts.into_iter().map(|(key, share)| (key, part(share))).collect();
        Self { limit, in_flight: 0, unmet: parts.len(), parts }
    }

    /// Adds a part without a share, or takes the share of a part away: it gets what others leave.
    ///
    /// ```
    /// use resilience_core::control::Shares;
    ///
    /// let mut shares = Shares::new(2, [("live", 0.5)]).with_guest("anybody");
    /// assert!(shares.acquire(&"live") && shares.acquire(&"anybody"));
    /// assert!(!shares.acquire(&"anybody")); // not even one slot is its own
    /// ```
    #[must_use]
    pub fn with_guest(mut self, part: K) -> Self {
        self.parts.entry(part).or_insert(Part { share: None, guaranteed: 0, in_flight: 0 }).share = None;
        self.settle();
        self
    }

    /// Takes a slot for a part. False if there is none for it, or no such part.
    pub fn acquire(&mut self, part: &K) -> bool {
        let is_whole_full = self.in_flight >= self.limit;
        match self.parts.get_mut(part) {
            Some(part) if is_whole_full && part.in_flight >= part.guaranteed => return false,
            Some(part) => part.take(&mut self.unmet),
            None => return false,
        }
        self.in_flight = self.in_flight.saturating_add(1);
        true
    }

    /// Takes a slot for a part whether there is one or not, for a limit that is only tried out. False if there is no such
    /// part.
    pub fn overfill(&mut self, part: &K) -> bool {
        let Some(part) = self.parts.get_mut(part) else { return false };
        part.take(&mut self.unmet);
        self.in_flight = self.in_flight.saturating_add(1);
        true
    }

    /// Gives a slot back.
    pub fn release(&mut self, part: &K) {
        if let Some(part) = self.parts.get_mut(part)
            && part.in_flight > 0
        {
            self.unmet += usize::from(part.in_flight == part.guaranteed);
            part.in_flight -= 1;
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    /// Changes the limit, and every share with it.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.settle();
    }

    /// The limit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether no part can have a slot now.
    pub fn is_full(&self) -> bool {
        self.in_flight >= self.limit && self.unmet == 0
    }

    /// The slots a part can always have: at least one, if it has a share.
    pub fn guaranteed(&self, part: &K) -> Option<u32> {
        self.parts.get(part).map(|part| part.guaranteed)
    }

    /// The slots a part has.
    pub fn part_in_flight(&self, part: &K) -> u32 {
        self.parts.get(part).map_or(0, |part| part.in_flight)
    }

    /// The slots all parts have.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Works out anew what each part can always have.
    fn settle(&mut self) {
        for part in self.parts.values_mut() {
            part.guaranteed = part.share.map_or(0, |share| guaranteed(self.limit, share));
        }
        self.unmet = self.parts.values().filter(|part| part.in_flight < part.guaranteed).count();
    }
}

impl Part {
    fn take(&mut self, unmet: &mut usize) {
        self.in_flight = self.in_flight.saturating_add(1);
        *unmet = unmet.saturating_sub(usize::from(self.in_flight == self.guaranteed));
    }
}

fn guaranteed(limit: u32, share: f64) -> u32 {
    // A share of 0.7 of 10 is 7, whatever the last bit of the product says.
    ((f64::from(limit) * share - 1e-9).ceil() as u32).max(1)
}
