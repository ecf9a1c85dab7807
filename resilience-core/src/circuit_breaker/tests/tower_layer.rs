//! The layer: readiness, drops, what a service behind a breaker must not need.

use std::cell::RefCell;
use std::future::{Ready, pending, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use testkit::probe::{Answer, Probe};
use testkit::wakes::Task;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::timeout::Timeout;
use crate::{Error, Rejected};

type Failure = Error<&'static str>;

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
    let refused = Task::new(async { service.ready().await?.call(()).await }).poll();
    assert!(matches!(refused, Poll::Ready(Err(Error::Rejected(refused))) if refused.reason() == Reason::Open));
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
    // CB6, CB7. A service that was ready and is not called has no place to give back.
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(1).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let mut service = breaker.layer().layer(service_fn(|(): ()| pending::<Result<(), Error<()>>>()));
    let mut never_called = service.clone();
    never_called.ready().await.unwrap();
    drop(never_called);
    drop(service.ready().await.unwrap().call(()));
    assert_eq!(breaker.state(), State::HalfOpen);
    let mut probe = Box::pin(service.ready().await.unwrap().call(()));
    assert!(futures::poll!(&mut probe).is_pending());
    let refused = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(rejected) if rejected.reason() == Reason::Probing));
    drop(probe);
    let mut probe = Box::pin(service.ready().await.unwrap().call(()));
    assert!(futures::poll!(&mut probe).is_pending());
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn of_a_thousand_clones_that_call_a_half_open_circuit_three_reach_the_service() {
    // CB5: the service that comes back is not met by everybody who waited for it.
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(3).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let probe = Probe::<u32, u32, Failure>::new(Ok);
    (0..3).for_each(|_| probe.then(Answer::Hold));
    let service = breaker.layer().layer(probe.service());
    let mut calls: Vec<_> = (0..1000).map(|caller| Task::new(service.clone().oneshot(caller))).collect();
    let answers: Vec<_> = calls.iter_mut().map(Task::poll).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_pending()).count(), 3);
    let refused = |answer: &&Poll<Result<u32, Failure>>| matches!(answer, Poll::Ready(Err(Error::Rejected(_))));
    assert_eq!(answers.iter().filter(refused).count(), 997, "each in its first poll");
    assert_eq!(probe.counts().calls, 3);
}

#[test]
fn a_probe_that_panics_in_the_service_fails_and_leaves_a_breaker_that_works() {
    // CB8: seatbelt records nothing while a thread panics, and a lock of the standard library is poisoned by it.
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(1).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let probe = Probe::<u32, u32, Failure>::new(Ok);
    probe.then(Answer::Panic);
    let service = breaker.layer().layer(probe.service());
    let mut call = Task::new(service.clone().oneshot(7));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll().is_ready())).is_err());
    drop(call);
    assert_eq!(opened_times(&breaker), 2);
    timer.advance(5 * SECOND);
    assert_eq!(Task::new(service.oneshot(7)).poll(), Poll::Ready(Ok(7)));
    assert_eq!(breaker.state(), State::Closed);
}

fn opened_times(breaker: &CircuitBreaker) -> u64 {
    assert_eq!(breaker.state(), State::Open);
    breaker.snapshot().opened
}

#[test]
fn fifty_calls_ended_by_the_timeout_outside_count_as_they_are_to() {
    // CB15: an outer timeout drops the call, and a breaker that counts answers alone never sees a hanging dependency.
    let after = |abandoned: Abandoned, answered: u32| {
        let timer = ManualTimer::new();
        let builder = CircuitBreaker::builder().minimum_calls(20).window(60 * SECOND).timer(timer.clone());
        let breaker = builder.abandoned(abandoned).build().unwrap();
        let timeout = Timeout::builder().limit(SECOND / 10).timer(timer.clone()).build().unwrap();
        let probe = Probe::<u32, u32, Failure>::new(Ok);
        let service = timeout.layer().layer(breaker.layer().layer(probe.service()));
        for call in 0..answered {
            assert!(Task::new(service.clone().oneshot(call)).run().is_ready());
        }
        for given_up in 0..50 {
            probe.then(Answer::Hold);
            let mut call = Task::new(service.clone().oneshot(given_up));
            if call.run().is_ready() {
                return (breaker.state(), given_up);
            }
            timer.advance(SECOND / 10);
            assert!(matches!(call.run(), Poll::Ready(Err(Error::Elapsed(_)))));
        }
        (breaker.state(), breaker.snapshot().calls as u32)
    };
    assert_eq!(after(Abandoned::Ignore, 0), (State::Closed, 0));
    assert_eq!(after(Abandoned::Failure, 0), (State::Open, 20), "at as many as it needs to judge");
    assert_eq!(after(Abandoned::WhenNothingElse, 0), (State::Open, 20));
    assert_eq!(after(Abandoned::WhenNothingElse, 1), (State::Closed, 1));
    assert_eq!(CircuitBreaker::builder().build().unwrap().snapshot().calls, 0);
}

#[test]
fn a_refusal_says_who_why_and_when_and_hides_no_cause() {
    // CB18: of tower-resilience's refusal one learns that there was one. An error of the service keeps its source.
    let (builder, timer) = consecutive(1);
    let breaker = builder.open_for(30 * SECOND).probes(1).build().unwrap();
    let service = breaker
        .layer()
        .layer(service_fn(|(): ()| ready(Err::<(), _>(Error::Service(std::io::Error::other("disk is full"))))));
    let call = || futures::executor::block_on(service.clone().oneshot(())).unwrap_err();
    let own = call();
    assert_eq!(std::error::Error::source(&own).map(ToString::to_string).as_deref(), Some("disk is full"));
    timer.advance(12 * SECOND);
    let refusal = |error: Error<std::io::Error>| {
        assert!(std::error::Error::source(&error).is_none());
        assert_eq!(
            error.retry_after(),
            if let Error::Rejected(refused) = &error { refused.retry_after() } else { None }
        );
        match error {
            Error::Rejected(refused) => (refused.policy().to_string(), refused.reason(), refused.retry_after()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(call()), ("test".into(), Reason::Open, Some(18 * SECOND)));
    timer.advance(18 * SECOND);
    let _probe = breaker.try_acquire().unwrap();
    assert!(matches!(refusal(call()), (policy, Reason::Probing, _) if policy == "test"));
    breaker.isolate();
    assert_eq!(refusal(call()), ("test".into(), Reason::Isolated, None));
}

#[test]
fn services_share_a_breaker_or_have_one_each_as_they_are_given_it() {
    // CB27: whether three services made by one layer share their circuit is not to be found out in production. What a
    // breaker's layer makes shares that breaker; a builder is cloned for a breaker each; a keyed one is both.
    let probe = Probe::<u32, u32, Failure>::new(|_| Err(Error::Service("down")));
    let failed_and_then = |services: [Box<dyn Fn() -> Result<u32, Failure>>; 3]| {
        assert_eq!(services[0](), Err(Error::Service("down")));
        services.map(|call| call().unwrap_err().is_rejected())
    };
    fn boxed<S>(service: S) -> Box<dyn Fn() -> Result<u32, Failure>>
    where
        S: Service<u32, Response = u32, Error = Failure> + Clone + 'static,
    {
        Box::new(move || futures::executor::block_on(service.clone().oneshot(7)))
    }
    let (builder, _) = consecutive(1);
    let layer = builder.clone().build().unwrap().layer();
    assert_eq!(failed_and_then([(); 3].map(|()| boxed(layer.layer(probe.service())))), [true; 3], "shared");
    let isolated = [(); 3].map(|()| boxed(builder.clone().build().unwrap().layer().layer(probe.service())));
    assert_eq!(failed_and_then(isolated), [true, false, false], "one each");
    let keyed = builder.build_keyed::<u8>().unwrap();
    let by_service = [0_u8, 0, 1].map(|key| boxed(keyed.layer(move |_: &u32| key).layer(probe.service())));
    assert_eq!(failed_and_then(by_service), [true, true, false], "by what the key says");
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
    // CB30, CP2: it compiles, and runs in a task that stays on its thread.
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
    let local = tokio::task::LocalSet::new();
    let answer = local.spawn_local(service.oneshot(Rc::new(7)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(local.block_on(&runtime, answer).unwrap().ok(), Some(Rc::new(7)));
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
