//! Limits on concurrency, with room and without.

use std::future::poll_fn;

use resilience_core::bulkhead::Bulkhead;
use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::{Layer, Service};
use tower_resilience_bulkhead::{BulkheadConfigBuilder, BulkheadLayer};

use crate::echo::{Broken, Echo, EchoPending, Failure};
use crate::harness::{Answer, Kind, Spec, group, service};

/// Calls at once.
pub const LIMIT: usize = 64;

/// The bulkhead groups.
pub fn specs() -> Vec<Spec> {
    let mut specs = group("d1 bulkhead, admitted", admitted());
    specs.extend(group("d2 bulkhead, full (refuses)", full()));
    specs.extend(group("d3 bulkhead with shares, admitted", shares()));
    specs
}

fn admitted() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("bulkhead", Kind::Ours, Answer::Ok, || ours(LIMIT as u32).layer().layer(Echo::<Failure>::new())),
        service("tower ConcurrencyLimit", peer, Answer::Ok, || ConcurrencyLimit::new(Echo::<Broken>::new(), LIMIT)),
        service("tower LoadShed<ConcurrencyLimit>", peer, Answer::Ok, || {
            LoadShed::new(ConcurrencyLimit::new(Echo::<Broken>::new(), LIMIT))
        }),
        service("tower-resilience-bulkhead, waits", peer, Answer::Ok, || {
            built(resilience(LIMIT)).layer(Echo::<Broken>::new())
        }),
        service("tower-resilience-bulkhead, refuses", peer, Answer::Ok, || {
            built(resilience(LIMIT).reject_when_full()).layer(Echo::<Broken>::new())
        }),
        service("tower-resilience-bulkhead, backpressure", peer, Answer::Ok, || {
            built(resilience(LIMIT).backpressure()).layer(Echo::<Broken>::new())
        }),
    ]
}

fn full() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("bulkhead", Kind::Ours, Answer::Err, || {
            let bulkhead = ours(1);
            let held = bulkhead.try_acquire().expect("the first call is admitted");
            keeping(bulkhead.layer().layer(Echo::<Failure>::new()), held)
        }),
        service("tower LoadShed<ConcurrencyLimit>", peer, Answer::Err, || {
            let mut limit = ConcurrencyLimit::new(Echo::<Broken>::new(), 1);
            let free = limit.clone();
            // A clone that was polled ready holds the only permit for as long as it lives.
            let ready = futures::executor::block_on(poll_fn(|cx| limit.poll_ready(cx)));
            ready.expect("an echo is always ready");
            keeping(LoadShed::new(free), limit)
        }),
        service("tower-resilience-bulkhead, refuses", peer, Answer::Err, || {
            let layer = built(resilience(1).reject_when_full());
            let mut service = layer.layer(EchoPending::<Broken>::new());
            let mut call = Box::pin(service.call(0));
            // Polled once, the call has its permit and waits; it is kept and never polled again.
            let waits = futures::executor::block_on(async { futures::poll!(call.as_mut()).is_pending() });
            assert!(waits, "the call that holds the permit waits");
            keeping(service, call)
        }),
    ]
}

fn shares() -> Vec<Spec> {
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("bulkhead with shares for two of four callers", Kind::Ours, Answer::Ok, || {
            let builder = PartitionedBulkhead::builder().name("bench").limit(LIMIT as u32).share(0, 0.5).share(1, 0.25);
            let layer = builder.build().expect("the configuration is valid").layer(|request: &u64| request % 4);
            layer.layer(Echo::<Failure>::new())
        }),
    ]
}

/// Our bulkhead, without a queue.
pub fn ours(limit: u32) -> Bulkhead {
    Bulkhead::builder().name("bench").limit(limit).build().expect("the configuration is valid")
}

fn built(builder: BulkheadConfigBuilder) -> BulkheadLayer {
    builder.build().expect("the configuration is valid")
}

/// tower-resilience's bulkhead.
pub fn resilience(limit: usize) -> BulkheadConfigBuilder {
    BulkheadLayer::builder().name("bench").max_concurrent_calls(limit)
}

/// `service`, with `holder` kept until the process ends.
///
/// The service itself and nothing around it, as in every other row: a wrapper whose `call` is not inlined hands the future
/// over in memory, written in halves and read in one piece, and that alone is another 9 ns.
pub fn keeping<S, H>(service: S, holder: H) -> S {
    std::mem::forget(holder);
    service
}
