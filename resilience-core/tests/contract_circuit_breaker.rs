//! The circuit breaker under tower's laws, in each state in which it admits and for each reason for which it refuses.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use resilience_core::Error;
use resilience_core::circuit_breaker::{
    Abandoned, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerLayer, Event, KeyedCircuitBreakerLayer, State,
    exact,
};
use resilience_core::event::{self, Sink};
use resilience_core::time::ManualTimer;
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;

const PROBES: u32 = 3;
const A_SECOND: Duration = Duration::from_secs(1);

/// The laws drop a hundred calls in a row; that must not be what opens the circuit.
fn lenient() -> CircuitBreakerBuilder {
    CircuitBreaker::builder().probes(PROBES).abandoned(Abandoned::Ignore)
}

fn subject(breaker: &CircuitBreaker) -> Subject<CircuitBreakerLayer, Failure> {
    Subject::new(breaker.layer(), || Error::Service("broken"))
}

/// Closed, and refusing because it was isolated.
fn closed() -> Subject<CircuitBreakerLayer, Failure> {
    let breaker = lenient().build().unwrap();
    subject(&breaker).refusing(
        move || {
            breaker.isolate();
            let breaker = breaker.clone();
            move || breaker.close()
        },
        Error::is_rejected,
    )
}

/// Closed, and refusing because it was opened for a while.
fn open_for_a_while() -> Subject<CircuitBreakerLayer, Failure> {
    let timer = ManualTimer::new();
    let breaker = lenient().consecutive_failures(5).timer(timer.clone()).build().unwrap();
    subject(&breaker).refusing(
        move || {
            breaker.open_for(A_SECOND);
            let timer = timer.clone();
            move || timer.advance(A_SECOND)
        },
        Error::is_rejected,
    )
}

/// Half-open, so that each call is a probe, and refusing because all probes are under way.
fn half_open() -> Subject<CircuitBreakerLayer, Failure> {
    let timer = ManualTimer::new();
    let settled = Arc::new(Settled::default());
    let breaker =
        lenient().timer(timer.clone()).half_open_for(Duration::MAX).listener(settled.clone()).build().unwrap();
    breaker.open_for(A_SECOND);
    timer.advance(A_SECOND);
    drop(breaker.try_acquire().unwrap());
    assert_eq!(breaker.state(), State::HalfOpen);
    let holding = breaker.clone();
    subject(&breaker).holding(move || probes_under_way(&holding, &settled)).refusing(
        move || {
            let permits: Vec<_> = (0..PROBES).map(|_| breaker.try_acquire().unwrap()).collect();
            move || drop(permits)
        },
        Error::is_rejected,
    )
}

/// Watching slow calls over a count window, in the stage of a ramp that lets all pass.
fn with_everything() -> Subject<CircuitBreakerLayer, Failure> {
    let timer = ManualTimer::new();
    let builder = lenient().count_window(100).slow_calls(A_SECOND, 0.5).timer(timer.clone());
    let breaker = builder.build().unwrap();
    subject(&breaker).refusing(
        move || {
            breaker.isolate();
            let breaker = breaker.clone();
            move || breaker.close()
        },
        Error::is_rejected,
    )
}

/// By the rules of another project.
fn by_other_rules() -> Subject<CircuitBreakerLayer, Failure> {
    let options = exact::Options { trip: exact::Trip::InARowAbove(1_000), ..exact::Options::gobreaker() };
    let breaker = lenient().exact(options).build().unwrap();
    subject(&breaker).refusing(
        move || {
            breaker.isolate();
            let breaker = breaker.clone();
            move || breaker.close()
        },
        Error::is_rejected,
    )
}

type KeyedLayer = KeyedCircuitBreakerLayer<u32, fn(&u32) -> u32>;

/// A breaker for each key. Whose circuit it is shows in the request, so a refusal comes after the service's readiness.
fn keyed() -> Subject<KeyedLayer, Failure> {
    let keyed = lenient().consecutive_failures(1_000).build_keyed::<u32>().unwrap();
    let key: fn(&u32) -> u32 = |request| request % 3;
    Subject::new(keyed.layer(key), || Error::Service("broken"))
}

/// Counts the calls that were settled.
#[derive(Default)]
struct Settled(AtomicUsize);

impl Sink for Settled {
    fn on_event(&self, event: &event::Event<'_>) {
        if matches!(event.fact::<Event>(), Some(Event::Settled { .. })) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// All places for probes, less those that can still be had and those whose probe is over.
fn probes_under_way(breaker: &CircuitBreaker, settled: &Settled) -> usize {
    if breaker.state() != State::HalfOpen {
        return 0;
    }
    let free: Vec<_> = std::iter::from_fn(|| breaker.try_acquire().ok()).collect();
    PROBES as usize - free.len() - settled.0.load(Ordering::SeqCst)
}

contract_tests! { mod a_closed_breaker_keeps_the_laws for closed, also refusal undemanding }
contract_tests! { mod an_open_breaker_keeps_the_laws for open_for_a_while, also refusal }
contract_tests! { mod a_half_open_breaker_keeps_the_laws for half_open, also refusal undemanding }
contract_tests! { mod a_breaker_that_watches_everything_keeps_the_laws for with_everything, also refusal undemanding }
contract_tests! { mod a_breaker_by_other_rules_keeps_the_laws for by_other_rules, also refusal undemanding }
contract_tests! { mod a_keyed_breaker_keeps_the_laws for keyed, also undemanding }
