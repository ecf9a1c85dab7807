//! The layer: readiness, drops, what a service behind a breaker must not need.

use std::cell::RefCell;
use std::future::{Ready, pending, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::{Error, Rejected};

/// A service that is never ready, and counts how often it was asked.
#[derive(Default)]
struct NeverReady {
    asked: u32,
}

impl Service<()> for NeverReady {
    type Response = ();
    type Error = Error<&'static str>;
    type Future = Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.asked += 1;
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("never ready")
    }
}

#[tokio::test]
async fn an_open_circuit_refuses_without_asking_the_inner_service() {
    // CB17: seatbelt waits for the inner service even when open.
    let (builder, _) = consecutive(1);
    let breaker = builder.build().unwrap();
    record(&breaker, "F");
    let mut service = breaker.layer().layer(NeverReady::default());
    let refused = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert!(refused.is_rejected());
    assert_eq!(service.get_ref().asked, 0);
    assert_eq!(breaker.snapshot().rejected, 1);
}

#[tokio::test]
async fn a_circuit_closed_by_hand_after_poll_ready_admits_after_the_next() {
    // CB19: tower-resilience remembers the refusal.
    let (builder, _) = consecutive(1);
    let breaker = builder.build().unwrap();
    record(&breaker, "F");
    let mut service = breaker.layer().layer(service_fn(async |(): ()| Ok::<_, Error<()>>("in")));
    service.ready().await.unwrap();
    breaker.close();
    assert_eq!(service.ready().await.unwrap().call(()).await, Ok("in"));
}

#[tokio::test]
async fn a_probe_future_dropped_before_or_after_its_first_poll_gives_the_place_back() {
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(1).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let mut service = breaker.layer().layer(service_fn(|(): ()| pending::<Result<(), Error<()>>>()));
    drop(service.ready().await.unwrap().call(()));
    let mut probe = Box::pin(service.ready().await.unwrap().call(()));
    assert!(futures::poll!(&mut probe).is_pending());
    let refused = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(rejected) if rejected.reason() == Reason::Probing));
    drop(probe);
    let mut probe = Box::pin(service.ready().await.unwrap().call(()));
    assert!(futures::poll!(&mut probe).is_pending());
}

#[tokio::test]
async fn the_classifier_decides_what_an_answer_means() {
    let (builder, _) = consecutive(1);
    let breaker = builder.build().unwrap();
    let by_status = |answer: &Result<u16, Error<()>>| match answer {
        Ok(500..) => crate::Classification::FAILURE,
        Ok(404) => crate::Classification::IGNORE,
        _ => crate::Classification::SUCCESS,
    };
    let layer = breaker.layer().classify(by_status);
    let mut service = layer.layer(service_fn(async |status: u16| Ok::<_, Error<()>>(status)));
    assert_eq!(service.ready().await.unwrap().call(404).await, Ok(404));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(service.ready().await.unwrap().call(503).await, Ok(503));
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_service_need_be_neither_clone_nor_sync_and_a_request_not_send() {
    // CB30, CP2: it compiles, and runs on one thread.
    struct Local {
        seen: RefCell<u32>,
    }
    impl Service<Rc<u32>> for Local {
        type Response = Rc<u32>;
        type Error = Box<dyn std::error::Error + Send + Sync>;
        type Future = Ready<Result<Rc<u32>, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Rc<u32>) -> Self::Future {
            *self.seen.borrow_mut() += *request;
            ready(Ok(request))
        }
    }
    let (builder, _) = consecutive(1);
    let service = builder.build().unwrap().layer().layer(Local { seen: RefCell::new(0) });
    let answer = futures::executor::block_on(service.oneshot(Rc::new(7)));
    assert_eq!(answer.ok(), Some(Rc::new(7)));
}

#[tokio::test]
async fn a_boxed_error_carries_the_refusal() {
    let (builder, _) = consecutive(1);
    let breaker = builder.build().unwrap();
    record(&breaker, "F");
    let service =
        breaker.layer().layer(service_fn(async |(): ()| Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())));
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some(Reason::Open));
    assert!(error.source().is_none());
}
