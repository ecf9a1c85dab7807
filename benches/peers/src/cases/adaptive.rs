//! Limits that find themselves, and what sheds load before it is sent.

use resilience_core::adaptive_limit::{AdaptiveLimit, AdaptiveLimitBuilder};
use resilience_core::load_shed::{AdmissionControl, ClientThrottle};
use tower::Layer;
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd, ConcurrencyAlgorithm, Vegas};

use super::bulkhead::LIMIT;
use super::retry::VALID;
use crate::echo::{Broken, Echo, Failure};
use crate::harness::{Answer, Kind, Spec, group, service};

/// The groups of adaptive limits and throttles.
pub fn specs() -> Vec<Spec> {
    let mut specs = group("d4 adaptive limit, admitted", limits());
    specs.extend(group("d5 load shedding, nothing to shed", throttles()));
    specs
}

fn limits() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("adaptive limit, Vegas", Kind::Ours, Answer::Ok, || ours(AdaptiveLimitBuilder::vegas)),
        service("adaptive limit, AIMD", Kind::Ours, Answer::Ok, || ours(AdaptiveLimitBuilder::aimd)),
        service("tower-resilience-adaptive, Vegas", peer, Answer::Ok, || {
            resilience(Vegas::builder().initial_limit(LIMIT).build().expect(VALID))
        }),
        service("tower-resilience-adaptive, AIMD", peer, Answer::Ok, || {
            resilience(Aimd::builder().initial_limit(LIMIT).build().expect(VALID))
        }),
    ]
}

fn throttles() -> Vec<Spec> {
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("client throttle", Kind::Ours, Answer::Ok, || {
            ClientThrottle::builder().name("bench").build().expect(VALID).layer().layer(Echo::<Failure>::new())
        }),
        service("admission control", Kind::Ours, Answer::Ok, || {
            AdmissionControl::builder().name("bench").build().expect(VALID).layer().layer(Echo::<Failure>::new())
        }),
    ]
}

fn ours(
    rule: impl Fn(AdaptiveLimitBuilder) -> AdaptiveLimitBuilder,
) -> resilience_core::adaptive_limit::AdaptiveLimitService<Echo<Failure>> {
    let builder = rule(AdaptiveLimit::builder().name("bench").initial(LIMIT as u32));
    builder.build().expect(VALID).layer().layer(Echo::new())
}

fn resilience<A: ConcurrencyAlgorithm + 'static>(
    algorithm: A,
) -> tower_resilience_adaptive::AdaptiveService<Echo<Broken>, A> {
    AdaptiveLimiterLayer::new(algorithm).layer(Echo::new())
}
