//! What answers from elsewhere when it is not needed, and what disturbs when it is switched off.

use std::time::Duration;

use resilience_core::chaos::Chaos;
use resilience_core::fallback::Fallback;
use resilience_core::hedge::{Hedge, HedgeBuilder, Quantile};
use tower::hedge::{Hedge as TowerHedge, Policy};
use tower::{BoxError, Layer};
use tower_resilience_chaos::ChaosLayer;
use tower_resilience_fallback::FallbackLayer;
use tower_resilience_hedge::HedgeLayer;

use super::breaker::HOUR;
use super::retry::VALID;
use crate::echo::{Broken, Echo, Failure};
use crate::harness::{Answer, Kind, Spec, group, owned_service, service};

/// The groups of hedge, fallback and chaos.
pub fn specs() -> Vec<Spec> {
    let mut specs = group("i hedge, primary answers at once", hedges());
    specs.extend(group("k fallback, not needed", fallbacks()));
    specs.extend(group("l chaos, nothing injected", chaos()));
    specs
}

fn hedges() -> Vec<Spec> {
    let peer = Kind::Peer;
    let ours =
        |builder: HedgeBuilder| builder.name("bench").build().expect(VALID).layer().layer(Echo::<Failure>::new());
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("hedge, fixed delay", Kind::Ours, Answer::Ok, move || ours(Hedge::builder().delay(HOUR))),
        service("hedge, learnt delay", Kind::Ours, Answer::Ok, move || {
            ours(Hedge::builder().delay(Quantile::default()))
        }),
        owned_service("tower Hedge, learnt delay (not Clone)", peer, Answer::Ok, || {
            TowerHedge::new::<u64>(Echo::<BoxError>::new(), Always, 10, 0.95, Duration::from_secs(10))
        }),
        service("tower-resilience-hedge, fixed delay", peer, Answer::Ok, || {
            HedgeLayer::builder().name("bench").delay(HOUR).build().layer(Echo::<Broken>::new())
        }),
    ]
}

/// Hedges every request.
#[derive(Clone, Copy, Debug)]
struct Always;

impl Policy<u64> for Always {
    fn clone_request(&self, request: &u64) -> Option<u64> {
        Some(*request)
    }

    fn can_retry(&self, _: &u64) -> bool {
        true
    }
}

fn fallbacks() -> Vec<Spec> {
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("fallback to a value", Kind::Ours, Answer::Ok, || {
            Fallback::builder().name("bench").build().expect(VALID).value(7).layer(Echo::<Failure>::new())
        }),
        service("tower-resilience-fallback to a value", Kind::Peer, Answer::Ok, || {
            FallbackLayer::<u64, u64, Broken>::value(7).layer(Echo::new())
        }),
    ]
}

fn chaos() -> Vec<Spec> {
    let ours = |enabled| {
        let chaos = Chaos::<u64, u64, Failure>::builder().name("bench").enabled(enabled).build().expect(VALID);
        chaos.layer().layer(Echo::new())
    };
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("chaos, off", Kind::Ours, Answer::Ok, move || ours(false)),
        service("chaos, on, without faults", Kind::Ours, Answer::Ok, move || ours(true)),
        service("tower-resilience-chaos, rates of zero", Kind::Peer, Answer::Ok, || {
            ChaosLayer::builder().name("bench").build().layer(Echo::<Broken>::new())
        }),
    ]
}
