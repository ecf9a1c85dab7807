//! The bulkhead under tower's laws, without and with a queue.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::Error;
use resilience_core::bulkhead::{Bulkhead, BulkheadLayer, Discipline};
use testkit::contract::{Subject, contract_tests};
use testkit::wakes::Task;

type Failure = Error<&'static str>;

const LIMIT: u32 = 2;

/// Holds no more than its limit, and refuses because every slot and every place in the queue is taken.
fn subject(bulkhead: &Bulkhead, queue: u32) -> Subject<BulkheadLayer, Failure> {
    let (holding, refusing) = (bulkhead.clone(), bulkhead.clone());
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
    Subject::new(bulkhead.layer(), || Error::Service("broken")).holding(held).refusing(fill, Error::is_rejected)
}

fn without_a_queue() -> Subject<BulkheadLayer, Failure> {
    subject(&Bulkhead::builder().limit(LIMIT).build().unwrap(), 0)
}

fn with_a_queue() -> Subject<BulkheadLayer, Failure> {
    subject(&Bulkhead::builder().limit(LIMIT).queue(1).build().unwrap(), 1)
}

fn with(discipline: Discipline) -> Subject<BulkheadLayer, Failure> {
    subject(&Bulkhead::builder().limit(LIMIT).queue(1).discipline(discipline).build().unwrap(), 1)
}

fn reversed() -> Subject<BulkheadLayer, Failure> {
    let hour = std::time::Duration::from_secs(3600);
    with(Discipline::AdaptiveLifo { interval: hour, timeout: hour })
}

fn by_deadline() -> Subject<BulkheadLayer, Failure> {
    with(Discipline::deadline_first())
}

fn by_priority() -> Subject<BulkheadLayer, Failure> {
    with(Discipline::priority())
}

contract_tests! { mod a_bulkhead_keeps_the_laws for without_a_queue, also refusal undemanding }
contract_tests! { mod a_queueing_bulkhead_keeps_the_laws for with_a_queue, also refusal undemanding }
contract_tests! { mod a_reversible_bulkhead_keeps_the_laws for reversed, also refusal undemanding }
contract_tests! { mod a_bulkhead_by_deadline_keeps_the_laws for by_deadline, also refusal undemanding }
contract_tests! { mod a_bulkhead_by_priority_keeps_the_laws for by_priority, also refusal undemanding }
