//! Batches of one under tower's laws: each call is a batch, and reaches the service as one.
//!
//! The laws' service answers numbers; on the way it is one that answers lists. One group does not apply: the service must
//! be one that can be cloned, since it is called by whoever fills a batch, so the layer is not undemanding.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use resilience_core::Rejected;
use resilience_core::batch::{Batch, BatchLayer, BatchService, Unanswered};
use resilience_core::time::ManualTimer;
use testkit::contract::{Subject, contract_tests};
use tower::Layer;
use tower::util::{MapRequest, MapResponse};

#[derive(Clone, Debug, PartialEq)]
enum Failure {
    Broken,
    Rejected(Rejected),
    Unanswered(Unanswered),
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

type Listed<S> = MapResponse<MapRequest<S, fn(Vec<u32>) -> u32>, fn(u32) -> Vec<Result<u32, Failure>>>;

struct OverLists(BatchLayer<u32>);

impl<S> Layer<S> for OverLists
where
    S: tower::Service<u32, Response = u32, Error = Failure> + Clone,
{
    type Service = BatchService<Listed<S>, u32>;

    fn layer(&self, inner: S) -> Self::Service {
        let listed: Listed<S> = MapResponse::new(MapRequest::new(inner, |list| list[0]), |answer| vec![Ok(answer)]);
        self.0.layer(listed)
    }
}

fn of_one() -> Subject<OverLists, Failure> {
    let batch = Batch::builder().size(1).delay(Duration::from_secs(60)).timer(ManualTimer::new()).build().unwrap();
    let layer = OverLists(batch.layer());
    Subject::new(layer, || Failure::Broken).holding(move || batch.snapshot().waiting as usize)
}

contract_tests! { mod a_batch_of_one_keeps_the_laws for of_one }

fn that_is_full() -> Subject<OverLists, Failure> {
    let batch = Batch::builder().size(1).limit(2).timer(ManualTimer::new()).build().unwrap();
    let layer = OverLists(batch.layer());
    let refuse = move || {
        let hangs = batch.over(|_: Vec<u32>| std::future::pending::<Result<Vec<Result<u32, Failure>>, Failure>>());
        let mut calls = [hangs.call(1), hangs.call(2)];
        for call in &mut calls {
            assert!(testkit::wakes::poll_once(std::pin::Pin::new(call)).is_pending());
        }
        move || drop(calls)
    };
    Subject::new(layer, || Failure::Broken).refusing(refuse, |error| matches!(error, Failure::Rejected(_)))
}

contract_tests! { mod a_batch_that_is_full_keeps_the_laws for that_is_full, also refusal }
