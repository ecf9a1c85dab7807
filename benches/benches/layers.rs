//! `cargo bench -p benches --bench layers`: each layer alone, and the stack of four.
#![allow(missing_docs)] // `criterion_group!` makes public items.

use std::time::Duration;

use benches::{Echo, bench_allocating, bench_service};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use resilience_core::adaptive_limit::AdaptiveLimit;
use resilience_core::batch::{Batch, Unanswered};
use resilience_core::bulkhead::Bulkhead;
use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
use resilience_core::cache::Cache;
use resilience_core::chaos::Chaos;
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::fallback::Fallback;
use resilience_core::hedge::{Hedge, HedgeBuilder, Quantile};
use resilience_core::load_shed::ClientThrottle;
use resilience_core::rate_limit::RateLimiter;
use resilience_core::retry::{Backoff, Retry, RetryBudget};
use resilience_core::timeout::TimeoutLayer;
use resilience_core::{Class, Error};
use tower::{ServiceBuilder, service_fn};

#[global_allocator]
static ALLOCATOR: testkit::alloc::Counting = testkit::alloc::Counting;

const VALID: &str = "the configuration is valid";
/// Longer than any run: what is open stays open, what has a limit keeps within it.
const HOUR: Duration = Duration::from_secs(3_600);
/// The keys of what is kept by key, all of them known when it is timed.
const KEYS: u64 = 1_000;

fn consecutive() -> CircuitBreaker {
    CircuitBreaker::builder().name("bench").consecutive_failures(5).open_for(HOUR).build().expect(VALID)
}

fn rate() -> CircuitBreaker {
    let builder = CircuitBreaker::builder().name("bench").failure_rate(0.5).window(Duration::from_secs(10));
    builder.minimum_calls(100).open_for(HOUR).build().expect(VALID)
}

fn open() -> CircuitBreaker {
    let breaker = consecutive();
    for _ in 0..5 {
        breaker.try_acquire().expect("the circuit is closed").settle(Class::Failure);
    }
    breaker
}

fn bulkhead(limit: u32) -> Bulkhead {
    Bulkhead::builder().name("bench").limit(limit).build().expect(VALID)
}

fn retry() -> Retry {
    let budget = RetryBudget::builder().ratio(0.1).reserve(100).build().expect(VALID);
    let backoff = Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2));
    Retry::builder().name("bench").attempts(3).backoff(backoff).budget(budget).build().expect(VALID)
}

fn hedge() -> HedgeBuilder {
    Hedge::builder().name("bench").delay(HOUR)
}

fn layers(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("layer");
    bench_service(group, "none", false, || Echo);
    bench_service(group, "timeout", false, || ServiceBuilder::new().layer(TimeoutLayer::new(HOUR)).service(Echo));
    bench_service(group, "retry with budget", false, || ServiceBuilder::new().layer(retry().layer()).service(Echo));
    breakers(group);
    limits(group);
    alternatives(group);
}

fn breakers(group: &mut BenchmarkGroup<'_, WallTime>) {
    bench_service(group, "breaker, consecutive, closed", false, || {
        ServiceBuilder::new().layer(consecutive().layer()).service(Echo)
    });
    bench_service(group, "breaker, rate, closed", false, || ServiceBuilder::new().layer(rate().layer()).service(Echo));
    bench_service(group, "breaker, open", true, || ServiceBuilder::new().layer(open().layer()).service(Echo));
    bench_service(group, "breaker, keyed, closed", false, || {
        let keyed = CircuitBreaker::builder().name("bench").consecutive_failures(5).open_for(HOUR).build_keyed();
        ServiceBuilder::new().layer(keyed.expect(VALID).layer(|request: &u64| request % KEYS)).service(Echo)
    });
}

fn limits(group: &mut BenchmarkGroup<'_, WallTime>) {
    bench_service(group, "bulkhead, admitted", false, || {
        ServiceBuilder::new().layer(bulkhead(64).layer()).service(Echo)
    });
    let full = bulkhead(1);
    let held = full.try_acquire().expect("the first call is admitted");
    bench_service(group, "bulkhead, full", true, || ServiceBuilder::new().layer(full.layer()).service(Echo));
    drop(held);
    bench_service(group, "bulkhead, partitioned", false, || {
        let bulkhead = PartitionedBulkhead::builder().name("bench").limit(64).share(0, 0.5).share(1, 0.25).build();
        ServiceBuilder::new().layer(bulkhead.expect(VALID).layer(|request: &u64| request % 4)).service(Echo)
    });
    bench_service(group, "adaptive limit", false, || {
        let limit = AdaptiveLimit::builder().name("bench").initial(64).build().expect(VALID);
        ServiceBuilder::new().layer(limit.layer()).service(Echo)
    });
    bench_service(group, "rate limit, admitted", false, || {
        let limiter = RateLimiter::builder().name("bench").quota(u32::MAX, Duration::from_secs(1)).build();
        ServiceBuilder::new().layer(limiter.expect(VALID).layer()).service(Echo)
    });
    bench_service(group, "client throttle, nothing to shed", false, || {
        let throttle = ClientThrottle::builder().name("bench").build().expect(VALID);
        ServiceBuilder::new().layer(throttle.layer()).service(Echo)
    });
}

/// What answers from elsewhere, or not at all.
fn alternatives(group: &mut BenchmarkGroup<'_, WallTime>) {
    bench_service(group, "hedge, fixed delay", false, || {
        ServiceBuilder::new().layer(hedge().build().expect(VALID).layer()).service(Echo)
    });
    bench_service(group, "hedge, learnt delay", false, || {
        let learnt = hedge().delay(Quantile::default()).build().expect(VALID);
        ServiceBuilder::new().layer(learnt.layer()).service(Echo)
    });
    bench_service(group, "fallback, not needed", false, || {
        let fallback = Fallback::builder().name("bench").build().expect(VALID);
        ServiceBuilder::new().layer(fallback.value(7)).service(Echo)
    });
    bench_service(group, "cache, hit", false, || {
        let cache = Cache::<u64, u64, benches::Error>::builder().name("bench").ttl(HOUR).build().expect(VALID);
        (0..KEYS).for_each(|key| cache.insert(key, key));
        ServiceBuilder::new().layer(cache.layer(|request: &u64| Some(request % KEYS))).service(Echo)
    });
    bench_service(group, "chaos, off", false, || {
        let chaos = Chaos::<u64, u64, benches::Error>::builder().name("bench").enabled(false).build().expect(VALID);
        ServiceBuilder::new().layer(chaos.layer()).service(Echo)
    });
    // The most a call can pay: it shares its batch with nobody.
    bench_allocating(group, "batch of one", false, || {
        let answers = service_fn(async |requests: Vec<u64>| {
            Ok::<_, Error<Unanswered>>(requests.into_iter().map(Ok).collect::<Vec<Result<u64, Error<Unanswered>>>>())
        });
        let batch = Batch::builder().name("bench").size(1).build().expect(VALID);
        ServiceBuilder::new().layer(batch.layer()).service(answers)
    });
}

fn stack(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("stack of four");
    for (name, breaker) in [("consecutive", consecutive()), ("rate", rate())] {
        bench_service(group, &format!("timeout, retry, breaker ({name}), bulkhead"), false, || {
            ServiceBuilder::new()
                .layer(TimeoutLayer::new(HOUR))
                .layer(retry().layer())
                .layer(breaker.layer())
                .layer(bulkhead(64).layer())
                .service(Echo)
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = layers, stack
}
criterion_main!(benches);
