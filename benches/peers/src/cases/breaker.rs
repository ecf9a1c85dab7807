//! Circuit breakers, closed and open.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failsafe::backoff::Constant;
use failsafe::failure_policy::{ConsecutiveFailures, SuccessRateOverTimeWindow};
use resilience_core::Class;
use resilience_core::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};
use resilience_core::time::CoarseTimer;
use tower::{BoxError, Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerConfigBuilder, CircuitBreakerLayer, SlidingWindowType};

use crate::adapt::{ByKey, Failsafe, Reclosed, Safe};
use crate::echo::{Broken, Echo, Failure, fail};
use crate::harness::{Answer, Kind, Spec, function, group, service};

/// Longer than any run: an open breaker stays open while it is measured.
pub const HOUR: Duration = Duration::from_secs(3_600);

/// The breaker groups.
pub fn specs() -> Vec<Spec> {
    let mut specs = group("b1 breaker closed, async", closed());
    specs.extend(group("b2 breaker closed, sync", closed_sync()));
    specs.extend(group("b3 breaker open (refuses), async", open()));
    specs.extend(group("b4 breaker for each of 1000 keys, closed", keyed()));
    specs
}

fn closed() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("circuit breaker consecutive(5)", Kind::Ours, Answer::Ok, || {
            consecutive().layer().layer(Echo::<Failure>::new())
        }),
        service("circuit breaker rate(10s)", Kind::Ours, Answer::Ok, || rate().layer().layer(Echo::<Failure>::new())),
        service("circuit breaker rate(10s), coarse clock", Kind::Ours, Answer::Ok, || {
            coarse().layer().layer(Echo::<Failure>::new())
        }),
        service("tower-resilience count(100)", peer, Answer::Ok, || layered(count())),
        service("tower-resilience consecutive(5)", peer, Answer::Ok, || layered(count().consecutive_failures(5))),
        service("tower-resilience time(100ms), window filled by the sample alone", peer, Answer::Ok, || {
            layered(time(Duration::from_millis(100)))
        }),
        service("failsafe time-window(10s)", peer, Answer::Ok, || {
            Safe::new(Echo::<BoxError>::new(), failsafe_window())
        }),
        service("failsafe consecutive(5)", peer, Answer::Ok, || {
            Safe::new(Echo::<BoxError>::new(), failsafe_consecutive())
        }),
        service("recloser ring(100)", peer, Answer::Ok, || Reclosed::new(Echo::<BoxError>::new(), recloser().into())),
    ]
}

fn closed_sync() -> Vec<Spec> {
    use failsafe::CircuitBreaker as _;
    let peer = Kind::Peer;
    vec![
        function("fn call", Kind::Floor, Answer::Ok, || (), |(), i| i < u64::MAX),
        function("circuit breaker consecutive(5)", Kind::Ours, Answer::Ok, consecutive, admit),
        function("circuit breaker rate(10s)", Kind::Ours, Answer::Ok, rate, admit),
        function("failsafe time-window(10s)", peer, Answer::Ok, failsafe_window, |breaker, i| {
            breaker.call(|| Ok::<_, Broken>(i)).is_ok()
        }),
        function("failsafe consecutive(5)", peer, Answer::Ok, failsafe_consecutive, |breaker, i| {
            breaker.call(|| Ok::<_, Broken>(i)).is_ok()
        }),
        function("recloser ring(100)", peer, Answer::Ok, recloser, |breaker, i| {
            breaker.call(|| Ok::<_, Broken>(i)).is_ok()
        }),
    ]
}

fn open() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("circuit breaker consecutive(5)", Kind::Ours, Answer::Err, || {
            let mut service = consecutive().layer().layer(Echo::<Failure>::new());
            fail(&mut service, 10);
            service
        }),
        service("tower-resilience count(100)", peer, Answer::Err, || {
            let mut service = layered(count());
            fail(&mut service, 200);
            service
        }),
        service("failsafe consecutive(5)", peer, Answer::Err, || {
            let mut service = Safe::new(Echo::<BoxError>::new(), failsafe_consecutive());
            fail(&mut service, 10);
            service
        }),
        service("recloser ring(100)", peer, Answer::Err, || {
            let mut service = Reclosed::new(Echo::<BoxError>::new(), recloser().into());
            fail(&mut service, 200);
            service
        }),
    ]
}

fn keyed() -> Vec<Spec> {
    let peer = Kind::Peer;
    vec![
        service("echo", Kind::Floor, Answer::Ok, Echo::<Broken>::new),
        service("circuit breaker consecutive(5)", Kind::Ours, Answer::Ok, || {
            let keyed = CircuitBreaker::builder().name("bench").consecutive_failures(5).open_for(HOUR).build_keyed();
            let layer = keyed.expect("the configuration is valid").layer(key);
            known(layer.layer(Echo::<Failure>::new()))
        }),
        service("circuit breaker rate(10s)", Kind::Ours, Answer::Ok, || {
            let builder = CircuitBreaker::builder().name("bench").failure_rate(0.5).window(Duration::from_secs(10));
            let keyed = builder.minimum_calls(100).open_for(HOUR).build_keyed();
            let layer = keyed.expect("the configuration is valid").layer(key);
            known(layer.layer(Echo::<Failure>::new()))
        }),
        // Nobody has one by key: what somebody writes who needs it.
        service("HashMap of recloser ring(100) behind a Mutex", peer, Answer::Ok, || {
            let made = (0..KEYS).map(|key| (key, recloser().into())).collect();
            ByKey { inner: Echo::<BoxError>::new(), breakers: Arc::new(Mutex::new(made)) }
        }),
    ]
}

/// The keys of whatever is kept by key.
pub const KEYS: u64 = 1_000;

/// Which of them a request has.
pub fn key(request: &u64) -> u64 {
    request % KEYS
}

/// A service that has met every key.
pub fn known<S: Service<u64>>(mut service: S) -> S {
    futures::executor::block_on(async {
        for request in 0..KEYS {
            if poll_fn(|cx| service.poll_ready(cx)).await.is_ok() {
                let _ = service.call(request).await;
            }
        }
    });
    service
}

/// Our breaker that opens after five failures in a row.
pub fn consecutive() -> CircuitBreaker {
    CircuitBreaker::builder()
        .name("bench")
        .consecutive_failures(5)
        .open_for(HOUR)
        .build()
        .expect("the configuration is valid")
}

/// Our breaker that opens at half of the calls of ten seconds, a hundred at least.
pub fn rate() -> CircuitBreaker {
    rating().build().expect("the configuration is valid")
}

/// The same on the coarse clock.
fn coarse() -> CircuitBreaker {
    rating().timer(CoarseTimer).build().expect("the configuration is valid")
}

fn rating() -> CircuitBreakerBuilder {
    let builder = CircuitBreaker::builder().name("bench").failure_rate(0.5).window(Duration::from_secs(10));
    builder.minimum_calls(100).open_for(HOUR)
}

fn admit(breaker: &CircuitBreaker, _: u64) -> bool {
    breaker.try_acquire().map(|permit| permit.settle(Class::Success)).is_ok()
}

fn layered(
    builder: CircuitBreakerConfigBuilder,
) -> tower_resilience_circuitbreaker::CircuitBreaker<Echo<Broken>, tower_resilience_circuitbreaker::DefaultClassifier> {
    builder.build().expect("the configuration is valid").layer(Echo::new())
}

/// tower-resilience's breaker with a count window of 100.
pub fn count() -> CircuitBreakerConfigBuilder {
    CircuitBreakerLayer::builder()
        .name("bench")
        .failure_rate_threshold(0.5)
        .sliding_window_type(SlidingWindowType::CountBased)
        .sliding_window_size(100)
        .minimum_number_of_calls(100)
        .wait_duration_in_open(HOUR)
}

fn time(window: Duration) -> CircuitBreakerConfigBuilder {
    count().sliding_window_type(SlidingWindowType::TimeBased).sliding_window_duration(window)
}

fn failsafe_window() -> Failsafe<SuccessRateOverTimeWindow<Constant>> {
    let policy = failsafe::failure_policy::success_rate_over_time_window(
        0.5,
        100,
        Duration::from_secs(10),
        failsafe::backoff::constant(HOUR),
    );
    failsafe::Config::new().failure_policy(policy).build()
}

fn failsafe_consecutive() -> Failsafe<ConsecutiveFailures<Constant>> {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(HOUR));
    failsafe::Config::new().failure_policy(policy).build()
}

/// recloser with a ring of 100.
pub fn recloser() -> recloser::Recloser {
    recloser::Recloser::custom().error_rate(0.5).closed_len(100).half_open_len(1).open_wait(HOUR).build()
}
