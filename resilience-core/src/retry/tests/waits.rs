//! When: backoff, hints, deadlines.

use super::*;
use crate::Classification;
use crate::context::Context as RequestContext;
use crate::time::{ManualTimer, Timer};

fn hinting(wait: Duration) -> impl Fn(&Result<&'static str, Failure>) -> Classification + Clone {
    move |answer| match answer {
        Ok(_) => Classification::SUCCESS,
        Err(_) => Classification::FAILURE.after(wait),
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_made_when_the_backoff_says() {
    let script = Script::failing().taking(ms(10));
    let start = now();
    let _ = ask(steady().build().unwrap().layer().layer(script.handle())).await;
    let at: Vec<_> = script.lock().calls.iter().map(|call| call.at - start).collect();
    assert_eq!(at, [ms(0), ms(110), ms(320)]);
}

#[tokio::test(start_paused = true)]
async fn sessions_of_one_policy_wait_differently_and_a_seed_repeats_them_all() {
    // RT4: a generator cloned for each call gives every call the same jitter, and the crowd comes back as one.
    async fn first_delays(seed: u64) -> Vec<Duration> {
        let heard = Heard::default();
        let retry = Retry::builder().attempts(2).unlimited().seed(seed).listener(heard.clone()).build().unwrap();
        let layer = retry.layer();
        for _ in 0..1000 {
            let _ = ask(layer.layer(Script::failing())).await;
        }
        let delay = |event| if let Event::Retrying { delay, .. } = event { Some(delay) } else { None };
        heard.all().into_iter().filter_map(delay).collect()
    }
    let delays = first_delays(7).await;
    let distinct: std::collections::HashSet<_> = delays.iter().collect();
    assert!(distinct.len() >= 950, "{} distinct delays of 1000", distinct.len());
    assert_eq!(delays, first_delays(7).await);
    assert_ne!(delays, first_delays(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_heeded_between_the_backoff_and_its_cap() {
    // RT8: a header that says "in a day" must not hold a caller for a day, nor one that says "now" undo the backoff.
    let cap = Duration::from_secs(20);
    let day = Duration::from_secs(86_400);
    let cases = [
        (Hint::Clamped, ms(2000), ms(2000)),
        (Hint::Clamped, ms(1), ms(100)),
        (Hint::Clamped, day, cap),
        (Hint::UpTo(day * 2), day, day),
        (Hint::Within(ms(5000)), ms(10_000), ms(5100)),
        (Hint::Within(ms(5000)), ms(0), ms(100)),
        (Hint::Exact, ms(1), ms(1)),
        (Hint::Ignored, ms(2000), ms(100)),
    ];
    for (rule, hint, expected) in cases {
        let start = now();
        let retry = steady().attempts(2).hint(rule).build().unwrap();
        let _ = ask(retry.layer().classify(hinting(hint)).layer(Script::failing())).await;
        assert_eq!(now() - start, expected, "{rule:?} of {hint:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_wait_is_begun_that_ends_past_the_deadline() {
    // RT9: sleeping first and finding out afterwards keeps the caller waiting for an answer that is already known.
    let heard = Heard::default();
    let retry = steady().attempts(9).listener(heard.clone()).build().unwrap();
    let start = now();
    let call = ask(retry.layer().layer(Script::failing()));
    // Attempts at 0, 100, 300 and 700 ms; the next wait would end at 1,500.
    let (answer, told) = RequestContext::new().with_deadline(start + ms(1000)).scope(report(call)).await;
    assert_eq!((answer, now() - start), (Err(Error::Service("down")), ms(700)));
    assert_eq!(told, Some(Report { attempts: 4, gave_up: Some(Reason::Deadline) }));
    assert_eq!(heard.all().last(), Some(&Event::GaveUp { attempts: 4, reason: Reason::Deadline }));
}

#[tokio::test(start_paused = true)]
async fn a_hint_past_the_deadline_ends_the_call_at_once() {
    // RT8, its end: there is a second left, and the server says two.
    let retry = steady().hint(Hint::UpTo(Duration::MAX)).build().unwrap();
    for hint in [ms(2000), Duration::MAX] {
        let start = now();
        let call = ask(retry.layer().classify(hinting(hint)).layer(Script::failing()));
        let (_, told) = RequestContext::new().with_deadline(start + ms(1000)).scope(report(call)).await;
        assert_eq!(now(), start);
        assert_eq!(told.and_then(|told| told.gave_up), Some(Reason::Deadline));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_refusal_takes_nothing_from_the_budget() {
    let budget = RetryBudget::builder().reserve(5).build().unwrap();
    let retry = steady().budget(budget.clone()).build().unwrap();
    let call = ask(retry.layer().layer(Script::failing()));
    let _ = RequestContext::new().with_deadline(now() + ms(50)).scope(call).await;
    assert_eq!(budget.snapshot().withdrawn, 0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_time_includes_execution() {
    // RT10: counting only the sleeps lets slow failures run on for ever.
    let script = Script::failing().taking(ms(400));
    let retry = steady().attempts(100).max_elapsed(ms(1000)).build().unwrap();
    let start = now();
    let (_, told) = report(ask(retry.layer().layer(script.handle()))).await;
    // 400 ms of execution, 100 of waiting, 400 of execution: the next wait would end at 1,100 ms.
    assert_eq!(now() - start, ms(900));
    assert_eq!(told, Some(Report { attempts: 2, gave_up: Some(Reason::MaxElapsed) }));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_answer_waits_by_its_own_backoff() {
    let slow = Backoff::constant(Duration::from_secs(1)).jitter(Jitter::None);
    let retry = steady().attempts(2).throttled_backoff(slow).build().unwrap();
    for (hint, expected) in [(None, ms(100)), (Some(Duration::ZERO), ms(1000))] {
        let classify = move |answer: &Result<&'static str, Failure>| match (answer, hint) {
            (Ok(_), _) => Classification::SUCCESS,
            (Err(_), Some(hint)) => Classification::FAILURE.after(hint),
            (Err(_), None) => Classification::FAILURE,
        };
        let start = now();
        let _ = ask(retry.layer().classify(classify).layer(Script::failing())).await;
        assert_eq!(now() - start, expected);
    }
}

#[test]
fn a_call_without_tower_waits_on_the_timer_it_was_given() {
    let timer = ManualTimer::new();
    let retry = steady().timer(timer.clone()).build().unwrap();
    let mut attempts = 0;
    let mut call = Box::pin(retry.run(|attempt| {
        attempts = attempt;
        std::future::ready(if attempt < 3 { Err(Error::Service("down")) } else { Ok(attempt) })
    }));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for wait in [ms(100), ms(200)] {
        assert!(call.as_mut().poll(&mut cx).is_pending());
        assert_eq!(timer.next_wake_up(), Some(timer.now() + wait));
        timer.advance(wait);
    }
    assert_eq!(call.as_mut().poll(&mut cx), Poll::Ready(Ok::<_, Failure>(3)));
    drop(call);
    assert_eq!((attempts, timer.sleepers()), (3, 0));
}

#[test]
fn a_call_answered_at_once_reads_no_clock() {
    struct Stopped;
    impl Timer for Stopped {
        fn now(&self) -> Timestamp {
            unreachable!("nothing here needs the time")
        }
        fn sleep_until(&self, _: Timestamp) -> crate::time::Sleep {
            unreachable!("nothing here waits")
        }
        fn wall(&self) -> crate::time::WallTime {
            unreachable!("nothing here is recorded")
        }
    }
    let timer: Arc<dyn Timer> = Arc::new(Stopped);
    let retry = Retry::builder().timer(timer).build().unwrap();
    let fine = tower::service_fn(async |(): ()| Ok::<_, Failure>("up"));
    assert_eq!(futures::executor::block_on(ask(retry.layer().layer(fine))), Ok("up"));
    assert_eq!(futures::executor::block_on(retry.run(async |_| Ok::<_, Failure>("up"))), Ok("up"));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_without_budget_waits_once_and_then_fails() {
    // The rule of the AWS SDKs for calls made by a loop: an empty quota must not make the loop spin. No wait when the
    // attempts are used up, when the answer is good, or when it could not be repeated anyway.
    let spent = || RetryBudget::builder().start(0).build().unwrap();
    let retry = |attempts| steady().attempts(attempts).budget(spent()).long_poll(true).build().unwrap();
    let took = async |attempts, script: Script| {
        let start = now();
        let answer = ask(retry(attempts).layer().layer(script.handle())).await;
        (answer.is_ok(), script.calls(), now() - start)
    };
    assert_eq!(took(3, Script::failing()).await, (false, 1, ms(100)));
    assert_eq!(took(1, Script::failing()).await, (false, 1, ms(0)));
    assert_eq!(took(3, Script::answering([Ok("up")])).await, (true, 1, ms(0)));
    let plain = steady().attempts(3).budget(spent()).build().unwrap();
    let start = now();
    assert!(ask(plain.layer().layer(Script::failing())).await.is_err());
    assert_eq!(now() - start, ms(0));
    // Without tower too, and given up in the middle it is over.
    let retry = retry(3);
    let start = now();
    assert_eq!(retry.run(async |_| Err::<(), _>(Failure::Service("down"))).await, Err(Failure::Service("down")));
    assert_eq!(now() - start, ms(100));
    assert_eq!((retry.snapshot().gave_up, retry.snapshot().retries), (1, 0));
}
