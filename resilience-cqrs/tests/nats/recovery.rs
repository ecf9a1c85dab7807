//! The server is killed, and comes back.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join3;
use resilience_core::time::SharedTimer;
use resilience_core::{AsRejected as _, Reason};
use resilience_cqrs::messaging::nats::NatsBus;
use resilience_cqrs::messaging::{Bus, Inbox, Message, Outgoing, Relay, Subscribe, Subscription};
use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Query, Version};

use super::carrier::{SOON, builder, opened, run, subscribed, within};

const KEYS: usize = 5;
const EACH: usize = 40;

/// Sends it until it is taken, as a relay does.
async fn publish(bus: &NatsBus, message: Message) {
    while let Err(error) = bus.publish(message.clone()).await {
        assert!(error.is_retryable(), "{error}");
        SharedTimer::default().sleep(Duration::from_millis(20)).await;
    }
}

/// Appends what comes, once, until all has come.
async fn consume(bus: &NatsBus, store: &MemoryStore) {
    let to = Subscribe::group("billing", "orders.>").ack_wait(Duration::from_secs(2));
    let (mut subscription, inbox) = (subscribed(bus, to).await, Inbox::new(store.clone(), "billing"));
    while store.head().get() < (KEYS * EACH) as u64 {
        let next = within(Duration::from_millis(100), subscription.next()).await;
        let Some(delivery) = next else { continue };
        let delivery = delivery.unwrap();
        let message = &delivery.message;
        let effect = NewEvent::new("Billed", message.payload().clone());
        let effect = Append::new().events(message.key().unwrap(), Expected::Any, [effect]);
        inbox.append(message, effect).await.unwrap();
        // Refused or in doubt while the server is down: then it comes again.
        let _ = delivery.ack().await;
    }
}

async fn payloads(store: &MemoryStore, stream: &str) -> Vec<String> {
    let events = store.read_stream(&stream.into(), Version::EMPTY, 1_000).await.unwrap();
    events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect()
}

#[test]
fn a_server_that_is_killed_loses_nothing_keeps_the_order_of_keys_and_doubles_no_effect() {
    // ES42: two programs consume, one publishes, and the server is killed in mid-run, three times. What was
    // acknowledged to the publisher takes effect once, in the order of its key.
    run(async |mut server| {
        let (one, two) = (opened(|| builder(&server)).await, opened(|| builder(&server)).await);
        let sender = opened(|| builder(&server).answer_within(Duration::from_millis(500))).await;
        let store = MemoryStore::new();
        // The group is there before anything is published.
        drop(subscribed(&one, Subscribe::group("billing", "orders.>").ack_wait(Duration::from_secs(2))).await);
        let publishes = async {
            for n in 0..EACH {
                for key in 0..KEYS {
                    let message = Message::new(format!("{key}-{n}"), "orders.placed", n.to_string());
                    publish(&sender, message.with_key(format!("order-{key}"))).await;
                }
                if [10, 20, 30].contains(&n) {
                    server.restart().unwrap();
                }
            }
        };
        let all = join3(publishes, consume(&one, &store), consume(&two, &store));
        if within(SOON * 5, all).await.is_none() {
            panic!("{} of {} have come", store.head().get(), KEYS * EACH);
        }
        let wanted: Vec<String> = (0..EACH).map(|n| n.to_string()).collect();
        for key in 0..KEYS {
            assert_eq!(payloads(&store, &format!("order-{key}")).await, wanted, "of key {key}");
        }
    });
}

#[test]
fn what_is_published_while_the_server_is_down_waits_and_is_refused_in_time() {
    run(async |mut server| {
        // Who consumes has time for its answers.
        let bus = opened(|| builder(&server).answer_within(Duration::from_millis(300))).await;
        let consuming = opened(|| builder(&server)).await;
        let timer = SharedTimer::default();
        let mut group = subscribed(&consuming, Subscribe::group("g", "a")).await;
        server.kill().unwrap();
        while bus.is_connected() {
            timer.sleep(Duration::from_millis(5)).await;
        }
        let before = timer.now();
        let refused = bus.publish(Message::new("m1", "a", "")).await.unwrap_err();
        let took = timer.now() - before;
        assert_eq!(refused.as_rejected().map(|rejected| rejected.reason()), Some(Reason::NoEndpoint));
        assert!(took >= Duration::from_millis(290) && took < SOON, "{took:?}");
        server.restart().unwrap();
        // Nothing of it was kept on this side and sent after all; the subscription goes on by itself.
        while let Err(error) = bus.publish(Message::new("m2", "a", "")).await {
            // Or in doubt, if the server that is back did not answer in time.
            assert!(error.is_retryable(), "{error}");
        }
        let delivery = group.next().await.unwrap();
        assert_eq!(delivery.message.id.as_str(), "m2");
        delivery.ack().await.unwrap();
    });
}

#[test]
fn a_relay_whose_server_is_down_holds_up_no_append_and_then_sends_all_in_order() {
    // ES43: the broker is down for a while. ES42: the relay died after it had sent the first message and
    // before it could note it, so it sends it again, under the same id.
    run(async |mut server| {
        // Who consumes has time for its answers.
        let bus = opened(|| builder(&server).answer_within(Duration::from_millis(200))).await;
        let consuming = opened(|| builder(&server)).await;
        let (store, timer) = (MemoryStore::new(), SharedTimer::default());
        let mut group = subscribed(&consuming, Subscribe::group("g", "orders.>")).await;
        let sent_before = Message::new("shop-1", "orders.placed", "0").with_key("order-0");
        assert!(!consuming.publish(sent_before).await.unwrap().duplicate);
        server.kill().unwrap();
        let relay = Relay::builder(store.clone(), bus.clone(), "shop")
            .events(Query::types(["Placed"]), |event| Ok(Some(Outgoing::new("orders.placed", event.payload.clone()))))
            .start()
            .unwrap();
        // The server does not come back before they are all done: one that waited for it would wait for ever.
        for n in 0..100 {
            let placed = NewEvent::new("Placed", n.to_string());
            store.append(Append::new().events(format!("order-{}", n % 4), Expected::Any, [placed])).await.unwrap();
            tokio::task::yield_now().await;
        }
        // Long enough for the relay to have tried.
        timer.sleep(Duration::from_millis(600)).await;
        assert_eq!(relay.status().position.get(), 0, "nothing counts as sent that was not");
        server.restart().unwrap();
        let mut last: HashMap<String, u64> = HashMap::new();
        let mut heard = 0;
        while heard < 100 {
            let delivery = group.next().await.unwrap();
            let message = &delivery.message;
            let n: u64 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
            assert_eq!(message.id.as_str(), format!("shop-{}", n + 1), "delivery {heard}");
            let before = last.insert(message.key().unwrap().to_owned(), n);
            // The first may have been in somebody's hands when the server was killed, which then knows nothing of that.
            if (n, before) != (0, Some(0)) {
                assert_eq!(before.map_or(n % 4, |before| before + 4), n, "out of order, or twice");
                heard += 1;
            }
            // Of such a delivery the settling may be late.
            let settled = delivery.ack().await;
            assert!(settled.is_ok() || n == 0, "{settled:?}");
        }
        relay.at_least(store.head(), SOON).await.unwrap();
        relay.stop().await.unwrap();
    });
}
