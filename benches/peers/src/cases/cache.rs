//! Answers that are there already, and calls that go together.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::batch::{Batch, BatchService, Unanswered};
use resilience_core::cache::Cache;
use tower::{Layer, Service};
use tower_resilience_cache::{CacheLayer, EvictionPolicy};

use super::breaker::{HOUR, KEYS, key};
use super::retry::VALID;
use crate::echo::{Broken, Echo, Failure, Listed};
use crate::harness::{Answer, Kind, Spec, function, group, service};

/// The groups of cache and batch.
pub fn specs() -> Vec<Spec> {
    let mut specs = group("j1 cache, hit among 1000 keys, tower", layers());
    specs.extend(group("j2 cache, hit among 1000 keys, sync", maps()));
    specs.extend(group("m batch, per call", batches()));
    specs
}

fn layers() -> Vec<Spec> {
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("cache", Kind::Ours, Answer::Ok, || {
            ours().layer(|request: &u64| Some(key(request))).layer(Echo::<Failure>::new())
        }),
        service("tower-resilience-cache, LRU", Kind::Peer, Answer::Ok, || {
            let builder = CacheLayer::builder().name("bench").max_size(10 * KEYS as usize).ttl(HOUR);
            let layer = builder.eviction_policy(EvictionPolicy::Lru).key_extractor(key).build().expect(VALID);
            super::breaker::known(layer.layer(Echo::<Broken>::new()))
        }),
    ]
}

fn maps() -> Vec<Spec> {
    vec![
        function("fn call", Kind::Floor, Answer::Ok, || (), |(), i| i < u64::MAX),
        function("cache", Kind::Ours, Answer::Ok, ours, |cache, i| matches!(cache.get(&key(&i)), Some(Ok(_)))),
        function("quick_cache, no time to live", Kind::Peer, Answer::Ok, quick, |cache, i| {
            cache.get(&key(&i)).is_some()
        }),
        function("moka, time to live", Kind::Peer, Answer::Ok, moka, |cache, i| cache.get(&key(&i)).is_some()),
    ]
}

fn ours() -> Cache<u64, u64, Failure> {
    let cache = Cache::builder().name("bench").ttl(HOUR).build().expect(VALID);
    (0..KEYS).for_each(|key| cache.insert(key, key));
    cache
}

fn quick() -> quick_cache::sync::Cache<u64, u64> {
    let cache = quick_cache::sync::Cache::new(10 * KEYS as usize);
    (0..KEYS).for_each(|key| cache.insert(key, key));
    cache
}

fn moka() -> moka::sync::Cache<u64, u64> {
    let cache = moka::sync::Cache::builder().max_capacity(10 * KEYS).time_to_live(HOUR).build();
    (0..KEYS).for_each(|key| cache.insert(key, key));
    cache
}

fn batches() -> Vec<Spec> {
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("batch of one", Kind::Ours, Answer::Ok, || batch(1)).allocating(),
        service("batch of sixteen", Kind::Ours, Answer::Ok, || Sixteen(batch(16))).allocating().of(16),
    ]
}

fn batch(size: usize) -> BatchService<Listed, u64> {
    let batch = Batch::builder().name("bench").size(size).delay(Duration::from_secs(30)).build().expect(VALID);
    batch.layer().layer(Listed)
}

/// Makes sixteen calls at once of each.
#[derive(Clone, Debug)]
struct Sixteen<S>(S);

impl<S> Service<u64> for Sixteen<S>
where
    S: Service<u64, Response = u64, Error = resilience_core::Error<Unanswered>>,
    S::Future: Unpin,
{
    type Response = u64;
    type Error = S::Error;
    type Future = Together<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        Together { calls: std::array::from_fn(|_| Some(self.0.call(request))) }
    }
}

/// Sixteen calls until all of them are answered.
#[derive(Debug)]
struct Together<F> {
    calls: [Option<F>; 16],
}

impl<F, E> Future for Together<F>
where
    F: Future<Output = Result<u64, E>> + Unpin,
{
    type Output = Result<u64, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for place in &mut self.calls {
            if let Some(Poll::Ready(answer)) = place.as_mut().map(|call| Pin::new(call).poll(cx)) {
                *place = None;
                if let Err(error) = answer {
                    return Poll::Ready(Err(error));
                }
            }
        }
        if self.calls.iter().all(Option::is_none) { Poll::Ready(Ok(0)) } else { Poll::Pending }
    }
}
