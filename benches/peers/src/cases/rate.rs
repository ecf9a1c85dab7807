//! Rate limiters, asked and not awaited.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};
use resilience_core::rate_limit::{KeyedRateLimiter, RateLimiter};
use resilience_core::time::CoarseTimer;
use tower::Layer;
use tower::limit::RateLimit;
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};

use super::breaker::{HOUR, KEYS, key};
use super::retry::VALID;
use crate::echo::{Broken, Echo, Failure};
use crate::harness::{Answer, Kind, Spec, function, group, owned_service, service};

const SECOND: Duration = Duration::from_secs(1);

/// The rate limit groups.
pub fn specs() -> Vec<Spec> {
    let peer = Kind::Peer;
    let floor = || function("fn call", Kind::Floor, Answer::Ok, || (), |(), i| i < u64::MAX);
    let admitted = vec![
        floor(),
        function("rate limiter", Kind::Ours, Answer::Ok, || ours(u32::MAX, SECOND), try_acquire),
        function("rate limiter, coarse clock", Kind::Ours, Answer::Ok, coarse, try_acquire),
        function("governor direct", peer, Answer::Ok, generous, check),
    ];
    let refused = vec![
        floor(),
        function("rate limiter", Kind::Ours, Answer::Err, exhausted, try_acquire),
        function("governor direct", peer, Answer::Err, governor_exhausted, check),
    ];
    let by_key = vec![
        floor(),
        function("rate limiter", Kind::Ours, Answer::Ok, keyed, |limiter, i| limiter.try_acquire(&key(&i)).is_ok()),
        function("governor keyed", peer, Answer::Ok, governor_keyed, |limiter, i| limiter.check_key(&key(&i)).is_ok()),
    ];
    let mut specs = group("e1 rate limit, admitted, sync", admitted);
    specs.extend(group("e2 rate limit, refused, sync", refused));
    specs.extend(group("e3 rate limit for each of 1000 keys, admitted, sync", by_key));
    specs.extend(group("e4 rate limit, admitted, tower", layers()));
    specs
}

fn layers() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("rate limiter", Kind::Ours, Answer::Ok, || {
            ours(u32::MAX, SECOND).layer().layer(Echo::<Failure>::new())
        }),
        owned_service("tower RateLimit (not Clone)", peer, Answer::Ok, || {
            RateLimit::new(Echo::<Broken>::new(), tower::limit::rate::Rate::new(u64::from(u32::MAX), SECOND))
        }),
        service("tower-resilience fixed window", peer, Answer::Ok, || resilience(WindowType::Fixed)),
        service("tower-resilience sliding counter", peer, Answer::Ok, || resilience(WindowType::SlidingCounter)),
    ]
}

fn ours(permits: u32, per: Duration) -> RateLimiter {
    RateLimiter::builder().name("bench").quota(permits, per).build().expect(VALID)
}

fn coarse() -> RateLimiter {
    let builder = RateLimiter::builder().name("bench").quota(u32::MAX, SECOND).timer(CoarseTimer);
    builder.build().expect(VALID)
}

fn keyed() -> KeyedRateLimiter<u64> {
    let limiter = RateLimiter::builder().name("bench").quota(u32::MAX, SECOND).build_keyed().expect(VALID);
    assert!((0..KEYS).all(|key| limiter.try_acquire(&key).is_ok()), "every key is new");
    limiter
}

/// One permit an hour, and that one is taken.
fn exhausted() -> RateLimiter {
    let limiter = ours(1, HOUR);
    assert!(limiter.try_acquire().is_ok(), "the first permit is free");
    limiter
}

fn try_acquire(limiter: &RateLimiter, _: u64) -> bool {
    limiter.try_acquire().is_ok()
}

fn check(limiter: &DefaultDirectRateLimiter, _: u64) -> bool {
    limiter.check().is_ok()
}

/// Never reached.
fn generous() -> DefaultDirectRateLimiter {
    governor::RateLimiter::direct(Quota::per_second(NonZeroU32::MAX))
}

fn governor_keyed() -> DefaultKeyedRateLimiter<u64> {
    let limiter = governor::RateLimiter::keyed(Quota::per_second(NonZeroU32::MAX));
    assert!((0..KEYS).all(|key| limiter.check_key(&key).is_ok()), "every key is new");
    limiter
}

/// One cell an hour, and that one is taken.
fn governor_exhausted() -> DefaultDirectRateLimiter {
    let quota = Quota::with_period(HOUR).expect("a period above zero");
    let limiter = governor::RateLimiter::direct(quota);
    assert!(limiter.check().is_ok(), "the first cell is free");
    limiter
}

fn resilience(window: WindowType) -> tower_resilience_ratelimiter::RateLimiter<Echo<Broken>> {
    let builder = RateLimiterLayer::builder().name("bench").limit_for_period(usize::MAX >> 16).refresh_period(SECOND);
    builder.window_type(window).build().expect(VALID).layer(Echo::new())
}
