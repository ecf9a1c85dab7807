//! Whose answer the caller gets.

use super::*;
use crate::Reason as Refusal;

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_delay_costs_one_call_and_one_copy_and_leaves_no_timer() {
    // HG1. The price of a hedge that is not needed: one copy of the request, no clone of the stack, and a timer that is
    // gone with the call.
    #[derive(Debug)]
    struct Counted(Arc<Mutex<u32>>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            *self.0.lock().unwrap() += 1;
            Self(self.0.clone())
        }
    }
    let timer = crate::time::ManualTimer::new();
    let hedge = steady().timer(timer.clone()).build().unwrap();
    let script = Script::new([(49, Ok(1))]);
    let mut service = hedge.layer().layer(script.handle());
    let clones = script.lock().clones;
    let copies = Arc::new(Mutex::new(0));
    std::future::poll_fn(|cx| Service::<Counted>::poll_ready(&mut service, cx)).await.unwrap();
    let mut call = std::pin::pin!(service.call(Counted(copies.clone())));
    assert!(futures::poll!(call.as_mut()).is_pending());
    assert_eq!(timer.sleepers(), 1);
    tokio::time::advance(ms(49)).await;
    assert_eq!(call.await, Ok(1));
    assert_eq!((script.starts(), *copies.lock().unwrap()), (vec![0], 1));
    assert_eq!((script.lock().clones, timer.sleepers()), (clones, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_once_reads_no_clock_and_makes_no_timer() {
    struct Stopped;
    impl crate::time::Timer for Stopped {
        fn now(&self) -> Timestamp {
            panic!("a clock was read");
        }
        fn sleep_until(&self, _: Timestamp) -> crate::time::Sleep {
            panic!("a timer was made");
        }
        fn wall(&self) -> crate::time::WallTime {
            panic!("a calendar was read");
        }
    }
    let timer: Arc<dyn crate::time::Timer> = Arc::new(Stopped);
    let hedge = steady().timer(timer).build().unwrap();
    assert_eq!(ask(&hedge, &Script::new([(0, Ok(1))])).await.0, Ok(1));
}

/// One call, of which nothing but the answer must be left once there is one.
async fn alone(hedge: &Hedge, script: &Script) -> Answer {
    let mut service = hedge.layer().layer(script.handle());
    // Not `oneshot`, which drops the whole call as soon as it is done.
    let service = ServiceExt::<()>::ready(&mut service).await.unwrap();
    let mut call = std::pin::pin!(service.call(()));
    let answer = call.as_mut().await;
    assert_eq!(script.running(), 0, "a loser outlived the answer");
    answer
}

#[tokio::test(start_paused = true)]
async fn a_slow_primary_is_overtaken_and_dropped_before_the_caller_sees_the_answer() {
    // HG5. A loser that goes on in a task of its own holds its connection, and the caller's request, for nobody.
    let heard = Heard::default();
    let hedge = steady().listener(heard.clone()).build().unwrap();
    let script = Script::new([(1_000, Ok(1)), (10, Ok(2))]);
    let start = now();
    assert_eq!(alone(&hedge, &script).await, Ok(2));
    assert_eq!(now().since(start), ms(60));
    assert_eq!(script.lock().calls, [Call { attempt: 1, at: ms(0) }, Call { attempt: 2, at: ms(50) }]);
    let launched = Event::Launched { attempt: 2, cause: Cause::Delay };
    assert_eq!(heard.all(), [launched, Event::Won { attempt: 2 }, Event::Cancelled { attempts: 1 }]);
    let seen = hedge.snapshot();
    assert_eq!((seen.launched, seen.won, seen.cancelled, seen.failed), (1, 1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_comes_first_after_all_drops_the_hedge() {
    let heard = Heard::default();
    let hedge = steady().listener(heard.clone()).build().unwrap();
    let script = Script::new([(70, Ok(1)), (100, Ok(2))]);
    assert_eq!(alone(&hedge, &script).await, Ok(1));
    assert_eq!(hedge.snapshot().won, 0);
    assert_eq!(heard.all()[1..], [Event::Won { attempt: 1 }, Event::Cancelled { attempts: 1 }]);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_returns_at_once() {
    // HG2. tower-resilience waits 200 ms and sends two more: every caller's mistake, three times.
    let hedge = steady().attempts(3).build().unwrap();
    let script = Script::new([(0, Err(Error::Service("fatal"))), (0, Ok(2))]);
    let service = hedge.layer().classify(lasting).layer(script.handle());
    assert_eq!(service.oneshot(()).await, Err(Error::Service("fatal")));
    assert_eq!(script.starts(), [0]);
    assert_eq!(hedge.snapshot().failed, 0); // one attempt, as without a hedge
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_launches_the_next_attempt_at_once() {
    // HG3. The delay is for attempts that may still answer; of this one it is known that it will not.
    let heard = Heard::default();
    let hedge = steady().attempts(3).listener(heard.clone()).build().unwrap();
    let script = Script::new([(0, down()), (1_000, Ok(2)), (7, Ok(3))]);
    assert_eq!(ask(&hedge, &script).await, (Ok(3), 57));
    assert_eq!(script.starts(), [0, 0, 50]); // and from there the delay counts anew
    assert_eq!(heard.all()[0], Event::Launched { attempt: 2, cause: Cause::Failure });
}

#[tokio::test(start_paused = true)]
async fn two_that_fail_at_once_are_followed_by_two() {
    let hedge = steady().delay([ms(0), Duration::MAX]).attempts(4).build().unwrap();
    let script = Script::new([(10, down()), (10, down()), (9, down()), (8, Ok(4))]);
    assert_eq!(ask(&hedge, &script).await, (Ok(4), 18));
    assert_eq!(script.starts(), [0, 0, 10, 10]);
    // Unless a third was good in the same moment: all are heard before anybody else is asked.
    let script = Script::new([(10, down()), (10, Ok(2))]);
    assert_eq!(ask(&hedge, &script).await, (Ok(2), 10));
    assert_eq!(script.starts(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_hedge_does_not_beat_a_pending_primary() {
    // HG4. tower returns whichever is done first, so that a hedge turns a slow success into a failure.
    for lost in [Error::Service("down"), Error::Service("fatal"), Rejected::new("b", Refusal::Open).into()] {
        let hedge = steady().build().unwrap();
        let script = Script::new([(100, Ok(1)), (10, Err(lost))]);
        let service = hedge.layer().classify(lasting).layer(script.handle());
        assert_eq!(service.oneshot(()).await, Ok(1));
        assert_eq!(script.starts(), [0, 50]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_attempts_that_all_fail_the_primary_tells_the_caller() {
    let hedge = steady().attempts(3).build().unwrap();
    let script = Script::new([
        (80, Err(Error::Service("first"))),
        (10, Err(Error::Service("second"))),
        (5, Err(Error::Service("third"))),
    ]);
    assert_eq!(ask(&hedge, &script).await, (Err(Error::Service("first")), 80));
    assert_eq!((script.starts(), hedge.snapshot().failed), (vec![0, 50, 60], 1));
}

#[tokio::test(start_paused = true)]
async fn never_sent_is_not_said_of_a_call_that_was_sent() {
    // The circuit opens between two attempts. A refusal promises that the call had no effect, and the first may have.
    let refused: Failure = Rejected::new("b", Refusal::Open).into();
    let hedge = steady().build().unwrap();
    let script = Script::new([(0, down()), (0, Err(refused.clone()))]);
    assert_eq!(ask(&hedge, &script).await.0, down());
    // The other way round: a primary that waited in a bulkhead's queue until it was refused.
    let script = Script::new([(60, Err(refused)), (20, down())]);
    assert_eq!(ask(&hedge, &script).await.0, down());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_own_stack_is_not_hedged() {
    let hedge = steady().build().unwrap();
    let refused: Failure = Rejected::new("b", Refusal::Open).into();
    let script = Script::new([(0, Err(refused.clone())), (0, Ok(2))]);
    assert_eq!(ask(&hedge, &script).await, (Err(refused), 0));
    assert_eq!(script.starts(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_of_a_hedge_ends_the_call_once_the_primary_has_failed() {
    let hedge = steady().attempts(3).build().unwrap();
    let script = Script::new([(60, down()), (30, Err(Error::Service("fatal"))), (500, Ok(3))]);
    let start = now();
    let service = hedge.layer().classify(lasting).layer(script.handle());
    assert_eq!(service.oneshot(()).await, Err(Error::Service("fatal")));
    assert_eq!((script.starts(), now().since(start)), (vec![0, 50, 60], ms(80)));
    assert_eq!(script.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_cannot_get_ready_leaves_the_call_to_the_primary() {
    let budget = RetryBudget::builder().reserve(5).build().unwrap();
    let hedge = steady().budget(budget.clone()).build().unwrap();
    let script = Script::new([(80, Ok(1))]);
    script.lock().unready = Some(Error::Service("no connection"));
    assert_eq!(ask(&hedge, &script).await, (Ok(1), 80));
    assert_eq!(script.starts(), [0]);
    assert_eq!(budget.snapshot().available, 5.0, "what was not sent was not given back");
    let script = Script::new([(10, down())]);
    script.lock().unready = Some(Error::Service("no connection"));
    assert_eq!(ask(&hedge, &script).await, (down(), 10)); // sent, and so told rather than the other
}

#[tokio::test(start_paused = true)]
async fn attempts_are_numbered_for_what_is_inside() {
    let hedge = steady().attempts(3).build().unwrap();
    let script = Script::new([(1_000, Ok(1)), (1_000, Ok(2)), (1, Ok(3))]);
    // Within an outer layer's second attempt, the first of ours is the second that is sent.
    let outer = context::Context::new().with_attempt(2);
    let service = hedge.layer().layer(script.handle());
    assert_eq!(outer.scope(service.oneshot(())).await, Ok(3));
    let numbers: Vec<u32> = script.lock().calls.iter().map(|call| call.attempt).collect();
    assert_eq!(numbers, [2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn errors_need_be_neither_clonable_nor_ours() {
    // HG8. tower-resilience asks for `E: Clone`, which neither a boxed error nor reqwest's is.
    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    let hedge = steady().build().unwrap();
    let service = hedge.layer().layer(tower::service_fn(async |()| Err::<(), BoxError>("down".into())));
    assert_eq!(service.oneshot(()).await.unwrap_err().to_string(), "down");
    let (first, lost) = (std::cell::Cell::new(true), std::rc::Rc::new(()));
    // Nor need anything be sent to another thread.
    let answer = hedge.run(|_| {
        let (first, lost) = (first.replace(false), lost.clone());
        async move { if first { Err::<_, BoxError>("down".into()) } else { Ok(lost) } }
    });
    assert!(answer.await.is_ok());
}
