//! `cargo bench -p benches --bench balance`: pick an endpoint and call it, by the size of the set.
#![allow(missing_docs)] // `criterion_group!` makes public items.

use std::net::SocketAddr;
use std::time::Duration;

use benches::{Echo, bench_service};
use criterion::{Criterion, criterion_group, criterion_main};
use resilience_discovery::{Address, Balance, Discovery, Endpoint, StaticSource};

#[global_allocator]
static ALLOCATOR: testkit::alloc::Counting = testkit::alloc::Counting;

const VALID: &str = "the configuration is valid";

fn endpoint(index: usize) -> Endpoint {
    let (third, fourth) = ((index / 250) as u8, (index % 250 + 1) as u8);
    Endpoint::at(Address::from(SocketAddr::from(([10, 0, third, fourth], 80))))
}

fn balance(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("balance");
    bench_service(group, "none", false, || Echo);
    for size in [10, 1_000, 10_000] {
        bench_service(group, &format!("pick and call, {size} endpoints"), false, || {
            let discovery = Discovery::builder().build(StaticSource::new((0..size).map(endpoint))).expect(VALID);
            let balance = Balance::builder().build(&discovery, |_: &Endpoint| Echo).expect(VALID);
            // The list never changes again, but a discovery that is dropped would end.
            std::mem::forget(discovery);
            balance
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = balance
}
criterion_main!(benches);
