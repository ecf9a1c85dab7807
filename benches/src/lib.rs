//! What the criterion benches share: the bare service, and the loops that time, contend and count.
//!
//! They tell what our own code costs and whether a change made it dearer. Rivals are in `benches/peers`, a workspace of its
//! own with a noise filter of its own.
#![allow(clippy::disallowed_methods)] // A bench reads the real clock; that is its whole work.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::hint::black_box;
use std::sync::Barrier;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

/// Calls over which allocations are counted.
const COUNTED: u64 = 1_000;

/// The error of the echo below a stack; it never fails.
pub type Error = resilience_core::Error<Infallible>;

/// The bare service: answers with the request, at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service<u64> for Echo {
    type Response = u64;
    type Error = Error;
    type Future = Ready<Result<u64, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

/// A runtime that runs everything on its caller's thread.
///
/// # Panics
/// If the system has no more file descriptors for it.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Times a service with one thread and with two.
///
/// With two threads each calls a clone of the same service; the figure is the time of a call on one of them, so it equals the
/// first if nothing is shared.
///
/// # Panics
/// If a call is refused: then the figure would be of something else. `refused` says that every call must be. And if a call
/// allocates.
pub fn bench_service<S>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, refused: bool, make: impl Fn() -> S)
where
    S: Service<u64> + Clone + Send,
{
    let allocated = bench_allocating(group, name, refused, make);
    assert_eq!(allocated, 0, "{name}: {COUNTED} calls allocate");
}

/// As [`bench_service`], of calls that are meant to allocate. Prints how much that is, and says how often for
/// all of some calls together.
///
/// # Panics
/// If a call is refused, or with `refused` if it is not.
pub fn bench_allocating<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    refused: bool,
    make: impl Fn() -> S,
) -> u64
where
    S: Service<u64> + Clone + Send,
{
    let runtime = runtime();
    let entered = runtime.enter();
    let mut service = make();
    drop(entered);
    assert_eq!(runtime.block_on(answers(&mut service)), !refused, "{name} answers otherwise than it must");
    runtime.block_on(drive(&mut service, COUNTED));
    let (allocated, ()) = testkit::alloc::allocations(|| runtime.block_on(drive(&mut service, COUNTED)));
    println!(
        "{name}: {:.2} allocations and {:.1} bytes a call, future {} bytes",
        allocated.count as f64 / COUNTED as f64,
        allocated.bytes as f64 / COUNTED as f64,
        size_of::<S::Future>()
    );
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}/1 thread"), |bencher| {
        bencher.iter_custom(|calls| {
            let start = Instant::now();
            runtime.block_on(drive(&mut service, calls));
            start.elapsed()
        });
    });
    group.bench_function(format!("{name}/2 threads"), |bencher| {
        bencher.iter_custom(|calls| two_threads(service.clone(), service.clone(), calls));
    });
    assert_eq!(runtime.block_on(answers(&mut service)), !refused, "{name} has come to answer otherwise");
    allocated.count
}

/// Wall time in which each of two threads makes `calls` calls.
fn two_threads<S: Service<u64> + Send>(left: S, right: S, calls: u64) -> Duration {
    let barrier = Barrier::new(2);
    let run = |mut service: S| {
        let runtime = runtime();
        barrier.wait();
        let start = Instant::now();
        runtime.block_on(drive(&mut service, calls));
        (start, Instant::now())
    };
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(right));
        (run(left), other.join().expect("the other thread measures too"))
    });
    a.1.max(b.1) - a.0.min(b.0)
}

async fn drive<S: Service<u64>>(service: &mut S, calls: u64) {
    for request in 0..calls {
        if poll_fn(|cx| service.poll_ready(cx)).await.is_ok() {
            black_box(&service.call(black_box(request)).await);
        }
    }
}

async fn answers<S: Service<u64>>(service: &mut S) -> bool {
    poll_fn(|cx| service.poll_ready(cx)).await.is_ok() && service.call(0).await.is_ok()
}
