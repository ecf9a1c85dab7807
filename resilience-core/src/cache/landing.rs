//! What becomes of an answer that came.

use std::hash::Hash;
use std::sync::Arc;

use super::counts::Count;
use super::entry::{Entry, Found};
use super::machine::Lifetime;
use super::policy::{Outcome, Shared};
use super::{Cache, Event, Ttl};
use crate::flight::Leader;
use crate::time::Timestamp;

impl<K, V, E> Cache<K, V, E>
where
    K: Hash + Eq + Clone,
    V: Clone,
    E: Clone,
{
    /// What is to be done with an answer that came, for whoever asked and for all who wait. In a dry run it is kept, and
    /// whoever asked gets what came.
    pub(super) fn land(
        &self,
        leader: Leader<K, Outcome<V, E>>,
        answer: Result<V, E>,
        began: Timestamp,
        is_dry: bool,
    ) -> Result<V, E> {
        let shared = &*self.shared;
        let now = shared.timer.now();
        let took = now.since(began);
        let ttl = match &answer {
            Ok(value) => self.ttl_of(value),
            Err(error) => {
                self.tell(Count::LoadFailed, 1, || Event::LoadFailed { took });
                match shared.config.negative_ttl.as_ref().and_then(|ttl| ttl(error)) {
                    Some(ttl) => Ttl::fresh(ttl),
                    None => return self.land_failed(leader, answer, now, is_dry),
                }
            }
        };
        if answer.is_ok() {
            self.tell(Count::Loaded, 1, || Event::Loaded { took });
        }
        let entry = self.entry(leader.key(), answer.clone(), now, ttl);
        let outcome = Outcome { answer: Arc::new(answer.clone()), is_stale: false };
        let key = leader.key().clone();
        let is_kept = !entry.lifetime.is_stillborn(now);
        let (mut evicted, mut removed, mut entry) = (Vec::new(), None, Some(entry));
        leader.land(outcome, |key| match entry.take_if(|_| is_kept) {
            Some(entry) => shared.kept.insert_with_lifecycle(key.clone(), entry, &mut evicted),
            // What is there is older than an answer that is not to be kept.
            None => removed = shared.kept.remove(key),
        });
        // Outside of the lock, as in `replace`.
        drop((removed, entry));
        self.tell_evicted(&key, evicted);
        answer
    }

    /// An error that is no answer: an older answer is, if there is one that may be served.
    fn land_failed(
        &self,
        leader: Leader<K, Outcome<V, E>>,
        answer: Result<V, E>,
        now: Timestamp,
        is_dry: bool,
    ) -> Result<V, E> {
        let shared = &*self.shared;
        let is_own = matches!((&answer, &shared.config.is_own), (Err(error), Some(is_own)) if is_own(error));
        // Looked for now and not before the call: what was invalidated meanwhile is not served.
        let is_usable = |entry: &Entry<V, E>| !is_dry && entry.lifetime.is_usable_on_error(now);
        let older = shared.kept.peek(leader.key()).filter(is_usable);
        if is_own {
            // One of those who wait makes a call of its own.
            drop(leader);
        } else if let Some(entry) = &older {
            let outcome = Outcome { answer: Arc::new(entry.clone().into_answer()), is_stale: true };
            let calm = entry.calm(now + shared.settings().calm);
            // Softly: that a call has failed is no use of the answer. It may have been evicted meanwhile.
            let mut replaced = Vec::new();
            let keep = |key: &K| shared.kept.replace_with_lifecycle(key.clone(), calm, true, &mut replaced).err();
            let not_there = leader.land(outcome, keep);
            drop((replaced, not_there));
        } else {
            leader.land(Outcome { answer: Arc::new(answer.clone()), is_stale: false }, |_| ());
        }
        match older {
            Some(entry) => {
                self.note(Count::ServedOnError);
                entry.into_answer()
            }
            None => answer,
        }
    }

    /// An answer that is kept and is to be served, while its flight's lock is held; `aside` takes what is found instead, to
    /// be dropped outside of that.
    pub(super) fn landed(&self, key: &K, aside: &mut Option<Entry<V, E>>) -> Option<Outcome<V, E>> {
        let is_stale = self.has_landed(key, aside)?;
        let entry = aside.take()?;
        Some(Outcome { answer: Arc::new(entry.into_answer()), is_stale })
    }

    /// Whether there is such an answer, and then whether it is stale; `aside` takes what is found.
    pub(super) fn has_landed(&self, key: &K, aside: &mut Option<Entry<V, E>>) -> Option<bool> {
        let entry = aside.insert(self.shared.kept.peek(key)?);
        match entry.find(&self.shared.timer) {
            Found::Fresh => Some(false),
            Found::Calm => Some(true),
            Found::Revalidate | Found::Nothing => None,
        }
    }

    pub(super) fn entry(&self, key: &K, answer: Result<V, E>, now: Timestamp, ttl: Ttl) -> Entry<V, E> {
        let Shared { config, rng, .. } = &*self.shared;
        let jitter = self.shared.settings().jitter;
        let shortened = if jitter > 0.0 { jitter * rng.unit() } else { 0.0 };
        let weight = match (&config.weigh, &answer) {
            (Some(weigh), Ok(value)) => weigh(key, value),
            _ => 1,
        };
        Entry::new(answer, Lifetime::new(now, ttl, shortened), weight)
    }
}
