//! What becomes of a message in somebody's hands.

use std::time::Duration;

use resilience_core::time::SharedTimer;

use super::{TRIES, at_once, either, message, next, nothing, pass, send, subscribe, text, unique, within_a_while};
use crate::messaging::bus::{Bus, Subscribe, Subscription};
use crate::messaging::delivery::Delivery;

/// For a law that waits for it.
const ACK_WAIT: Duration = Duration::from_millis(1_000);

/// Whoever had it has failed: another one gets it, and is told.
pub async fn what_is_dropped_comes_again_and_is_counted(bus: impl Bus) {
    let (queue, timer) = (unique("queue"), SharedTimer::default());
    let to = Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT);
    let mut consumer = subscribe(&bus, to.clone()).await;
    let mut since = timer.now();
    send(&bus, message(&queue, "1")).await;
    let mut attempt = 0;
    for _ in 0..3 {
        let delivery = next(&mut consumer).await;
        let now = timer.now();
        // More have gone by if this program was held up for longer than it may have each.
        assert!(delivery.attempt == attempt + 1 || (delivery.attempt > attempt && now - since >= ACK_WAIT));
        assert_eq!(text(&delivery), "1");
        (attempt, since) = (delivery.attempt, now);
    }
    // To another one, too.
    drop(consumer);
    let mut other = subscribe(&bus, to).await;
    let delivery = next(&mut other).await;
    assert!(delivery.attempt > attempt);
    settle(&mut other, delivery).await;
    nothing(&mut other).await;
}

/// Whoever has it does nothing.
pub async fn what_is_not_settled_in_time_comes_again(bus: impl Bus) {
    let (queue, timer) = (unique("queue"), SharedTimer::default());
    let mut consumer = subscribe(&bus, Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT)).await;
    let before = timer.now();
    send(&bus, message(&queue, "1")).await;
    let hung = next(&mut consumer).await;
    let again = next(&mut consumer).await;
    let took = timer.now() - before;
    assert!(took >= ACK_WAIT.mul_f64(0.95), "it came again after {took:?}");
    assert!(again.attempt == 2 || (again.attempt > 2 && took >= ACK_WAIT * 2), "{again:?} after {took:?}");
    assert_eq!(again.message, hung.message);
    settle(&mut consumer, again).await;
    // Too late to have a say. A bus may take it for a second ack.
    let _ = hung.ack().await;
    nothing(&mut consumer).await;
}

/// Acknowledges a delivery; if it was in hand for too long, the one that follows.
async fn settle(consumer: &mut impl Subscription, mut delivery: Delivery) {
    while delivery.ack().await.is_err() {
        delivery = next(consumer).await;
    }
}

/// It takes longer than it may, and says so in time.
pub async fn what_is_extended_stays_where_it_is(bus: impl Bus) {
    while extended(&bus).await.is_none() {}
}

/// None if this program did not say so in time.
async fn extended(bus: &impl Bus) -> Option<()> {
    let (queue, timer) = (unique("queue"), SharedTimer::default());
    let mut consumer = subscribe(bus, Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT)).await;
    let mut since = timer.now();
    send(bus, message(&queue, "1")).await;
    let mut slow = next(&mut consumer).await;
    for _ in 0..4 {
        let came = within_a_while(consumer.next()).await;
        let now = timer.now();
        let said = slow.extend().await;
        if timer.now() - since >= ACK_WAIT {
            return None;
        }
        assert!(came.is_none(), "nothing should have come: {came:?}");
        said.unwrap();
        since = now;
    }
    let done = slow.ack().await;
    if timer.now() - since >= ACK_WAIT {
        return None;
    }
    done.unwrap();
    pass(ACK_WAIT).await;
    nothing(&mut consumer).await;
    Some(())
}

/// Done, or given up; now, and after the time it had.
pub async fn what_is_settled_does_not_come_again(bus: impl Bus) {
    while settled(&bus).await.is_none() {}
}

/// None if this program did not settle them in time.
async fn settled(bus: &impl Bus) -> Option<()> {
    let (queue, timer) = (unique("queue"), SharedTimer::default());
    let to = Subscribe::queue(queue.as_str()).ack_wait(ACK_WAIT);
    let mut consumer = subscribe(bus, to.clone()).await;
    let before = timer.now();
    send(bus, message(&queue, "1")).await;
    send(bus, message(&queue, "2")).await;
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    let (done, given_up) = (first.ack().await, second.term().await);
    if timer.now() - before >= ACK_WAIT {
        return None;
    }
    done.unwrap();
    given_up.unwrap();
    pass(ACK_WAIT).await;
    nothing(&mut consumer).await;
    drop(consumer);
    nothing(&mut subscribe(bus, to).await).await;
    Some(())
}

/// Not before its time, and soon after it.
pub async fn what_is_to_come_later_comes_later(bus: impl Bus) {
    let queue = unique("queue");
    let mut consumer = subscribe(&bus, Subscribe::queue(queue.as_str())).await;
    let (timer, delay) = (SharedTimer::default(), Duration::from_millis(900));
    let mut late = Vec::new();
    while late.len() < TRIES as usize {
        send(&bus, message(&queue, "1")).await;
        let delivery = next(&mut consumer).await;
        let before = timer.now();
        delivery.retry_in(delay).await.unwrap();
        let again = next(&mut consumer).await;
        let took = timer.now() - before;
        assert!(took >= delay.mul_f64(0.95), "{took:?}");
        assert_eq!(again.attempt, 2);
        again.ack().await.unwrap();
        if took < delay * 4 {
            return;
        }
        late.push(took);
    }
    panic!("{late:?} and not {delay:?}");
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
