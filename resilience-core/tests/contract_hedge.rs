//! Hedge under tower's laws: as a primary that answers, and as a hedge of one that was lost.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::hedge::{Delay, Hedge, HedgeLayer};
use resilience_core::{Classification, context};
use testkit::contract::{Subject, contract_tests};
use tower::{Layer, Service};

/// A failure, worth another attempt if it was lost on the way. The laws see no difference: of a primary that was lost
/// and a hedge that cannot get ready, the caller is told the primary's failure.
#[derive(Debug)]
struct Failure {
    lost: bool,
}

impl PartialEq for Failure {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

type Classifier = fn(&Result<u32, Failure>) -> Classification;

fn classify(answer: &Result<u32, Failure>) -> Classification {
    match answer {
        Ok(_) => Classification::SUCCESS,
        Err(Failure { lost }) => Classification::PERMANENT.retryable(*lost),
    }
}

fn hedge(delay: Delay) -> HedgeLayer<Classifier> {
    // A budget would be spent by a law that makes a hundred calls and answers none.
    Hedge::builder().delay(delay).unlimited().build().unwrap().layer().classify(classify)
}

fn primary() -> Subject<HedgeLayer<Classifier>, Failure> {
    Subject::new(hedge(Duration::from_secs(60).into()), || Failure { lost: false })
}

fn after_a_failure() -> Subject<Stacked, Failure> {
    Subject::new(Stacked(hedge(Delay::NEVER)), || Failure { lost: false })
}

contract_tests! { mod a_primary_keeps_the_laws for primary }
contract_tests! { mod a_hedge_keeps_the_laws for after_a_failure }

/// A hedge over a service whose primaries are lost.
struct Stacked(HedgeLayer<Classifier>);

impl<S: Clone> Layer<S> for Stacked {
    type Service = <HedgeLayer<Classifier> as Layer<FirstIsLost<S>>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(FirstIsLost(inner))
    }
}

/// Fails a primary without asking anything of the service behind, and hands on all hedges.
#[derive(Clone)]
struct FirstIsLost<S>(S);

impl<S> Service<u32> for FirstIsLost<S>
where
    S: Service<u32, Response = u32, Error = Failure, Future: Send + 'static>,
{
    type Response = u32;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if context::attempt() == 1 { Poll::Ready(Ok(())) } else { self.0.poll_ready(cx) }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        if context::attempt() == 1 {
            return Box::pin(async { Err(Failure { lost: true }) });
        }
        Box::pin(self.0.call(request))
    }
}
