//! Retry as a layer among layers: tower's contract, and what a call costs that needs no retry.

use std::task::{Context, Poll, Waker};

use resilience_core::retry::{Retry, RetryBudget, RetryLayer};
use resilience_core::{Classification, Error};
use testkit::contract::{Subject, contract_tests};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: testkit::alloc::Counting = testkit::alloc::Counting;

type Meaning = fn(&Result<u32, &'static str>) -> Classification;

fn subject() -> Subject<RetryLayer<Meaning>, &'static str> {
    let budget = RetryBudget::builder().ratio(0.0).reserve(10).build().unwrap();
    let retry = Retry::builder().budget(budget.clone()).build().unwrap();
    let meaning: Meaning = |answer| answer.map_or(Classification::PERMANENT, |_| Classification::SUCCESS);
    Subject::new(retry.layer().classify(meaning), || "broken")
        .holding(move || 10 - budget.snapshot().available as usize)
}

contract_tests! { mod laws for subject }

#[test]
fn a_call_that_needs_no_retry_allocates_nothing() {
    let retry = Retry::builder().build().unwrap();
    let mut service = retry.layer().layer(service_fn(async |number: u64| Ok::<_, Error<()>>(number + 1)));
    let mut cx = Context::from_waker(Waker::noop());
    let (allocated, sum) = testkit::alloc::allocations(|| {
        let mut sum = 0;
        for number in 0..100 {
            assert!(service.poll_ready(&mut cx).is_ready());
            let mut call = std::pin::pin!(service.call(number));
            let Poll::Ready(Ok(answer)) = call.as_mut().poll(&mut cx) else { panic!("answered at once") };
            sum += answer;
        }
        sum
    });
    assert_eq!((allocated.count, sum), (0, 5050));
}
