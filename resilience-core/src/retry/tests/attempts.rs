//! How often, with which request, on which instance.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::context::ambient;
use crate::{Classification, Reason as Refusal, Rejected};

#[tokio::test(start_paused = true)]
async fn a_retry_polls_readiness_again_and_calls_that_instance() {
    // RT1. A retry that clones the service and calls the clone at once skips its readiness: a full bulkhead or an empty
    // rate limit below is then walked over, or panics.
    let script = Script::failing();
    let answer = ask(steady().build().unwrap().layer().layer(script.handle())).await;
    assert_eq!(answer, Err(Error::Service("down")));
    let seen = script.lock();
    assert_eq!((seen.calls.len(), seen.polled_ready), (3, 3));
    assert_eq!(seen.clones, 2, "one prototype for the layer, one instance for all retries of the call");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_succeeds_clones_no_service() {
    let script = Script::answering([Ok("up")]);
    let mut service = steady().build().unwrap().layer().layer(script.handle());
    for _ in 0..10 {
        let ready = ServiceExt::<()>::ready(&mut service).await.unwrap();
        assert_eq!(ready.call(()).await, Ok("up"));
    }
    assert_eq!(script.lock().clones, 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_before_a_retry_is_the_answer() {
    // RT1, its end: the instance is worn out. No attempt of it can succeed, and polling it on is a busy loop.
    let script = Script::failing();
    script.lock().unready = [None, Some(Error::Service("worn out"))].into();
    let heard = Heard::default();
    let budget = RetryBudget::builder().reserve(5).build().unwrap();
    let retry = steady().listener(heard.clone()).budget(budget.clone()).build().unwrap();
    assert_eq!(ask(retry.layer().layer(script.handle())).await, Err(Error::Service("worn out")));
    assert_eq!(script.calls(), 1);
    assert_eq!(heard.all()[1], Event::GaveUp { attempts: 1, reason: Reason::NotReady });
    assert_eq!(budget.snapshot().available, 5.0, "the retry was never sent");
}

/// A request that counts its clones.
#[derive(Default)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_copied_for_an_attempt_that_cannot_be_followed() {
    // RT2: a copy for the last attempt is a body held twice for nothing.
    let copies = |attempts: u32, budget: Option<RetryBudget>| async move {
        let request = Counted::default();
        let copies = request.0.clone();
        let retry = steady().attempts(attempts);
        let retry = budget.into_iter().fold(retry, RetryBuilder::budget).build().unwrap();
        let _ = retry.layer().layer(Script::failing()).oneshot(request).await;
        copies.load(Ordering::Relaxed)
    };
    assert_eq!(copies(3, None).await, 2);
    assert_eq!(copies(1, None).await, 0);
    let empty = RetryBudget::builder().ratio(0.0).reserve(0).build().unwrap();
    assert_eq!(copies(3, Some(empty)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once_and_its_error_is_kept() {
    // RT2: a body that streams is gone once it was sent. Sending nothing in its place would be another request.
    struct Stream;
    let script = Script::failing();
    let heard = Heard::default();
    let retry = steady().listener(heard.clone()).build().unwrap();
    let service = retry.layer().replay(|_: &Stream| None).layer(script.handle());
    assert_eq!(service.oneshot(Stream).await, Err(Error::Service("down")));
    assert_eq!(script.calls(), 1);
    assert_eq!(heard.all(), [Event::GaveUp { attempts: 1, reason: Reason::NotReplayable }]);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_done_twice_is_not() {
    // A POST that charged a card before the connection broke is not repeated because its answer was lost.
    #[derive(Clone)]
    struct Request {
        idempotent: bool,
    }
    let retry = steady().build().unwrap();
    let layer = retry.layer().retry_if(|request: &Request| request.idempotent);
    for (idempotent, calls) in [(false, 1), (true, 3)] {
        let script = Script::failing();
        let _ = layer.layer(script.handle()).oneshot(Request { idempotent }).await;
        assert_eq!(script.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_neither_repeated_nor_paid_for() {
    // RT11: a caller's mistake, sent three times, is three mistakes and two retries taken from calls they would help.
    let script = Script::failing();
    let heard = Heard::default();
    let budget = RetryBudget::builder().build().unwrap();
    let retry = steady().budget(budget.clone()).listener(heard.clone()).build().unwrap();
    let permanent = |answer: &Result<&'static str, Failure>| match answer {
        Ok(_) => Classification::SUCCESS,
        Err(_) => Classification::PERMANENT,
    };
    let start = now();
    let _ = ask(retry.layer().classify(permanent).layer(script.handle())).await;
    assert_eq!((script.calls(), now()), (1, start));
    assert_eq!(budget.snapshot().withdrawn + budget.snapshot().refused, 0);
    assert_eq!(heard.all(), [Event::GaveUp { attempts: 1, reason: Reason::Permanent }]);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_own_stack_are_not_retried_unless_asked_for() {
    // RT13: a retry of a refusal at once works against the breaker or the bulkhead that refused; tower-resilience
    // makes all its attempts on an open circuit.
    for reason in [Refusal::Open, Refusal::Full { limit: 1, queued: 2 }, Refusal::RateLimited] {
        let script = Script::answering([Err(Rejected::new("own stack", reason).into()), Ok("up")]);
        let budget = RetryBudget::builder().build().unwrap();
        let retry = Retry::builder().budget(budget.clone()).build().unwrap();
        let start = now();
        let answer = ask(retry.layer().layer(script.handle())).await;
        assert!(answer.is_err_and(|error| error.is_rejected()), "{reason:?}");
        assert_eq!((script.calls(), now(), budget.snapshot().withdrawn), (1, start, 0), "{reason:?}");
    }
    let refused = Rejected::new("quota", Refusal::RateLimited).with_retry_after(ms(300));
    let script = || Script::answering([Err(refused.clone().into()), Ok("up")]);
    let retry = steady().build().unwrap();
    let by_default = script();
    assert!(ask(retry.layer().layer(by_default.handle())).await.is_err_and(|error| error.is_rejected()));
    assert_eq!(by_default.calls(), 1);
    let by_hint = script();
    let start = now();
    assert_eq!(ask(retry.layer().classify(ByHint).layer(by_hint.handle())).await, Ok("up"));
    assert_eq!(now() - start, ms(300));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_on_the_second_attempt_ends_the_call_and_does_not_hide_the_first() {
    // A refusal promises "never sent". The first attempt was sent, and what became of it is not known.
    let refused = Rejected::new("payments", Refusal::Open);
    let script = Script::answering([Err(Error::Service("down")), Err(refused.clone().into())]);
    let heard = Heard::default();
    let retry = steady().listener(heard.clone()).build().unwrap();
    assert_eq!(ask(retry.layer().layer(script.handle())).await, Err(Error::Service("down")));
    assert_eq!(heard.all()[1], Event::GaveUp { attempts: 2, reason: Reason::Refused });

    let mut answers = vec![Err(refused.clone().into()), Err(Error::Service("down"))].into_iter();
    let answer = retry.run(|_| std::future::ready(answers.next().unwrap_or(Ok(())))).await;
    assert_eq!(answer, Err(refused.clone().into()), "nothing was sent before it");
    let mut answers = vec![Err(Error::Service("down")), Err(refused.into())].into_iter();
    let answer = retry.run(|_| std::future::ready(answers.next().unwrap_or(Ok(())))).await;
    assert_eq!(answer, Err(Error::Service("down")));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_knows_its_number_and_the_caller_keeps_its_own() {
    let script = Script::failing();
    let retry = steady().build().unwrap();
    let outer = context::Context::new().with_attempt(7);
    let after = outer
        .scope(async {
            let _ = ask(retry.layer().layer(script.handle())).await;
            context::attempt()
        })
        .await;
    let numbers: Vec<_> = script.lock().calls.iter().map(|call| call.attempt).collect();
    assert_eq!((numbers, after), (vec![1, 2, 3], 7));
}

#[tokio::test(start_paused = true)]
async fn exhaustion_says_how_often_and_why_and_keeps_the_last_error() {
    // RT12: "all retries failed" without the error of any of them is nothing one can act on.
    let script = Script::answering([Err(Error::Service("first")), Err(Error::Service("last"))]);
    let heard = Heard::default();
    let retry = steady().attempts(2).listener(heard.clone()).build().unwrap();
    let (answer, told) = report(ask(retry.layer().layer(script.handle()))).await;
    assert_eq!(answer, Err(Error::Service("last")));
    assert_eq!(told, Some(Report { attempts: 2, gave_up: Some(Reason::Attempts) }));
    let expected =
        [Event::Retrying { attempt: 2, delay: ms(100) }, Event::GaveUp { attempts: 2, reason: Reason::Attempts }];
    assert_eq!(heard.all(), expected);
}

#[tokio::test(start_paused = true)]
async fn each_reason_to_give_up_comes_with_the_attempts_and_the_last_error() {
    // RT12: four reasons, one error type; the caller matches on its own error and not on a wrapper's.
    let failing = || Script::answering([Err(Error::Service("first")), Err(Error::Service("last"))]);
    let spent = RetryBudget::builder().ratio(0.0).reserve(1).build().unwrap();
    let cases = [
        (steady().attempts(2), Duration::MAX, 2, Reason::Attempts),
        (steady().attempts(9).budget(spent), Duration::MAX, 2, Reason::Budget),
        // Attempts at 0 and 100 ms; the next would be at 300.
        (steady().attempts(9), ms(250), 2, Reason::Deadline),
    ];
    for (builder, within, attempts, reason) in cases {
        let layer = builder.build().unwrap().layer();
        let call = report(ask(layer.layer(failing())));
        let (answer, told) = context::Context::new().with_deadline(now() + within).scope(call).await;
        assert_eq!(answer, Err(Error::Service("last")));
        assert_eq!(told, Some(Report { attempts, gave_up: Some(reason) }));
    }
    let layer = steady().build().unwrap().layer().replay(|_: &()| None);
    let (answer, told) = report(ask(layer.layer(failing()))).await;
    assert_eq!(answer, Err(Error::Service("first")));
    assert_eq!(told, Some(Report { attempts: 1, gave_up: Some(Reason::NotReplayable) }));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_of_its_own_call_only() {
    // Two calls polled by one task must not read each other's notes.
    let retry = steady().build().unwrap();
    let layer = retry.layer();
    let (failing, recovering, fine) = (Script::failing(), Script::failing_first(1), Script::answering([Ok("up")]));
    let told = futures::join!(
        report(ask(layer.layer(failing))),
        report(ask(layer.layer(recovering))),
        report(ask(layer.layer(fine)))
    );
    assert_eq!(told.0.1, Some(Report { attempts: 3, gave_up: Some(Reason::Attempts) }));
    assert_eq!(told.1.1, Some(Report { attempts: 2, gave_up: None }));
    assert_eq!(told.2.1, None);
    let _unreported = ask(layer.layer(Script::failing())).await;
    assert_eq!(report(ask(layer.layer(Script::answering([Ok("up")])))).await.1, None);
    let counted = retry.snapshot();
    assert_eq!((counted.retries, counted.recovered, counted.gave_up), (5, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn retries_without_a_wait_yield_between_attempts() {
    // A service that fails at once, behind a policy with no backoff, must not keep a thread to itself.
    let retry = steady().attempts(50).backoff(Backoff::none()).build().unwrap();
    let mut call = Box::pin(retry.run(async |_| Err::<(), Failure>(Error::Service("down"))));
    let mut polls = 0;
    let answer = std::future::poll_fn(|cx| {
        polls += 1;
        call.as_mut().poll(cx)
    });
    assert_eq!(answer.await, Err(Error::Service("down")));
    assert_eq!(polls, 50);
}

#[tokio::test(start_paused = true)]
async fn a_service_retried_without_a_wait_asks_to_be_polled_again() {
    // Yielding without a wake-up is hanging.
    let script = Script::failing_first(2);
    let call = ask(steady().backoff(Backoff::none()).build().unwrap().layer().layer(script.handle()));
    let answer = tokio::select! {
        answer = call => answer,
        () = SharedTimer::default().sleep(ms(1000)) => unreachable!("nobody woke the call"),
    };
    assert_eq!((answer, script.calls()), (Ok("up"), 3));
}

#[test]
fn a_timeout_resolved_during_a_retry_stays_resolved_for_the_outer_layers() {
    // The layer outside would otherwise count its limit again from a later moment, and outlive its caller's patience.
    let timer = SharedTimer::from(crate::time::ManualTimer::new());
    let time = ambient::TimeLeft { within: ms(500).into(), ..ambient::TimeLeft::UNLIMITED };
    let within = ambient::Ambient { time, ..ambient::Ambient::EMPTY };
    let entered = ambient::enter(within);
    let seen = ambient::attempting(2, || context::deadline(&timer).map(|deadline| deadline.timestamp()));
    let after = entered.leave();
    assert_eq!((seen, after.attempt, after.time.is_resolved()), (Some(after.time.deadline), 1, true));
    assert_eq!(after.time.deadline, timer.now() + ms(500));
}

#[test]
fn a_stack_that_is_neither_sync_nor_send_is_welcome() {
    #[derive(Clone)]
    struct Local(std::rc::Rc<std::cell::Cell<u32>>);
    impl Service<std::rc::Rc<()>> for Local {
        type Response = u32;
        type Error = Failure;
        type Future = std::future::Ready<Result<u32, Failure>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: std::rc::Rc<()>) -> Self::Future {
            self.0.set(self.0.get() + 1);
            std::future::ready(Ok(self.0.get()))
        }
    }
    let service = steady().build().unwrap().layer().layer(Local(Default::default()));
    assert_eq!(futures::executor::block_on(service.oneshot(std::rc::Rc::new(()))), Ok(1));
}

#[test]
fn the_future_of_a_stack_that_is_send_is_send() {
    #[derive(Clone)]
    struct NotSync(std::cell::Cell<u32>);
    impl Service<()> for NotSync {
        type Response = u32;
        type Error = Failure;
        type Future = std::future::Ready<Result<u32, Failure>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, (): ()) -> Self::Future {
            std::future::ready(Ok(self.0.get()))
        }
    }
    fn send<T: Send>(value: T) -> T {
        value
    }
    let mut service = send(steady().build().unwrap().layer().layer(NotSync(Default::default())));
    let ready = futures::executor::block_on(ServiceExt::ready(&mut service)).unwrap();
    assert_eq!(futures::executor::block_on(send(ready.call(()))), Ok(0));
}
