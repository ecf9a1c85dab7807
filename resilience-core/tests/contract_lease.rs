//! Stamp and fence under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio"))]

use resilience_core::Error;
use resilience_core::context::FencingToken;
use resilience_core::lease::{Fence, FenceLayer, Lease, Ownership, StampLayer};
use resilience_core::time::Timestamp;
use testkit::contract::{Subject, contract_tests, refusal};

type Failure = Error<&'static str>;

fn lease() -> Lease {
    Lease::new("relay", "node-1", FencingToken::new(7), Timestamp::NEVER)
}

fn stamping() -> Subject<StampLayer, Failure> {
    let ownership = Ownership::builder().build().unwrap();
    ownership.grant(lease());
    Subject::new(ownership.layer(), || Error::Service("broken")).refusing(
        move || {
            ownership.revoke();
            let ownership = ownership.clone();
            move || ownership.grant(lease())
        },
        Error::is_rejected,
    )
}

type Name = fn(&u32) -> &'static str;

fn name(_: &u32) -> &'static str {
    "relay"
}

/// Lets through what has no token, until somebody newer than everybody has been seen.
fn fencing() -> Subject<FenceLayer<Name>, Failure> {
    let fence = Fence::builder().optional(true).build().unwrap();
    Subject::new(fence.layer(name as Name), || Error::Service("broken"))
}

contract_tests! { mod stamping_keeps_the_laws for stamping, also undemanding }
contract_tests! { mod fencing_keeps_the_laws for fencing, also undemanding }

// `a_refusal_does_not_wait_for_the_service` is not among these laws: a fence refuses by the request's token, and while
// it is polled for readiness there is no request yet; a stamp may be granted while the service is waited for.

#[test]
fn a_call_without_ownership_does_not_reach_the_service() {
    refusal::a_refusal_does_not_reach_the_service(stamping);
}

#[test]
fn lost_ownership_does_not_wear_the_service_out() {
    refusal::a_refusal_is_an_answer_and_not_a_worn_out_service(stamping);
}

#[test]
fn a_call_without_ownership_holds_nothing() {
    refusal::a_refused_call_holds_nothing(stamping);
}

#[test]
fn ownership_may_come_back() {
    refusal::it_admits_again_when_the_reason_is_gone(stamping);
}
