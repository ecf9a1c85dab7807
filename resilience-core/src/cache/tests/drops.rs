//! Answers and keys that use the cache when they go: under a lock of it they would wait for themselves.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use super::writes::now;
use super::*;
use crate::cache::write::{Store, WriteBehind};

/// What is done when one of these goes.
#[derive(Clone, Default)]
struct Uses(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl Uses {
    fn when_it_goes(&self, act: impl Fn() + Send + Sync + 'static) {
        assert!(self.0.set(Box::new(act)).is_ok());
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        if let Some(act) = self.0.get() {
            act();
        }
    }
}

type Leases = Cache<u32, Uses, ()>;

/// A cache, what is kept in it, and a clock.
fn leases(ttl: impl Into<Ttl>) -> (Leases, Uses, ManualTimer) {
    let (uses, timer) = (Uses::default(), ManualTimer::new());
    let cache = Leases::builder().ttl(ttl).timer(timer.clone()).build().unwrap();
    let weak = Arc::downgrade(&cache.shared);
    uses.when_it_goes(move || _ = weak.upgrade().map(|shared| Cache { shared }.invalidate(&2)));
    (cache, uses, timer)
}

fn fetch(cache: &Leases, uses: &Uses) {
    assert!(now(cache.get_or_load(1, || ready(Ok(uses.clone())))).is_ok());
}

#[test]
fn an_answer_that_is_not_worth_keeping_goes_outside_of_the_locks() {
    let (cache, uses, _) = leases(Duration::ZERO);
    cache.insert(1, uses.clone());
    fetch(&cache, &uses);
}

#[test]
fn an_answer_that_was_overtaken_goes_outside_of_the_locks() {
    let (cache, uses, _) = leases(SECOND);
    let (answer, call) = tokio::sync::oneshot::channel();
    let mut asks = Task::new(cache.get_or_load(1, || async { Ok(call.await.unwrap()) }));
    assert!(asks.run().is_pending());
    cache.invalidate(&1);
    assert!(answer.send(uses).is_ok());
    assert!(asks.run().is_ready());
    assert!(cache.get(&1).is_none());
}

#[test]
fn an_answer_that_was_looked_at_goes_outside_of_the_locks() {
    for ttl in [Ttl::fresh(SECOND), Ttl::fresh(SECOND).stale_while_revalidate(9 * SECOND)] {
        let (cache, uses, timer) = leases(ttl);
        fetch(&cache, &uses);
        timer.advance(2 * SECOND);
        fetch(&cache, &uses);
    }
}

#[derive(Clone)]
struct Key(u32, #[allow(dead_code)] Uses);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Takes no write at first.
struct Reluctant(Mutex<u32>);

impl<K: Send + Sync, V: Send + Sync> Store<K, V> for Reluctant {
    type Error = ();

    async fn get(&self, _: &K) -> Result<Option<V>, ()> {
        Ok(None)
    }

    async fn put(&self, _: &K, _: &V) -> Result<(), ()> {
        let mut refuses = self.0.lock().unwrap();
        let refused = *refuses > 0;
        *refuses = refuses.saturating_sub(1);
        if refused { Err(()) } else { Ok(()) }
    }

    async fn remove(&self, _: &K) -> Result<(), ()> {
        Ok(())
    }
}

type Behind<K, V> = WriteBehind<K, V, Reluctant>;

/// A store of room for one, which refuses so many writes and is looked at when what it was given goes.
fn behind<K, V>(refuses: u32) -> (Behind<K, V>, Uses, ManualTimer)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let (uses, timer) = (Uses::default(), ManualTimer::new());
    let cache = Cache::builder().timer(timer.clone()).build().unwrap();
    let behind = WriteBehind::builder(cache, Reluctant(Mutex::new(refuses))).limit(1).build().unwrap();
    let looked: Behind<K, V> = behind.clone();
    uses.when_it_goes(move || _ = looked.snapshot());
    (behind, uses, timer)
}

#[test]
fn a_value_that_is_not_taken_goes_outside_of_the_locks() {
    let (behind, uses, _) = behind(0);
    behind.put(1, uses.clone()).unwrap();
    assert!(behind.put(2, uses.clone()).is_err(), "there is room for one");
    assert!(now(behind.shutdown()).is_empty());
    assert!(behind.put(1, uses).is_err(), "it takes none any more");
}

#[test]
fn a_value_that_a_newer_one_replaces_between_two_attempts_goes_outside_of_the_locks() {
    let (behind, uses, timer) = behind(1);
    behind.put(1, uses.clone()).unwrap();
    let mut writes = Task::new(behind.flush());
    assert!(writes.run().is_pending());
    behind.put(1, uses).unwrap();
    timer.advance(SECOND);
    assert!(writes.run().is_ready());
    assert_eq!((behind.snapshot().written, behind.snapshot().unsaved), (1, 0));
}

#[test]
fn a_key_that_is_written_goes_outside_of_the_locks() {
    let (behind, uses, _) = behind(0);
    behind.put(Key(1, uses), 10).unwrap();
    assert!(now(behind.flush()).is_empty());
    assert_eq!(behind.snapshot().written, 1);
}
