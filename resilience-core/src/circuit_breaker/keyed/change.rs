//! Other settings for keys that are in use, and for those to come.

use std::hash::Hash;

use super::{Entry, Kept, Keyed, KeyedCircuitBreaker, Settings};
use crate::ConfigError;
use crate::circuit_breaker::CircuitBreakerBuilder;
use crate::circuit_breaker::config::{Change, Config};
use crate::circuit_breaker::policy::CircuitBreaker;
use crate::spread::Placement;
use crate::sync::{Arc, MutexGuard, lock};

impl<K: Hash + Eq> KeyedCircuitBreaker<K> {
    /// Takes over thresholds, waits, probes, ramp, dry run and [`max_keys`](CircuitBreakerBuilder::max_keys) of `builder`
    /// while calls come and go: each key as [`CircuitBreaker::reconfigure`] says, and each key to come. The rest of the
    /// builder is not looked at.
    ///
    /// With fewer keys allowed than there are, those go that can, as for a newcomer; one that is open, half-open, moved by
    /// hand or in use stays, and goes when it can and a newcomer wants its place. Takes time in proportion to the keys.
    ///
    /// # Errors
    ///
    /// As [`CircuitBreaker::reconfigure`], and for `max_keys` of zero. Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::Class::Failure;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let hosts = CircuitBreaker::builder().consecutive_failures(10).build_keyed::<String>()?;
    /// (0..3).for_each(|_| hosts.try_acquire("slow.example").unwrap().settle(Failure));
    /// hosts.reconfigure(CircuitBreaker::builder().consecutive_failures(4).max_keys(1_000))?;
    /// hosts.try_acquire("slow.example").unwrap().settle(Failure); // the fourth, and not the first
    /// assert_eq!(hosts.get("slow.example").map(|breaker| breaker.state()), Some(State::Open));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: CircuitBreakerBuilder) -> Result<(), ConfigError> {
        let shared = &*self.shared;
        let max_keys = builder.checked_max_keys()?;
        let before = lock(&shared.newest).clone();
        let asked = builder.timer(before.config.timer.clone()).checked()?;
        let config = before.config.changed(asked.into_change(&before.config.fixed())?);
        let (mut turn, old) = {
            let mut newest = lock(&shared.newest);
            let turn = Arc::new(Settings { version: newest.version + 1, config, max_keys });
            let old = std::mem::replace(&mut *newest, turn.clone());
            (turn, old)
        };
        // Here, and not under the lock: with it goes what may be the user's.
        drop((old, before));
        loop {
            shared.apply(&turn);
            // Somebody may have begun a later change meanwhile, and have come to some of the keys before us. The last to be
            // done with all of them finds the one it began with, so that is what they all go by.
            let newest = lock(&shared.newest).clone();
            if newest.version == turn.version {
                return Ok(());
            }
            turn = newest;
        }
    }

    /// Closes the circuits of all keys; see [`CircuitBreaker::close`].
    ///
    /// ```
    /// use resilience_core::Class::Failure;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    ///
    /// let hosts = CircuitBreaker::builder().consecutive_failures(1).build_keyed::<u32>()?;
    /// (0..3).for_each(|host| hosts.try_acquire(&host).unwrap().settle(Failure));
    /// assert_eq!(hosts.snapshot().not_closed, 3);
    /// hosts.close(); // the switch they were all behind has been mended
    /// assert_eq!(hosts.snapshot().not_closed, 0);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn close(&self) {
        self.shared.each(CircuitBreaker::close);
    }
}

impl<K: Hash + Eq> Keyed<K> {
    /// Makes what is kept, and what is made from now on, go by `turn`, unless that is over already.
    fn apply(&self, turn: &Arc<Settings>) {
        let out_of_date = self.parts.resize_if(
            turn.max_keys,
            |parts| parts[0].settings.version < turn.version,
            |parts, placement| {
                let old: Vec<_> =
                    parts.iter_mut().map(|part| std::mem::replace(&mut part.settings, turn.clone())).collect();
                (old, place(parts, placement))
            },
        );
        // Keys may run anything when they are dropped, and so may what was the user's in the old settings: not under the
        // locks.
        if let Some((old, gone)) = out_of_date {
            self.retire(gone);
            drop(old);
        }
        let config = &turn.config;
        self.each(|breaker| {
            let Config { trip, slow, ref rules, dry_run, .. } = *config;
            breaker.take_over(Change { trip, slow, rules: rules.clone(), dry_run });
        });
        // Who looked for room meanwhile found all of them in use.
        for part in self.parts.iter() {
            lock(part).look_again_in = 0;
        }
    }

    /// Does something with each breaker, outside of the locks: breakers tell listeners, who may ask for a key.
    fn each(&self, act: impl Fn(&CircuitBreaker)) {
        for part in self.parts.iter() {
            let breakers: Vec<_> = lock(part).breakers.values().map(|entry| entry.breaker.clone()).collect();
            breakers.iter().for_each(&act);
        }
    }
}

/// Puts each key into the part it belongs to now; those that are too many and can go are for the caller to drop.
fn place<K: Hash + Eq>(parts: &mut [MutexGuard<'_, Kept<K>>], placement: &Placement<'_>) -> Vec<(K, Entry)> {
    let moves = (0..).zip(parts.iter()).any(|(index, part)| (part.max_keys == 0) != (placement.share(index) == 0));
    if moves {
        let mut all = Vec::new();
        for part in &mut *parts {
            let empty = std::collections::HashMap::with_hasher(part.breakers.hasher().clone());
            all.extend(std::mem::replace(&mut part.breakers, empty));
        }
        for (key, entry) in all {
            parts[placement.index(&key)].breakers.insert(key, entry);
        }
    }
    let mut gone = Vec::new();
    for (index, part) in parts.iter_mut().enumerate() {
        part.max_keys = placement.share(index);
        part.shrink(&mut gone);
    }
    gone
}

impl<K: Hash + Eq> Kept<K> {
    /// Takes out what is beyond the bound and can go, first what is missed least.
    fn shrink(&mut self, gone: &mut Vec<(K, Entry)>) {
        let is_blank = |entry: &Entry| entry.breaker.shared.is_blank();
        let is_unused = |entry: &Entry| !entry.used;
        let orders: [&dyn Fn(&Entry) -> bool; 3] = [&is_blank, &is_unused, &|_| true];
        for may_go in orders {
            let beyond = self.breakers.len().saturating_sub(self.max_keys);
            gone.extend(self.breakers.extract_if(|_, entry| entry.breaker.is_free() && may_go(entry)).take(beyond));
        }
    }
}

impl Config {
    /// What is made from now on: as before, but for what has changed.
    fn changed(&self, change: Change) -> Self {
        let Change { trip, slow, rules, dry_run } = change;
        // From how long on a call is slow stays as it is.
        let slow = slow.zip(self.slow).map(|((_, ratio, minimum), (threshold, ..))| (threshold, ratio, minimum));
        Self {
            trip,
            slow,
            rules,
            dry_run,
            name: self.name.clone(),
            rng: crate::rng::SharedRng::seeded(self.rng.next_u64()),
            timer: self.timer.clone(),
            listeners: self.listeners.clone(),
            ..*self
        }
    }
}
