//! Where personal values may be, and what becomes of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Store, private};
use crate::aggregate::{EventCodec, Json};
use crate::privacy::{
    Key, Personal, PersonalData, PrivateStore, SUBJECT_BYTES, StoreKeys, Subject, Vault, View, token,
};
use crate::testing::FaultyStore;
use crate::{
    Append, AppendError, Condition, EventStore, Expected, MemoryStore, NewEvent, Position, Query, Recorded, RowChange,
    Version, Violation,
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    city: Personal<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    street: Option<Personal<String>>,
    country: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Contact {
    Mail(Personal<String>),
    Phone { number: Personal<u64> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Registered {
        name: Personal<String>,
        nickname: Option<Personal<String>>,
        addresses: Vec<Address>,
        contacts: BTreeMap<String, Vec<Contact>>,
        pair: (Personal<bool>, Box<Personal<Vec<String>>>),
        points: u32,
    },
    Renamed(Personal<String>),
}

/// None of them is in base64 by chance.
const SECRETS: [&str; 7] = ["Ann Smith", "Annie", "Ely, Cambs", "Long Lane", "ann@home", "5550123", "of two"];

fn registered(ann: &Subject) -> Event {
    let text = |text: &str| ann.seal(text.to_owned()).unwrap();
    let contacts = vec![Contact::Mail(text("ann@home")), Contact::Phone { number: ann.seal(5_550_123).unwrap() }];
    Event::Registered {
        name: text("Ann Smith"),
        nickname: Some(text("Annie")),
        addresses: vec![
            Address { city: text("Ely, Cambs"), street: Some(text("Long Lane")), country: "GB".into() },
            Address { city: text("Ely, Cambs"), street: None, country: "FR".into() },
        ],
        contacts: BTreeMap::from([("home".into(), contacts)]),
        pair: (ann.seal(true).unwrap(), Box::new(ann.seal(vec!["one".into(), "of two".into()]).unwrap())),
        points: 7,
    }
}

async fn append(store: &impl EventStore, event: &Event) {
    let event = Json.encode(event).unwrap();
    store.append(Append::new().events("customer-1", Expected::Any, [event])).await.unwrap();
}

async fn all(store: &impl EventStore) -> Vec<Recorded> {
    store.read(Position::ORIGIN, &Query::types(["Registered", "Renamed", "Plain"]), 100).await.unwrap().events
}

fn says(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Defect 28: es-entity's `Forgettable` in a `Vec`, an `Option` or a struct is written as null, and the value is gone for
/// good. Here a value is ciphertext before it is in any of them: nothing is lost, nothing is in the clear.
#[tokio::test]
async fn nested_values_are_neither_lost_nor_written_in_the_clear_wherever_they_are() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    append(&store, &registered(&ann)).await;

    let at_rest = all(store.inner()).await;
    assert!(SECRETS.iter().all(|secret| !says(&at_rest[0].payload, secret)), "{:?}", at_rest[0].payload);
    let read = all(&store).await;
    assert!(SECRETS.iter().all(|secret| !says(&read[0].payload, secret)), "not even in memory, before it is decoded");
    assert_eq!(EventCodec::<Event>::decode(&Json, &read[0]).unwrap(), registered(&ann));
    // Through a second pair of hands: what was read is written down again, and is the same at rest.
    let again: Event = Json.decode(&read[0]).unwrap();
    append(&store, &again).await;
    assert_eq!(all(store.inner()).await[1].payload, at_rest[0].payload);
}

#[tokio::test]
async fn who_is_forgotten_is_redacted_in_every_field_and_nobody_else_is() {
    let store = private().await;
    let (ann, bob) = (store.vault().subject("s-1").await.unwrap(), store.vault().subject("s-2").await.unwrap());
    append(&store, &registered(&ann)).await;
    append(&store, &Event::Renamed(bob.seal("Robert".into()).unwrap())).await;
    store.forget("s-1").await.unwrap();

    let events = all(&store).await;
    let Event::Registered { name, nickname, addresses, contacts, pair, points } = Json.decode(&events[0]).unwrap()
    else {
        panic!()
    };
    let streets = addresses.iter().filter_map(|address| address.street.as_ref());
    let texts = [&name, nickname.as_ref().unwrap()].into_iter().chain(streets);
    assert!(texts.chain(addresses.iter().map(|address| &address.city)).all(Personal::is_redacted));
    let redacted = |contact: &Contact| match contact {
        Contact::Mail(mail) => mail.is_redacted(),
        Contact::Phone { number } => number.is_redacted(),
    };
    assert!(contacts["home"].len() == 2 && contacts["home"].iter().all(redacted));
    assert!(pair.0.is_redacted() && pair.1.is_redacted());
    // What is not personal is what it was.
    assert_eq!((points, addresses[1].country.as_str(), name.subject().as_str()), (7, "FR", "s-1"));
    let Event::Renamed(name) = Json.decode(&events[1]).unwrap() else { panic!() };
    assert_eq!(name.get().map(String::as_str), Some("Robert"));
}

/// A value that was read without keys goes where it is sent without being looked at, and is not taken for one that was
/// forgotten.
#[tokio::test]
async fn a_value_read_past_the_keys_is_whole_and_can_be_opened_later() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    append(&store, &Event::Renamed(ann.seal("Ann".into()).unwrap())).await;
    let Event::Renamed(name) = Json.decode(&all(store.inner()).await[0]).unwrap() else { panic!() };
    assert_eq!((name.view(), name.get(), name.is_redacted()), (View::Sealed, None, false));
    let opened = store.vault().open(name.clone()).await.unwrap();
    assert_eq!(opened.get().map(String::as_str), Some("Ann"));
    store.forget("s-1").await.unwrap();
    assert!(store.vault().open(name).await.unwrap().is_redacted());
}

/// A row is read, compared and replaced; as any writer does who wants to notice another. What the store compares is what
/// is at rest, and the reader never saw that.
#[tokio::test]
async fn a_row_with_values_can_be_compared_with_what_was_read_forgotten_or_not() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    // As a snapshot is: some bytes before the JSON.
    let row = |name: &str| {
        let json = serde_json::to_vec(&ann.seal(name.to_owned()).unwrap()).unwrap();
        Bytes::from([&[0, 1, 0xff, b'~'][..], &json].concat())
    };
    let put = |row: Bytes| Append::new().row(RowChange::put("names", "1", row));
    store.append(put(row("Ann"))).await.unwrap();
    for name in ["Annie", "Anne"] {
        let read = store.row("names", b"1").await.unwrap().unwrap();
        assert_ne!(Some(&read), store.inner().row("names", b"1").await.unwrap().as_ref());
        let same = Condition::row_is("names", "1", read.clone());
        // Written back as it was read: the same at rest.
        let before = store.inner().row("names", b"1").await.unwrap();
        store.append(put(read.clone()).require(same.clone())).await.unwrap();
        assert_eq!(store.inner().row("names", b"1").await.unwrap(), before);
        store.append(put(row(name)).require(same.clone())).await.unwrap();
        let late = store.append(put(row(name)).require(same)).await.unwrap_err();
        // What is there instead is shown as a read would.
        let [Violation::Row { actual, .. }] = &late.as_conflict().unwrap().violations[..] else { panic!() };
        let json = &actual.as_ref().unwrap()[4..];
        let there: Personal<String> = serde_json::from_slice(json).unwrap();
        assert_eq!(there.get().map(String::as_str), Some(name));
        assert_eq!(store.rows("names", None, 10).await.unwrap()[0].1, *actual.as_ref().unwrap());
        if name == "Annie" {
            continue;
        }
        store.forget("s-1").await.unwrap();
        let read = store.row("names", b"1").await.unwrap().unwrap();
        assert!(serde_json::from_slice::<Personal<String>>(&read[4..]).unwrap().is_redacted());
        store.append(put(read.clone()).require(Condition::row_is("names", "1", read))).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_conflict_has_missed_can_be_decided_on() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    append(&store, &Event::Renamed(ann.seal("Ann".into()).unwrap())).await;
    let late = Append::new().events("customer-1", Expected::NoStream, [NewEvent::new("Late", "")]);
    let error = store.append(late).await.unwrap_err();
    let Violation::Stream { missed, .. } = error.as_conflict().unwrap().of_stream("customer-1").unwrap() else {
        panic!()
    };
    let Event::Renamed(name) = Json.decode(&missed.events[0]).unwrap() else { panic!() };
    assert_eq!(name.get().map(String::as_str), Some("Ann"));
}

/// Somebody has seen the ciphertext of another's value (in a log, at a broker), and hands it in as his own name, a field
/// that nobody thinks is personal. He is to get no value back, and to break nobody's reads.
#[tokio::test]
async fn a_ciphertext_in_another_field_gives_nothing_away_and_breaks_nothing() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    let stolen = serde_json::to_value(ann.seal("Ann Smith".to_owned()).unwrap()).unwrap();
    let stolen = stolen.as_str().unwrap();
    let nobody = Subject::new("nobody", Key::generate().unwrap()).seal(1).unwrap();
    let nobody = serde_json::to_string(&nobody).unwrap();
    let broken = stolen.replace("sealed1~", "sealed1~AAAA");
    let payloads = [format!("\"{stolen}\""), nobody.clone(), format!("\"{broken}\""), "\"~sealed1~~\"".into()];
    let events = payloads.map(|payload| NewEvent::new("Plain", payload));
    store.append(Append::new().events("x", Expected::Any, events)).await.unwrap();
    let read = all(&store).await;
    let shown: String = serde_json::from_slice(&read[0].payload).unwrap();
    assert!(!shown.contains("Ann Smith") && shown.starts_with("~opened1~"), "under a key of this process: {shown}");
    assert_eq!(read[1].payload, nobody.as_bytes());
    // Sealed by its owner into a value, it is that owner's value, and opens nothing.
    let bob = store.vault().subject("s-2").await.unwrap();
    let nested = bob.seal(stolen.to_owned()).unwrap();
    let event = NewEvent::new("Plain", serde_json::to_vec(&nested).unwrap());
    store.append(Append::new().events("y", Expected::Any, [event])).await.unwrap();
    let read: Personal<String> = serde_json::from_slice(&all(&store).await[4].payload).unwrap();
    assert_eq!(read.get().map(String::as_str), Some(stolen));
}

/// The bytes of an event that was read are appended as they are, to this store or sent to a relay.
#[tokio::test]
async fn opened_bytes_that_are_appended_again_are_at_rest_as_they_were() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    append(&store, &Event::Renamed(ann.seal("Ann".into()).unwrap())).await;
    let read = all(&store).await.remove(0);
    let copy = NewEvent::new(read.kind.clone(), read.payload.clone());
    store.append(Append::new().events("copy", Expected::Any, [copy])).await.unwrap();
    let at_rest = all(store.inner()).await;
    assert_eq!(at_rest[0].payload, at_rest[1].payload);
    assert_ne!(read.payload, at_rest[0].payload);
}

/// The bytes of an event that was read were sent to another program, which has put them into its log as they were. There
/// they say nothing, and are not lost: that program's keys open them like any other, or find that they are to stay closed.
#[tokio::test]
async fn bytes_that_got_to_a_log_past_the_keys_are_opened_there_all_the_same() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    append(&store, &Event::Renamed(ann.seal("Ann".into()).unwrap())).await;
    let read = all(&store).await.remove(0);
    let copy = NewEvent::new("Renamed", read.payload.clone());
    store.inner().append(Append::new().events("copy", Expected::Any, [copy])).await.unwrap();
    let renamed = async || {
        let Event::Renamed(name) = Json.decode(&all(&store).await[1]).unwrap() else { panic!() };
        name
    };
    assert_eq!(renamed().await.get().map(String::as_str), Some("Ann"));
    store.forget("s-1").await.unwrap();
    assert!(renamed().await.is_redacted());
}

#[derive(Serialize, Deserialize)]
struct Nested {
    inner: Personal<String>,
}

impl PersonalData for Nested {}

#[test]
fn a_value_within_a_value_is_refused_when_it_is_made() {
    let ann = Subject::new("s-1", Key::generate().unwrap());
    let inner = ann.seal("Ann".to_owned()).unwrap();
    assert!(ann.seal(vec![Nested { inner }]).is_err());
    // And nothing is left over from that.
    serde_json::to_string(&ann.seal("Ann".to_owned()).unwrap()).unwrap();
}

#[test]
fn no_value_is_in_what_is_printed() {
    let ann = Subject::new("s-1", Key::from_bytes([b'k'; 64]));
    let name = ann.seal("Ann Smith".to_owned()).unwrap();
    assert_eq!(format!("{name:?}"), r#"Personal(known of "s-1")"#);
    assert!(!format!("{ann:?} {:?}", Key::from_bytes([b'k'; 64])).contains("107"));
}

/// A type that has changed is found, and what was there is not in the error, which is logged.
#[tokio::test]
async fn a_value_of_another_type_is_an_error_that_does_not_say_it() {
    let store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    let event = NewEvent::new("Plain", serde_json::to_vec(&ann.seal("Ann Smith".to_owned()).unwrap()).unwrap());
    store.append(Append::new().events("x", Expected::Any, [event])).await.unwrap();
    let payload = all(&store).await.remove(0).payload;
    let error = serde_json::from_slice::<Personal<u32>>(&payload).unwrap_err();
    assert!(!error.to_string().contains("Ann"), "{error}");
    for plain in ["\"Ann Smith\"", "null", "7", "\"~sealed1~x\""] {
        let error = serde_json::from_str::<Personal<String>>(plain).unwrap_err();
        assert!(!error.to_string().contains("Ann"), "{error}");
    }
}

/// The event that tells is in the log, once, however often it was asked for, and finds its way to whoever listens.
#[tokio::test]
async fn that_somebody_was_forgotten_is_said_once() {
    let store: Store = private().await;
    let ann = store.vault().subject("s-1").await.unwrap();
    append(&store, &registered(&ann)).await;
    let first = store.forget("s-1").await.unwrap();
    let again = store.forget("s-1").await.unwrap();
    assert_eq!((first.first, again.already_committed), (again.first, true));
    let query = Query::tags([crate::privacy::SubjectId::from("s-1").tag()]);
    let told = store.read(Position::ORIGIN, &query, 10).await.unwrap().events;
    assert_eq!(told.len(), 1);
    let said: crate::privacy::SubjectForgotten = Json.decode(&told[0]).unwrap();
    assert_eq!(said.subject, "s-1");
}

/// Not knowing is not forgetting: keys that cannot be asked for fail the read, and keys that are lost leave what is sealed.
#[tokio::test]
async fn an_outage_or_a_loss_of_keys_does_not_look_like_somebody_forgotten() {
    use crate::privacy::{PrivateStore, StoreKeys, Vault};
    use crate::testing::{Fault, FaultyStore};
    let log = MemoryStore::new();
    let keys = MemoryStore::new();
    let vault = Vault::new(StoreKeys::new(keys.clone()));
    let store = PrivateStore::open(log.clone(), vault.clone()).await.unwrap();
    append(&store, &Event::Renamed(vault.subject("s-1").await.unwrap().seal("Ann".into()).unwrap())).await;

    let down = FaultyStore::new(keys).on_read(|_| Some(Fault::Refused));
    let store = PrivateStore::open(log.clone(), Vault::new(StoreKeys::new(down))).await.unwrap();
    let error = store.read_stream(&"customer-1".into(), Version::EMPTY, 10).await.unwrap_err();
    assert!(error.is_retryable());
    let late = Append::new().events("customer-1", Expected::NoStream, [NewEvent::new("Late", "")]);
    let error = store.append(late).await.unwrap_err();
    assert!(matches!(&error, AppendError::Unavailable(_)) && !error.may_have_committed() && error.is_retryable());

    let lost = PrivateStore::open(log, Vault::new(StoreKeys::new(MemoryStore::new()))).await.unwrap();
    let Event::Renamed(name) = Json.decode(&all(&lost).await[0]).unwrap() else { panic!() };
    assert_eq!(name.view(), View::Sealed);
}

/// Somebody writes into a field of his own what looks like a value of a subject that cannot be. No key store is asked for
/// such a name: one that does not take it would keep everybody from reading the page.
#[tokio::test]
async fn what_names_no_possible_subject_is_a_text_like_any_other() {
    let keys = FaultyStore::new(MemoryStore::new());
    let vault = Vault::new(StoreKeys::new(keys.clone()));
    let store = PrivateStore::open(MemoryStore::new(), vault).await.unwrap();
    let names = ["s".repeat(SUBJECT_BYTES + 1), "a\nb".into()];
    let payload = serde_json::to_vec(&names.map(|name| token::sealed(&name, "QUFB"))).unwrap();
    let event = NewEvent::new("Plain", payload.clone());
    store.append(Append::new().events("s", Expected::Any, [event])).await.unwrap();
    let before = keys.reads();
    assert_eq!(all(&store).await[0].payload, payload);
    assert_eq!(keys.reads(), before);
}

/// To load many aggregates is one round trip to the engine, whatever stands before it.
#[tokio::test]
async fn several_streams_are_read_together_and_their_values_opened() {
    let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
    let store = PrivateStore::open(FaultyStore::new(MemoryStore::new()), vault).await.unwrap();
    let ann = store.vault().subject("s-1").await.unwrap();
    for stream in ["a", "b", "c"] {
        let event = Json.encode(&Event::Renamed(ann.seal(stream.to_owned()).unwrap())).unwrap();
        store.append(Append::new().events(stream, Expected::Any, [event])).await.unwrap();
    }
    let before = store.inner().reads();
    let asked = ["c", "a", "none"].map(|stream| (stream.into(), Version::EMPTY));
    let found = store.read_streams(&asked, 10).await.unwrap();
    assert_eq!(store.inner().reads() - before, 1);
    let name = |event: &Recorded| match Json.decode(event).unwrap() {
        Event::Renamed(name) => name.into_value().unwrap(),
        Event::Registered { .. } => panic!("it is none"),
    };
    let found: Vec<Vec<_>> = found.iter().map(|events| events.iter().map(name).collect()).collect();
    assert_eq!(found, [vec!["c".to_owned()], vec!["a".to_owned()], vec![]]);
}

/// A program has a command of its own to forget a customer, and names it as one would.
#[tokio::test]
async fn a_command_of_the_program_does_not_stand_in_the_way_of_forgetting() {
    let store = private().await;
    store.vault().subject("s-1").await.unwrap();
    let own = Append::new().events("customer-1", Expected::Any, [NewEvent::new("Left", "")]).command_id("forget:s-1");
    store.append(own).await.unwrap();
    assert!(!store.forget("s-1").await.unwrap().already_committed);
    assert!(store.forget("s-1").await.unwrap().already_committed);
}
