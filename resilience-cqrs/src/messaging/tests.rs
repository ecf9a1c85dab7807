use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use resilience_core::context::Context;
use resilience_core::time::{ManualTimer, SharedTimer};

use super::*;
use crate::log::{Append, AppendError, BoxError, Expected, Metadata, NewEvent, Position, Query};
use crate::store::EventStore;
use crate::testing::{Fault, FaultyStore};
use crate::{MemoryStore, Recorded};

fn billed() -> Append {
    Append::new().events("bill", Expected::Any, [NewEvent::new("Billed", "")])
}

async fn everything<S: EventStore>(store: &S) -> Vec<Recorded> {
    store.read(Position::ORIGIN, &Query::all(), 1_000).await.unwrap().events
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_delivered_five_times_takes_effect_once() {
    // ES45: five deliveries, two of them at the same time; and the answer to the first append is lost.
    let store = FaultyStore::new(MemoryStore::new()).on_append(|nth| (nth == 1).then_some(Fault::AnswerLost));
    let inbox = Inbox::new(store.clone(), "billing");
    let message = Message::new("order-17", "orders.placed", "");
    assert!(!inbox.has_appended(&message.id).await.unwrap());
    assert!(inbox.append(&message, billed()).await.unwrap_err().may_have_committed());
    let at_once = join_all((0..2).map(|_| inbox.append(&message, billed()))).await;
    assert!(at_once.into_iter().all(|done| done.unwrap().already_committed));
    for delivery in 0..2 {
        // Decided on anew, with another outcome: the first one counts.
        let other = NewEvent::new("Billed", format!("of delivery {delivery}"));
        let other = Append::new().events("bill", Expected::Any, [other]);
        assert!(inbox.append(&message, other).await.unwrap().already_committed);
    }
    assert_eq!(everything(&store).await.len(), 1);
    assert!(inbox.has_appended(&message.id).await.unwrap());
    // Another consumer, and another message, with names that would be the same if they were only put together.
    assert!(!Inbox::new(store.clone(), "billing/order").has_appended(&"17".into()).await.unwrap());
    let slashed = Message::new("order/17", "orders.placed", "");
    assert!(!inbox.append(&slashed, billed()).await.unwrap().already_committed);
    let other = Message::new("17", "orders.placed", "");
    assert!(!Inbox::new(store.clone(), "billing/order").append(&other, billed()).await.unwrap().already_committed);
    let long = Message::new("m".repeat(limits::NAME_BYTES), "orders.placed", "");
    assert!(!inbox.append(&long, billed()).await.unwrap().already_committed);
    assert!(inbox.append(&long, billed()).await.unwrap().already_committed);
}

#[tokio::test(start_paused = true)]
async fn an_effect_elsewhere_is_run_by_one_at_a_time_and_to_its_end_once() {
    // ES45 for an effect that is no append.
    let (inbox, effects) = (Inbox::new(MemoryStore::new(), "mailer"), AtomicU32::new(0));
    let message = Message::new("m", "orders.placed", "");
    let mail = async || {
        SharedTimer::default().sleep(Duration::from_secs(1)).await;
        Ok::<_, BoxError>(effects.fetch_add(1, Ordering::Relaxed))
    };
    // It fails first, and is free at once.
    let failed = inbox.run(&message, async || Err::<(), BoxError>("smtp".into())).await;
    assert!(matches!(failed, Err(RunError::Effect(_))));
    let at_once = join_all((0..2).map(|_| inbox.run(&message, mail))).await;
    assert!(matches!(at_once[0], Ok(Ran::Now(0))), "{at_once:?}");
    assert!(matches!(at_once[1], Err(RunError::Busy { .. })), "{at_once:?}");
    for _ in 0..3 {
        assert!(matches!(inbox.run(&message, mail).await, Ok(Ran::Before)));
    }
    assert_eq!(effects.load(Ordering::Relaxed), 1);
}

#[test]
fn a_claim_of_one_who_is_gone_ends_and_what_is_old_is_forgotten() {
    let timer = ManualTimer::new();
    let store = MemoryStore::new();
    let inbox = Inbox::new(store.clone(), "mailer").timer(timer.clone()).claim(Duration::from_secs(10));
    let message = |n: usize| Message::new(format!("m{n}"), "orders.placed", "");
    let done = async || Ok::<_, BoxError>(());
    futures::executor::block_on(async {
        // Dropped in the middle, as by a crash.
        let first = message(0);
        let mut crashed = Box::pin(inbox.run(&first, std::future::pending::<Result<(), BoxError>>));
        assert!(futures::poll!(&mut crashed).is_pending());
        drop(crashed);
        timer.advance(Duration::from_secs(9));
        assert!(matches!(inbox.run(&message(0), done).await, Err(RunError::Busy { left }) if left.as_secs() == 1));
        timer.advance(Duration::from_secs(1));
        assert!(matches!(inbox.run(&message(0), done).await, Ok(Ran::Now(()))));
        timer.advance(Duration::from_secs(3_600));
        for n in 1..5 {
            assert!(matches!(inbox.run(&message(n), done).await, Ok(Ran::Now(()))));
        }
        // In steps of three rows: only the old one goes.
        let age = Duration::from_secs(60);
        let next = inbox.prune(age, None, 3).await.unwrap();
        assert_eq!(next.as_ref().map(MessageId::as_str), Some("m2"));
        assert_eq!(inbox.prune(age, next.as_ref(), 3).await.unwrap(), None);
        assert_eq!(store.rows("inbox/mailer", None, 10).await.unwrap().len(), 4);
        assert!(matches!(inbox.run(&message(0), done).await, Ok(Ran::Now(()))));
        assert!(matches!(inbox.run(&message(1), done).await, Ok(Ran::Before)));
    });
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_held_against_one_who_was_too_slow() {
    let timer = ManualTimer::new();
    let inbox = Inbox::new(MemoryStore::new(), "mailer").timer(timer.clone()).claim(Duration::from_secs(10));
    let message = Message::new("m", "s", "");
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let mut slow = Box::pin(inbox.run(&message, async || wait.await));
    assert!(futures::poll!(&mut slow).is_pending());
    timer.advance(Duration::from_secs(11));
    // Another one takes over, and fails; what the slow one says of the row then counts no more, and both tell the truth.
    let failed = inbox.run(&message, async || Err::<(), BoxError>("no".into())).await;
    assert!(matches!(failed, Err(RunError::Effect(_))));
    go.send(()).unwrap();
    assert!(matches!(slow.await, Ok(Ran::Now(()))), "it has happened");
}

/// Two programs are given one message at once, and both find that nobody works on it before either has said that it does.
#[tokio::test(start_paused = true)]
async fn of_two_who_find_a_message_free_at_once_one_works_on_it() {
    let (store, effects) = (FaultyStore::new(MemoryStore::new()), AtomicU32::new(0));
    let message = Message::new("m", "s", "");
    let mail = async || Ok::<_, BoxError>(effects.fetch_add(1, Ordering::Relaxed));
    let held = store.hold_appends();
    let inboxes = [Inbox::new(store.clone(), "mailer"), Inbox::new(store.clone(), "mailer")];
    let both = join_all(inboxes.iter().map(|inbox| inbox.run(&message, mail)));
    let let_go = async {
        held.arrived(2).await; // both have looked
        drop(held);
    };
    let (ran, ()) = futures::future::join(both, let_go).await;
    assert_eq!(ran.iter().filter(|ran| matches!(ran, Ok(Ran::Now(0)))).count(), 1, "{ran:?}");
    assert_eq!(ran.iter().filter(|ran| matches!(ran, Err(RunError::Busy { .. }))).count(), 1, "{ran:?}");
    assert_eq!(effects.into_inner(), 1);
}

/// Whoever took over works on it. What the slow one gives back when it fails is not its own any more, and a third one would
/// work on it at the same time.
#[tokio::test(start_paused = true)]
async fn one_who_was_too_slow_and_fails_does_not_free_what_another_works_on() {
    let timer = ManualTimer::new();
    let inbox = Inbox::new(MemoryStore::new(), "mailer").timer(timer.clone()).claim(Duration::from_secs(10));
    let message = Message::new("m", "s", "");
    let (fail, wait) = tokio::sync::oneshot::channel::<()>();
    let mut slow = Box::pin(inbox.run(&message, async || wait.await));
    assert!(futures::poll!(&mut slow).is_pending());
    timer.advance(Duration::from_secs(11));
    let mut other = Box::pin(inbox.run(&message, std::future::pending::<Result<(), BoxError>>));
    assert!(futures::poll!(&mut other).is_pending());
    drop(fail);
    assert!(matches!(slow.await, Err(RunError::Effect(_))));
    let third = inbox.run(&message, async || Ok::<_, BoxError>(())).await;
    assert!(matches!(third, Err(RunError::Busy { .. })), "{third:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_leaves_no_effect_unremembered_without_an_error() {
    let store = FaultyStore::new(MemoryStore::new()).on_append(|nth| (nth == 2).then_some(Fault::Refused));
    let inbox = Inbox::new(store, "mailer");
    let message = Message::new("m", "s", "");
    let noted = inbox.run(&message, async || Ok::<_, BoxError>(())).await;
    assert!(
        matches!(noted, Err(RunError::Append(AppendError::Unavailable(_)))),
        "the caller must not take it for done"
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_a_message_is_caused_by_it_and_belongs_to_the_same() {
    // ES47, the part of messages: command c1, event e1, message, command, event e2.
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let metadata = Metadata::new().with_correlation("checkout-9").with_causation("c1").with_trace(trace);
    let placed = NewEvent::new("Placed", "").metadata(metadata);
    store.append(Append::new().events("order-17", Expected::Any, [placed])).await.unwrap();
    let mut billing = bus.subscribe(Subscribe::group("billing", "orders.>")).await.unwrap();
    let relay = Relay::builder(store.clone(), bus.clone(), "shop")
        .events(Query::types(["Placed"]), |_| Ok(Some(Outgoing::new("orders.placed", ""))))
        .start()
        .unwrap();
    let delivery = billing.next().await.unwrap();
    let effect = async {
        let context = Context::capture(&SharedTimer::default());
        assert_eq!(context.trace_parent().map(|parent| parent.to_string()).as_deref(), Some(trace));
        let metadata = Metadata::from_context(&context);
        let event = NewEvent::new("Billed", "").metadata(metadata);
        store.append(Append::new().events("bill-17", Expected::Any, [event])).await.unwrap();
    };
    delivery.message.context().scope(effect).await;
    delivery.ack().await.unwrap();
    relay.stop().await.unwrap();
    let events = everything(&store).await;
    let of = |event: &Recorded| event.metadata.clone();
    assert_eq!(of(&events[1]).correlation(), of(&events[0]).correlation());
    assert_eq!(of(&events[1]).causation(), Some("shop-1"), "the message, which is what was done about e1");
    assert_eq!(of(&events[1]).trace(), Some(trace));
}

#[test]
fn filters_match_words_and_nothing_between() {
    let cases = [
        ("a", "a", true),
        ("a", "ab", false),
        ("a.*", "a.b", true),
        ("a.*", "a", false),
        ("a.*", "a.b.c", false),
        ("*.b", "a.b", true),
        (">", "a.b.c", true),
        ("a.>", "a.b.c", true),
        ("a.>", "a", false),
        ("a.b", "a", false),
    ];
    for (filter, subject, matches) in cases {
        assert_eq!(Filter::from(filter).matches(&subject.into()), matches, "{filter} {subject}");
    }
    for wrong in ["a.>.b", "", "a..b", "a b", ".a", "a."] {
        assert!(Filter::from(wrong).validate().is_err(), "{wrong}");
    }
    assert!(Filter::from("a.*.>").validate().is_ok());
}

/// A message whose worker died, and which never came again, has left a claim. It is no more to be remembered than one that
/// was done, or each leaves a row for good; one that lasts, or has ended lately, stays.
#[test]
fn claims_of_those_who_are_gone_are_forgotten_too() {
    let (timer, store) = (ManualTimer::new(), MemoryStore::new());
    let inbox = Inbox::new(store.clone(), "mailer").timer(timer.clone()).claim(Duration::from_secs(10));
    let die = async |id: &str| {
        let message = Message::new(id, "orders.placed", "");
        let mut crashed = Box::pin(inbox.run(&message, std::future::pending::<Result<(), BoxError>>));
        assert!(futures::poll!(&mut crashed).is_pending());
    };
    futures::executor::block_on(async {
        die("old").await;
        timer.advance(Duration::from_secs(71));
        die("new").await;
        inbox.prune(Duration::from_secs(60), None, 10).await.unwrap();
        let rows = store.rows("inbox/mailer", None, 10).await.unwrap();
        assert_eq!(rows.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"new"]);
    });
}
