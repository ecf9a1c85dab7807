//! What is in order, and what need not be.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use super::{either, message, next, nothing, publish, subscribe, text, unique, within_a_while};
use crate::messaging::bus::{Bus, Subscribe};
use crate::messaging::delivery::Delivery;

/// Two consumers of one group, who drop some deliveries: of each key, one message at a time, in its order.
pub async fn a_key_is_in_order_one_at_a_time_whoever_consumes(bus: impl Bus) {
    const KEYS: usize = 5;
    const EACH: usize = 8;
    let (subject, group) = (unique("topic"), unique("group"));
    let to = Subscribe::group(group, subject.as_str());
    let (mut one, mut two) = (subscribe(&bus, to.clone()).await, subscribe(&bus, to).await);
    for n in 0..EACH {
        for key in 0..KEYS {
            publish(&bus, message(&subject, &n.to_string()).with_key(format!("key {key}"))).await;
        }
    }
    let mut done: HashMap<String, usize> = HashMap::new();
    let mut held: Vec<Delivery> = Vec::new();
    while done.values().sum::<usize>() < KEYS * EACH {
        // Held until there are two, or no other key comes; then settled or dropped, the oldest first.
        let another = pin!(either(&mut one, &mut two));
        let delivery = if held.is_empty() { Some(another.await) } else { within_a_while(another).await };
        if let Some(delivery) = delivery {
            let key = delivery.message.key().unwrap().to_owned();
            assert!(held.iter().all(|other| other.message.key() != Some(&key)), "two of {key} at once");
            assert_eq!(text(&delivery), done.get(&key).copied().unwrap_or(0).to_string(), "{key} out of order");
            held.push(delivery);
            if held.len() < 2 {
                continue;
            }
        }
        for delivery in held.drain(..) {
            if delivery.attempt == 1 && ["0", "3", "7"].contains(&&*text(&delivery)) {
                drop(delivery);
            } else {
                *done.entry(delivery.message.key().unwrap().to_owned()).or_default() += 1;
                delivery.ack().await.unwrap();
            }
        }
    }
    drop(held);
    nothing(&mut one).await;
    nothing(&mut two).await;
}

/// The later one does not overtake.
pub async fn a_key_waits_for_what_is_to_come_again(bus: impl Bus) {
    let subject = unique("topic");
    let mut group = subscribe(&bus, Subscribe::group(unique("group"), subject.as_str())).await;
    for n in ["1", "2"] {
        publish(&bus, message(&subject, n).with_key("k")).await;
    }
    let first = next(&mut group).await;
    assert_eq!(text(&first), "1");
    nothing(&mut group).await;
    first.retry_in(Duration::from_millis(600)).await.unwrap();
    for expected in ["1", "2"] {
        let delivery = next(&mut group).await;
        assert_eq!(text(&delivery), expected);
        delivery.ack().await.unwrap();
    }
}
