//! Several programs, and servers that are not as they should be.

use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use futures::future::{join, select};
use resilience_core::time::SharedTimer;
use resilience_core::{AsRejected as _, Reason};
use resilience_cqrs::messaging::{AnyBus, Bus, BusError, Message, Subscribe, Subscription};

use super::carrier::{SOON, builder, opened, patient, run, subscribed, within};

async fn nothing(subscription: &mut impl Subscription) {
    if let Some(delivery) = within(Duration::from_millis(300), subscription.next()).await {
        panic!("{delivery:?} should not have come");
    }
}

#[test]
fn a_key_has_one_message_under_way_in_all_programs_together() {
    run(async |server| {
        let (one, two) = (patient(&server).open().await.unwrap(), patient(&server).open().await.unwrap());
        let to = Subscribe::group("g", "a");
        let (mut here, mut there) = (one.subscribe(to.clone()).await.unwrap(), two.subscribe(to).await.unwrap());
        for n in 0..3 {
            one.publish(Message::new(format!("m{n}"), "a", "").with_key("k")).await.unwrap();
        }
        let first = here.next().await.unwrap();
        nothing(&mut there).await;
        nothing(&mut here).await;
        // Held back, it still holds up the others: the first to come is it again, and not before its time.
        let (timer, held) = (SharedTimer::default(), Duration::from_millis(500));
        let since = timer.now();
        first.retry_in(held).await.unwrap();
        for n in 0..3 {
            let next = select(pin!(here.next()), pin!(there.next())).await.factor_first().0.unwrap();
            assert_eq!(next.message.id.as_str(), format!("m{n}"));
            assert!(timer.now() - since >= held.mul_f64(0.95), "m{n} came too soon");
            assert_eq!(next.attempt, if n == 0 { 2 } else { 1 });
            nothing(&mut there).await;
            nothing(&mut here).await;
            next.ack().await.unwrap();
        }
    });
}

#[test]
fn a_message_published_twice_is_delivered_once_within_the_window_by_any_program() {
    run(async |mut server| {
        let (timer, window) = (SharedTimer::default(), Duration::from_secs(2));
        let open = || patient(&server).duplicate_window(window).open();
        let (one, two) = (open().await.unwrap(), open().await.unwrap());
        let mut group = one.subscribe(Subscribe::group("g", "a")).await.unwrap();
        // Once more if this program was held up for longer than the window, which then says nothing.
        let mut tries = 0..;
        let message = loop {
            let message = Message::new(format!("twice-{}", tries.next().unwrap()), "a", "");
            let before = timer.now();
            assert!(!one.publish(message.clone()).await.unwrap().duplicate);
            let duplicate = two.publish(message.clone()).await.unwrap().duplicate;
            let in_time = timer.now() - before < window;
            assert!(duplicate || !in_time);
            for _ in 0..if duplicate { 1 } else { 2 } {
                group.next().await.unwrap().ack().await.unwrap();
            }
            if in_time {
                break message;
            }
        };
        nothing(&mut group).await;
        // After the window only an inbox knows it.
        while two.publish(message.clone()).await.unwrap().duplicate {
            timer.sleep(Duration::from_millis(100)).await;
        }
        group.next().await.unwrap().ack().await.unwrap();
        server.kill().unwrap();
    });
}

#[test]
fn a_delivery_whose_time_is_over_has_no_say_in_the_one_that_follows() {
    run(async |server| {
        let bus = patient(&server).open().await.unwrap();
        let to = Subscribe::queue("q").ack_wait(Duration::from_millis(500)).in_flight(NonZeroU32::MIN);
        let mut queue = bus.subscribe(to).await.unwrap();
        for n in 1..=2 {
            bus.send(Message::new(format!("m{n}"), "q", "").with_key("k")).await.unwrap();
        }
        let hung = queue.next().await.unwrap();
        let again = queue.next().await.unwrap();
        // Or a later one, if this program was held up.
        assert!(again.message.id.as_str() == "m1" && again.attempt >= 2, "{again:?}");
        // Taken for an ack, it would let the second one go while the first one is in somebody's hands.
        assert!(matches!(hung.ack().await, Err(BusError::Late)));
        if let Some(next) = within(Duration::from_millis(300), queue.next()).await {
            assert_eq!(next.unwrap().message.id.as_str(), "m1", "whose time is over again");
        }
    });
}

#[test]
fn what_is_not_as_asked_is_named() {
    run(async |server| {
        let bus = patient(&server).open().await.unwrap();
        let other = patient(&server).duplicate_window(Duration::from_secs(30)).open().await.unwrap_err();
        let text = other.to_string();
        assert!(matches!(other, BusError::Mismatch { field: "duplicate_window", .. }), "{text}");
        assert!(text.contains("30s") && text.contains("120s") && text.contains("test_2ebus-topics"), "{text}");
        // Programs that spread keys otherwise would each hear half of them twice.
        let _group = bus.subscribe(Subscribe::group("g", "a")).await.unwrap();
        let other = patient(&server).key_lanes(8).open().await.unwrap();
        let refused = other.subscribe(Subscribe::group("g", "a")).await;
        assert!(matches!(refused, Err(BusError::Refused { .. })), "{refused:?}");
        for lanes in [0, 3, 128] {
            assert!(matches!(patient(&server).key_lanes(lanes).open().await, Err(BusError::Invalid(_))));
        }
    });
}

#[test]
fn what_has_no_room_is_refused_and_nothing_is_dropped_for_it() {
    run(async |server| {
        let bus = patient(&server).max_messages(2).open().await.unwrap();
        for n in 1..=2 {
            bus.send(Message::new(format!("m{n}"), "q", "").with_key("k")).await.unwrap();
        }
        let refused = bus.send(Message::new("m3", "q", "").with_key("k")).await.unwrap_err();
        assert!(
            matches!(refused.as_rejected().map(|rejected| rejected.reason()), Some(Reason::Full { .. })),
            "{refused}"
        );
        let mut queue = bus.subscribe(Subscribe::queue("q")).await.unwrap();
        queue.next().await.unwrap().ack().await.unwrap();
        bus.send(Message::new("m3", "q", "").with_key("k")).await.unwrap();
        for n in 2..=3 {
            let delivery = queue.next().await.unwrap();
            assert_eq!(delivery.message.id.as_str(), format!("m{n}"));
            delivery.ack().await.unwrap();
        }
    });
}

#[test]
fn a_bus_is_a_setting() {
    run(async |server| {
        for address in ["memory:".to_owned(), format!("{}?prefix=shop", server.url())] {
            let bus = AnyBus::open(&address).await.unwrap();
            let mut queue = bus.subscribe(Subscribe::queue("q")).await.unwrap();
            bus.send(Message::new("m1", "q", "")).await.unwrap();
            queue.next().await.unwrap().ack().await.unwrap();
        }
    });
}

#[test]
fn a_bus_that_is_closed_gives_back_what_it_has_at_once() {
    run(async |server| {
        let (one, two) = (patient(&server).open().await.unwrap(), patient(&server).open().await.unwrap());
        let to = Subscribe::queue("q").ack_wait(SOON * 10);
        let mut here = one.subscribe(to.clone()).await.unwrap();
        for n in 0..4 {
            two.send(Message::new(format!("m{n}"), "q", "").with_key(format!("k{n}"))).await.unwrap();
        }
        // One in hand; others were fetched ahead, or are still on their way.
        let in_hand = here.next().await.unwrap();
        let under_way = one.send(Message::new("last", "q", ""));
        let (sent, closed) = join(under_way, one.close()).await;
        closed.unwrap();
        assert!(matches!(in_hand.ack().await, Err(BusError::Late)));
        assert!(matches!(here.next().await, Err(BusError::Closed)));
        assert!(matches!(one.send(Message::new("m9", "q", "")).await, Err(BusError::Closed)));
        assert!(matches!(one.subscribe(to.clone()).await, Err(BusError::Closed)));
        assert!(matches!(one.close().await, Err(BusError::Closed)) && !one.is_connected());
        let mut there = two.subscribe(to).await.unwrap();
        let wanted = 4 + usize::from(sent.is_ok());
        for heard in 0..wanted {
            let next = within(SOON, there.next()).await;
            next.unwrap_or_else(|| panic!("{heard} of {wanted} have come")).unwrap().ack().await.unwrap();
        }
    });
}

#[test]
fn a_bus_without_its_server_is_closed_in_time() {
    run(async |mut server| {
        let bus = opened(|| builder(&server).answer_within(Duration::from_millis(300))).await;
        let mut group = subscribed(&bus, Subscribe::group("g", "a")).await;
        server.kill().unwrap();
        let closed = within(SOON, bus.close()).await.expect("in time");
        assert!(matches!(closed, Ok(()) | Err(BusError::Elapsed(_))), "{closed:?}");
        assert!(matches!(bus.publish(Message::new("m", "a", "")).await, Err(BusError::Closed)));
        assert!(matches!(group.next().await, Err(BusError::Closed)));
    });
}

#[test]
fn what_was_fetched_ahead_is_given_back_when_nobody_here_wants_it() {
    run(async |server| {
        let (one, two) = (patient(&server).open().await.unwrap(), patient(&server).open().await.unwrap());
        let to = Subscribe::group("g", "a").ack_wait(Duration::from_secs(2));
        let mut here = one.subscribe(to.clone()).await.unwrap();
        // It has asked for messages, and then has other things to do.
        nothing(&mut here).await;
        one.publish(Message::new("m", "a", "").with_key("k")).await.unwrap();
        let mut there = two.subscribe(to).await.unwrap();
        let mut next =
            async || within(SOON, there.next()).await.expect("it does not stay where nobody takes it").unwrap();
        // Once more if this program was held up for longer than it may have it.
        while next().await.ack().await.is_err() {}
        drop(here);
    });
}
