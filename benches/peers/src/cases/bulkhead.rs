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
            Holding::new(bulkhead.layer().layer(Echo::<Failure>::new()), held)
        }),
        service("tower LoadShed<ConcurrencyLimit>", peer, Answer::Err, || {
            let mut limit = ConcurrencyLimit::new(Echo::<Broken>::new(), 1);
            let free = limit.clone();
            // A clone that was polled ready holds the only permit for as long as it lives.
            let ready = futures::executor::block_on(poll_fn(|cx| limit.poll_ready(cx)));
            ready.expect("an echo is always ready");
            Holding::new(LoadShed::new(free), limit)
        }),
        service("tower-resilience-bulkhead, refuses", peer, Answer::Err, || {
            let layer = built(resilience(1).reject_when_full());
            let mut service = layer.layer(EchoPending::<Broken>::new());
            let mut call = Box::pin(service.call(0));
            // Polled once, the call has its permit and waits; it is kept and never polled again.
            let waits = futures::executor::block_on(async { futures::poll!(call.as_mut()).is_pending() });
            assert!(waits, "the call that holds the permit waits");
            Holding::new(service, call)
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

/// A service, and whatever fills it: leaked, so that clones need not share it.
#[derive(Clone, Debug)]
pub struct Holding<S>(S);

impl<S> Holding<S> {
    /// `service`, kept full by `holder` until the process ends.
    pub fn new<H>(service: S, holder: H) -> Self {
        std::mem::forget(holder);
        Self(service)
    }
}

impl<S: Service<u64>> Service<u64> for Holding<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> S::Future {
        self.0.call(request)
    }
}
