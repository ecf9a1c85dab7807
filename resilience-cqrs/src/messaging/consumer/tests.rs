use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::retry::{Backoff, Jitter};
use resilience_core::time::{ManualTimer, SharedTimer};
use resilience_core::{Reason, Rejected};

use super::*;
use crate::MemoryStore;
use crate::log::{Append, BoxError, Expected, NewEvent};
use crate::messaging::bus::{Bus as _, Subscribe};
use crate::messaging::dead::{DeadLetterError, DeadLetters};
use crate::messaging::inbox::Inbox;
use crate::messaging::memory::MemoryBus;
use crate::messaging::message::Message;
use crate::store::EventStore;
use crate::testing::{Fault, FaultyStore};

mod letters;
mod stops;

/// Writes down what it was given. Fails on "poison" and "flaky", panics on "panic", hangs on "hang", until it is mended; and
/// on everything while it is down.
#[derive(Clone, Debug, Default)]
struct Effects {
    done: Arc<Mutex<Vec<(String, String)>>>,
    calls: Arc<AtomicU32>,
    at_once: Arc<AtomicU32>,
    most_at_once: Arc<AtomicU32>,
    mended: Arc<AtomicBool>,
    is_down: Arc<AtomicBool>,
    refuses: Arc<AtomicBool>,
}

impl Effects {
    fn of_key(&self, key: &str) -> Vec<String> {
        let done = self.done.lock().unwrap();
        done.iter().filter(|(of, _)| of == key).map(|(_, payload)| payload.clone()).collect()
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn effect(&self, message: Message) -> Result<(), BoxError> {
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let result = self.try_effect(message).await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        result
    }

    async fn try_effect(&self, message: Message) -> Result<(), BoxError> {
        tokio::task::yield_now().await;
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Rejected::new("bulkhead", Reason::Overloaded).into());
        }
        if self.is_down.load(Ordering::Relaxed) {
            return Err("the database is down".into());
        }
        let payload = String::from_utf8_lossy(message.payload()).into_owned();
        if !self.mended.load(Ordering::Relaxed) {
            match payload.as_str() {
                "poison" => return Err(Poison::new("poison").into()),
                "flaky" => return Err("flaky".into()),
                "hang" => return std::future::pending().await,
                "panic" => panic!("as asked"),
                _ => {}
            }
        }
        self.done.lock().unwrap().push((message.key().unwrap_or("").to_owned(), payload));
        tokio::task::yield_now().await;
        Ok(())
    }
}

impl tower_service::Service<Message> for Effects {
    type Response = ();
    type Error = BoxError;
    type Future = futures::future::BoxFuture<'static, Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let effects = self.clone();
        Box::pin(async move { effects.effect(message).await })
    }
}

fn consumer<S: EventStore, H: Handler>(store: &S, bus: &MemoryBus, handler: &H) -> ConsumerBuilder<S, MemoryBus, H> {
    let to = Subscribe::queue("work").ack_wait(Duration::from_secs(3));
    Consumer::builder(store.clone(), bus.clone(), "worker", to, handler.clone()).seed(7)
}

async fn send(bus: &MemoryBus, id: usize, key: &str, payload: &str) {
    let message = Message::new(format!("m{id}"), "work", payload.to_owned());
    let message = if key.is_empty() { message } else { message.with_key(key) };
    assert!(!bus.send(message).await.unwrap().duplicate);
}

/// Waits, in virtual time, until it is so.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..100_000 {
        if is_so().await {
            return;
        }
        SharedTimer::default().sleep(Duration::from_millis(20)).await;
    }
    panic!("it should have been so by now");
}

/// Waits for a status, for an hour of virtual time.
async fn until<S: Clone>(running: &ConsumerHandle<S>, wish: impl Fn(&Status) -> bool + Send) -> Status {
    let timer = SharedTimer::default();
    match select(pin!(running.wait_until(wish)), pin!(timer.sleep(Duration::from_secs(3_600)))).await {
        Either::Left((status, _)) => status,
        Either::Right(_) => panic!("it should have been so by now: {:?}", running.status()),
    }
}

async fn done<S: Clone>(running: &ConsumerHandle<S>, messages: u64) {
    eventually(async || running.status().handled >= messages).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_crashes_when_each_message_takes_effect_once_and_each_key_in_order() {
    // ES29 and ES45. The consumer is dropped after a different number of polls each time, wherever that is: also between the
    // effect and the
    // ack, and before the effect. What is acknowledged before its effect would be missing in the end.
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let inbox = Inbox::new(store.clone(), "worker");
    let (handled, log) = (Arc::new(AtomicU32::new(0)), store.clone());
    let effect = tower::service_fn(move |message: Message| {
        let (inbox, handled) = (inbox.clone(), handled.clone());
        async move {
            tokio::task::yield_now().await;
            handled.fetch_add(1, Ordering::Relaxed);
            let event = NewEvent::new("Worked", message.payload().clone());
            let key = message.key().unwrap_or("none").to_owned();
            inbox.append(&message, Append::new().events(key, Expected::Any, [event])).await?;
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(())
        }
    });
    for n in 0..210 {
        send(&bus, n, &format!("k{}", n % 7), &n.to_string()).await;
    }
    let many = NonZeroU32::new(1_000).unwrap();
    for polls in 0..200 {
        let builder = consumer(&log, &bus, &effect).concurrency(NonZeroUsize::new(polls % 4 + 1).unwrap());
        let (runner, _handle) = builder.max_attempts(many).build().unwrap();
        let mut run = Box::pin(runner.run());
        for _ in 0..polls % 31 {
            let _ = futures::poll!(&mut run);
            tokio::task::yield_now().await;
        }
    }
    let running = consumer(&log, &bus, &effect).max_attempts(many).start().unwrap();
    eventually(async || log.head().get() == 210).await;
    running.stop().await.unwrap();
    for key in 0..7 {
        let events = log.read_stream(&format!("k{key}").into(), crate::Version::EMPTY, 1_000).await.unwrap();
        let payloads: Vec<_> =
            events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect();
        let expected: Vec<_> = (0..210).filter(|n| n % 7 == key).map(|n| n.to_string()).collect();
        assert_eq!(payloads, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_comes_again_later_each_time_and_then_lies_among_the_dead() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60)).jitter(Jitter::None);
    let running =
        consumer(&store, &bus, &effects).max_attempts(NonZeroU32::new(4).unwrap()).backoff(backoff).start().unwrap();
    let timer = SharedTimer::default();
    let before = timer.now();
    send(&bus, 0, "k", "flaky").await;
    send(&bus, 1, "other", "fine").await;
    done(&running, 1).await;
    let status = until(&running, |status| status.dead == 1).await;
    assert_eq!(status.health, Health::Degraded);
    let took = timer.now() - before;
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(8), "1 s, 2 s and 4 s: {took:?}");
    assert_eq!(effects.calls(), 4 + 1);
    let letters = running.dead_letters().of_key("k", None, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].attempts, letters[0].error.as_str()), (1, 4, "flaky"));
    assert_eq!(letters[0].message.id.as_str(), "m0");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn poison_is_given_up_at_once_and_its_key_waits_behind_it_until_it_is_redriven_in_order() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).start().unwrap();
    for (n, (key, payload)) in
        [("k", "1"), ("k", "poison"), ("other", "1"), ("k", "2"), ("", "poison"), ("", "3"), ("other", "2")]
            .into_iter()
            .enumerate()
    {
        send(&bus, n, key, payload).await;
    }
    until(&running, |status| status.dead == 3).await;
    done(&running, 4).await;
    assert_eq!((effects.of_key("k"), effects.of_key("other")), (vec!["1".into()], vec!["1".into(), "2".into()]));
    assert_eq!(effects.of_key(""), ["3"], "what has no key holds up nobody");
    running.stop().await.unwrap();
    // The next consumer, in another process for all it knows, finds the key waiting.
    let running = consumer(&store, &bus, &effects).start().unwrap();
    send(&bus, 7, "k", "3").await;
    until(&running, |status| status.dead == 4).await;
    let dead = DeadLetters::new(store.clone(), "worker");
    assert_eq!(dead.counts().await.unwrap(), [("k".into(), 3), ("m4".into(), 1)].into());
    let again = running.redrive("k").await.unwrap_err();
    assert!(matches!(&again, DeadLetterError::FailedAgain { number: 1, handled: 0, .. }), "{again:?}");
    let letters = dead.of_key("k", None, 10).await.unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (letter.number, letter.attempts)).collect();
    assert_eq!(told, [(1, 2), (2, 0), (3, 0)]);
    effects.mended.store(true, Ordering::Relaxed);
    assert_eq!(running.redrive("k").await.unwrap(), 3);
    assert_eq!(effects.of_key("k"), ["1", "poison", "2", "3"]);
    assert_eq!(running.redrive("k").await.unwrap(), 0);
    let unkeyed = dead.of_key("m4", None, 1).await.unwrap().pop().unwrap();
    assert!(dead.discard(&unkeyed).await.unwrap());
    assert!(!dead.discard(&unkeyed).await.unwrap(), "once");
    running.recount().await;
    let status = until(&running, |status| status.dead == 0).await;
    assert_eq!(status.health, Health::Good);
    for space in ["dead/worker", "dead.ids/worker"] {
        assert_eq!(store.rows(space, None, 10).await.unwrap(), [], "{space}");
    }
    send(&bus, 8, "k", "4").await;
    eventually(async || effects.of_key("k").len() == 5).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_may_go_on_without_its_dead() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).after_death(AfterDeath::KeyGoesOn).start().unwrap();
    for (n, payload) in ["poison", "1", "panic", "2"].into_iter().enumerate() {
        send(&bus, n, "k", payload).await;
    }
    eventually(async || effects.of_key("k") == ["1", "2"]).await;
    until(&running, |status| status.dead == 2).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_down_opens_the_circuit_and_makes_no_message_a_dead_letter() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let breaker = CircuitBreaker::builder().name("db").consecutive_failures(3).open_for(Duration::from_secs(5));
    let running = consumer(&store, &bus, &effects).breaker(breaker.build().unwrap()).start().unwrap();
    effects.is_down.store(true, Ordering::Relaxed);
    for n in 0..100 {
        send(&bus, n, &format!("k{}", n % 10), &n.to_string()).await;
    }
    SharedTimer::default().sleep(Duration::from_secs(25)).await;
    assert!(effects.calls() < 40, "{} calls to a database that is down", effects.calls());
    assert!(matches!(running.status().health, Health::Paused { .. }), "{:?}", running.status());
    effects.is_down.store(false, Ordering::Relaxed);
    done(&running, 100).await;
    assert_eq!(running.status().dead, 0);
    for key in 0..10 {
        let expected: Vec<_> = (0..100).filter(|n| n % 10 == key).map(|n| n.to_string()).collect();
        assert_eq!(effects.of_key(&format!("k{key}")), expected);
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_policy_around_the_handler_refuses_waits_and_is_no_attempt() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    effects.refuses.store(true, Ordering::Relaxed);
    let running = consumer(&store, &bus, &effects).max_attempts(NonZeroU32::MIN).start().unwrap();
    send(&bus, 0, "k", "1").await;
    // Longer than the bus would leave it unsettled.
    SharedTimer::default().sleep(Duration::from_secs(30)).await;
    assert!(effects.calls() > 1);
    effects.refuses.store(false, Ordering::Relaxed);
    done(&running, 1).await;
    assert_eq!((running.status().dead, effects.of_key("k")), (0, vec!["1".into()]));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_longer_than_the_bus_waits_but_not_for_ever() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let calls = Arc::new(AtomicU32::new(0));
    let slow = {
        let calls = calls.clone();
        tower::service_fn(move |_: Message| {
            calls.fetch_add(1, Ordering::Relaxed);
            async {
                SharedTimer::default().sleep(Duration::from_secs(30)).await;
                Ok::<_, BoxError>(())
            }
        })
    };
    let running = consumer(&store, &bus, &slow).start().unwrap();
    send(&bus, 0, "k", "").await;
    done(&running, 1).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1, "it was extended, and not delivered to another");
    running.stop().await.unwrap();
    let effects = Effects::default();
    let builder = consumer(&store, &bus, &effects).within(Duration::from_secs(10));
    let running = builder.max_attempts(NonZeroU32::new(2).unwrap()).start().unwrap();
    send(&bus, 1, "k", "hang").await;
    until(&running, |status| status.dead == 1).await;
    let letter = running.dead_letters().of_key("k", None, 1).await.unwrap().pop().unwrap();
    assert_eq!((letter.attempts, letter.error.as_str()), (2, "no answer within 10s"));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_handler_takes_the_process_with_it_is_given_up_unhandled_in_the_end() {
    // Each consumer is dropped while it handles the message, as by a crash.
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let builder = || consumer(&store, &bus, &effects).max_attempts(NonZeroU32::new(3).unwrap());
    send(&bus, 0, "k", "hang").await;
    for _ in 0..3 {
        let (runner, _handle) = builder().build().unwrap();
        let before = effects.calls();
        let mut run = Box::pin(runner.run());
        while effects.calls() == before {
            assert!(futures::poll!(&mut run).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let running = builder().start().unwrap();
    until(&running, |status| status.dead == 1).await;
    assert_eq!(effects.calls(), 3);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_loses_no_dead_letter_and_makes_none_of_them_two() {
    // Every third append is refused, and every third one's answer is lost; every fifth read fails.
    let store = FaultyStore::new(MemoryStore::new())
        .on_append(|nth| match nth % 3 {
            0 => Some(Fault::Refused),
            1 => Some(Fault::AnswerLost),
            _ => None,
        })
        .on_read(|nth| (nth % 5 == 0).then_some(Fault::Refused));
    let (bus, effects) = (MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).start().unwrap();
    for n in 0..30 {
        send(&bus, n, &format!("k{}", n % 3), if n % 6 < 3 { "poison" } else { "fine" }).await;
    }
    let dead = DeadLetters::new(store.inner().clone(), "worker");
    eventually(async || dead.counts().await.unwrap().values().sum::<u64>() == 30).await;
    running.stop().await.unwrap();
    for key in 0..3 {
        let letters = dead.of_key(&format!("k{key}"), None, 100).await.unwrap();
        let ids: Vec<_> = letters.iter().map(|letter| letter.message.id.as_str().to_owned()).collect();
        let expected: Vec<_> = (0..30).filter(|n| n % 3 == key).map(|n| format!("m{n}")).collect();
        assert_eq!(ids, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_key_is_redriven_is_handled_after_it_and_none_is_left_behind() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).start().unwrap();
    send(&bus, 0, "k", "poison").await;
    for n in 1..50 {
        send(&bus, n, "k", &n.to_string()).await;
    }
    until(&running, |status| status.dead == 50).await;
    effects.mended.store(true, Ordering::Relaxed);
    let more = async {
        for n in 50..150 {
            send(&bus, n, "k", &n.to_string()).await;
            tokio::task::yield_now().await;
        }
    };
    let (redriven, ()) = futures::future::join(running.redrive("k"), more).await;
    assert!(redriven.unwrap() >= 50);
    eventually(async || effects.of_key("k").len() == 150).await;
    let expected: Vec<_> = std::iter::once("poison".to_owned()).chain((1..150).map(|n| n.to_string())).collect();
    assert_eq!(effects.of_key("k"), expected);
    assert_eq!(running.dead_letters().counts().await.unwrap().len(), 0);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_letter_of_a_key_does_not_take_with_it_what_came_behind_it_meanwhile() {
    let store = FaultyStore::new(MemoryStore::new());
    let (dead, there) = (DeadLetters::new(store.clone(), "worker"), DeadLetters::new(store.inner().clone(), "worker"));
    let put = async |id: &str| {
        let (last, message) = (there.last("k").await.unwrap(), Message::new(id, "work", "").with_key("k"));
        there.put("k", last, &message, (1, "poison", SharedTimer::default().wall())).await.unwrap();
    };
    put("m1").await;
    let letter = there.of_key("k", None, 1).await.unwrap().pop().unwrap();
    let held = store.hold_appends();
    let discards = tokio::spawn(async move { dead.discard(&letter).await });
    held.arrived(1).await; // it has looked, and found one letter
    put("m2").await;
    drop(held);
    assert!(discards.await.unwrap().unwrap());
    assert_eq!(there.counts().await.unwrap(), [("k".into(), 1)].into());
    assert!(there.last("k").await.unwrap().is_some(), "the key waits for the second one");
}

#[tokio::test(start_paused = true)]
async fn too_many_dead_letters_stop_the_consumer_until_there_are_fewer() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).concurrency(NonZeroUsize::MIN).max_dead(3).start().unwrap();
    for n in 0..3 {
        send(&bus, n, &format!("k{n}"), "poison").await;
    }
    send(&bus, 3, "fine", "1").await;
    let status = until(&running, |status| status.health == Health::Blocked).await;
    assert_eq!(status.dead, 3);
    SharedTimer::default().sleep(Duration::from_secs(60)).await;
    assert_eq!(effects.of_key("fine"), [""; 0]);
    effects.mended.store(true, Ordering::Relaxed);
    running.redrive("k0").await.unwrap();
    eventually(async || effects.of_key("fine") == ["1"]).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_more_than_may_be_are_in_hand_and_a_stop_waits_for_them() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let effects = Effects::default();
    let slow = {
        let effects = effects.clone();
        tower::service_fn(move |message: Message| {
            let effects = effects.clone();
            async move {
                let at_once = effects.at_once.fetch_add(1, Ordering::Relaxed) + 1;
                effects.most_at_once.fetch_max(at_once, Ordering::Relaxed);
                SharedTimer::default().sleep(Duration::from_secs(1)).await;
                effects.at_once.fetch_sub(1, Ordering::Relaxed);
                effects.try_effect(message).await
            }
        })
    };
    let running = consumer(&store, &bus, &slow).concurrency(NonZeroUsize::new(4).unwrap()).start().unwrap();
    for n in 0..10 {
        send(&bus, n, "", &n.to_string()).await;
    }
    until(&running, |status| status.in_hand == 4).await;
    running.stop().await.unwrap();
    assert_eq!(effects.done.lock().unwrap().len(), 4, "what was in hand was done");
    let running = consumer(&store, &bus, &slow).concurrency(NonZeroUsize::new(4).unwrap()).start().unwrap();
    done(&running, 6).await;
    assert_eq!((effects.most_at_once.load(Ordering::Relaxed), effects.done.lock().unwrap().len()), (4, 10));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_breaker_or_a_store_that_is_down() {
    let (bus, effects) = (MemoryBus::new(), Effects::default());
    let breaker = CircuitBreaker::builder().build().unwrap();
    breaker.isolate();
    let store = MemoryStore::new();
    let running = consumer(&store, &bus, &effects).breaker(breaker).start().unwrap();
    send(&bus, 0, "k", "1").await;
    until(&running, |status| matches!(status.health, Health::Paused { .. })).await;
    running.stop().await.unwrap();
    // Given back at once, and counted; it is not lost.
    let running = consumer(&store, &bus, &effects).start().unwrap();
    done(&running, 1).await;
    running.stop().await.unwrap();
    let down = FaultyStore::new(store).on_append(|_| Some(Fault::Refused));
    let running = consumer(&down, &bus, &effects).start().unwrap();
    send(&bus, 1, "k", "poison").await;
    until(&running, |status| matches!(status.health, Health::Retrying { .. })).await;
    running.stop().await.unwrap();
    let closed = FaultyStore::new(down.inner().clone()).on_append(|_| Some(Fault::Closed));
    let mut running = consumer(&closed, &bus, &effects).start().unwrap();
    assert!(matches!(running.ended().await, Err(ConsumerError::DeadLetters(_))), "it cannot keep what it must keep");
}

#[test]
fn a_consumer_is_refused_what_cannot_work() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let named = |name: &str, to: Subscribe| {
        let builder = Consumer::builder(store.clone(), bus.clone(), name, to, effects.clone());
        builder.build().map(drop).map_err(|error| error.field())
    };
    let queue = || Subscribe::queue("q");
    assert_eq!(named("", queue()), Err("name"));
    assert_eq!(named(&"n".repeat(101), queue()), Err("name"));
    assert_eq!(named("n", Subscribe::queue("a.*")), Err("subscription"));
    assert_eq!(named("n", queue().ack_wait(Duration::ZERO)), Err("subscription"));
    let never = consumer(&store, &bus, &effects).within(Duration::ZERO).build().map(drop);
    assert!(never.is_err());
}

/// ES45: what an [`Inbox`] says is understood by the consumer around it. A message whose worker was killed in the middle is
/// claimed for a minute; that somebody has it is no failure of the message, or it is among the dead letters before the
/// claim is over, though nobody has found anything wrong with it.
#[tokio::test(start_paused = true)]
async fn a_message_that_somebody_else_works_on_is_not_given_up() {
    let (store, bus, clock) = (MemoryStore::new(), MemoryBus::new(), ManualTimer::new());
    let (inbox, effects) = (Inbox::new(store.clone(), "mailer").timer(clock.clone()), Effects::default());
    send(&bus, 1, "ann", "hello").await;
    let message = Message::new("m1", "work", "hello").with_key("ann");
    {
        let mut killed = pin!(inbox.run(&message, std::future::pending::<Result<(), BoxError>>));
        assert!(futures::poll!(&mut killed).is_pending());
    }
    let handler = tower::service_fn({
        let effects = effects.clone();
        move |message: Message| {
            let (inbox, effects) = (inbox.clone(), effects.clone());
            async move { inbox.run(&message, || effects.effect(message.clone())).await.map(drop) }
        }
    });
    let running = consumer(&store, &bus, &handler).max_attempts(NonZeroU32::new(2).unwrap()).start().unwrap();
    SharedTimer::default().sleep(Duration::from_secs(600)).await;
    assert_eq!((running.status().in_hand, running.status().dead), (1, 0), "it waits for the claim to be over");
    clock.advance(Duration::from_secs(60));
    until(&running, |status| status.handled == 1).await;
    assert_eq!(effects.of_key("ann"), ["hello"]);
    // What the effect itself says is seen through the inbox, too: poison is given up at the first attempt, and what was
    // refused is not counted.
    effects.refuses.store(true, Ordering::Relaxed);
    send(&bus, 2, "bob", "poison").await;
    let calls = effects.calls();
    eventually(async || effects.calls() > calls + 5).await;
    assert_eq!(running.status().dead, 0);
    effects.refuses.store(false, Ordering::Relaxed);
    until(&running, |status| status.dead == 1).await;
    assert_eq!(running.dead_letters().of_key("bob", None, 9).await.unwrap()[0].attempts, 1);
    running.stop().await.unwrap();
}

/// Little traffic, and a database that is down for some minutes: one message alone never opens the breaker, and is not to be
/// given up before anybody could have looked.
#[tokio::test(start_paused = true)]
async fn a_single_message_outlives_an_outage_of_some_minutes_with_the_defaults() {
    for seed in 0..20 {
        let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
        effects.is_down.store(true, Ordering::Relaxed);
        let running = consumer(&store, &bus, &effects).seed(seed).start().unwrap();
        send(&bus, 1, "ann", "hello").await;
        SharedTimer::default().sleep(Duration::from_secs(180)).await;
        assert_eq!(running.status().dead, 0, "with seed {seed}");
        effects.is_down.store(false, Ordering::Relaxed);
        until(&running, |status| status.handled == 1).await;
        running.stop().await.unwrap();
    }
}
