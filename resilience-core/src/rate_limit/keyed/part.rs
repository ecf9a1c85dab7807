//! A part of the keys, and when each of them is back at full.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::Hash;

use crate::rate_limit::machine::Rule;
use crate::spread::Placement;
use crate::sync::MutexGuard;

pub(super) struct Part<K> {
    /// When each key touched since the last turn is full.
    recent: HashMap<K, u64, RandomState>,
    /// Those touched before.
    past: HashMap<K, u64, RandomState>,
    turned_at: u64,
    /// After a change of the rule, when all keys of that time are full.
    settled_at: u64,
    /// There is no room before; to look sooner is in vain.
    crowded_until: u64,
    max_keys: usize,
    rule: Rule,
}

/// Why a key got no permits.
#[derive(Clone, Copy)]
pub(super) enum Denied {
    TooMany,
    Wait(u64),
    Crowded(u64),
}

impl<K> Part<K> {
    pub(super) fn new(max_keys: usize, rule: Rule, hasher: &RandomState) -> Self {
        let empty = || HashMap::with_hasher(hasher.clone());
        Self { recent: empty(), past: empty(), turned_at: 0, settled_at: 0, crowded_until: 0, max_keys, rule }
    }

    /// Forgets the keys touched before the last turn, once all of them are full; for the caller to drop.
    pub(super) fn turn(&mut self, now: u64) -> Option<HashMap<K, u64, RandomState>> {
        // Touched before `turned_at` => full a whole burst's time later at the latest.
        if now < self.turned_at.saturating_add(self.rule.tolerance).max(self.settled_at) {
            return None;
        }
        self.turned_at = now;
        let recent = take(&mut self.recent);
        Some(std::mem::replace(&mut self.past, recent))
    }

    pub(super) fn set_rule(&mut self, rule: Rule, now: u64) {
        let mut latest = 0;
        for full_at in self.recent.values_mut().chain(self.past.values_mut()) {
            *full_at = self.rule.rescaled(rule, *full_at, now);
            latest = latest.max(*full_at);
        }
        self.settled_at = latest;
        // Some may be full sooner than before.
        self.crowded_until = 0;
        self.rule = rule;
    }

    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.past.len()
    }

    pub(super) const fn rule(&self) -> Rule {
        self.rule
    }

    /// When there is room for one more key, if no other comes. All that is full has been forgotten.
    fn has_room_at(&self) -> u64 {
        let ends = || self.recent.values().chain(self.past.values()).copied();
        match self.len().saturating_sub(self.max_keys) {
            0 => ends().min().unwrap_or(u64::MAX),
            // After a change of the bound: as many as are beyond it must go first.
            beyond => {
                let mut ends: Vec<u64> = ends().collect();
                if beyond < ends.len() { *ends.select_nth_unstable(beyond).1 } else { u64::MAX }
            }
        }
    }
}

impl<K: Hash + Eq> Part<K> {
    /// Takes `permits` of `key`'s. Whom it forgets to make room is for the caller to drop.
    pub(super) fn take<Q>(
        &mut self,
        key: &Q,
        now: u64,
        permits: u32,
        forgotten: &mut Vec<(K, u64)>,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let rule = self.rule;
        let end_after = |full_at: u64| match rule.place(full_at, now, permits) {
            None => Err(Denied::TooMany),
            Some(place) if place.due > now => Err(Denied::Wait(place.due - now)),
            Some(place) => Ok(place.end),
        };
        if let Some(full_at) = self.recent.get_mut(key) {
            *full_at = end_after(*full_at)?;
            return Ok(());
        }
        let end = match self.past.get(key) {
            Some(full_at) => end_after(*full_at)?,
            None => {
                let end = end_after(now)?;
                self.make_room(now, forgotten)?;
                end
            }
        };
        let key = match self.past.remove_entry(key) {
            Some((key, _)) => key,
            None => key.to_owned(),
        };
        self.crowded_until = self.crowded_until.min(end);
        match self.recent.entry(key) {
            Entry::Occupied(mut entry) => *entry.get_mut() = end,
            Entry::Vacant(entry) => {
                entry.insert(end);
            }
        }
        Ok(())
    }

    /// When `key` is full; the origin if it is.
    pub(super) fn full_at<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.recent.get(key).or_else(|| self.past.get(key)).copied().unwrap_or(0)
    }

    /// Makes room for one more key by forgetting those that are full. Looks at all, but only once there may be room.
    fn make_room(&mut self, now: u64, forgotten: &mut Vec<(K, u64)>) -> Result<(), Denied> {
        if self.len() < self.max_keys {
            return Ok(());
        }
        if now >= self.crowded_until {
            forgotten.extend(self.past.extract_if(|_, full_at| *full_at <= now));
            forgotten.extend(self.recent.extract_if(|_, full_at| *full_at <= now));
            self.crowded_until = self.has_room_at();
        }
        if self.len() < self.max_keys { Ok(()) } else { Err(Denied::Crowded(self.crowded_until - now)) }
    }
}

/// Puts each key into the part it belongs to now. None is forgotten: one that is not full would have its burst again.
pub(super) fn place<K: Hash + Eq>(parts: &mut [MutexGuard<'_, Part<K>>], placement: &Placement<'_>) {
    let moves = (0..).zip(parts.iter()).any(|(index, part)| (part.max_keys == 0) != (placement.share(index) == 0));
    if moves {
        let (mut recent, mut past) = (Vec::new(), Vec::new());
        // What was touched before its own part's turn was touched before the last of all.
        let (mut turned_at, mut settled_at) = (0, 0);
        for part in &mut *parts {
            recent.extend(take(&mut part.recent));
            past.extend(take(&mut part.past));
            turned_at = part.turned_at.max(turned_at);
            settled_at = part.settled_at.max(settled_at);
        }
        for part in &mut *parts {
            (part.turned_at, part.settled_at) = (turned_at, settled_at);
        }
        for (key, full_at) in recent {
            parts[placement.index(&key)].recent.insert(key, full_at);
        }
        for (key, full_at) in past {
            parts[placement.index(&key)].past.insert(key, full_at);
        }
    }
    for (index, part) in parts.iter_mut().enumerate() {
        (part.max_keys, part.crowded_until) = (placement.share(index), 0);
    }
}

/// All of a map, with its memory.
fn take<K>(map: &mut HashMap<K, u64, RandomState>) -> HashMap<K, u64, RandomState> {
    let empty = HashMap::with_hasher(map.hasher().clone());
    std::mem::replace(map, empty)
}
