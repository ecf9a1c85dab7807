//! One run for all who ask under one key: who runs it, who waits, and who goes on when the runner is gone.
//!
//! Nothing is spawned. The first who asks leads and runs it inside its own future; whoever asks meanwhile waits. When it
//! lands, each who waits is woken once and gets the outcome. When the leader is dropped or panics, the youngest of those
//! who wait is woken to lead, and no other; a newcomer that arrives before it was polled leads at once, so that a
//! waiter nobody polls holds up nobody.
//!
//! The youngest, since it has the most of its patience left. The oldest came right after the leader and leaves right
//! after it: where a run takes longer than anybody waits, each who asks would lead in its turn, for as long as lies
//! between two who ask, and make a call of its own.
//!
//! Two locks, always taken in this order: that of the map of flights, and that of one flight's seats. Keys are hashed and
//! compared under the first; wakers are cloned, woken and dropped, outcomes dropped, outside of both.
#![cfg_attr(loom, allow(dead_code))] // Under loom, the models are the only users.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, lock};

/// The runs under way, by key. Clones share them.
pub(crate) struct Flights<K, T> {
    map: Arc<Mutex<HashMap<K, Arc<Flight<T>>>>>,
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }
}

struct Flight<T> {
    seats: Mutex<Seats<T>>,
}

struct Seats<T> {
    outcome: Option<T>,
    /// Whether somebody runs it.
    led: bool,
    /// By age. A waker is taken when it is woken; its owner leaves another when it is polled.
    waiters: BTreeMap<u64, Option<Waker>>,
    joined: u64,
}

/// What somebody who asks is to do.
pub(crate) enum Joined<K: Hash + Eq + Clone, T> {
    /// Run it.
    Leader(Leader<K, T>),
    /// Wait for who runs it.
    Waiter(Waiter<K, T>),
    /// Nothing: it landed between the caller's look and this one.
    Landed(T),
}

/// Who runs it. Dropped before it lands, the run falls to one who waits.
pub(crate) struct Leader<K: Hash + Eq + Clone, T> {
    flights: Flights<K, T>,
    flight: Arc<Flight<T>>,
    key: K,
    is_over: bool,
}

/// Who waits.
pub(crate) struct Waiter<K: Hash + Eq + Clone, T> {
    flights: Flights<K, T>,
    flight: Arc<Flight<T>>,
    key: K,
    seat: u64,
}

/// How a wait ends.
pub(crate) enum Turn<K: Hash + Eq + Clone, T> {
    Landed(T),
    Lead(Leader<K, T>),
}

impl<K: Hash + Eq + Clone, T: Clone> Flights<K, T> {
    pub(crate) fn new() -> Self {
        Self { map: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// Joins the flight of `key`, or begins one.
    ///
    /// `peek` looks for an outcome that is kept, under the lock under which [`Leader::land`] keeps it: what landed after
    /// the caller's own look is found here, and is not fetched twice. It must drop nothing of the user's.
    pub(crate) fn join(&self, key: &K, waker: &Waker, peek: impl FnOnce() -> Option<T>) -> Joined<K, T> {
        let waker = waker.clone();
        let mut map = lock(&self.map);
        let Some(flight) = map.get(key) else {
            return match peek() {
                Some(outcome) => Joined::Landed(outcome),
                None => Joined::Leader(self.begin(&mut map, key)),
            };
        };
        let flight = flight.clone();
        let mut seats = lock(&flight.seats);
        drop(map);
        if !seats.led {
            seats.led = true;
            drop(seats);
            return Joined::Leader(self.leader(flight, key.clone()));
        }
        let seat = seats.joined;
        seats.joined += 1;
        seats.waiters.insert(seat, Some(waker));
        drop(seats);
        Joined::Waiter(Waiter { flights: self.clone(), flight, key: key.clone(), seat })
    }

    /// Begins a flight, unless one is under way or has just landed; `landed` is asked as `peek` above.
    pub(crate) fn lead(&self, key: &K, landed: impl FnOnce() -> bool) -> Option<Leader<K, T>> {
        let mut map = lock(&self.map);
        let is_needed = !map.contains_key(key) && !landed();
        is_needed.then(|| self.begin(&mut map, key))
    }

    /// Runs `change` with the promise that no flight that is under way now will be kept under `key`.
    pub(crate) fn overtake<R>(&self, key: &K, change: impl FnOnce() -> R) -> R {
        let (overtaken, changed);
        {
            let mut map = lock(&self.map);
            overtaken = map.remove_entry(key);
            changed = change();
        }
        drop(overtaken);
        changed
    }

    /// As [`overtake`](Self::overtake), for every key that `is_meant` names.
    pub(crate) fn overtake_where(&self, mut is_meant: impl FnMut(&K) -> bool) {
        // The caller's code, and so without the lock. A flight that begins meanwhile began after the caller asked.
        let under_way: Vec<_> = lock(&self.map).iter().map(|(key, flight)| (key.clone(), flight.clone())).collect();
        for (key, flight) in under_way.into_iter().filter(|(key, _)| is_meant(key)) {
            let gone = Self::remove(&mut lock(&self.map), &key, &flight);
            drop(gone);
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.map).len()
    }

    fn begin(&self, map: &mut HashMap<K, Arc<Flight<T>>>, key: &K) -> Leader<K, T> {
        let seats = Seats { outcome: None, led: true, waiters: BTreeMap::new(), joined: 0 };
        let flight = Arc::new(Flight { seats: Mutex::new(seats) });
        map.insert(key.clone(), flight.clone());
        self.leader(flight, key.clone())
    }

    fn leader(&self, flight: Arc<Flight<T>>, key: K) -> Leader<K, T> {
        Leader { flights: self.clone(), flight, key, is_over: false }
    }
}

impl<K: Hash + Eq, T> Flights<K, T> {
    /// Takes a flight out, if it is the one under its key: what it gives back is for the caller to drop.
    fn remove(map: &mut HashMap<K, Arc<Flight<T>>>, key: &K, flight: &Arc<Flight<T>>) -> Option<(K, Arc<Flight<T>>)> {
        if map.get(key).is_some_and(|current| Arc::ptr_eq(current, flight)) { map.remove_entry(key) } else { None }
    }
}

impl<K: Hash + Eq + Clone, T: Clone> Leader<K, T> {
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    /// Hands the outcome to all who wait, after `keep` has kept it; not kept if it was overtaken meanwhile.
    pub(crate) fn land<R>(mut self, outcome: T, keep: impl FnOnce(&K) -> R) -> Option<R> {
        let (waiters, gone, kept);
        {
            let mut map = lock(&self.flights.map);
            gone = Flights::remove(&mut map, &self.key, &self.flight);
            // One that is not asked goes with what it holds, and so after the locks.
            kept = if gone.is_some() { Some(keep(&self.key)) } else { None };
            let mut seats = lock(&self.flight.seats);
            drop(map);
            seats.outcome = Some(outcome);
            waiters = std::mem::take(&mut seats.waiters);
        }
        // Only now: if `keep` panics, those who wait go on without it.
        self.is_over = true;
        drop(gone);
        waiters.into_values().flatten().for_each(Waker::wake);
        kept
    }
}

impl<K: Hash + Eq + Clone, T> Drop for Leader<K, T> {
    fn drop(&mut self) {
        if !self.is_over {
            leave(&self.flights, &self.flight, &self.key, |seats| {
                seats.led = false;
                None
            });
        }
    }
}

impl<K: Hash + Eq + Clone, T: Clone> Waiter<K, T> {
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Turn<K, T>> {
        // Cloned and dropped outside of the lock.
        let waker = cx.waker().clone();
        let old;
        {
            let mut seats = lock(&self.flight.seats);
            if let Some(outcome) = &seats.outcome {
                return Poll::Ready(Turn::Landed(outcome.clone()));
            }
            if seats.led {
                old = seats.waiters.insert(self.seat, Some(waker));
            } else {
                // Woken to lead, or polled before the one who was.
                seats.led = true;
                old = seats.waiters.remove(&self.seat);
                drop(seats);
                drop(old);
                return Poll::Ready(Turn::Lead(self.flights.leader(self.flight.clone(), self.key.clone())));
            }
        }
        drop(old);
        Poll::Pending
    }
}

impl<K: Hash + Eq + Clone, T> Drop for Waiter<K, T> {
    fn drop(&mut self) {
        leave(&self.flights, &self.flight, &self.key, |seats| seats.waiters.remove(&self.seat).flatten());
    }
}

/// Somebody leaves. If nobody leads then, the youngest who waits is woken to; if nobody waits either, the flight is gone.
fn leave<K: Hash + Eq, T>(
    flights: &Flights<K, T>,
    flight: &Arc<Flight<T>>,
    key: &K,
    rise: impl FnOnce(&mut Seats<T>) -> Option<Waker>,
) {
    let (mut gone, mut next) = (None, None);
    let own;
    {
        let mut map = lock(&flights.map);
        let mut seats = lock(&flight.seats);
        own = rise(&mut seats);
        if !seats.led {
            match seats.waiters.values_mut().next_back() {
                Some(youngest) => next = youngest.take(),
                None => gone = Flights::remove(&mut map, key, flight),
            }
        }
    }
    drop((own, gone));
    if let Some(next) = next {
        next.wake();
    }
}

impl<K: Hash + Eq + Clone, T> fmt::Debug for Leader<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, T> fmt::Debug for Waiter<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("seat", &self.seat).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom)))]
mod tests;
