//! Answers and keys that use the cache when they go: under a lock of it they would wait for themselves.

use std::sync::{Arc, OnceLock};

use super::writes::now;
use super::*;

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
