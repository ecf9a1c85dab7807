//! Consumers that are stopped, as by a deploy, and what that costs the messages they have.

use resilience_core::Name;

use super::*;
use crate::log::RowChange;
use crate::messaging::bus::{Bus, Sent, Subscription};
use crate::messaging::delivery::Delivery;
use crate::messaging::error::BusError;
use crate::messaging::subject::Filter;
use crate::messaging::{MemoryRequests, MemorySubscription};

fn attempts(attempts: u32) -> NonZeroU32 {
    NonZeroU32::new(attempts).unwrap()
}

fn open_circuit() -> CircuitBreaker {
    let breaker = CircuitBreaker::builder().build().unwrap();
    breaker.isolate();
    breaker
}

/// A database is down, and the program that waits for it is deployed again and again: the message was never tried, and may
/// not be given up for it.
#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_has_tried_is_not_given_up_however_often_its_consumers_are_stopped() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    send(&bus, 0, "k", "flaky").await;
    for deploy in 0..10 {
        let refuses = deploy % 2 == 0;
        effects.refuses.store(refuses, Ordering::Relaxed);
        let builder = consumer(&store, &bus, &effects).max_attempts(attempts(2));
        let running = if refuses { builder } else { builder.breaker(open_circuit()) }.start().unwrap();
        until(&running, |status| matches!(status.health, Health::Paused { .. })).await;
        running.stop().await.unwrap();
    }
    effects.refuses.store(false, Ordering::Relaxed);
    let refused = effects.calls();
    let running = consumer(&store, &bus, &effects).max_attempts(attempts(2)).start().unwrap();
    until(&running, |status| status.dead == 1).await;
    let letter = running.dead_letters().of_key("k", None, 1).await.unwrap().pop().unwrap();
    assert_eq!((effects.calls() - refused, letter.attempts, letter.error.as_str()), (2, 2, "flaky"));
    assert_eq!(store.rows("untried/worker", None, 10).await.unwrap(), [], "nothing is left of it");
    running.stop().await.unwrap();
}

/// What was tried does count, also by a consumer that is stopped afterwards: else poison would live as long as deploys come.
#[tokio::test(start_paused = true)]
async fn what_was_tried_counts_whoever_is_stopped_then() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    send(&bus, 0, "k", "flaky").await;
    for deploy in 1..=3 {
        let waits = consumer(&store, &bus, &effects).breaker(open_circuit()).start().unwrap();
        until(&waits, |status| matches!(status.health, Health::Paused { .. })).await;
        waits.stop().await.unwrap();
        let running = consumer(&store, &bus, &effects).max_attempts(attempts(3)).start().unwrap();
        eventually(async || effects.calls() == deploy).await;
        running.stop().await.unwrap();
    }
    let letter = DeadLetters::new(store.clone(), "worker").of_key("k", None, 1).await.unwrap().pop().unwrap();
    assert_eq!((effects.calls(), letter.attempts), (3, 3));
}

/// It was tried for the last time, and then the store was down. That it waits to be laid aside is not that it waits to be
/// tried: it is laid aside by the next one, and not handled once more.
#[tokio::test(start_paused = true)]
async fn what_waits_to_be_laid_aside_when_its_consumer_is_stopped_was_tried() {
    let (bus, effects, is_down) = (MemoryBus::new(), Effects::default(), Arc::new(AtomicBool::new(true)));
    let store = FaultyStore::new(MemoryStore::new()).on_append({
        let is_down = is_down.clone();
        move |_| is_down.load(Ordering::Relaxed).then_some(Fault::Refused)
    });
    send(&bus, 0, "k", "flaky").await;
    let running = consumer(&store, &bus, &effects).max_attempts(NonZeroU32::MIN).start().unwrap();
    until(&running, |status| matches!(status.health, Health::Retrying { .. })).await;
    is_down.store(false, Ordering::Relaxed);
    running.stop().await.unwrap();
    let running = consumer(&store, &bus, &effects).max_attempts(NonZeroU32::MIN).start().unwrap();
    until(&running, |status| status.dead == 1).await;
    let letter = running.dead_letters().of_key("k", None, 1).await.unwrap().pop().unwrap();
    assert_eq!((effects.calls(), letter.attempts), (1, 1));
    running.stop().await.unwrap();
}

/// A note that cannot be taken costs an attempt, and no more time than a second.
#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_store_that_does_not_take_its_notes() {
    let (bus, effects) = (MemoryBus::new(), Effects::default());
    let store = FaultyStore::new(MemoryStore::new());
    send(&bus, 0, "k", "1").await;
    let running = consumer(&store, &bus, &effects).breaker(open_circuit()).start().unwrap();
    until(&running, |status| matches!(status.health, Health::Paused { .. })).await;
    let (held, timer) = (store.hold_appends(), SharedTimer::default());
    let before = timer.now();
    running.stop().await.unwrap();
    assert!(timer.now() - before <= Duration::from_secs(1), "{:?}", timer.now() - before);
    drop(held);
    let running = consumer(&store, &bus, &effects).start().unwrap();
    done(&running, 1).await;
    running.stop().await.unwrap();
}

/// Notes of messages that were settled elsewhere, or are not in the bus any more, do not pile up.
#[tokio::test(start_paused = true)]
async fn notes_that_nobody_needs_any_more_are_swept_away() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    send(&bus, 0, "k", "1").await;
    let running = consumer(&store, &bus, &effects).breaker(open_circuit()).start().unwrap();
    until(&running, |status| matches!(status.health, Health::Paused { .. })).await;
    running.stop().await.unwrap();
    let notes = async || store.rows("untried/worker", None, 10).await.unwrap();
    let note = notes().await.pop().expect("a note was taken");
    let old = [&note.1[..4], &1_u64.to_be_bytes()].concat();
    store.append(Append::new().row(RowChange::put("untried/worker", "of another", old))).await.unwrap();
    store.append(Append::new().row(RowChange::put("untried/worker", "garbled", "x"))).await.unwrap();
    let waits = consumer(&store, &bus, &effects).breaker(open_circuit()).start().unwrap();
    until(&waits, |status| matches!(status.health, Health::Paused { .. })).await;
    assert_eq!(notes().await, [note]);
    waits.stop().await.unwrap();
}

/// A bus that delivers more than was asked for, as a program's part of NATS does.
#[derive(Clone)]
struct Ahead(MemoryBus);

struct AheadSubscription(MemorySubscription, Vec<Delivery>);

impl Subscription for AheadSubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        loop {
            let delivery = self.0.next().await?;
            if delivery.message.payload().as_ref() == b"first" {
                return Ok(delivery);
            }
            self.1.push(delivery);
        }
    }

    async fn close(self) -> Vec<Delivery> {
        self.1
    }
}

impl Bus for Ahead {
    type Subscription = AheadSubscription;
    type Requests = MemoryRequests;

    async fn publish(&self, message: Message) -> Result<Sent, BusError> {
        self.0.publish(message).await
    }

    async fn send(&self, message: Message) -> Result<Sent, BusError> {
        self.0.send(message).await
    }

    async fn request(&self, message: Message, within: Duration) -> Result<bytes::Bytes, BusError> {
        self.0.request(message, within).await
    }

    async fn subscribe(&self, to: Subscribe) -> Result<AheadSubscription, BusError> {
        self.0.subscribe(to).await.map(|subscription| AheadSubscription(subscription, Vec::new()))
    }

    async fn answer(
        &self,
        group: impl Into<Name> + Send,
        filter: impl Into<Filter> + Send,
    ) -> Result<MemoryRequests, BusError> {
        self.0.answer(group, filter).await
    }
}

/// The bus has counted it as delivered, though no consumer has seen it.
#[tokio::test(start_paused = true)]
async fn what_a_bus_has_fetched_ahead_is_not_tried_by_a_stop() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    for n in 0..5 {
        let to = Subscribe::queue("work").ack_wait(Duration::from_secs(30));
        let ahead = Consumer::builder(store.clone(), Ahead(bus.clone()), "worker", to, effects.clone());
        let running = ahead.start().unwrap();
        if n == 0 {
            send(&bus, 100, "", "2").await;
            send(&bus, 101, "", "3").await;
        }
        // In the order of the bus: when it is handled, those before it were fetched.
        send(&bus, n, "", "first").await;
        done(&running, 1).await;
        running.stop().await.unwrap();
    }
    let running = consumer(&store, &bus, &effects).max_attempts(NonZeroU32::MIN).start().unwrap();
    done(&running, 2).await;
    assert_eq!((running.status().dead, effects.calls()), (0, 7));
    running.stop().await.unwrap();
}
