//! A heap from whose middle one can take.

/// Items by key, the least first, and among equals the one that came first. The items are small numbers, each of them in
/// the heap at most once.
///
/// A queue by deadline needs the first of a million, and to let anybody leave. A binary heap that knows where each item is
/// does both in twenty steps at the longest queue, in two flat arrays that are allocated once; a tree would allocate as it
/// goes, and a heap that only marks who left would grow with every cancelled call.
#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// Where each item is in `entries`, if it is.
    places: Vec<u32>,
    /// How many came so far.
    came: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    came: u64,
    item: u32,
}

impl Heap {
    pub(super) fn push(&mut self, key: u64, item: u32) {
        self.came += 1;
        if self.places.len() <= item as usize {
            self.places.resize(item as usize + 1, 0);
        }
        self.entries.push(Entry { key, came: self.came, item });
        self.rise(self.entries.len() - 1);
    }

    /// The first item, with its key.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.entries.first().map(|entry| (entry.key, entry.item))
    }

    /// Takes `item` out, if it is there.
    pub(super) fn remove(&mut self, item: u32) {
        let Some(at) = self.places.get(item as usize).map(|at| *at as usize) else { return };
        if self.entries.get(at).is_none_or(|entry| entry.item != item) {
            return;
        }
        self.entries.swap_remove(at);
        if at < self.entries.len() {
            // The last one stands there now, and may belong above or below.
            let at = self.rise(at);
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 && self.entries[at] < self.entries[(at - 1) / 2] {
            self.entries.swap(at, (at - 1) / 2);
            self.note(at);
            at = (at - 1) / 2;
        }
        self.note(at);
        at
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.entries.len());
            let least = children.min_by_key(|child| self.entries[*child]);
            let Some(least) = least.filter(|child| self.entries[*child] < self.entries[at]) else { break };
            self.entries.swap(at, least);
            self.note(at);
            at = least;
        }
        self.note(at);
    }

    fn note(&mut self, at: usize) {
        self.places[self.entries[at].item as usize] = at as u32;
    }
}
