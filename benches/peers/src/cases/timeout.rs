//! Time limits, when the answer is there at once and when it is not.

use std::time::Duration;

use resilience_core::timeout::TimeoutLayer;
use tower::timeout::Timeout;
use tower::{BoxError, Layer};
use tower_resilience_timelimiter::TimeLimiterLayer;

use crate::echo::{Broken, Echo, EchoPending, Failure};
use crate::harness::{Answer, Kind, Spec, group, service};

/// Never reached while measuring.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The timeout groups.
pub fn specs() -> Vec<Spec> {
    let mut specs = group("f1 timeout, inner ready at once", ready());
    specs.extend(group("f2 timeout, inner pending once", pending()));
    specs
}

fn ready() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("timeout", Kind::Ours, Answer::Ok, || ours().layer(Echo::<Failure>::new())),
        service("tower Timeout", peer, Answer::Ok, || Timeout::new(Echo::<BoxError>::new(), LIMIT)),
        service("tower-resilience-timelimiter", peer, Answer::Ok, || resilience().layer(Echo::<Broken>::new())),
    ]
}

fn pending() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo, pending once", Kind::Floor, Answer::Ok, EchoPending::<Broken>::new),
        service("timeout", Kind::Ours, Answer::Ok, || ours().layer(EchoPending::<Failure>::new())),
        service("tower Timeout", peer, Answer::Ok, || Timeout::new(EchoPending::<BoxError>::new(), LIMIT)),
        service("tower-resilience-timelimiter", peer, Answer::Ok, || resilience().layer(EchoPending::<Broken>::new())),
    ]
}

/// Our timeout.
pub fn ours() -> TimeoutLayer {
    TimeoutLayer::new(LIMIT)
}

/// tower-resilience's time limit.
pub fn resilience() -> TimeLimiterLayer {
    TimeLimiterLayer::builder().name("bench").timeout_duration(LIMIT).build()
}
