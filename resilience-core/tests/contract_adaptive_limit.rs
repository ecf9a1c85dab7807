//! The adaptive limit under tower's laws, without and with a queue.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::Error;
use resilience_core::adaptive_limit::{AdaptiveLimit, AdaptiveLimitLayer};
use testkit::contract::{Subject, contract_tests};
use testkit::wakes::Task;

type Failure = Error<&'static str>;

/// Stays at two calls at once, and refuses because every slot and every place in the queue is taken.
fn subject(queue: u32) -> Subject<AdaptiveLimitLayer, Failure> {
    let limit = AdaptiveLimit::builder().min(2).max(2).queue(queue).build().unwrap();
    let (holding, refusing) = (limit.clone(), limit.clone());
    let held = move || {
        let snapshot = holding.snapshot();
        (snapshot.in_flight + snapshot.queued) as usize
    };
    let fill = move || {
        let permits: Vec<_> = std::iter::from_fn(|| refusing.try_acquire().ok()).collect();
        let mut waiters: Vec<_> = (0..queue).map(|_| Task::new(refusing.acquire())).collect();
        assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
        move || {
            drop(waiters);
            drop(permits);
        }
    };
    Subject::new(limit.layer(), || Error::Service("broken")).holding(held).refusing(fill, Error::is_rejected)
}

fn without_a_queue() -> Subject<AdaptiveLimitLayer, Failure> {
    subject(0)
}

fn with_a_queue() -> Subject<AdaptiveLimitLayer, Failure> {
    subject(1)
}

contract_tests! { mod an_adaptive_limit_keeps_the_laws for without_a_queue, also refusal undemanding }
contract_tests! { mod a_queueing_adaptive_limit_keeps_the_laws for with_a_queue, also refusal undemanding }
