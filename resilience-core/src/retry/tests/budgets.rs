//! How many in all: what calls of one budget may add together, and what cancelling gives back.

use super::*;
use crate::Classification;
use budget::{Costs, Rule, Share, Throttle};

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_gets_no_more_than_the_budget_on_top() {
    // RT5: three attempts for each request would be 2,000 retries, three times the load that brought it down.
    let budget = RetryBudget::builder().ratio(0.2).floor(0).reserve(10).build().unwrap();
    let heard = Heard::default();
    let retry = steady().budget(budget.clone()).listener(heard.clone()).build().unwrap();
    let script = Script::failing();
    let layer = retry.layer();
    for _ in 0..1000 {
        let _ = ask(layer.layer(script.handle())).await;
    }
    let retries = script.calls() - 1000;
    assert!((200..=210).contains(&retries), "{retries} retries");
    assert!(heard.all().contains(&Event::GaveUp { attempts: 1, reason: Reason::Budget }));
}

#[tokio::test(start_paused = true)]
async fn a_call_cancelled_in_its_backoff_is_refunded_and_sends_nothing() {
    // RT7: a caller that hangs up while its retry waits would otherwise drain the budget of those who stay, and keep a
    // place in the bulkhead below for nobody.
    let budget = RetryBudget::builder().ratio(0.0).reserve(3).build().unwrap();
    let retry = steady().budget(budget.clone()).build().unwrap();
    let script = Script::failing();
    let bulkhead = crate::bulkhead::Bulkhead::builder().limit(1).build().unwrap();
    let inner = bulkhead.layer().layer(script.handle());
    let mut call = Box::pin(ask(retry.layer().layer(inner)));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    // The script's own answer takes no time but a trip through the timer.
    while script.calls() == 0 || budget.snapshot().withdrawn == 0 {
        assert!(call.as_mut().poll(&mut cx).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(budget.snapshot().available, 2.0, "counted from scheduling, not from sending");
    assert_eq!(bulkhead.snapshot().in_flight, 0, "a call that waits to be repeated is not running");
    drop(call);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!((budget.snapshot().available, script.calls()), (3.0, 1));
    assert!(bulkhead.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_cancelled_after_its_retry_was_sent_is_not_refunded() {
    let budget = RetryBudget::builder().ratio(0.0).reserve(3).build().unwrap();
    let retry = steady().budget(budget.clone()).build().unwrap();
    let script = Script::failing().taking(ms(1000));
    let call = ask(retry.layer().layer(script.handle()));
    tokio::select! {
        biased;
        _ = call => unreachable!("the second attempt is still under way"),
        () = SharedTimer::default().sleep(ms(1500)) => {}
    }
    assert_eq!((budget.snapshot().available, script.calls()), (2.0, 2));
}

#[tokio::test(start_paused = true)]
async fn nested_retries_of_one_budget_stay_within_it_together() {
    // Two layers that each try three times make nine calls of one; what they share bounds the product.
    let budget = RetryBudget::builder().ratio(0.0).reserve(4).build().unwrap();
    let policy = || steady().budget(budget.clone()).build().unwrap();
    let script = Script::failing();
    let _ = ask(policy().layer().layer(policy().layer().layer(script.handle()))).await;
    assert!(script.calls() <= 5, "{} calls", script.calls());
    assert_eq!(budget.snapshot().available, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_recovered_retry_gets_its_last_price_back() {
    let budget = RetryBudget::builder().rule(Rule::Costs(Costs::AWS_2_1)).build().unwrap();
    let retry = steady().budget(budget.clone()).build().unwrap();
    let layer = retry.layer();
    assert_eq!(ask(layer.layer(Script::failing_first(2))).await, Ok("up"));
    assert_eq!(budget.snapshot().available, 486.0);
    for _ in 0..5 {
        assert_eq!(ask(layer.layer(Script::answering([Ok("up")]))).await, Ok("up"));
    }
    assert_eq!(budget.snapshot().available, 491.0, "a success at the first attempt pays in one");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_failure_costs_what_throttling_costs() {
    let budget = RetryBudget::builder().rule(Rule::Costs(Costs::AWS_2_1)).build().unwrap();
    let retry = steady().attempts(2).budget(budget.clone()).build().unwrap();
    let throttled = |answer: &Result<&'static str, Failure>| match answer {
        Ok(_) => Classification::SUCCESS,
        Err(_) => Classification::FAILURE.after(Duration::ZERO),
    };
    let _ = ask(retry.layer().classify(throttled).layer(Script::failing())).await;
    assert_eq!(budget.snapshot().available, 495.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_costs_what_a_timeout_costs() {
    let budget = RetryBudget::builder().rule(Rule::Costs(Costs::AWS_2_0)).build().unwrap();
    let retry = steady().attempts(2).budget(budget.clone()).build().unwrap();
    let late: Failure = crate::Elapsed::new(Duration::from_secs(1)).into();
    let _ = ask(retry.layer().layer(Script::answering([Err(late.clone()), Err(late)]))).await;
    assert_eq!(budget.snapshot().available, 490.0);
}

#[tokio::test(start_paused = true)]
async fn grpc_stops_retrying_while_half_of_its_tokens_are_gone() {
    // The table of grpc-go's TestRetryThrottling, tokens as gRFC A6 computes them.
    let budget = RetryBudget::builder().rule(Rule::Throttle(Throttle { max_tokens: 10, ratio: 0.5 })).build().unwrap();
    let retry = steady().attempts(4).budget(budget.clone()).build().unwrap();
    let fine = [0, 3, 6, 10, 11, 12, 13, 14, 16, 18];
    let answers = (0..=18).map(|index| if fine.contains(&index) { Ok("up") } else { Err(Error::Service("down")) });
    let script = Script::answering(answers);
    let expected = [
        (0, 10.0),
        (3, 8.5),
        (6, 7.0),
        (8, 5.0),
        (9, 4.0),
        (10, 4.5),
        (11, 5.0),
        (12, 5.5),
        (13, 6.0),
        (14, 6.5),
        (16, 6.0),
        (17, 5.0),
    ];
    let service = retry.layer().layer(script.handle());
    for (index, tokens) in expected {
        let _ = ask(service.clone()).await;
        assert_eq!((script.calls() - 1, budget.snapshot().available), (index, tokens));
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_counts_requests_and_retries_until_they_end() {
    let share = Rule::Share(Share { ratio: 0.5, floor: 0, counts_itself: true });
    let budget = RetryBudget::builder().rule(share).build().unwrap();
    let retry = steady().attempts(3).budget(budget.clone()).build().unwrap();
    let script = Script::failing().taking(ms(10));
    let service = retry.layer().layer(script.handle());
    let _ = futures::future::join_all((0..10).map(|_| ask(service.clone()))).await;
    // Ten fail together, and five may be repeated. When those fail together, each finds the other four still in flight.
    assert_eq!(script.calls(), 10 + 5);
    assert_eq!(budget.snapshot().available, 0.0, "nothing is in flight any more");
    let _fine = budget.request();
    let _other = budget.request();
    assert_eq!(budget.snapshot().available, 1.0);
}
