//! What becomes of a message in somebody's hands.

use std::time::Duration;

use resilience_core::time::SharedTimer;

use super::{at_once, either, message, next, nothing, pass, send, subscribe, text, unique};
use crate::messaging::bus::{Bus, Subscribe};

/// For a law that waits for it.
const ACK_WAIT: Duration = Duration::from_millis(1_000);

/// Whoever had it has failed: another one gets it, and is told.
pub async fn what_is_dropped_comes_again_and_is_counted(bus: impl Bus) {
    let queue = unique("queue");
    let to = Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT);
    let mut consumer = subscribe(&bus, to.clone()).await;
    send(&bus, message(&queue, "1")).await;
    for attempt in 1..=3 {
        let delivery = next(&mut consumer).await;
        assert_eq!((text(&delivery).as_str(), delivery.attempt), ("1", attempt));
    }
    // To another one, too.
    drop(consumer);
    let mut other = subscribe(&bus, to).await;
    let delivery = next(&mut other).await;
    assert!(delivery.attempt >= 4);
    delivery.ack().await.unwrap();
    nothing(&mut other).await;
}

/// Whoever has it does nothing.
pub async fn what_is_not_settled_in_time_comes_again(bus: impl Bus) {
    let queue = unique("queue");
    let mut consumer = subscribe(&bus, Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT)).await;
    send(&bus, message(&queue, "1")).await;
    let hung = next(&mut consumer).await;
    nothing(&mut consumer).await;
    let again = next(&mut consumer).await;
    assert_eq!((again.attempt, &again.message), (2, &hung.message));
    again.ack().await.unwrap();
    // Too late to have a say. A bus may take it for a second ack.
    let _ = hung.ack().await;
    nothing(&mut consumer).await;
}

/// It takes longer than it may, and says so in time.
pub async fn what_is_extended_stays_where_it_is(bus: impl Bus) {
    let queue = unique("queue");
    let mut consumer = subscribe(&bus, Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT)).await;
    send(&bus, message(&queue, "1")).await;
    let mut slow = next(&mut consumer).await;
    for _ in 0..4 {
        nothing(&mut consumer).await;
        slow.extend().await.unwrap();
    }
    slow.ack().await.unwrap();
    pass(ACK_WAIT).await;
    nothing(&mut consumer).await;
}

/// Done, or given up; now, and after the time it had.
pub async fn what_is_settled_does_not_come_again(bus: impl Bus) {
    let queue = unique("queue");
    let to = Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT);
    let mut consumer = subscribe(&bus, to.clone()).await;
    send(&bus, message(&queue, "1")).await;
    send(&bus, message(&queue, "2")).await;
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    first.ack().await.unwrap();
    second.term().await.unwrap();
    pass(ACK_WAIT).await;
    nothing(&mut consumer).await;
    drop(consumer);
    nothing(&mut subscribe(&bus, to).await).await;
}

/// Not before its time, and soon after it.
pub async fn what_is_to_come_later_comes_later(bus: impl Bus) {
    let queue = unique("queue");
    let mut consumer = subscribe(&bus, Subscribe::queue(queue.as_str())).await;
    send(&bus, message(&queue, "1")).await;
    let delivery = next(&mut consumer).await;
    let (timer, delay) = (SharedTimer::default(), Duration::from_millis(900));
    let before = timer.now();
    delivery.retry_in(delay).await.unwrap();
    let again = next(&mut consumer).await;
    let took = timer.now() - before;
    assert!(took >= delay.mul_f64(0.95) && took < delay * 4, "{took:?}");
    assert_eq!(again.attempt, 2);
    again.ack().await.unwrap();
}

/// Over all consumers of the group or queue.
pub async fn no_more_than_the_limit_is_unsettled(bus: impl Bus) {
    let queue = unique("queue");
    let to = Subscribe::queue(queue.as_str()).in_flight(at_once(2));
    let (mut one, mut two) = (subscribe(&bus, to.clone()).await, subscribe(&bus, to).await);
    for n in 0..4 {
        send(&bus, message(&queue, &n.to_string())).await;
    }
    let mut held = Vec::new();
    while held.len() < 2 {
        held.push(either(&mut one, &mut two).await);
    }
    nothing(&mut one).await;
    nothing(&mut two).await;
    held.pop().unwrap().ack().await.unwrap();
    let third = either(&mut one, &mut two).await;
    nothing(&mut one).await;
    third.ack().await.unwrap();
}
