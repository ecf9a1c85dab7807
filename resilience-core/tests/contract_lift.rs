//! The innermost layer under tower's laws: it changes the error's type, and nothing else.
#![cfg(feature = "tower")]

use resilience_core::{Error, LiftLayer, LiftService};
use testkit::contract::{Subject, contract_tests};
use tower::Layer;
use tower::util::MapErr;

type Failure = &'static str;

/// Lifts the error and takes it out again, for the laws want it unchanged.
struct ThereAndBack;

impl<S> Layer<S> for ThereAndBack {
    type Service = MapErr<LiftService<S>, fn(Error<Failure>) -> Failure>;

    fn layer(&self, inner: S) -> Self::Service {
        MapErr::new(LiftLayer.layer(inner), |error| error.into_service().unwrap_or("not the service's"))
    }
}

fn lift() -> Subject<ThereAndBack, Failure> {
    Subject::new(ThereAndBack, || "broken")
}

contract_tests! { mod lifting_keeps_the_laws for lift, also undemanding }
