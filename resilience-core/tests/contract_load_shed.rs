//! The client throttle under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::control::Throttle;
use resilience_core::load_shed::{ClientThrottle, ClientThrottleLayer};
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
