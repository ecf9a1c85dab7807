//! Rate limiters, asked and not awaited.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::harness::{Answer, Kind, Spec, function, group};

/// The rate limit groups.
pub fn specs() -> Vec<Spec> {
    let mut specs = group(
        "e1 rate limit, admitted, sync",
        vec![
            function("fn call", Kind::Floor, Answer::Ok, || (), |(), i| i < u64::MAX),
            function("governor direct", Kind::Peer, Answer::Ok, generous, ask),
        ],
    );
    specs.extend(group(
        "e2 rate limit, refused, sync",
        vec![
            function("fn call", Kind::Floor, Answer::Ok, || (), |(), i| i < u64::MAX),
            function("governor direct", Kind::Peer, Answer::Err, exhausted, ask),
        ],
    ));
    specs
}

fn ask(limiter: &DefaultDirectRateLimiter, _: u64) -> bool {
    limiter.check().is_ok()
}

/// Never reached.
fn generous() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(NonZeroU32::MAX))
}

/// One cell an hour, and that one is taken.
fn exhausted() -> DefaultDirectRateLimiter {
    let quota = Quota::with_period(Duration::from_secs(3_600)).expect("a period above zero");
    let limiter = RateLimiter::direct(quota);
    assert!(limiter.check().is_ok(), "the first cell is free");
    limiter
}
