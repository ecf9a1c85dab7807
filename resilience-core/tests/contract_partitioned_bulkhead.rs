//! The partitioned bulkhead under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::Error;
use resilience_core::bulkhead::partitioned::{PartitionedBulkhead, PartitionedBulkheadLayer};
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;
type Tenants = PartitionedBulkheadLayer<u32, fn(&u32) -> u32>;

/// Requests belong to two tenants, and it refuses when both have what they were promised.
fn subject() -> Subject<Tenants, Failure> {
    let bulkhead = PartitionedBulkhead::builder().limit(2).share(0, 0.5).share(1, 0.5).build().unwrap();
    let (holding, refusing) = (bulkhead.clone(), bulkhead.clone());
    let fill = move || {
        let all = [0, 1].map(|key| std::iter::from_fn(|| refusing.try_acquire(&key).ok()).collect::<Vec<_>>());
        move || drop(all)
    };
    Subject::new(bulkhead.layer((|request| request % 2) as fn(&u32) -> u32), || Error::Service("broken"))
        .holding(move || holding.snapshot().in_flight as usize)
        .refusing(fill, Error::is_rejected)
}

contract_tests! { mod a_partitioned_bulkhead_keeps_the_laws for subject, also refusal undemanding }
