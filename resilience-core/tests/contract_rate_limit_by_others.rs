//! The limits that are found out or shared, under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::Error;
use resilience_core::rate_limit::DistributedRateLimiter;
use resilience_core::rate_limit::client::{ClientRateLimiter, ClientRateLimiterLayer};
use resilience_core::rate_limit::distributed::{DistributedRateLimiterLayer, LocalStore};
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;
type Throttled = fn(&Result<u32, Failure>) -> bool;

fn client() -> Subject<ClientRateLimiterLayer<Throttled>, Failure> {
    let limiter = ClientRateLimiter::builder().max_wait(Duration::ZERO).build().unwrap();
    let never: Throttled = |_| false;
    Subject::new(limiter.layer(never), || Error::Service("broken"))
}

fn distributed() -> Subject<DistributedRateLimiterLayer<LocalStore>, Failure> {
    let limiter = DistributedRateLimiter::builder(LocalStore::new());
    let limiter = limiter.quota(1_000_000, Duration::from_secs(1)).build().unwrap();
    Subject::new(limiter.layer(), || Error::Service("broken"))
}

/// A store with nothing left, until it is over.
fn spent() -> Subject<DistributedRateLimiterLayer<LocalStore>, Failure> {
    let store = LocalStore::new();
    let quota = || {
        let limiter = DistributedRateLimiter::builder(store.clone()).handful(1);
        limiter.quota(1_000, Duration::from_secs(1_000)).build().unwrap()
    };
    let (limiter, other) = (quota(), quota());
    Subject::new(limiter.layer(), || Error::Service("broken")).refusing(
        move || {
            let take_all = async { while other.acquire().await.is_ok() {} };
            futures::executor::block_on(take_all);
            || futures::executor::block_on(tokio::time::advance(Duration::from_secs(1_000)))
        },
        Error::is_rejected,
    )
}

contract_tests! { mod a_client_limiter_keeps_the_laws for client, also undemanding }
contract_tests! { mod a_distributed_limiter_keeps_the_laws for distributed, also undemanding }
contract_tests! { mod a_distributed_limiter_with_nothing_left_keeps_the_laws for spent, also refusal undemanding }
