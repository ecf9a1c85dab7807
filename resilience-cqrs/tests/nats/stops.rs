//! Consumers that are stopped while they have messages of a server.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::time::SharedTimer;
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

/// What the program had asked for, and nobody took, is for whoever closes the last subscription to look at, and comes to the
/// next one when it is given back; and so does what was not sent to here.
#[test]
fn what_was_fetched_ahead_is_handed_over_by_a_subscription_that_is_closed() {
    run(async |server| {
        let (bus, timer) = (builder(&server).open().await.unwrap(), SharedTimer::default());
        // Again, with more time, where the messages were not here when it was closed.
        for attempt in 0..20_u32 {
            // Soon enough for what the server sends at the very moment, which then comes again in its time.
            let to = Subscribe::queue(format!("q{attempt}")).ack_wait(Duration::from_secs(5));
            let (mut one, two) = (bus.subscribe(to.clone()).await.unwrap(), bus.subscribe(to.clone()).await.unwrap());
            // Every lane is asked for a message while somebody waits.
            assert!(within(Duration::from_millis(200), one.next()).await.is_none());
            let mut left: Vec<_> = (0..4).map(|n| format!("m{attempt}-{n}")).collect();
            for id in &left {
                let message = Message::new(id.as_str(), format!("q{attempt}"), "").with_key(id.as_str());
                bus.send(message).await.unwrap();
            }
            let first = within(SOON, one.next()).await.unwrap().unwrap();
            let id = first.message.id.clone();
            if first.ack().await.is_ok() {
                left.retain(|other| other != id.as_str());
            }
            timer.sleep(Duration::from_millis(50) * attempt).await;
            assert!(within(SOON, two.close()).await.unwrap().is_empty(), "another one takes what has come");
            let ahead = within(SOON, one.close()).await.unwrap();
            assert!(ahead.iter().all(|delivery| left.iter().any(|id| id == delivery.message.id.as_str())), "{ahead:?}");
            let is_done = !ahead.is_empty();
            drop(ahead);
            let mut next = bus.subscribe(to).await.unwrap();
            while !left.is_empty() {
                let delivery =
                    within(SOON, next.next()).await.unwrap_or_else(|| panic!("{left:?} do not come")).unwrap();
                let id = delivery.message.id.clone();
                if delivery.ack().await.is_ok() {
                    left.retain(|other| other != id.as_str());
                }
            }
            if is_done {
                return;
            }
        }
        panic!("nothing was ever handed over");
    });
}
