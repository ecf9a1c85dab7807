//! Endpoints come, move and go.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tower::{Service, ServiceExt};

use super::fleet::{Fleet, Ready};
use crate::Endpoint;
use crate::testing::{endpoint, pass, settle};

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_finishes_what_it_has_and_gets_nothing_new() {
    let (old, new) = (endpoint("old", 1), endpoint("new", 2));
    let fleet = Fleet::of([&old]).await;
    fleet.server(&old).answers(false);
    let calls: Vec<_> = (0..20).map(|_| tokio::spawn(fleet.balance.clone().oneshot("hello"))).collect();
    settle().await;
    assert_eq!(fleet.in_flight(&old), Some(20));
    fleet.list([&new]).await;
    assert_eq!(fleet.in_flight(&old), None);
    for _ in 0..100 {
        assert_eq!(fleet.call().await.unwrap(), "new@127.0.0.1:2: hello");
    }
    assert_eq!(fleet.server(&old).counts().calls, 20);
    assert_eq!(fleet.heard.count("endpoint_drained"), 0);
    // 200 ms later the answers come: none is lost, and then the connection is given up.
    pass(Duration::from_millis(200)).await;
    fleet.server(&old).answers(true);
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().unwrap(), "old@127.0.0.1:1: hello");
    }
    assert_eq!(fleet.heard.count("endpoint_drained"), 1);
    assert_eq!(fleet.server(&old).counts().alive, 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_listed_again_keeps_its_service_and_its_load() {
    let (a, b) = (endpoint("a", 1), endpoint("b", 2));
    let fleet = Fleet::of([&a, &b]).await;
    fleet.server(&a).answers(false);
    fleet.server(&b).answers(false);
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(fleet.balance.clone().oneshot("hello"))).collect();
    settle().await;
    assert_eq!((fleet.in_flight(&a), fleet.in_flight(&b)), (Some(4), Some(4)));
    // Once as it was, once with a new description.
    fleet.list([&b, &a]).await;
    let described = a.clone().with_zone("z1");
    fleet.list([&described, &b]).await;
    assert_eq!((fleet.in_flight(&described), fleet.in_flight(&b)), (Some(4), Some(4)));
    assert_eq!((fleet.server(&a).counts().made, fleet.server(&b).counts().made), (1, 1));
    fleet.server(&a).answers(true);
    fleet.server(&b).answers(true);
    join_all(calls).await;
    assert_eq!((fleet.in_flight(&described), fleet.in_flight(&b)), (Some(0), Some(0)));
    assert_eq!(fleet.heard.count("endpoint_drained"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_moves_is_called_at_the_old_address_until_the_new_one_is_ready() {
    let old = endpoint("a", 1);
    let new = Endpoint::new("a", SocketAddr::from(([127, 0, 0, 1], 2)));
    let fleet = Fleet::of([&old]).await;
    fleet.server(&new).set(Ready::No);
    fleet.list([&new]).await;
    for _ in 0..10 {
        assert_eq!(fleet.call().await.unwrap(), "a@127.0.0.1:1: hello");
    }
    assert_eq!(fleet.server(&new).counts().made, 1);
    fleet.server(&new).set(Ready::Yes);
    settle().await;
    assert_eq!(fleet.call().await.unwrap(), "a@127.0.0.1:2: hello");
    assert_eq!(fleet.server(&old).counts().alive, 0);
    assert_eq!(fleet.heard.names(), ["endpoint_added", "endpoint_moved", "endpoint_drained"]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_new_address_is_never_ready_moves_all_the_same() {
    let old = endpoint("a", 1);
    let new = Endpoint::new("a", SocketAddr::from(([127, 0, 0, 1], 2)));
    let fleet = Fleet::of([&old]).await;
    fleet.server(&new).set(Ready::Broken);
    fleet.list([&new]).await;
    pass(Duration::from_millis(2900)).await;
    assert_eq!(fleet.call().await.unwrap(), "a@127.0.0.1:1: hello");
    pass(Duration::from_millis(101)).await;
    assert_eq!(fleet.server(&old).counts().alive, 0);
    fleet.server(&new).set(Ready::Yes);
    assert_eq!(fleet.call().await.unwrap(), "a@127.0.0.1:2: hello");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_moves_back_was_never_away() {
    let old = endpoint("a", 1);
    let new = Endpoint::new("a", SocketAddr::from(([127, 0, 0, 1], 2)));
    let fleet = Fleet::of([&old]).await;
    fleet.server(&new).set(Ready::No);
    fleet.list([&new]).await;
    fleet.list([&old]).await;
    fleet.server(&new).set(Ready::Yes);
    pass(Duration::from_secs(5)).await;
    assert_eq!(fleet.call().await.unwrap(), "a@127.0.0.1:1: hello");
    assert_eq!((fleet.server(&old).counts().made, fleet.server(&new).counts().alive), (1, 0));
    assert_eq!(fleet.heard.names(), ["endpoint_added"]);
}

/// tower#856: the balancer remembered which slot it had chosen, not whom; the removal of the chosen endpoint moved another
/// into that slot, and the call went to one that had neither been chosen nor polled ready.
#[tokio::test(start_paused = true)]
async fn an_endpoint_removed_between_readiness_and_call_is_replaced_by_a_choice() {
    let [a, b, c] = [endpoint("a", 1), endpoint("b", 2), endpoint("c", 3)];
    for seed in 0..20 {
        let fleet = Fleet::of([&a, &b, &c]).await;
        fleet.server(&c).set(Ready::No);
        let mut caller = fleet.balance.clone();
        for _ in 0..seed {
            caller = caller.clone();
        }
        let ready = caller.ready().await.unwrap();
        let chosen = [&a, &b, &c].into_iter().find(|endpoint| fleet.in_flight(endpoint) == Some(1)).unwrap().clone();
        let left: Vec<Endpoint> = [&a, &b, &c].into_iter().filter(|endpoint| **endpoint != chosen).cloned().collect();
        fleet.list(&left).await;
        // The client asserts that whoever is called was polled ready.
        let answer = ready.call("hello").await.unwrap();
        assert!(!answer.starts_with(chosen.id().as_str()), "{answer}");
        assert_eq!(fleet.server(&c).counts().calls, 0);
        assert_eq!(fleet.server(&chosen).counts().calls, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_asked_again_after_a_removal_is_for_somebody_else() {
    let (a, b) = (endpoint("a", 1), endpoint("b", 2));
    let fleet = Fleet::of([&a]).await;
    let mut caller = fleet.balance.clone();
    caller.ready().await.unwrap();
    fleet.list([&b]).await;
    assert_eq!(caller.ready().await.unwrap().call("hello").await.unwrap(), "b@127.0.0.1:2: hello");
    assert_eq!(fleet.server(&a).counts().alive, 0);
}

/// A caller keeps the list it used last; were that to keep the services on it, a connection pool would outlive its endpoint for as
/// long as somebody holds an idle clone.
#[tokio::test(start_paused = true)]
async fn an_idle_caller_keeps_no_removed_service_alive() {
    let (a, b) = (endpoint("a", 1), endpoint("b", 2));
    let fleet = Fleet::of([&a]).await;
    let mut idle = fleet.balance.clone();
    assert!(idle.ready().await.unwrap().call("hello").await.is_ok());
    fleet.list([&b]).await;
    assert_eq!(fleet.server(&a).counts().alive, 0);
    assert_eq!(fleet.heard.count("endpoint_drained"), 1);
    assert_eq!(idle.ready().await.unwrap().call("hello").await.unwrap(), "b@127.0.0.1:2: hello");
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_gives_up_every_connection_and_the_registry() {
    let a = endpoint("a", 1);
    let fleet = Fleet::of([&a]).await;
    let (server, registry) = (fleet.server(&a), fleet.registry.clone());
    fleet.call().await.unwrap();
    server.answers(false);
    let in_flight = tokio::spawn(fleet.balance.clone().oneshot("hello"));
    settle().await;
    drop(fleet);
    settle().await;
    assert!(registry.is_alone());
    // A call in flight needs nobody but its own server.
    server.answers(true);
    assert_eq!(in_flight.await.unwrap().unwrap(), "a@127.0.0.1:1: hello");
    assert_eq!(server.counts().alive, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_moment_leaves_no_load_behind() {
    let a = endpoint("a", 1);
    let fleet = Fleet::of([&a]).await;
    let mut caller = fleet.balance.clone();
    fleet.server(&a).answers(false);
    // Before its first poll, in mid-flight, and after it is done.
    drop(caller.ready().await.unwrap().call("hello"));
    assert_eq!(fleet.in_flight(&a), Some(0));
    let mut call = std::pin::pin!(caller.ready().await.unwrap().call("hello"));
    assert!(futures::poll!(&mut call).is_pending());
    assert_eq!(fleet.in_flight(&a), Some(1));
    fleet.server(&a).answers(true);
    assert!(call.as_mut().await.is_ok());
    // Given back with the answer: the finished future still exists.
    assert_eq!(fleet.in_flight(&a), Some(0));
    let mut another = std::pin::pin!(Some(caller.ready().await.unwrap().call("hello")));
    another.set(None);
    assert_eq!(fleet.in_flight(&a), Some(0));
    // A choice that is never called is given back with the caller.
    caller.ready().await.unwrap();
    assert_eq!(fleet.in_flight(&a), Some(1));
    drop(caller);
    assert_eq!(fleet.in_flight(&a), Some(0));
}
