//! The policies that shed load under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::control::Throttle;
use resilience_core::load_shed::admission::AdmissionControlLayer;
use resilience_core::load_shed::queue::QueueShedLayer;
use resilience_core::load_shed::signal::SignalShedLayer;
use resilience_core::load_shed::{
    AdmissionControl, ClientThrottle, ClientThrottleLayer, QueueShed, Signal, SignalShed,
};
use resilience_core::time::ManualTimer;
use resilience_core::{Class, Error};
use std::time::Duration;
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;

fn subject() -> Subject<ClientThrottleLayer, Failure> {
    let timer = ManualTimer::new();
    // So many calls before anything is refused as the laws make; then, and with nothing accepted, nearly always.
    let rule = Throttle { min_requests: 100_000, pad: 0.0, ..Throttle::SRE };
    let throttle = ClientThrottle::builder().rule(rule).timer(timer.clone()).seed(1).build().unwrap();
    let refuse = {
        let throttle = throttle.clone();
        move || {
            for _ in 0..200_000 {
                if let Ok(permit) = throttle.try_acquire() {
                    permit.settle(Class::Failure);
                }
            }
            let timer = timer.clone();
            move || timer.advance(Duration::from_secs(3_600))
        }
    };
    Subject::new(throttle.layer(), || Error::Service("broken")).refusing(refuse, Error::is_rejected)
}

contract_tests! { mod a_client_throttle_keeps_the_laws for subject, also refusal undemanding }

fn admission() -> Subject<AdmissionControlLayer, Failure> {
    let timer = ManualTimer::new();
    // Ten thousand calls in the window before anything is refused; then, and with no success, nearly always.
    let control = AdmissionControl::builder().min_rate(10_000.0).window(Duration::from_secs(1)).most(1.0).seed(1);
    let control = control.timer(timer.clone()).build().unwrap();
    let refuse = {
        let control = control.clone();
        move || {
            for _ in 0..200_000 {
                if let Ok(permit) = control.try_acquire() {
                    permit.settle(Class::Failure);
                }
            }
            let timer = timer.clone();
            move || timer.advance(Duration::from_secs(60))
        }
    };
    Subject::new(control.layer(), || Error::Service("broken")).refusing(refuse, Error::is_rejected)
}

fn signal() -> Subject<SignalShedLayer, Failure> {
    let signal = Signal::new();
    let shed = SignalShed::builder().signal(signal.clone()).build().unwrap();
    let refuse = move || {
        signal.set(1.0);
        let signal = signal.clone();
        move || signal.set(0.0)
    };
    Subject::new(shed.layer(), || Error::Service("broken")).refusing(refuse, Error::is_rejected)
}

/// It refuses by how long it took until the service was ready, so it cannot refuse without having waited for it.
fn queue() -> Subject<QueueShedLayer, Failure> {
    Subject::new(QueueShed::builder().build().unwrap().layer(), || Error::Service("broken"))
}

contract_tests! { mod admission_control_keeps_the_laws for admission, also refusal undemanding }
contract_tests! { mod a_signal_shed_keeps_the_laws for signal, also refusal undemanding }
contract_tests! { mod a_queue_shed_keeps_the_laws for queue, also undemanding }
