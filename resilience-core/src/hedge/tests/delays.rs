//! When attempts start.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_schedule_is_kept() {
    // HG8. Delays of 0 and 100 ms: two at once, and a third 100 ms later; not all three at once.
    let hedge = steady().delay([ms(0), ms(100)]).build().unwrap();
    let script = Script::new([(1_000, Ok(1)), (1_000, Ok(2)), (10, Ok(3))]);
    assert_eq!(ask(&hedge, &script).await, (Ok(3), 110));
    assert_eq!(script.starts(), [0, 0, 100]);
}

#[tokio::test(start_paused = true)]
async fn the_last_delay_of_a_schedule_repeats() {
    let hedge = steady().delay([ms(10), ms(20)]).attempts(5).build().unwrap();
    let script = Script::new([(1_000, Ok(1))]);
    assert_eq!(ask(&hedge, &script).await, (Ok(1), 1_000));
    assert_eq!(script.starts(), [0, 10, 30, 50, 70]);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_hedge_past_the_deadline() {
    let hedge = steady().build().unwrap();
    let within = crate::timeout::TimeoutLayer::new(ms(50));
    let script = Script::new([(1_000, Ok(1)), (0, Ok(2))]);
    let service = within.layer(hedge.layer().layer(script.handle()));
    assert_eq!(service.oneshot(()).await, Err(Elapsed::new(ms(50)).into()));
    assert_eq!(script.starts(), [0]);
    // A failure that comes when the time is over launches nothing either.
    let expired = context::Context::new().with_deadline(context::Deadline::at(now()));
    let script = Script::new([(0, down()), (0, Ok(2))]);
    let service = hedge.layer().layer(script.handle());
    assert_eq!(expired.scope(service.oneshot(())).await, down());
    assert_eq!((script.starts(), hedge.snapshot().withheld), (vec![0], 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_time_gets_it() {
    // "Come back in 30 ms": the next attempt is launched then, if somebody still is asked, and not at once.
    let hedge = steady().attempts(3).build().unwrap();
    let script = Script::new([(100, Ok(1)), (10, Err(Error::Service("later"))), (1, Ok(3))]);
    let service = hedge.layer().classify(lasting).layer(script.handle());
    assert_eq!(service.oneshot(()).await, Ok(3));
    assert_eq!(script.starts(), [0, 50, 90]);
    // With nobody asked, waiting is a retry's business.
    let script = Script::new([(0, Err(Error::Service("later"))), (0, Ok(2))]);
    let service = hedge.layer().classify(lasting).layer(script.handle());
    assert_eq!(service.oneshot(()).await, Err(Error::Service("later")));
    assert_eq!(script.starts(), [0]);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_sent_twice_is_not() {
    let hedge = steady().attempts(3).build().unwrap();
    for (idempotent, expected) in [(false, (Ok(1), vec![0])), (true, (Ok(2), vec![0, 50]))] {
        let script = Script::new([(100, Ok(1)), (0, Ok(2))]);
        let service = hedge.layer().hedge_if(|request: &bool| *request).layer(script.handle());
        assert_eq!((service.oneshot(idempotent).await, script.starts()), expected);
    }
    assert_eq!(hedge.snapshot().withheld, 0); // known beforehand, and no news
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_and_sends_nothing() {
    let heard = Heard::default();
    let budget = RetryBudget::builder().reserve(5).build().unwrap();
    let hedge = steady().budget(budget.clone()).attempts(3).dry_run(true).listener(heard.clone()).build().unwrap();
    let script = Script::new([(120, Ok(1))]);
    assert_eq!(ask(&hedge, &script).await, (Ok(1), 120));
    let would = |attempt, cause| Event::WouldLaunch { attempt, cause };
    assert_eq!(heard.all(), [would(2, Cause::Delay), would(3, Cause::Delay)]);
    assert_eq!((script.starts(), budget.snapshot().available), (vec![0], 5.0));
    let script = Script::new([(0, down())]);
    assert_eq!(ask(&hedge, &script).await, (down(), 0));
    assert_eq!(heard.all()[2..], [would(2, Cause::Failure)]);
    let seen = hedge.snapshot();
    assert_eq!((seen.would_launch, seen.launched, seen.failed), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn rules_change_under_calls_in_flight() {
    let hedge = steady().attempts(1).build().unwrap();
    let script = Script::new([(100, Ok(1)), (0, Ok(2))]);
    let service = hedge.layer().layer(script.handle());
    let mut call = std::pin::pin!(service.oneshot(()));
    assert!(futures::poll!(call.as_mut()).is_pending());
    hedge.reconfigure(steady().attempts(3)).unwrap();
    assert_eq!(call.await, Ok(1)); // it has no copy of its request, and that is all
    assert_eq!(ask(&hedge, &Script::new([(100, Ok(1)), (0, Ok(2))])).await, (Ok(2), 50));
}

/// Latencies of 10 ms, and of 1 s for one call in ten; the primary's and the hedge's drawn apart.
async fn bimodal(hedge: &Hedge, calls: u32) {
    let mut rng = crate::rng::Rng::seeded(7);
    let mut draw = move || if rng.below(10) == 0 { 1_000 } else { 10 };
    for _ in 0..calls {
        let script = Script::new([(draw(), Ok(1)), (draw(), Ok(2))]);
        ask(hedge, &script).await.0.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_primaries_count_as_long_ones() {
    // HG7. One call in ten takes a second, so the 95th percentile is a second. Hedged after 50 ms, nearly all of the
    // slow ones are cancelled at 60; whoever leaves them out, or takes them for calls of 60 ms, hedges far too early
    // from then on: tower's percentile sinks to the fast mode's 10 ms, and every other call is hedged.
    let learnt = Quantile { before: Some(ms(50)), window: 2_000, samples: 2_000, ..Quantile::new(0.95) };
    let hedge = steady().delay(learnt).build().unwrap();
    bimodal(&hedge, 2_000).await;
    let seen = hedge.snapshot();
    assert!(seen.cancelled > 150, "the slow primaries were not cancelled: {seen:?}");
    let delay = seen.delay.unwrap();
    assert!((ms(900)..=ms(1_100)).contains(&delay), "estimated {delay:?}");
}

#[tokio::test(start_paused = true)]
async fn a_percentile_stays_where_it_is_while_it_is_used() {
    // HG7, the loop closed: the delay is the estimate, and what it cancels feeds the estimate.
    let learnt = Quantile { before: Some(ms(20)), window: 200, samples: 50, ..Quantile::new(0.95) };
    let hedge = steady().delay(learnt).build().unwrap();
    bimodal(&hedge, 3_000).await;
    let delay = hedge.snapshot().delay.unwrap();
    assert!((ms(900)..=ms(1_100)).contains(&delay), "estimated {delay:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_before_something_is_known() {
    let hedge = steady().delay(Quantile { samples: 10, ..Quantile::default() }).build().unwrap();
    let script = || Script::new([(40, Ok(1)), (0, Ok(2))]);
    for _ in 0..10 {
        assert_eq!(hedge.snapshot().delay, None);
        assert_eq!(ask(&hedge, &script()).await, (Ok(1), 40));
    }
    let delay = hedge.snapshot().delay.unwrap();
    assert!((ms(39)..ms(42)).contains(&delay), "estimated {delay:?}");
    // What fails, fails fast; that says nothing about how long an answer takes.
    for _ in 0..200 {
        let _ = ask(&hedge, &Script::new([(0, down())])).await;
    }
    assert_eq!((hedge.snapshot().measured, hedge.snapshot().delay), (10, Some(delay)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_tells_that_it_took_too_long() {
    let hedge = steady().delay(Quantile { samples: 10, ..Quantile::new(0.5) }).build().unwrap();
    for nth in 0..10 {
        let script = Script::new([(10, Ok(1))]);
        if nth < 4 {
            ask(&hedge, &script).await.0.unwrap();
        } else {
            // Six of ten lose patience after 5 ms: shorter than any answer, and yet no sign of short ones.
            let script = Script::new([(1_000, Ok(1))]);
            let service = hedge.layer().layer(script.handle());
            let mut call = std::pin::pin!(service.oneshot(()));
            assert!(futures::poll!(call.as_mut()).is_pending());
            SharedTimer::default().sleep(ms(5)).await;
        }
    }
    assert_eq!(hedge.snapshot().measured, 10);
    let delay = hedge.snapshot().delay.unwrap();
    assert!((ms(9)..ms(11)).contains(&delay), "estimated {delay:?}");
}
