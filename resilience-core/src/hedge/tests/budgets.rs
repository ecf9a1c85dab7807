//! What hedges may cost.

use super::*;
use crate::retry::{Backoff, Retry};

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_slow_as_a_whole_is_not_hedged_beyond_the_budget() {
    // HG6. When everything is slow, every call is due a hedge, and hedges are what it can bear least.
    let budget = RetryBudget::builder().ratio(0.1).reserve(10).start(0).build().unwrap();
    let heard = Heard::default();
    let hedge = Hedge::builder().delay(ms(50)).budget(budget.clone()).listener(heard.clone()).build().unwrap();
    let mut sent = 0;
    for _ in 0..1_000 {
        let script = Script::new([(200, Ok(1)), (200, Ok(2))]);
        ask(&hedge, &script).await.0.unwrap();
        sent += script.starts().len();
    }
    assert!((1_090..=1_100).contains(&sent), "{sent} calls for 1,000 requests");
    let seen = hedge.snapshot();
    assert_eq!(seen.launched as usize, sent - 1_000);
    assert_eq!(seen.launched + seen.withheld, 1_000, "each call was due one");
    assert!(heard.all().contains(&Event::Withheld { attempt: 2, reason: Reason::Budget }));
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_its_own_bounds_a_hedge_nobody_gave_one() {
    let hedge = Hedge::builder().delay(ms(50)).build().unwrap();
    for _ in 0..500 {
        ask(&hedge, &Script::new([(200, Ok(1)), (200, Ok(2))])).await.0.unwrap();
    }
    let launched = hedge.snapshot().launched;
    assert!((50..=60).contains(&launched), "{launched} of 500, and 10 saved up");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_dropped_before_it_is_sent_is_given_back() {
    let budget = RetryBudget::builder().reserve(1).build().unwrap();
    let hedge = steady().budget(budget.clone()).build().unwrap();
    let probe: testkit::probe::Probe<u32, u32, Failure> = testkit::probe::Probe::new(Ok);
    probe.then(testkit::probe::Answer::Hold);
    let mut service = hedge.layer().layer(probe.service());
    service.ready().await.unwrap();
    let mut call = Box::pin(service.call(1));
    assert!(futures::poll!(call.as_mut()).is_pending());
    probe.set_ready(false);
    SharedTimer::default().sleep(ms(50)).await;
    assert!(futures::poll!(call.as_mut()).is_pending());
    assert_eq!((budget.snapshot().available, probe.counts().calls), (0.0, 1));
    drop(call);
    assert_eq!(budget.snapshot().available, 1.0);
    assert_eq!(probe.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn retry_and_hedge_together_keep_to_the_budget_they_share() {
    // RT16. A retry inside a hedge inside a breaker, in either order of the two, over a service that is down: what both
    // add is what the one budget allows, and that no request paid in twice.
    let requests = 1_000;
    for retry_is_inside in [true, false] {
        let budget = RetryBudget::builder().ratio(0.1).reserve(10).start(0).build().unwrap();
        let retry = Retry::builder().attempts(3).backoff(Backoff::none()).budget(budget.clone()).build().unwrap();
        let hedge = Hedge::builder().attempts(3).delay(ms(5)).budget(budget.clone()).build().unwrap();
        let breaker = crate::circuit_breaker::CircuitBreaker::builder().consecutive_failures(10_000).build().unwrap();
        let mut sent = 0;
        for _ in 0..requests {
            let script = Script::new([(20, down())]);
            let answer = if retry_is_inside {
                let inner = hedge.layer().layer(retry.layer().layer(script.handle()));
                breaker.layer().layer(inner).oneshot(()).await
            } else {
                let inner = retry.layer().layer(hedge.layer().layer(script.handle()));
                breaker.layer().layer(inner).oneshot(()).await
            };
            assert_eq!(answer, down());
            sent += script.starts().len();
        }
        let added = sent - requests;
        assert!((90..=100).contains(&added), "{added} attempts beyond {requests}, retry inside: {retry_is_inside}");
    }
}
