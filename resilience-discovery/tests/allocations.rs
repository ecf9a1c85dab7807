//! What a call costs in allocations: nothing.
#![cfg(all(feature = "tower", not(loom)))]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use resilience_core::Error;
use resilience_discovery::{Balance, Discovery, Endpoint, StaticSource};
use testkit::alloc::{Counting, allocations};
use tower::{Service, ServiceExt};

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Clone, Debug)]
struct Echo;

impl Service<u32> for Echo {
    type Response = u32;
    type Error = Error<Infallible>;
    type Future = Ready<Result<u32, Error<Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        ready(Ok(request))
    }
}

#[tokio::test(start_paused = true)]
async fn a_pick_and_call_allocates_nothing() {
    let endpoints = (1..=100).map(|port| Endpoint::at(SocketAddr::from(([127, 0, 0, 1], port))));
    let discovery = Discovery::builder().build(StaticSource::new(endpoints)).unwrap();
    let mut balance = Balance::builder().build(&discovery, |_: &Endpoint| Echo).unwrap();
    assert_eq!(balance.ready().await.unwrap().call(1).await.unwrap(), 1);
    while balance.snapshot().endpoints.iter().any(|status| status.avoided) {
        tokio::task::yield_now().await;
    }
    let mut cx = Context::from_waker(Waker::noop());
    let (allocated, ()) = allocations(|| {
        for request in 0..1000 {
            // One long-lived caller, and one made for the call.
            let mut another = balance.clone();
            for caller in [&mut balance, &mut another] {
                assert!(caller.poll_ready(&mut cx).is_ready());
                let answer = pin!(caller.call(request));
                assert!(answer.poll(&mut cx).is_ready());
            }
        }
    });
    assert_eq!(allocated.count, 0);
}
