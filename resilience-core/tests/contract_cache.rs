//! The cache under tower's laws, where every call is a miss: what it must not change about the service behind it.
//!
//! Two groups do not apply. It refuses nothing, so there is no law of refusals; and it asks that the service can be
//! cloned, since a hit must not wait for one that is not ready, so it is not undemanding.
#![cfg(all(feature = "cache", feature = "tower", feature = "tokio"))]

use resilience_core::Error;
use resilience_core::cache::{Cache, CacheLayer, Ttl};
use resilience_core::time::ManualTimer;
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;
type Key = fn(&u32) -> Option<u32>;

fn subject(ttl: Ttl, key: Key) -> Subject<CacheLayer<u32, u32, Failure, Key>, Failure> {
    let cache = Cache::builder().ttl(ttl).timer(ManualTimer::new()).build().unwrap();
    let layer = cache.layer(key);
    Subject::new(layer, || Error::Service("broken")).holding(move || cache.snapshot().loading)
}

fn that_keeps() -> Subject<CacheLayer<u32, u32, Failure, Key>, Failure> {
    subject(Ttl::FOREVER, |request| Some(*request))
}

fn that_only_joins() -> Subject<CacheLayer<u32, u32, Failure, Key>, Failure> {
    subject(Ttl::NONE, |request| Some(*request))
}

fn that_passes() -> Subject<CacheLayer<u32, u32, Failure, Key>, Failure> {
    subject(Ttl::FOREVER, |_| None)
}

contract_tests! { mod a_cache_keeps_the_laws for that_keeps }
contract_tests! { mod a_cache_that_keeps_nothing_keeps_the_laws for that_only_joins }
contract_tests! { mod a_cache_that_is_passed_keeps_the_laws for that_passes }
