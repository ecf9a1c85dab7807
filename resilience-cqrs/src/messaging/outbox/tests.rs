mod replays;
mod stops;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use resilience_core::Name;

use super::*;
use crate::log::{Append, BoxError, Expected, Metadata, NewEvent, Position, Query, Recorded};
use crate::messaging::bus::{Bus, Sent, Subscribe};
use crate::messaging::error::BusError;
use crate::messaging::memory::{MemoryBus, MemoryRequests, MemorySubscription};
use crate::messaging::message::{Message, Outgoing};
use crate::messaging::subject::Filter;
use crate::store::EventStore;
use crate::testing::{Fault, FaultyStore};
use crate::{MemoryStore, RowChange};

/// A bus that writes down what it was given, fails when told, and refuses messages that say "poison".
#[derive(Clone, Debug, Default)]
struct Broker {
    taken: Arc<Mutex<Vec<Message>>>,
    is_down: Arc<AtomicBool>,
    mended: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    /// Takes so many, and then takes one of which it does not say so.
    loses_answer_after: Arc<AtomicU64>,
    panics: Arc<AtomicBool>,
}

impl Broker {
    fn payloads(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
    }

    fn of_key(&self, key: &str) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let of_key = taken.iter().filter(|message| message.key() == Some(key));
        of_key.map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
    }

    /// What an inbox makes of it: each id once.
    fn once(&self) -> Vec<(String, String)> {
        let taken = self.taken.lock().unwrap();
        let mut seen = std::collections::HashSet::new();
        let first = taken.iter().filter(|message| seen.insert(message.id.clone()));
        first.map(|m| (m.key().unwrap_or("").to_owned(), String::from_utf8_lossy(m.payload()).into_owned())).collect()
    }
}

impl Bus for Broker {
    type Subscription = MemorySubscription;
    type Requests = MemoryRequests;

    async fn publish(&self, message: Message) -> Result<Sent, BusError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics.load(Ordering::Relaxed), "as asked");
        message.validate()?;
        tokio::task::yield_now().await;
        let down = || BusError::Unavailable { reason: "no route to it".into(), source: None };
        if self.is_down.load(Ordering::Relaxed) {
            return Err(down());
        }
        if &message.payload()[..] == b"poison" && !self.mended.load(Ordering::Relaxed) {
            return Err(BusError::Refused { why: "poison".into() });
        }
        if &message.payload()[..] == b"hang" && !self.mended.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.taken.lock().unwrap().push(message);
        if self.loses_answer_after.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(down());
        }
        tokio::task::yield_now().await;
        Ok(Sent { duplicate: false })
    }

    async fn send(&self, message: Message) -> Result<Sent, BusError> {
        self.publish(message).await
    }

    async fn request(&self, _: Message, _: Duration) -> Result<Bytes, BusError> {
        Err(BusError::Closed)
    }

    async fn subscribe(&self, _: Subscribe) -> Result<MemorySubscription, BusError> {
        Err(BusError::Closed)
    }

    async fn answer(&self, _: impl Into<Name> + Send, _: impl Into<Filter> + Send) -> Result<MemoryRequests, BusError> {
        Err(BusError::Closed)
    }
}

/// Sends what was deposited, by stream; cannot make a message of "garbled", and panics on "panic".
fn relay<S: EventStore, B: Bus>(store: &S, bus: &B) -> RelayBuilder<S, B> {
    Relay::builder(store.clone(), bus.clone(), "bank").seed(7).events(Query::types(["Deposited"]), deposited)
}

fn deposited(event: &Recorded) -> Result<Option<Outgoing>, BoxError> {
    match &event.payload[..] {
        b"nobody" => Ok(None),
        b"garbled" => Err("garbled".into()),
        b"panic" => panic!("as asked"),
        payload => Ok(Some(Outgoing::new("bank.deposited", payload.to_vec()))),
    }
}

async fn deposit<S: EventStore>(store: &S, account: &str, payload: &str) -> Position {
    let event = NewEvent::new("Deposited", payload.to_owned());
    store.append(Append::new().events(account, Expected::Any, [event])).await.unwrap().last
}

async fn relayed<S: EventStore>(store: &S, running: &RelayHandle) {
    running.at_least(store.head(), Duration::from_secs(3600)).await.unwrap();
}

async fn saved<S: EventStore>(store: &S) -> Position {
    let row = store.row("outbox", b"bank").await.unwrap().unwrap();
    checkpoint::Checkpoint::decode(&row).unwrap().position
}

/// What `once` should be after these deposits: each, and each key in order.
fn assert_each_once_in_order(broker: &Broker, sent: usize, keys: usize) {
    let once = broker.once();
    assert_eq!(once.len(), sent);
    let mut of_key: HashMap<&str, Vec<usize>> = HashMap::new();
    for (key, payload) in &once {
        of_key.entry(key).or_default().push(payload.parse().unwrap());
    }
    for key in 0..keys {
        let expected: Vec<usize> = (0..sent).filter(|n| n % keys == key).collect();
        assert_eq!(of_key[&*format!("a{key}")], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_is_sent_under_the_same_id_however_often_the_relay_crashes() {
    // ES42: the relay is dropped after a different number of polls each time, wherever that is, also between the
    // broker's answer and the checkpoint, and started anew.
    let (store, broker) = (MemoryStore::new(), Broker::default());
    for n in 0..300 {
        deposit(&store, &format!("a{}", n % 7), &n.to_string()).await;
    }
    let batch = |polls: usize| NonZeroUsize::new(polls % 6 + 1).unwrap();
    for polls in 0..250 {
        let (runner, _handle) = relay(&store, &broker).batch(batch(polls)).build().unwrap();
        let mut run = Box::pin(runner.run());
        for _ in 0..polls % 29 {
            let _ = futures::poll!(&mut run);
            tokio::task::yield_now().await;
        }
    }
    let running = relay(&store, &broker).start().unwrap();
    relayed(&store, &running).await;
    running.stop().await.unwrap();
    assert_each_once_in_order(&broker, 300, 7);
    let taken = broker.taken.lock().unwrap();
    assert!(taken.len() > 300, "some were sent twice, or nothing was tested");
    let mut ids: HashMap<_, _> = HashMap::new();
    for message in taken.iter() {
        assert_eq!(ids.entry(message.id.clone()).or_insert_with(|| message.clone()), message, "one id, one message");
    }
    assert!(ids.contains_key(&"bank-300".into()), "named by its place in the log");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_down_costs_appends_nothing_and_the_backlog_drains_in_order() {
    // ES43. The broker is down for an hour.
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let outbox = Outbox::new("bank");
    broker.is_down.store(true, Ordering::Relaxed);
    let running = relay(&store, &broker).start().unwrap();
    for n in 0..500 {
        let mail = Outgoing::for_queue("emails", n.to_string()).key("mail").with_id(format!("mail-{n}"));
        let deposited = NewEvent::new("Deposited", n.to_string());
        let append = Append::new().events(format!("a{}", n % 3), Expected::Any, [deposited]);
        store.append(outbox.put(append, &mail)).await.unwrap();
        tokio::time::advance(Duration::from_millis(7_200)).await;
    }
    assert_eq!(broker.payloads().len(), 0);
    assert!(matches!(running.status().health, Health::Retrying { .. }), "{:?}", running.status());
    assert_eq!(store.rows("outbox/bank", None, 1_000).await.unwrap().len(), 500, "nothing is pruned unsent");
    // The circuit is open most of the time: the broker is asked now and then only.
    let calls = broker.calls.load(Ordering::Relaxed);
    assert!((20..2_000).contains(&calls), "{calls}");
    broker.is_down.store(false, Ordering::Relaxed);
    relayed(&store, &running).await;
    for n in 0..3 {
        let expected: Vec<String> = (0..500).filter(|m| m % 3 == n).map(|m| m.to_string()).collect();
        assert_eq!(broker.of_key(&format!("a{n}")), expected);
    }
    assert_eq!(broker.of_key("mail"), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(store.rows("outbox/bank", None, 10).await.unwrap(), [], "and all is pruned once it is sent");
    assert_eq!(running.status().health, Health::Good);
    running.stop().await.unwrap();
    assert_eq!(saved(&store).await, store.head());
}

#[tokio::test(start_paused = true)]
async fn a_message_of_an_append_is_sent_if_and_only_if_the_append_happened() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let outbox = Outbox::new("bank");
    let running = relay(&store, &bus).start().unwrap();
    let mut emails = bus.subscribe(Subscribe::queue("emails")).await.unwrap();
    let mail = |id: &str| {
        let metadata = Metadata::new().with_correlation("c-1").with_actor("ann");
        Outgoing::for_queue("emails", id.to_owned()).key("ann").metadata(metadata).with_id(id)
    };
    let open = Append::new().events("a", Expected::NoStream, [NewEvent::new("Opened", "")]);
    store.append(outbox.put(outbox.put(open.clone(), &mail("m1")), &mail("m2"))).await.unwrap();
    store.append(outbox.put(open, &mail("m3"))).await.unwrap_err();
    for id in ["m1", "m2"] {
        use crate::messaging::bus::Subscription as _;
        let delivery = emails.next().await.unwrap();
        assert_eq!(delivery.message, mail(id));
        delivery.ack().await.unwrap();
    }
    relayed(&store, &running).await;
    assert_eq!(store.rows("outbox/bank", None, 10).await.unwrap(), []);
    // One that waits already is not written over.
    running.stop().await.unwrap();
    store.append(outbox.put(Append::new(), &mail("m4"))).await.unwrap();
    assert!(store.append(outbox.put(Append::new(), &mail("m4"))).await.unwrap_err().as_conflict().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_parks_its_key_and_nothing_else_until_it_is_replayed_in_order() {
    // ES44: one that the broker refuses, one that cannot be made, and one that panics.
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let running = relay(&store, &broker).start().unwrap();
    for (account, payload) in
        [("k", "1"), ("other", "1"), ("k", "poison"), ("g", "garbled"), ("k", "2"), ("p", "panic"), ("other", "2")]
    {
        deposit(&store, account, payload).await;
    }
    deposit(&store, "g", "3").await;
    relayed(&store, &running).await;
    assert_eq!((broker.of_key("k"), broker.of_key("other")), (vec!["1".into()], vec!["1".into(), "2".into()]));
    assert_eq!(broker.of_key("g"), [""; 0]);
    let status = running.status();
    assert_eq!(status.parked, [("g".into(), 2), ("k".into(), 2), ("p".into(), 1)].into());
    assert_eq!(status.health, Health::Degraded);
    // Not mended yet.
    let again = running.replay("k").await.unwrap_err();
    assert!(
        matches!(&again, ReplayError::FailedAgain { position, messages: 0, .. } if position.get() == 3),
        "{again:?}"
    );
    running.stop().await.unwrap();
    // The next relay remembers; what comes meanwhile goes behind.
    let running = relay(&store, &broker).start().unwrap();
    deposit(&store, "k", "4").await;
    relayed(&store, &running).await;
    assert_eq!(running.status().parked["k"], 3);
    broker.mended.store(true, Ordering::Relaxed);
    assert_eq!(running.replay("k").await, Ok(3));
    assert_eq!(broker.of_key("k"), ["1", "poison", "2", "4"]);
    assert_eq!(running.discard("g").await, Ok(2));
    assert_eq!(running.discard("p").await, Ok(1));
    assert_eq!(running.status().health, Health::Good);
    assert_eq!(store.rows("outbox.parked/bank", None, 10).await.unwrap(), []);
    deposit(&store, "g", "5").await;
    relayed(&store, &running).await;
    assert_eq!(broker.of_key("g"), ["5"]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_of_its_own_that_is_poison_stays_in_its_row_until_it_is_replayed() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let outbox = Outbox::new("bank");
    let running = relay(&store, &broker).start().unwrap();
    let poison = Outgoing::for_queue("emails", "poison").with_id("m1");
    store.append(outbox.put(Append::new(), &poison)).await.unwrap();
    // Without a key it holds up nobody.
    store.append(outbox.put(Append::new(), &Outgoing::for_queue("emails", "fine").with_id("m2"))).await.unwrap();
    relayed(&store, &running).await;
    assert_eq!(broker.payloads(), ["fine"]);
    assert_eq!(running.status().parked, [("m1".into(), 1)].into());
    assert_eq!(store.rows("outbox/bank", None, 10).await.unwrap().len(), 1);
    broker.mended.store(true, Ordering::Relaxed);
    assert_eq!(running.replay("m1").await, Ok(1));
    assert_eq!(broker.payloads(), ["fine", "poison"]);
    assert_eq!(store.rows("outbox/bank", None, 10).await.unwrap(), []);
    // A row that somebody has removed is not passed over in silence.
    running.stop().await.unwrap();
    store.append(outbox.put(Append::new(), &Outgoing::for_queue("emails", "x").with_id("m3"))).await.unwrap();
    store.append(Append::new().row(RowChange::delete("outbox/bank", "m3"))).await.unwrap();
    let running = relay(&store, &broker).start().unwrap();
    relayed(&store, &running).await;
    assert_eq!(running.status().parked, [("m3".into(), 1)].into());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_the_broker_sends_again_under_the_same_id() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    broker.loses_answer_after.store(3, Ordering::Relaxed);
    for n in 0..6 {
        deposit(&store, "a0", &n.to_string()).await;
    }
    let running = relay(&store, &broker).start().unwrap();
    relayed(&store, &running).await;
    assert_eq!(broker.payloads(), ["0", "1", "2", "2", "3", "4", "5"]);
    assert_each_once_in_order(&broker, 6, 1);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_refusals_of_the_store_lose_nothing() {
    let store = FaultyStore::new(MemoryStore::new())
        .on_append(|nth| match nth % 3 {
            0 => Some(Fault::Refused),
            1 => Some(Fault::AnswerLost),
            _ => None,
        })
        .on_read(|nth| (nth % 31 == 0).then_some(Fault::Refused));
    let broker = Broker::default();
    for n in 0..100 {
        deposit(store.inner(), &format!("a{}", n % 3), &n.to_string()).await;
    }
    let running = relay(&store, &broker).batch(NonZeroUsize::new(4).unwrap()).start().unwrap();
    relayed(&store, &running).await;
    assert_each_once_in_order(&broker, 100, 3);
    assert!(running.status().parked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_replaced_cannot_move_the_checkpoint_any_more() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let mut old = relay(&store, &broker).start().unwrap();
    deposit(&store, "a0", "0").await;
    relayed(&store, &old).await;
    let new = relay(&store, &broker).start().unwrap();
    deposit(&store, "a0", "1").await;
    relayed(&store, &new).await;
    assert!(matches!(old.ended().await, Err(RelayError::Fenced)));
    assert_each_once_in_order(&broker, 2, 1);
    new.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_stopped_while_the_broker_is_down_ends_and_saves_what_went_through() {
    // The broker hangs on one key only: what the other keys have sent is not sent again unless it lies behind.
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let outbox = Outbox::new("bank");
    let running = relay(&store, &broker).start().unwrap();
    deposit(&store, "a0", "0").await;
    relayed(&store, &running).await;
    broker.is_down.store(true, Ordering::Relaxed);
    let mail = Outgoing::for_queue("emails", "mail").with_id("mail");
    store.append(outbox.put(Append::new(), &mail)).await.unwrap();
    resilience_core::time::SharedTimer::default().sleep(Duration::from_secs(60)).await;
    running.stop().await.unwrap();
    assert_eq!(saved(&store).await, Position::new(1));
    assert_eq!(store.rows("outbox/bank", None, 10).await.unwrap().len(), 1);
    broker.is_down.store(false, Ordering::Relaxed);
    let running = relay(&store, &broker).start().unwrap();
    relayed(&store, &running).await;
    assert_eq!(broker.payloads(), ["0", "mail"]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_parks_too_much_stands_still_instead() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let one = NonZeroUsize::MIN;
    let running = relay(&store, &broker).batch(one).max_parked(3).start().unwrap();
    for n in 0..6 {
        deposit(&store, &format!("a{n}"), "poison").await;
    }
    let behind = running.at_least(store.head(), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((behind.at, behind.wanted), (Position::new(3), Position::new(6)));
    assert_eq!(running.status().health, Health::Blocked);
    running.discard("a0").await.unwrap();
    broker.mended.store(true, Ordering::Relaxed);
    relayed(&store, &running).await;
    assert_eq!(running.status().parked.len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_concerns_nobody_moves_the_checkpoint_and_sends_nothing() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let running = relay(&store, &broker).start().unwrap();
    deposit(&store, "a", "nobody").await;
    let others = vec![NewEvent::new("Other", ""); 3_000];
    store.append(Append::new().events("o", Expected::Any, others)).await.unwrap();
    relayed(&store, &running).await;
    assert_eq!((saved(&store).await, broker.payloads().len()), (store.head(), 0));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_garbled_checkpoint_is_an_error_and_not_a_fresh_start() {
    let store = MemoryStore::new();
    store.append(Append::new().row(RowChange::put("outbox", "bank", "x"))).await.unwrap();
    let mut running = relay(&store, &Broker::default()).start().unwrap();
    assert!(matches!(running.ended().await, Err(RelayError::Read(crate::ReadError::Corrupt(_)))));
    assert!(Relay::builder(store.clone(), Broker::default(), "").build().is_err());
    assert!(Relay::builder(store, Broker::default(), "n".repeat(101)).build().is_err());
}

/// A row that says that the outbox was taken over as often as can be counted: the next one takes it over all the same.
#[tokio::test(start_paused = true)]
async fn an_outbox_that_was_taken_over_too_often_to_count_is_taken_over_again() {
    let store = MemoryStore::new();
    let row = [0_u64.to_be_bytes(), u64::MAX.to_be_bytes()].concat();
    store.append(Append::new().row(RowChange::put("outbox", "bank", row))).await.unwrap();
    let first = relay(&store, &Broker::default()).start().unwrap();
    tokio::task::yield_now().await;
    first.stop().await.unwrap();
}

/// A bus whose code panics: no message is to blame, and nobody is left to send.
#[tokio::test(start_paused = true)]
async fn a_relay_that_panicked_does_not_look_healthy_and_says_why() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    broker.panics.store(true, Ordering::Relaxed);
    let mut running = relay(&store, &broker).start().unwrap();
    let written = deposit(&store, "a", "1").await;
    running.at_least(written, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(running.status().health, Health::Stopped);
    assert_eq!(running.ended().await.unwrap_err().to_string(), "the relay panicked: as asked");
}
