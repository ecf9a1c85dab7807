use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use proptest::prelude::*;
use resilience_core::context::Context;
use resilience_core::time::{SharedTimer, Timestamp};
use resilience_core::{AsRejected as _, Reason};

use super::machine::{Machine, Ticket};
use super::*;

fn message(id: usize, key: Option<&str>) -> Message {
    let message = Message::new(format!("m{id}"), "q", "");
    match key {
        Some(key) => message.with_key(key),
        None => message,
    }
}

const WAIT: u64 = 10;

#[derive(Clone, Debug)]
enum Step {
    Push(Option<u8>),
    Take,
    Settle(usize),
    HoldBack(usize, u64),
    Extend(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => proptest::option::of(0..3_u8).prop_map(Step::Push),
        4 => Just(Step::Take),
        2 => any::<usize>().prop_map(Step::Settle),
        1 => (any::<usize>(), 0..15_u64).prop_map(|(which, delay)| Step::HoldBack(which, delay)),
        1 => any::<usize>().prop_map(Step::Extend),
        2 => (0..8_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens in whatever order: of a key one message at a time and the oldest that is left; no more in flight than
    /// may be; nothing lost; a ticket is void once its time is over.
    #[test]
    fn a_queue_keeps_its_promises(steps in proptest::collection::vec(step(), 1..120), limit in 1..5_usize) {
        let mut machine = Machine::new(Duration::from_nanos(WAIT), limit);
        let mut now = Timestamp::ORIGIN;
        let (mut pushed, mut left) = (0, std::collections::BTreeMap::<usize, Option<String>>::new());
        let mut held: Vec<(Ticket, usize, u64)> = Vec::new();
        let number = |message: &Message| message.id.as_str()[1..].parse::<usize>().unwrap();
        for step in steps {
            held.retain(|(_, _, until)| *until > now.as_nanos());
            match step {
                Step::Push(key) => {
                    let key = key.map(|key| key.to_string());
                    machine.push(Arc::new(message(pushed, key.as_deref())), key.as_deref());
                    left.insert(pushed, key);
                    pushed += 1;
                }
                Step::Take => if let Some(taken) = machine.take(now) {
                    let this = number(&taken.message);
                    let key = taken.message.key();
                    if key.is_some() {
                        prop_assert!(held.iter().all(|(_, other, _)| left[other].as_deref() != key), "one at a time");
                        let oldest = left.iter().find(|(_, of)| of.as_deref() == key).unwrap().0;
                        prop_assert_eq!(this, *oldest);
                    }
                    prop_assert!(held.iter().all(|(_, other, _)| *other != this));
                    held.push((taken.ticket, this, now.as_nanos() + WAIT));
                    prop_assert!(held.len() <= limit);
                },
                Step::Settle(which) if !held.is_empty() => {
                    let (ticket, this, _) = held.swap_remove(which % held.len());
                    prop_assert!(machine.settle(ticket).is_ok());
                    prop_assert!(machine.settle(ticket).is_err(), "once");
                    left.remove(&this);
                }
                Step::HoldBack(which, delay) if !held.is_empty() => {
                    let (ticket, ..) = held.swap_remove(which % held.len());
                    let until = now + Duration::from_nanos(delay);
                    prop_assert!(machine.hold_back(ticket, until, now).is_ok());
                    prop_assert!(machine.settle(ticket).is_err(), "no longer its own");
                }
                Step::Extend(which) if !held.is_empty() => {
                    let which = which % held.len();
                    prop_assert!(machine.extend(held[which].0, now).is_ok());
                    held[which].2 = now.as_nanos() + WAIT;
                }
                Step::Pass(time) => now = now + Duration::from_nanos(time),
                Step::Settle(_) | Step::HoldBack(..) | Step::Extend(_) => {}
            }
            prop_assert_eq!(machine.len(), left.len());
        }
        // Everything that is left comes out in the end.
        for _ in 0..left.len() {
            now = now + Duration::from_nanos(2 * WAIT);
            let taken = machine.take(now).expect("what is left comes");
            left.remove(&number(&taken.message));
            machine.settle(taken.ticket).expect("it is ours");
        }
        prop_assert!(left.is_empty() && machine.len() == 0 && machine.next_timer().is_none());
    }
}

fn small(when_full: WhenFull) -> MemoryBus {
    MemoryBus::builder().name("small").capacity(NonZeroUsize::new(2).unwrap()).when_full(when_full).build()
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_waits_for_it_or_for_the_callers_deadline() {
    let bus = small(WhenFull::Wait);
    let mut consumer = bus.subscribe(Subscribe::queue("q")).await.unwrap();
    for n in 0..2 {
        bus.send(message(n, None)).await.unwrap();
    }
    let timer = SharedTimer::default();
    let deadline = timer.now() + Duration::from_secs(5);
    let late = Context::new().with_deadline(deadline).scope(bus.send(message(2, None))).await.unwrap_err();
    assert_eq!(late.as_rejected().map(|rejected| rejected.reason()), Some(Reason::Full { limit: 2, queued: 0 }));
    assert_eq!(timer.now(), deadline);
    let mut waits = Box::pin(bus.send(message(3, None)));
    assert!(futures::poll!(&mut waits).is_pending());
    // Another queue has room, and a place made here wakes the one who waits for it.
    bus.send(Message::new("other", "q2", "")).await.unwrap();
    consumer.next().await.unwrap().ack().await.unwrap();
    assert_eq!(waits.await.unwrap(), Sent { duplicate: false });
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_refused_if_that_is_the_policy_and_no_group_has_it() {
    let bus = small(WhenFull::Refuse);
    let mut full = bus.subscribe(Subscribe::group("full", "q")).await.unwrap();
    for n in 0..2 {
        bus.publish(message(n, None)).await.unwrap();
    }
    let mut free = bus.subscribe(Subscribe::group("free", "q")).await.unwrap();
    let refused = bus.publish(message(2, None)).await.unwrap_err();
    assert_eq!(refused.as_rejected().map(|rejected| rejected.policy().as_str()), Some("small"));
    assert!(free.next().now_or_never().is_none(), "all groups or none");
    full.next().await.unwrap().ack().await.unwrap();
    // Refused, it was not taken, so its id is free.
    assert!(!bus.publish(message(2, None)).await.unwrap().duplicate);
    assert_eq!(free.next().await.unwrap().message.id.as_str(), "m2");
}

#[tokio::test(start_paused = true)]
async fn an_id_is_remembered_for_the_window_and_no_longer() {
    let bus = MemoryBus::builder().duplicate_window(Duration::from_secs(10)).build();
    bus.send(message(1, None)).await.unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(bus.send(message(1, None)).await.unwrap().duplicate);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!bus.send(message(1, None)).await.unwrap().duplicate);
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_comes_too_late_says_so_and_settles_nothing() {
    let bus = MemoryBus::new();
    let mut consumer = bus.subscribe(Subscribe::queue("q").ack_wait(Duration::from_secs(1))).await.unwrap();
    bus.send(message(1, Some("k"))).await.unwrap();
    let slow = consumer.next().await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let again = consumer.next().await.unwrap();
    assert!(matches!(slow.ack().await, Err(BusError::Late)));
    assert_eq!(again.attempt, 2);
    again.ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_is_woken_whichever_other_one_gives_something_back() {
    let bus = MemoryBus::new();
    let to = Subscribe::queue("q").in_flight(std::num::NonZeroU32::MIN);
    let (mut one, mut two) = (bus.subscribe(to.clone()).await.unwrap(), bus.subscribe(to).await.unwrap());
    bus.send(message(1, None)).await.unwrap();
    bus.send(message(2, None)).await.unwrap();
    let held = one.next().await.unwrap();
    let waits = tokio::spawn(async move { two.next().await.unwrap().message.id.as_str().to_owned() });
    tokio::task::yield_now().await;
    held.ack().await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(waits.now_or_never().expect("it was woken").unwrap(), "m2");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_removed_ends_its_subscriptions_and_keeps_no_sender_waiting() {
    let bus = small(WhenFull::Wait);
    let abandoned = Subscribe::group("abandoned", "q");
    let mut group = bus.subscribe(abandoned.clone()).await.unwrap();
    for n in 0..2 {
        bus.publish(message(n, None)).await.unwrap();
    }
    let _held = group.next().await.unwrap();
    let load = bus.snapshot().groups[&Name::from_static("abandoned")];
    assert_eq!(load, Load { messages: 2, in_flight: 1 });
    let mut waits = Box::pin(bus.publish(message(2, None)));
    assert!(futures::poll!(&mut waits).is_pending());
    assert!(bus.remove(&abandoned) && !bus.remove(&abandoned));
    assert_eq!(waits.await.unwrap(), Sent { duplicate: false });
    assert!(matches!(group.next().await, Err(BusError::Closed)));
}

/// A consumer waits because as many are in hand as may be. Another subscribes with a greater number, and never asks for
/// one: the first is not to wait for something else to happen.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_is_heard_of_by_who_waits() {
    let bus = MemoryBus::new();
    let one = |limit: u32| Subscribe::queue("q").in_flight(std::num::NonZeroU32::new(limit).unwrap());
    let mut consumer = bus.subscribe(one(1)).await.unwrap();
    bus.send(message(1, None)).await.unwrap();
    bus.send(message(2, None)).await.unwrap();
    let first = consumer.next().await.unwrap();
    let mut second = Box::pin(consumer.next());
    assert!(futures::poll!(&mut second).is_pending());
    let _idle = bus.subscribe(one(2)).await.unwrap();
    assert!(futures::poll!(&mut second).is_ready());
    first.ack().await.unwrap();
}

/// A request waited for somebody who was busy. Whoever asked has given up, so it is not answered; and one that is has
/// only the time that is left.
#[tokio::test(start_paused = true)]
async fn a_request_nobody_waits_for_is_not_handed_out_and_the_others_say_what_time_is_left() {
    let (bus, timer) = (MemoryBus::new(), SharedTimer::default());
    let mut answers = bus.answer("stock", "stock.left").await.unwrap();
    let ask = |id: usize, seconds| {
        let bus = bus.clone();
        let question = Message::new(format!("m{id}"), "stock.left", "");
        tokio::spawn(async move { bus.request(question, Duration::from_secs(seconds)).await })
    };
    let short = ask(1, 5);
    let given_up = ask(2, 60);
    let long = ask(3, 60);
    timer.sleep(Duration::from_secs(20)).await;
    assert!(matches!(short.await.unwrap(), Err(BusError::Elapsed(_))));
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    let request = answers.next().await.unwrap();
    assert_eq!((request.message.id.as_str(), request.within), ("m3", Duration::from_secs(40)));
    request.reply("3").await.unwrap();
    assert_eq!(&long.await.unwrap().unwrap()[..], b"3");
}
