//! `cargo bench -p benches --bench layers`: each layer alone, and the stack of four.
#![allow(missing_docs)] // `criterion_group!` makes public items.

use std::time::Duration;

use benches::{Echo, bench_service};
use criterion::{Criterion, criterion_group, criterion_main};
use resilience_core::Class;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::cache::Cache;
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::retry::{Backoff, Retry, RetryBudget};
use resilience_core::timeout::TimeoutLayer;
use tower::ServiceBuilder;

#[global_allocator]
static ALLOCATOR: testkit::alloc::Counting = testkit::alloc::Counting;

const VALID: &str = "the configuration is valid";
/// Longer than any run: what is open stays open, what has a limit keeps within it.
const HOUR: Duration = Duration::from_secs(3_600);

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

fn layers(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("layer");
    bench_service(group, "none", false, || Echo);
    bench_service(group, "timeout", false, || ServiceBuilder::new().layer(TimeoutLayer::new(HOUR)).service(Echo));
    bench_service(group, "retry with budget", false, || ServiceBuilder::new().layer(retry().layer()).service(Echo));
    bench_service(group, "breaker, consecutive, closed", false, || {
        ServiceBuilder::new().layer(consecutive().layer()).service(Echo)
    });
    bench_service(group, "breaker, rate, closed", false, || ServiceBuilder::new().layer(rate().layer()).service(Echo));
    bench_service(group, "breaker, open", true, || ServiceBuilder::new().layer(open().layer()).service(Echo));
    bench_service(group, "bulkhead, admitted", false, || {
        ServiceBuilder::new().layer(bulkhead(64).layer()).service(Echo)
    });
    let full = bulkhead(1);
    let held = full.try_acquire().expect("the first call is admitted");
    bench_service(group, "bulkhead, full", true, || ServiceBuilder::new().layer(full.layer()).service(Echo));
    drop(held);
    bench_service(group, "cache, hit", false, || {
        let cache = Cache::<u64, u64, benches::Error>::builder().name("bench").ttl(HOUR).build().expect(VALID);
        (0..1_024).for_each(|key| cache.insert(key, key));
        ServiceBuilder::new().layer(cache.layer(|request: &u64| Some(request % 1_024))).service(Echo)
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
