//! Consumers that are stopped while they have messages of a server.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_cqrs::messaging::consumer::{Health, Status};
use resilience_cqrs::messaging::{Bus, Consumer, ConsumerHandle, Message, Subscribe, Subscription};
use resilience_cqrs::{BoxError, MemoryStore};
use tower::service_fn;

use super::carrier::{builder, run, within};

/// Longer than anything takes, on whatever machine.
const SOON: Duration = Duration::from_secs(60);

async fn until(running: &ConsumerHandle<MemoryStore>, wish: impl Fn(&Status) -> bool + Send) -> Status {
    let reached = within(SOON, running.wait_until(wish)).await;
    reached.unwrap_or_else(|| panic!("it should have been so by now: {:?}", running.status()))
}

/// The server counts a message as delivered once more each time that it is given back, and the consumer may not: nobody has
/// tried it. It must not be given back either while the server still has a request of the consumer that ends, or it is sent to
/// nobody, and counted.
#[test]
fn what_was_not_tried_before_a_stop_is_not_given_up_by_a_server_that_counts_deliveries() {
    run(async |server| {
        let bus = builder(&server).open().await.unwrap();
        let (store, calls) = (MemoryStore::new(), Arc::new(AtomicU64::new(0)));
        let handler = service_fn({
            let calls = calls.clone();
            move |_: Message| {
                calls.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, BoxError>(()) }
            }
        });
        let start = |is_open: bool| {
            let breaker = CircuitBreaker::builder().build().unwrap();
            if is_open {
                breaker.isolate();
            }
            // Within the time of the test nothing comes again by itself.
            let to = Subscribe::queue("q").ack_wait(SOON);
            let consumer = Consumer::builder(store.clone(), bus.clone(), "worker", to, handler.clone());
            consumer.max_attempts(NonZeroU32::MIN).breaker(breaker).start().unwrap()
        };
        bus.send(Message::new("m1", "q", "").with_key("k")).await.unwrap();
        bus.send(Message::new("m2", "q", "")).await.unwrap();
        for deploy in 0..5 {
            let running = start(true);
            until(&running, |status| status.in_hand == 2 && matches!(status.health, Health::Paused { .. })).await;
            let stopped = within(SOON, running.stop()).await;
            stopped.unwrap_or_else(|| panic!("stop {deploy} takes too long")).unwrap();
        }
        let running = start(false);
        let status = until(&running, |status| status.handled + status.dead == 2).await;
        assert_eq!((status.handled, status.dead, calls.load(Ordering::Relaxed)), (2, 0, 2));
        running.stop().await.unwrap();
    });
}

/// What the program had asked for, and nobody took.
#[test]
fn what_was_fetched_ahead_is_handed_over_by_a_subscription_that_is_closed() {
    run(async |server| {
        let bus = builder(&server).open().await.unwrap();
        let to = Subscribe::queue("q").ack_wait(SOON);
        let (mut one, two) = (bus.subscribe(to.clone()).await.unwrap(), bus.subscribe(to.clone()).await.unwrap());
        // Every lane is asked for a message while somebody waits.
        assert!(within(Duration::from_millis(300), one.next()).await.is_none());
        for n in 0..4 {
            bus.send(Message::new(format!("m{n}"), "q", "").with_key(format!("k{n}"))).await.unwrap();
        }
        let first = within(SOON, one.next()).await.unwrap().unwrap();
        assert!(within(SOON, two.close()).await.unwrap().is_empty(), "another one takes what has come");
        let ahead = within(SOON, one.close()).await.unwrap();
        let mut heard: Vec<_> = ahead.iter().map(|delivery| delivery.message.id.as_str().to_owned()).collect();
        drop(ahead);
        heard.push(first.message.id.as_str().to_owned());
        first.ack().await.unwrap();
        // All of it is there for the next one, at once: what was handed over, and what was not sent to here.
        let mut next = bus.subscribe(to).await.unwrap();
        let mut left: Vec<_> = (0..4).map(|n| format!("m{n}")).filter(|id| *id != heard[heard.len() - 1]).collect();
        while !left.is_empty() {
            let delivery =
                within(SOON, pin!(next.next())).await.unwrap_or_else(|| panic!("{left:?} of {heard:?}")).unwrap();
            left.retain(|id| id != delivery.message.id.as_str());
            delivery.ack().await.unwrap();
        }
    });
}
