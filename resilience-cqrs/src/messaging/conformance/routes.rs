//! Who gets what, and that it is what was sent.

use bytes::Bytes;

use super::{either, message, next, nothing, publish, send, soon, subscribe, text, unique};
use crate::log::Metadata;
use crate::messaging::bus::{Bus, Subscribe};
use crate::messaging::error::BusError;
use crate::messaging::limits;
use crate::messaging::message::{Outgoing, Way};

/// Two groups, one of them with two consumers: each message comes twice.
pub async fn each_group_gets_each_message_and_one_consumer_of_it(bus: impl Bus) {
    let (subject, one, two) = (unique("topic"), unique("one"), unique("two"));
    let mut alone = subscribe(&bus, Subscribe::group(one, subject.as_str())).await;
    let mut first = subscribe(&bus, Subscribe::group(two.clone(), subject.as_str())).await;
    let mut second = subscribe(&bus, Subscribe::group(two, subject.as_str())).await;
    for n in 0..10 {
        publish(&bus, message(&subject, &n.to_string())).await;
    }
    let mut by_one = Vec::new();
    for _ in 0..10 {
        let delivery = next(&mut alone).await;
        by_one.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    let mut by_two = Vec::new();
    for _ in 0..10 {
        let delivery = either(&mut first, &mut second).await;
        by_two.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    by_one.sort();
    by_two.sort();
    let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!((&by_one, &by_two), (&all, &all));
    nothing(&mut alone).await;
    nothing(&mut first).await;
    nothing(&mut second).await;
}

/// Sent before anybody consumes, and to the queue of that name only.
pub async fn a_queue_keeps_what_is_sent_to_it_for_one_consumer(bus: impl Bus) {
    let (queue, other) = (unique("queue"), unique("queue"));
    for n in 0..4 {
        send(&bus, message(&queue, &n.to_string())).await;
    }
    let mut consumer = subscribe(&bus, Subscribe::queue(queue.as_str())).await;
    let mut elsewhere = subscribe(&bus, Subscribe::queue(other)).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message.content.way, Way::Send);
        seen.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3"]);
    nothing(&mut consumer).await;
    nothing(&mut elsewhere).await;
}

/// A group is there from its first subscription on, whether somebody consumes or not.
pub async fn what_came_while_nobody_consumed_is_there(bus: impl Bus) {
    let (subject, group) = (unique("topic"), unique("group"));
    publish(&bus, message(&subject, "before there was a group")).await;
    let to = Subscribe::group(group, subject.as_str());
    drop(subscribe(&bus, to.clone()).await);
    publish(&bus, message(&subject, "meanwhile")).await;
    let mut back = subscribe(&bus, to).await;
    let delivery = next(&mut back).await;
    assert_eq!(text(&delivery), "meanwhile");
    delivery.ack().await.unwrap();
    nothing(&mut back).await;
}

/// `*` is one word, `>` is the rest; and a group has one filter.
pub async fn a_group_hears_what_its_filter_matches(bus: impl Bus) {
    let (root, group) = (unique("topic"), unique("group"));
    let mut any = subscribe(&bus, Subscribe::group(unique("group"), format!("{root}.*.placed"))).await;
    let mut rest = subscribe(&bus, Subscribe::group(group.clone(), format!("{root}.>"))).await;
    for end in ["eu.placed", "eu.sold", "eu.berlin.placed", "us.placed"] {
        publish(&bus, message(&format!("{root}.{end}"), end)).await;
    }
    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let delivery = next(&mut any).await;
        seen.0.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    for _ in 0..4 {
        let delivery = next(&mut rest).await;
        seen.1.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    seen.0.sort();
    seen.1.sort();
    assert_eq!(seen.0, ["eu.placed", "us.placed"]);
    assert_eq!(seen.1, ["eu.berlin.placed", "eu.placed", "eu.sold", "us.placed"]);
    nothing(&mut any).await;
    let other = soon(bus.subscribe(Subscribe::group(group, format!("{root}.other")))).await;
    assert!(matches!(other, Err(BusError::Refused { .. })), "a group has one filter");
}

/// Payload, key and metadata, byte for byte.
pub async fn what_is_carried_arrives_as_it_was(bus: impl Bus) {
    let (subject, queue) = (unique("topic"), unique("queue"));
    let metadata = Metadata::new()
        .with_correlation("order: 17, \"x\"")
        .with_causation("Grüße\u{1f980}")
        .with_actor("ann")
        .with_tenant("  a tenant with spaces  ")
        .with_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let every_byte: Vec<u8> = (0..=255).collect();
    let full = Outgoing::new(subject.as_str(), every_byte).key("kéy. *>: 1").metadata(metadata);
    let (full, bare) = (full.with_id(unique("m")), message(&subject, ""));
    let mut group = subscribe(&bus, Subscribe::group(unique("group"), subject.as_str())).await;
    for sent in [full, bare] {
        publish(&bus, sent.clone()).await;
        let delivery = next(&mut group).await;
        assert_eq!((&delivery.message, delivery.attempt), (&sent, 1));
        delivery.ack().await.unwrap();
    }
    let large = Outgoing::for_queue(queue.as_str(), Bytes::from(vec![b'x'; limits::PAYLOAD_BYTES]));
    let large = large.with_id(unique("m"));
    send(&bus, large.clone()).await;
    let mut consumer = subscribe(&bus, Subscribe::queue(queue)).await;
    let delivery = next(&mut consumer).await;
    assert!(delivery.message == large, "the largest payload comes through");
    delivery.ack().await.unwrap();
}

/// The second one is told, and nobody hears of it.
pub async fn two_messages_with_one_id_are_one(bus: impl Bus) {
    let subject = unique("topic");
    let mut group = subscribe(&bus, Subscribe::group(unique("group"), subject.as_str())).await;
    let twice = message(&subject, "once");
    publish(&bus, twice.clone()).await;
    let again = soon(bus.publish(twice.clone())).await.unwrap();
    assert!(again.duplicate);
    let delivery = next(&mut group).await;
    delivery.ack().await.unwrap();
    // Also when the first one is done with.
    assert!(soon(bus.publish(twice)).await.unwrap().duplicate);
    nothing(&mut group).await;
}

/// On this side, whatever the broker would say.
pub async fn what_breaks_a_limit_is_refused(bus: impl Bus) {
    let subject = unique("topic");
    let too_large = Outgoing::new(subject.as_str(), vec![0; limits::PAYLOAD_BYTES + 1]).with_id("m");
    let wrong = [
        message("two words", ""),
        message("wild.*", ""),
        message("", ""),
        message(&subject, "").with_key("line\nbreak"),
        Outgoing::new(subject.as_str(), "").with_id(""),
        Outgoing::new(subject.as_str(), "").with_id("i".repeat(limits::NAME_BYTES + 1)),
        too_large,
    ];
    for message in wrong {
        let refused = soon(bus.publish(message.clone())).await;
        assert!(matches!(refused, Err(BusError::Invalid(_))), "{refused:?}");
        assert!(matches!(soon(bus.send(message)).await, Err(BusError::Invalid(_))));
    }
    let wrong = Subscribe::group(unique("group"), "a.>.b");
    assert!(matches!(soon(bus.subscribe(wrong)).await, Err(BusError::Invalid(_))));
}
