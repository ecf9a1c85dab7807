//! What a server of 2.9 may lose when it is killed, and how the bus is made so that it does not.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{join, join3};
use resilience_core::time::SharedTimer;
use resilience_cqrs::messaging::nats::NatsBus;
use resilience_cqrs::messaging::{Bus, Message, Subscribe, Subscription};
use testkit::nats::Nats;

use super::carrier::{SOON, builder, opened, patient, run, subscribed, within};

const MESSAGES: usize = 10;

/// Takes and settles what there is for a group, until so many have come; or what did come.
async fn come(subscription: &mut impl Subscription, all: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while ids.len() < all {
        let Some(delivery) = within(SOON, subscription.next()).await else { break };
        let delivery = delivery.unwrap();
        ids.insert(delivery.message.id.to_string());
        let _ = delivery.ack().await;
    }
    ids
}

#[test]
fn what_one_group_has_settled_is_kept_for_another_that_has_settled_nothing_yet_though_the_server_is_killed() {
    // A server of 2.9 that starts clears streams kept by interest up to the lowest place where a consumer is, and takes
    // the place of one that has settled nothing, which is 0, for "not known": what only that one wanted is gone.
    // Depends on the order in which it looks at them, so it is started several times.
    run(async |mut server| {
        let bus = patient(&server).key_lanes(1).open().await.unwrap();
        let timer = SharedTimer::default();
        let mut quick = bus.subscribe(Subscribe::group("quick", "a")).await.unwrap();
        drop(bus.subscribe(Subscribe::group("slow", "a")).await.unwrap());
        let mut sent = BTreeSet::new();
        for n in 0..MESSAGES {
            let (plain, keyed) = (format!("plain-{n}"), format!("keyed-{n}"));
            bus.publish(Message::new(plain.as_str(), "a", "")).await.unwrap();
            bus.publish(Message::new(keyed.as_str(), "a", "").with_key("k")).await.unwrap();
            sent.extend([plain, keyed]);
        }
        assert_eq!(come(&mut quick, sent.len()).await, sent);
        for _ in 0..8 {
            // Places are on the disk a tenth of a second later.
            timer.sleep(Duration::from_millis(150)).await;
            server.restart().unwrap();
        }
        let bus = patient(&server).key_lanes(1).open().await.unwrap();
        let mut slow = bus.subscribe(Subscribe::group("slow", "a")).await.unwrap();
        let came = come(&mut slow, sent.len()).await;
        let lost: Vec<_> = sent.difference(&came).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    });
}

/// Messages that a stream has, and the number of its last one.
async fn state_of(server: &Nats, stream: &str) -> (u64, u64) {
    let client = async_nats::ConnectOptions::new().connection_timeout(SOON).connect(server.url()).await.unwrap();
    let mut context = async_nats::jetstream::new(client);
    context.set_timeout(SOON);
    let state = context.get_stream(stream).await.unwrap().cached_info().state.clone();
    (state.messages, state.last_sequence)
}

/// Waits until a stream has that many messages.
async fn shrinks_to(server: &Nats, stream: &str, messages: u64) {
    let shrinks = async {
        while state_of(server, stream).await.0 > messages {
            SharedTimer::default().sleep(Duration::from_millis(100)).await;
        }
    };
    within(SOON, shrinks).await.expect("what is settled goes");
    assert_eq!(state_of(server, stream).await.0, messages);
}

#[test]
fn what_is_settled_goes_but_for_the_last_by_which_a_server_counts_on() {
    // A server of 2.9 that is killed while it empties a file may begin to count anew; who was past that hears nothing.
    run(async |mut server| {
        let bus = patient(&server).key_lanes(2).open().await.unwrap();
        let mut group = bus.subscribe(Subscribe::group("g", "a")).await.unwrap();
        let mut queue = bus.subscribe(Subscribe::queue("q")).await.unwrap();
        for n in 0..MESSAGES {
            let message = Message::new(format!("m{n}"), "a", "");
            let keyed = Message::new(format!("k{n}"), "a", "").with_key(n.to_string());
            for message in [message, keyed] {
                bus.publish(message).await.unwrap();
                group.next().await.unwrap().ack().await.unwrap();
            }
            bus.publish(Message::new(format!("n{n}"), "nobody", "")).await.unwrap();
            bus.send(Message::new(format!("q{n}"), "q", "")).await.unwrap();
            queue.next().await.unwrap().ack().await.unwrap();
        }
        // Nobody consumes this yet, so it stays; the one behind it is settled, and the last.
        bus.send(Message::new("waits", "other", "")).await.unwrap();
        bus.send(Message::new("last", "q", "")).await.unwrap();
        queue.next().await.unwrap().ack().await.unwrap();
        shrinks_to(&server, "test_2ebus-topics", 1).await;
        shrinks_to(&server, "test_2ebus-queues", 2).await;
        let (_, last) = state_of(&server, "test_2ebus-topics").await;
        server.restart().unwrap();
        // What was removed just before may be there once more; the number may not go back.
        shrinks_to(&server, "test_2ebus-topics", 1).await;
        assert_eq!(state_of(&server, "test_2ebus-topics").await.1, last);
        let bus = patient(&server).key_lanes(2).open().await.unwrap();
        let mut other = bus.subscribe(Subscribe::queue("other")).await.unwrap();
        assert_eq!(other.next().await.unwrap().message.id.as_str(), "waits");
    });
}

/// Settles what comes, some of it at the second attempt, until all has come. Returns what came.
async fn hear(bus: &NatsBus, to: Subscribe, all: usize) -> BTreeSet<String> {
    let mut subscription = subscribed(bus, to.ack_wait(Duration::from_secs(2))).await;
    let (mut ids, mut in_hand) = (BTreeSet::new(), Vec::new());
    while ids.len() < all {
        let Some(delivery) = within(SOON, subscription.next()).await else { break };
        let delivery = delivery.unwrap();
        let number: usize = delivery.message.id.as_str().trim_start_matches('m').parse().unwrap();
        if number % 7 == 3 && delivery.attempt == 1 {
            // Others are settled before it, and cleared around it.
            in_hand.push(delivery);
        } else {
            ids.insert(delivery.message.id.to_string());
            let _ = delivery.ack().await;
        }
        if in_hand.len() > 3 {
            for delivery in in_hand.drain(..) {
                let _ = delivery.retry_in(Duration::ZERO).await;
            }
        }
    }
    ids
}

#[test]
fn a_stream_that_is_always_full_is_cleared_of_what_is_settled_and_of_nothing_else() {
    // The bus clears at each publication that has no room, so hundreds of times; two groups are at different places, some
    // deliveries are in hand, and one subject is heard by one of them alone.
    run(async |mut server| {
        let bus = opened(|| builder(&server).key_lanes(2).max_messages(24)).await;
        let (both, one) = (Subscribe::group("both", "a.>"), Subscribe::group("one", "a.b"));
        drop((subscribed(&bus, both.clone()).await, subscribed(&bus, one.clone()).await));
        const ALL: usize = 300;
        let publishes = async {
            for n in 0..ALL {
                let subject = if n % 3 == 0 { "a.c" } else { "a.b" };
                let message = Message::new(format!("m{n}"), subject, "");
                let message = if n % 2 == 0 { message.with_key((n % 10).to_string()) } else { message };
                while let Err(error) = bus.publish(message.clone()).await {
                    assert!(error.is_retryable(), "{error}");
                    SharedTimer::default().sleep(Duration::from_millis(20)).await;
                }
                if n == ALL / 2 {
                    server.restart().unwrap();
                }
            }
        };
        let all = join3(publishes, hear(&bus, both, ALL), hear(&bus, one, ALL - ALL / 3));
        let (_, both, one) = within(SOON * 5, all).await.expect("it goes on");
        assert_eq!((both.len(), one.len()), (ALL, ALL - ALL / 3));
    });
}

#[test]
fn two_programs_that_clear_at_once_take_nothing_from_each_other() {
    run(async |server| {
        let open = || patient(&server).key_lanes(1).max_messages(16).open();
        let (first, second) = (open().await.unwrap(), open().await.unwrap());
        let to = Subscribe::queue("q");
        let sends = async {
            for n in 0..200 {
                let bus = if n % 2 == 0 { &first } else { &second };
                while bus.send(Message::new(format!("m{n}"), "q", "")).await.is_err() {
                    SharedTimer::default().sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let (_, heard) = join(sends, hear(&second, to, 200)).await;
        assert_eq!(heard.len(), 200);
    });
}
