//! Fallback under tower's laws: around a service that answers, and to a backup of one that does not.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use resilience_core::fallback::{Fallback, FallbackLayer, Original, Value};
use resilience_core::{Classification, Error};
use testkit::contract::{Subject, contract_tests};
use tower::{Layer, Service};

type Failure = Error<&'static str>;
type Classifier = fn(&Result<u32, Failure>) -> Classification;

/// The laws' own failure is passed on; any other is replaced.
fn classify(answer: &Result<u32, Failure>) -> Classification {
    match answer {
        Ok(_) => Classification::SUCCESS,
        Err(Error::Service("broken")) => Classification::IGNORE,
        Err(_) => Classification::FAILURE,
    }
}

fn fallback() -> Fallback {
    Fallback::builder().build().unwrap()
}

fn not_needed() -> Subject<FallbackLayer<Value<u32>, Failure, Classifier, Original>, Failure> {
    Subject::new(fallback().value(0).classify(classify as Classifier), || Error::Service("broken"))
}

fn to_a_backup() -> Subject<ToBackup, Failure> {
    Subject::new(ToBackup(fallback()), || Error::Service("broken"))
}

contract_tests! { mod a_fallback_that_is_not_needed_keeps_the_laws for not_needed, also undemanding }
contract_tests! { mod a_backup_is_called_by_the_laws for to_a_backup }

/// The service under the laws as the backup of one that is down.
struct ToBackup(Fallback);

type SecondOf = fn(Failure, Failure) -> Failure;

impl<S: Clone> Layer<S> for ToBackup {
    type Service = resilience_core::fallback::FallbackService<
        Down,
        resilience_core::fallback::Backup<S>,
        Failure,
        resilience_core::ByResult,
        SecondOf,
        resilience_core::retry::Cloned,
    >;

    fn layer(&self, inner: S) -> Self::Service {
        // The laws ask for the error of the service they watch, which is the second here.
        let second: SecondOf = |_, second| second;
        self.0.service(inner).join(second).layer(Down)
    }
}

/// Never answers well.
#[derive(Clone)]
struct Down;

impl Service<u32> for Down {
    type Response = u32;
    type Error = Failure;
    type Future = Ready<Result<u32, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        ready(Err(Error::Service("down")))
    }
}
