//! Endpoints that are not ready, broken or refusing, and fleets without anybody.

use std::time::Duration;

use resilience_core::context::Context;
use resilience_core::time::SharedTimer;
use resilience_core::{AsRejected, Reason, Rejected};
use tower::{Service, ServiceExt};

use super::fleet::{Answer, Fleet, Ready};
use crate::testing::{endpoint, endpoints, pass, settle};

fn reason(answer: Answer) -> Reason {
    answer.unwrap_err().as_rejected().expect("a refusal").reason()
}

/// tower#824: endpoints that were not ready were polled only while a call waited, so all traffic stuck to the first one ready.
#[tokio::test(start_paused = true)]
async fn endpoints_get_ready_though_nobody_calls() {
    let [a, b, c] = [endpoint("a", 1), endpoint("b", 2), endpoint("c", 3)];
    let fleet = Fleet::unlisted();
    fleet.server(&b).set(Ready::No);
    fleet.server(&c).set(Ready::No);
    fleet.list([&a, &b, &c]).await;
    let avoided = |fleet: &Fleet| fleet.balance.snapshot().endpoints.iter().filter(|status| status.avoided).count();
    assert_eq!(avoided(&fleet), 2);
    pass(Duration::from_secs(10)).await;
    fleet.server(&b).set(Ready::Yes);
    fleet.server(&c).set(Ready::Yes);
    settle().await;
    assert_eq!(avoided(&fleet), 0);
    for _ in 0..300 {
        fleet.call().await.unwrap();
    }
    let counts = [&a, &b, &c].map(|endpoint| fleet.server(endpoint).counts().calls as f64);
    // Chi-square with two degrees of freedom: 13.8 is exceeded with probability 0.001.
    let chi_square: f64 = counts.iter().map(|n| (n - 100.0).powi(2) / 100.0).sum();
    assert!(chi_square < 13.8, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_that_is_ready_serves_while_all_others_are_not() {
    let all = endpoints(50);
    let fleet = Fleet::of(&all).await;
    for endpoint in &all[1..] {
        fleet.server(endpoint).set(Ready::No);
    }
    let polls = || all.iter().map(|endpoint| fleet.server(endpoint).counts().polls).sum::<usize>();
    let before = polls();
    // No call waits, whichever two it draws; and each sleeper is asked in vain about once, not by every call.
    for _ in 0..100 {
        let answer = futures::FutureExt::now_or_never(fleet.call()).expect("nobody waits");
        assert!(answer.unwrap().starts_with("e00000"));
    }
    assert!(polls() - before < 100 + 2 * all.len(), "{}", polls() - before);
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_was_polled_ready_is_the_one_called() {
    // The client asserts it at each call; here while readiness comes and goes between the two.
    let all = endpoints(3);
    let fleet = Fleet::of(&all).await;
    for round in 0..300 {
        fleet.server(&all[round % 3]).set(if round % 2 == 0 { Ready::No } else { Ready::Yes });
        fleet.call().await.unwrap();
        if round % 7 == 0 {
            pass(Duration::from_millis(11)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_endpoint_is_left_out_told_and_made_anew() {
    let (a, b) = (endpoint("a", 1), endpoint("b", 2));
    let fleet = Fleet::of([&a, &b]).await;
    fleet.server(&a).set(Ready::Broken);
    for _ in 0..50 {
        assert_eq!(fleet.call().await.unwrap(), "b@127.0.0.1:2: hello");
    }
    settle().await;
    assert_eq!(fleet.heard.count("endpoint_broken"), 1);
    // Tried with growing gaps while it stays broken.
    for _ in 0..60 {
        pass(Duration::from_secs(1)).await;
    }
    let made = fleet.server(&a).counts().made;
    assert!((4..=12).contains(&made), "{made}");
    fleet.server(&a).set(Ready::Yes);
    pass(Duration::from_secs(30)).await;
    for _ in 0..50 {
        fleet.call().await.unwrap();
    }
    assert!(fleet.server(&a).counts().calls > 10);
}

/// An open breaker refuses at once, so its endpoint never has a call in flight and looks like the best there is.
#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_own_stack_refuses_does_not_attract_the_traffic() {
    let all = endpoints(4);
    let fleet = Fleet::of(&all).await;
    let open = Rejected::new("breaker", Reason::Open).with_retry_after(Duration::from_secs(5));
    fleet.server(&all[0]).refuse_with(Some(open));
    let mut refused = 0;
    for _ in 0..200 {
        refused += usize::from(fleet.call().await.is_err());
        settle().await;
    }
    assert_eq!(refused, 1);
    assert_eq!(fleet.heard.count("endpoint_avoided"), 1);
    // Asked again when its own time has come, and not before.
    fleet.server(&all[0]).refuse_with(None);
    pass(Duration::from_millis(4999)).await;
    for _ in 0..100 {
        fleet.call().await.unwrap();
    }
    assert_eq!(fleet.server(&all[0]).counts().calls, 1);
    pass(Duration::from_millis(2)).await;
    for _ in 0..100 {
        fleet.call().await.unwrap();
    }
    assert!(fleet.server(&all[0]).counts().calls > 10);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_refuses_as_a_whole_is_called_all_the_same() {
    let all = endpoints(3);
    let fleet = Fleet::of(&all).await;
    for endpoint in &all {
        fleet.server(endpoint).refuse_with(Some(Rejected::new("breaker", Reason::Open)));
    }
    for _ in 0..10 {
        // The endpoint's own refusal, at once, and not "no endpoint" after a wait.
        let answer = futures::FutureExt::now_or_never(fleet.call()).expect("nobody waits");
        assert_eq!(reason(answer), Reason::Open);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_calls_own_deadline_is_not_held_against_the_endpoint() {
    let a = endpoint("a", 1);
    let fleet = Fleet::of([&a]).await;
    fleet.server(&a).refuse_with(Some(Rejected::new("timeout", Reason::Deadline)));
    fleet.call().await.unwrap_err();
    settle().await;
    assert!(!fleet.balance.snapshot().endpoints[0].avoided);
}

#[tokio::test(start_paused = true)]
async fn a_call_before_the_first_word_waits_for_it() {
    let fleet = Fleet::unlisted();
    let call = tokio::spawn(fleet.balance.clone().oneshot("hello"));
    pass(Duration::from_secs(2)).await;
    assert!(!call.is_finished());
    fleet.list([&endpoint("a", 1)]).await;
    assert_eq!(call.await.unwrap().unwrap(), "a@127.0.0.1:1: hello");
}

#[tokio::test(start_paused = true)]
async fn without_any_endpoint_a_call_waits_three_seconds_and_the_next_ones_not_at_all() {
    let a = endpoint("a", 1);
    let fleet = Fleet::of([&a]).await;
    fleet.server(&a).set(Ready::No);
    let timer = SharedTimer::default();
    let start = timer.now();
    assert_eq!(reason(fleet.call().await), Reason::NoEndpoint);
    let waited = timer.now() - start;
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_millis(3010), "{waited:?}");
    // The gate is closed: upstream learns at once.
    for _ in 0..10 {
        let answer = futures::FutureExt::now_or_never(fleet.call()).expect("nobody waits");
        assert_eq!(reason(answer), Reason::NoEndpoint);
    }
    assert_eq!(fleet.heard.count("no_endpoint"), 11);
    // And open with the first endpoint that is ready.
    fleet.server(&a).set(Ready::Yes);
    settle().await;
    assert!(fleet.call().await.is_ok());
    fleet.server(&a).set(Ready::No);
    let call = tokio::spawn(fleet.balance.clone().oneshot("hello"));
    pass(Duration::from_secs(1)).await;
    assert!(!call.is_finished(), "the gate is open, so a call waits again");
}

#[tokio::test(start_paused = true)]
async fn an_emptied_fleet_refuses_after_the_wait_and_serves_again_when_listed() {
    let a = endpoint("a", 1);
    let fleet = Fleet::of([&a]).await;
    fleet.list([]).await;
    assert_eq!(fleet.balance.snapshot().freshness, crate::Freshness::Empty);
    assert_eq!(reason(fleet.call().await), Reason::NoEndpoint);
    fleet.list([&a]).await;
    assert!(fleet.call().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_past_its_deadline() {
    let fleet = Fleet::unlisted();
    let timer = SharedTimer::default();
    let start = timer.now();
    let hurried = Context::new().with_deadline(start + Duration::from_millis(500));
    assert_eq!(reason(hurried.scope(fleet.call()).await), Reason::Deadline);
    assert!(timer.now() - start < Duration::from_millis(510));
    // One caller's haste closes no gate for the others.
    let call = tokio::spawn(fleet.balance.clone().oneshot("hello"));
    pass(Duration::from_secs(2)).await;
    assert!(!call.is_finished());
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waits_is_served_when_one_endpoint_is_ready() {
    // RC1: a hundred clones wait for one connection. With one place for a waker, the last of them would be woken.
    let all = endpoints(10);
    let fleet = Fleet::of(&all).await;
    for endpoint in &all {
        fleet.server(endpoint).set(Ready::No);
    }
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(fleet.balance.clone().oneshot("hello"))).collect();
    settle().await;
    pass(Duration::from_millis(100)).await;
    fleet.server(&all[9]).set(Ready::Yes);
    settle().await;
    for call in calls {
        assert!(call.is_finished());
        assert!(call.await.unwrap().unwrap().starts_with("e00009"));
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_and_avoiding_poll_only_when_woken() {
    let all = endpoints(3);
    let fleet = Fleet::of(&all).await;
    let polls = || all.iter().map(|endpoint| fleet.server(endpoint).counts().polls).sum::<usize>();
    // Thirty seconds of avoidance, without calls.
    let open = Rejected::new("breaker", Reason::Open).with_retry_after(Duration::from_secs(30));
    fleet.server(&all[0]).refuse_with(Some(open));
    while fleet.call().await.is_ok() {}
    let before = polls();
    for _ in 0..300 {
        pass(Duration::from_millis(100)).await;
    }
    assert!(polls() - before <= 5, "{}", polls() - before);
    // Two seconds in which nobody is ready and one call waits.
    for endpoint in &all {
        fleet.server(endpoint).set(Ready::No);
    }
    let before = polls();
    let call = tokio::spawn(fleet.balance.clone().oneshot("hello"));
    for _ in 0..200 {
        pass(Duration::from_millis(10)).await;
    }
    assert!(!call.is_finished());
    assert!(polls() - before <= 4 * all.len(), "{}", polls() - before);
}

#[tokio::test(start_paused = true)]
async fn an_ejected_endpoint_is_left_alone_until_its_time_is_over() {
    // OD1: an endpoint's breaker is its ejection. tower-resilience's layer wakes itself while its endpoint is ejected,
    // 64,711 times in 100 ms; here there is traffic for all of the thirty seconds besides.
    let all = endpoints(3);
    let fleet = Fleet::of(&all).await;
    let open = Rejected::new("breaker", Reason::Open).with_retry_after(Duration::from_secs(30));
    fleet.server(&all[0]).refuse_with(Some(open));
    while fleet.call().await.is_ok() {}
    fleet.server(&all[0]).refuse_with(None);
    let polls = || fleet.server(&all[0]).counts().polls;
    let before = polls();
    for _ in 0..299 {
        assert!(fleet.call().await.is_ok());
        pass(Duration::from_millis(100)).await;
    }
    assert!(polls() - before <= 3, "{} polls in 30 s", polls() - before);
    // And then it has its share again.
    pass(Duration::from_secs(1)).await;
    for _ in 0..100 {
        fleet.call().await.unwrap();
    }
    assert!(polls() - before > 10);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_did_not_wait_for_readiness_waits_in_its_call() {
    let a = endpoint("a", 1);
    let fleet = Fleet::of([&a]).await;
    assert!(fleet.balance.clone().call("hello").await.is_ok());
}
