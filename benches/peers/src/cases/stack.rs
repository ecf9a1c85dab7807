//! Timeout, retry with budget, breaker and bulkhead together: what a caller really adds.

use resilience_core::circuit_breaker::CircuitBreaker;
use tower::limit::ConcurrencyLimit;
use tower::retry::Retry;
use tower::timeout::Timeout;
use tower::{BoxError, Layer, Service};
use tower_resilience_bulkhead::BulkheadServiceError;
use tower_resilience_circuitbreaker::CircuitBreakerError;

use super::{breaker, bulkhead, retry, timeout};
use crate::adapt::Reclosed;
use crate::echo::{Broken, Echo, EchoPending, Failure};
use crate::harness::{Answer, Kind, Spec, group, service, service_cloned};

const OURS: &str = "timeout, retry + budget, circuit breaker consecutive(5), bulkhead";
const OURS_RATE: &str = "timeout, retry + budget, circuit breaker rate(10s), bulkhead";
const RECLOSER: &str = "tower + recloser: Timeout, Retry + TpsBudget, recloser, ConcurrencyLimit";
const TOWER: &str = "tower, no breaker: Timeout, Retry + TpsBudget, ConcurrencyLimit";
const RESILIENCE: &str = "tower-resilience: timelimiter, retry + bucket, circuitbreaker, bulkhead";

/// The stack groups.
pub fn specs() -> Vec<Spec> {
    let peer = Kind::Peer;
    let mut specs = group(
        "g1 stack of four, inner ready at once",
        vec![
            service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
            service(OURS, Kind::Ours, Answer::Ok, || ours(breaker::consecutive(), Echo::<Failure>::new())),
            service(OURS_RATE, Kind::Ours, Answer::Ok, || ours(breaker::rate(), Echo::<Failure>::new())),
            service(TOWER, peer, Answer::Ok, || without_breaker(Echo::new())),
            service(RECLOSER, peer, Answer::Ok, || with_recloser(Echo::new())),
            service(RESILIENCE, peer, Answer::Ok, || tower_resilience(Echo::new())),
        ],
    );
    specs.extend(group(
        "g2 stack of four, inner pending once",
        vec![
            service("echo, pending once", Kind::Floor, Answer::Ok, EchoPending::<Broken>::new),
            service(OURS, Kind::Ours, Answer::Ok, || ours(breaker::consecutive(), EchoPending::<Failure>::new())),
            service(OURS_RATE, Kind::Ours, Answer::Ok, || ours(breaker::rate(), EchoPending::<Failure>::new())),
            service(TOWER, peer, Answer::Ok, || without_breaker(EchoPending::new())),
            service(RECLOSER, peer, Answer::Ok, || with_recloser(EchoPending::new())),
            service(RESILIENCE, peer, Answer::Ok, || tower_resilience(EchoPending::new())),
        ],
    ));
    specs.extend(group(
        "g3 stack of four, service cloned for every call (oneshot)",
        vec![
            service_cloned("echo", Kind::Floor, Echo::<Broken>::new),
            service_cloned(OURS, Kind::Ours, || ours(breaker::consecutive(), Echo::<Failure>::new())),
            service_cloned(OURS_RATE, Kind::Ours, || ours(breaker::rate(), Echo::<Failure>::new())),
            service_cloned(TOWER, peer, || without_breaker(Echo::new())),
            service_cloned(RECLOSER, peer, || with_recloser(Echo::new())),
            service_cloned(RESILIENCE, peer, || tower_resilience(Echo::new())),
        ],
    ));
    specs
}

/// Outer to inner, as the documentation of resilience-core orders them.
fn ours<S>(
    breaker: CircuitBreaker,
    inner: S,
) -> impl Service<u64, Response = u64, Error: Send, Future: Send> + Clone + Send + 'static
where
    S: Service<u64, Response = u64, Error = Failure, Future: Send> + Clone + Send + 'static,
{
    let limited = bulkhead::ours(bulkhead::LIMIT as u32).layer().layer(inner);
    let guarded = breaker.layer().layer(limited);
    timeout::ours().layer(retry::with_budget().layer().layer(guarded))
}

type Limited<S> = ConcurrencyLimit<S>;

fn without_breaker<S>(inner: S) -> Timeout<Retry<retry::Attempts, Limited<S>>>
where
    S: Service<u64, Response = u64, Error = BoxError> + Clone,
{
    let limited = ConcurrencyLimit::new(inner, bulkhead::LIMIT);
    Timeout::new(Retry::new(retry::Attempts::new(Some(retry::budget())), limited), timeout::LIMIT)
}

fn with_recloser<S>(inner: S) -> Timeout<Retry<retry::Attempts, Reclosed<Limited<S>>>>
where
    S: Service<u64, Response = u64, Error = BoxError> + Clone,
{
    let limited = ConcurrencyLimit::new(inner, bulkhead::LIMIT);
    let guarded = Reclosed::new(limited, breaker::recloser().into());
    Timeout::new(Retry::new(retry::Attempts::new(Some(retry::budget())), guarded), timeout::LIMIT)
}

fn tower_resilience<S>(
    inner: S,
) -> impl Service<u64, Response = u64, Error: Send, Future: Send> + Clone + Send + 'static
where
    S: Service<u64, Response = u64, Error = Broken, Future: Send> + Clone + Send + 'static,
{
    type Inner = CircuitBreakerError<BulkheadServiceError<Broken>>;
    let limited = bulkhead::resilience(bulkhead::LIMIT).build().expect("the configuration is valid").layer(inner);
    let guarded = breaker::count().build().expect("the configuration is valid").layer(limited);
    let retried = retry::resilience::<Inner>().budget(retry::resilience_budget()).build().layer(guarded);
    timeout::resilience().layer(retried)
}
