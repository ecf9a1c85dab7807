//! Commands through a stack.

use std::time::Duration;

use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::retry::{Backoff, Retry};
use resilience_core::timeout::TimeoutLayer;
use resilience_core::{Class, Classify as _, Error, LiftLayer, Reason, Rejected};
use tower::{ServiceBuilder, ServiceExt as _};

use super::*;
use crate::testing::{Fault, FaultyStore};

impl Clone for Command {
    fn clone(&self) -> Self {
        match self {
            Self::Add(n) => Self::Add(*n),
            Self::AddUpTo(n, limit) => Self::AddUpTo(*n, *limit),
            Self::SetOnce(n) => Self::SetOnce(*n),
            Self::Nothing => Self::Nothing,
        }
    }
}

fn retry() -> Retry {
    let backoff = Backoff::constant(Duration::from_millis(1));
    Retry::builder().name("commands").attempts(3).backoff(backoff).unlimited().build().unwrap()
}

/// ES11.
#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_was_lost_is_asked_for_again_and_not_done_again() {
    let store = FaultyStore::new(MemoryStore::new()).on_append(|nth| (nth == 1).then_some(Fault::AnswerLost));
    let service = ServiceBuilder::new()
        .layer(retry().layer().classify(ByExecution::new().commands_have_ids()))
        .layer(LiftLayer)
        .service(counters(store.clone()));
    let done = service.oneshot(Dispatch::new("1", Command::Add(5)).once("c1").unwrap()).await.unwrap();
    assert_eq!((done.state.total, done.version.get()), (5, 1));
    assert!(done.appended.unwrap().already_committed);
    assert_eq!(store.head(), Position::new(1));
}

/// An id is of a command to one aggregate. Of another it would be answered with what it never did.
#[tokio::test]
async fn an_id_that_one_aggregate_has_used_is_refused_to_another() {
    let service = counters(MemoryStore::new());
    let to = |id: &str| service.clone().oneshot(Dispatch::new(id, Command::Add(5)).once("c1").unwrap());
    to("1").await.unwrap();
    let refused = to("2").await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Append(AppendError::IdMisuse { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn without_ids_what_may_have_been_written_is_not_repeated_and_what_was_not_is() {
    for (fault, appended) in [(Fault::AnswerLost, 1), (Fault::Refused, 2)] {
        let store = FaultyStore::new(MemoryStore::new()).on_append(move |nth| (nth == 1).then_some(fault));
        let service = ServiceBuilder::new()
            .layer(retry().layer().classify(ByExecution::new()))
            .layer(LiftLayer)
            .service(counters(store.clone()));
        let answer = service.oneshot(Dispatch::new("1", Command::Add(5))).await;
        assert_eq!((answer.is_ok(), store.appends()), (appended == 2, appended), "{fault:?}");
        assert_eq!(store.head(), Position::new(1));
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_by_the_domain_open_no_circuit_and_a_store_that_fails_does() {
    let store = FaultyStore::new(MemoryStore::new()).on_append(|_| Some(Fault::Refused));
    let breaker = CircuitBreaker::builder().consecutive_failures(2).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(breaker.layer().classify(ByExecution::new()))
        .layer(LiftLayer)
        .service(counters(store));
    for _ in 0..5 {
        let refused = service.clone().oneshot(Dispatch::new("1", Command::AddUpTo(9, 1))).await.unwrap_err();
        assert!(matches!(refused, Error::Service(ExecuteError::Refused("limit"))), "{refused:?}");
    }
    for _ in 0..2 {
        service.clone().oneshot(Dispatch::new("1", Command::Add(1))).await.unwrap_err();
    }
    let open = service.oneshot(Dispatch::new("1", Command::Add(1))).await.unwrap_err();
    assert!(matches!(open, Error::Rejected(refused) if refused.reason() == Reason::Open));
}

#[test]
fn what_an_answer_means_is_told_apart() {
    type Answer = Result<(), Error<ExecuteError<()>>>;
    let of = |error: ExecuteError<()>| {
        let meaning = ByExecution::new().classify(&Answer::Err(Error::Service(error)));
        (meaning.class(), meaning.is_retryable())
    };
    assert_eq!(of(ExecuteError::Refused(())), (Class::Success, false));
    assert_eq!(of(ExecuteError::Append(AppendError::Full)), (Class::Failure, AppendError::Full.is_retryable()));
    assert_eq!(of(ExecuteError::Append(AppendError::Closed)), (Class::Failure, false));
    assert_eq!(of(ExecuteError::Append(AppendError::IdMisuse { id: "c".into() })), (Class::Ignore, false));
    let refused: Answer = Err(Rejected::new("b", Reason::Open).into());
    assert_eq!(ByExecution::new().classify(&refused), resilience_core::Classification::REFUSED);
}
