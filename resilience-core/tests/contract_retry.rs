//! Retry under tower's laws, in its first attempt and in its second.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::pin::Pin;
use std::task::{Context, Poll};

use resilience_core::retry::{Backoff, Retry, RetryLayer};
use resilience_core::{Classification, Error, context};
use testkit::contract::{Subject, contract_tests};
use tower::{Layer, Service};

type Failure = Error<&'static str>;
type Classifier = fn(&Result<u32, Failure>) -> Classification;

/// The laws' own failure is not worth another attempt; any other is.
fn classify(answer: &Result<u32, Failure>) -> Classification {
    match answer {
        Ok(_) => Classification::SUCCESS,
        Err(Error::Service("broken")) => Classification::PERMANENT,
        Err(_) => Classification::FAILURE,
    }
}

fn retry() -> RetryLayer<Classifier> {
    // A budget would be spent by a law that makes a hundred calls and answers none.
    let retry = Retry::builder().attempts(3).backoff(Backoff::none()).unlimited().build().unwrap();
    retry.layer().classify(classify)
}

fn first_attempt() -> Subject<RetryLayer<Classifier>, Failure> {
    Subject::new(retry(), || Error::Service("broken"))
}

fn second_attempt() -> Subject<Stacked, Failure> {
    Subject::new(Stacked(retry()), || Error::Service("broken"))
}

contract_tests! { mod a_first_attempt_keeps_the_laws for first_attempt }
contract_tests! { mod a_second_attempt_keeps_the_laws for second_attempt }

/// Retry over a service whose first attempt is lost on the way.
struct Stacked(RetryLayer<Classifier>);

impl<S: Clone> Layer<S> for Stacked {
    type Service = <RetryLayer<Classifier> as Layer<FirstIsLost<S>>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(FirstIsLost(inner))
    }
}

/// Fails a first attempt without asking anything of the service behind, and hands on all others.
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
            return Box::pin(async { Err(Error::Service("lost on the way")) });
        }
        Box::pin(self.0.call(request))
    }
}
