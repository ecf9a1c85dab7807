//! The rate limiter under tower's laws, refusing at once and waiting.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::Error;
use resilience_core::rate_limit::{KeyedRateLimiterLayer, RateLimiter, RateLimiterBuilder, RateLimiterLayer};
use resilience_core::time::ManualTimer;
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;

const BURST: u32 = 1_000;

/// The laws make some hundreds of calls in no time; a refusal is had by taking the rest.
fn subject(builder: RateLimiterBuilder) -> Subject<RateLimiterLayer, Failure> {
    let timer = ManualTimer::new();
    let limiter = builder.timer(timer.clone()).build().unwrap();
    let refuse = {
        let limiter = limiter.clone();
        move || {
            while limiter.try_acquire().is_ok() {}
            let timer = timer.clone();
            move || timer.advance(Duration::from_secs(u64::from(BURST)))
        }
    };
    Subject::new(limiter.layer(), || Error::Service("broken")).refusing(refuse, Error::is_rejected)
}

fn limiter() -> RateLimiterBuilder {
    RateLimiter::builder().quota(1, Duration::from_secs(1)).burst(BURST)
}

fn that_refuses() -> Subject<RateLimiterLayer, Failure> {
    subject(limiter())
}

fn that_waits() -> Subject<RateLimiterLayer, Failure> {
    subject(limiter().max_wait(Duration::from_millis(999)))
}

type KeyedLayer = KeyedRateLimiterLayer<u32, fn(&u32) -> u32>;

/// A quota for each key. Whose it is shows in the request, so a refusal comes after the service's readiness.
fn keyed() -> Subject<KeyedLayer, Failure> {
    let keyed = limiter().timer(ManualTimer::new()).build_keyed::<u32>().unwrap();
    let key: fn(&u32) -> u32 = |request| request % 3;
    Subject::new(keyed.layer(key), || Error::Service("broken"))
}

contract_tests! { mod a_keyed_rate_limiter_keeps_the_laws for keyed, also undemanding }
contract_tests! { mod a_rate_limiter_keeps_the_laws for that_refuses, also refusal undemanding }
contract_tests! { mod a_waiting_rate_limiter_keeps_the_laws for that_waits, also refusal undemanding }
