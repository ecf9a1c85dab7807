//! Whom a call goes to, and what choosing costs.

use tower::{Service, ServiceExt};

use super::fleet::Fleet;
use crate::testing::{endpoint, endpoints, settle};

#[tokio::test(start_paused = true)]
async fn one_idle_endpoint_among_busy_ones_gets_two_of_n_calls() {
    let all = endpoints(10);
    let fleet = Fleet::of(&all).await;
    // Nine have one call in flight each; a choice of two meets the idle one with probability 2/10, and then takes it.
    for endpoint in &all {
        fleet.server(endpoint).answers(false);
    }
    let mut held = Vec::new();
    while held.len() < 9 {
        let mut caller = fleet.balance.clone();
        let call = caller.ready().await.unwrap().call("hello");
        let idle = all.iter().filter(|endpoint| fleet.in_flight(endpoint) == Some(0)).count();
        if idle + held.len() + 1 == 10 {
            held.push(call);
        }
    }
    let idle = all.iter().find(|endpoint| fleet.in_flight(endpoint) == Some(0)).unwrap();
    let before = fleet.server(idle).counts().calls;
    let mut caller = fleet.balance.clone();
    for _ in 0..10_000 {
        // Dropped at once: it stays idle.
        drop(caller.ready().await.unwrap().call("hello"));
    }
    let share = (fleet.server(idle).counts().calls - before) as f64 / 10_000.0;
    assert!((share - 0.2).abs() < 0.02, "{share}");
}

#[tokio::test(start_paused = true)]
async fn load_spreads_over_the_fleet_evenly_to_one_or_two_calls() {
    let all = endpoints(10);
    let fleet = Fleet::of(&all).await;
    for endpoint in &all {
        fleet.server(endpoint).answers(false);
    }
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(fleet.balance.clone().oneshot("hello"))).collect();
    settle().await;
    settle().await;
    let loads: Vec<usize> = all.iter().map(|endpoint| fleet.in_flight(endpoint).unwrap()).collect();
    assert_eq!(loads.iter().sum::<usize>(), 100);
    assert!(loads.iter().all(|load| (7..=13).contains(load)), "{loads:?}");
    for endpoint in &all {
        fleet.server(endpoint).answers(true);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(all.iter().all(|endpoint| fleet.in_flight(endpoint) == Some(0)));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_choices_and_clones_make_their_own() {
    let all = endpoints(100);
    let choices = async || {
        let fleet = Fleet::of(&all).await;
        let mut caller = fleet.balance.clone();
        let mut clone = caller.clone();
        let mut chosen = (Vec::new(), Vec::new());
        for _ in 0..20 {
            chosen.0.push(caller.ready().await.unwrap().call("hello").await.unwrap());
            chosen.1.push(clone.ready().await.unwrap().call("hello").await.unwrap());
        }
        chosen
    };
    let (first, second) = (choices().await, choices().await);
    assert_eq!(first, second);
    assert_ne!(first.0, first.1);
}

#[tokio::test(start_paused = true)]
async fn a_balancer_can_be_looked_at() {
    let fleet = Fleet::of([&endpoint("a", 1)]).await;
    let snapshot = fleet.balance.snapshot();
    assert_eq!((snapshot.version, snapshot.endpoints.len()), (1, 1));
    assert_eq!(format!("{:?}", fleet.balance), "Balance { name: \"payments\", endpoints: 1, .. }");
    assert_eq!(&**fleet.balance.name(), "payments");
}
