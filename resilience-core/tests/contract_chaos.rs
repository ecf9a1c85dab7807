//! Chaos under tower's laws: switched on with nothing to do, and switched off with everything.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::Error;
use resilience_core::chaos::{Chaos, ChaosLayer, Faults};
use testkit::contract::{Subject, contract_tests};

type Failure = Error<&'static str>;
type Layer = ChaosLayer<u32, u32, Failure>;

fn with_nothing_to_do() -> Subject<Layer, Failure> {
    Subject::new(Chaos::builder().build().unwrap().layer(), || Error::Service("broken"))
}

fn switched_off() -> Subject<Layer, Failure> {
    let chaos = Chaos::builder().error(|_| Error::Service("injected")).faults(Faults::OUTAGE).enabled(false);
    Subject::new(chaos.build().unwrap().layer(), || Error::Service("broken"))
}

contract_tests! { mod chaos_with_nothing_to_do_keeps_the_laws for with_nothing_to_do, also undemanding }
contract_tests! { mod chaos_switched_off_keeps_the_laws for switched_off, also undemanding }
