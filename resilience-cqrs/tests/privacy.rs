//! Somebody is forgotten, with everything a program has made of him, and stays so when backups come back.
#![cfg(all(feature = "privacy", feature = "sqlite"))]

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use resilience_cqrs::aggregate::{Decider, EventCodec, Json, Repository, Snapshots};
use resilience_cqrs::privacy::{
    Key, KeyStore, Personal, PrivateStore, SUBJECT_FORGOTTEN, StoreKeys, SubjectForgotten, Vault, View,
};
use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
use resilience_cqrs::{Append, BoxError, EventStore, Query, Recorded, SqliteStore};
use serde::{Deserialize, Serialize};

type Private = PrivateStore<SqliteStore, StoreKeys<SqliteStore>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Registered { name: Personal<String>, phones: Vec<Personal<String>> },
    Moved { city: Personal<String> },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Customer {
    name: Option<Personal<String>>,
    phones: Vec<Personal<String>>,
    moves: u32,
}

#[derive(Serialize)]
enum Command {
    Register { name: Personal<String>, phones: Vec<Personal<String>> },
    Move { city: Personal<String> },
}

impl Decider for Customer {
    const STREAM: &'static str = "customer";
    type Command = Command;
    type Event = Event;
    type Error = &'static str;

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Registered { name, phones } => {
                (self.name, self.phones) = (Some(name.clone()), phones.clone());
            }
            Event::Moved { .. } => self.moves += 1,
        }
    }

    fn decide(&self, command: &Command) -> Result<Vec<Event>, &'static str> {
        match command {
            Command::Register { name, .. } if name.get().is_none_or(String::is_empty) => Err("no name"),
            Command::Register { name, phones } => {
                Ok(vec![Event::Registered { name: name.clone(), phones: phones.clone() }])
            }
            Command::Move { city } => Ok(vec![Event::Moved { city: city.clone() }]),
        }
    }
}

/// What a page shows of a customer.
#[derive(Serialize, Deserialize)]
struct Card {
    name: Personal<String>,
}

/// A card for each customer, a letter that waits to be sent, and an index of names in the clear, because one looks for them:
/// that one has to do something to forget.
struct Cards;

impl Projection for Cards {
    fn name(&self) -> &str {
        "cards@1"
    }

    fn query(&self) -> Query {
        Query::types(["Registered"]).or(resilience_cqrs::QueryItem::new().types([SUBJECT_FORGOTTEN]))
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        if event.kind == SUBJECT_FORGOTTEN {
            let SubjectForgotten { subject } = Json.decode(event)?;
            rows.delete("names", subject);
            return Ok(());
        }
        let Event::Registered { name, .. } = Json.decode(event)? else { return Err("not asked for".into()) };
        if let Some(clear) = name.get() {
            rows.put("names", name.subject().as_str().to_owned(), clear.to_lowercase());
        }
        let card = serde_json::to_vec(&Card { name })?;
        rows.put("outbox", format!("letter-{}", event.position), card.clone());
        rows.put("cards", event.stream.as_str().to_owned(), card);
        Ok(())
    }
}

async fn open(directory: &Path) -> Private {
    let keys = SqliteStore::open(directory.join("keys.db")).await.unwrap();
    let log = SqliteStore::open(directory.join("log.db")).await.unwrap();
    PrivateStore::open(log, Vault::new(StoreKeys::new(keys))).await.unwrap()
}

fn customers(store: &Private) -> Repository<Customer, Private> {
    let every = NonZeroU64::new(2).unwrap();
    Repository::builder(store.clone()).snapshots(Snapshots::every(every, "1")).build()
}

async fn register(store: &Private, subject: &str, name: &str) {
    let who = store.vault().subject(subject).await.unwrap();
    let seal = |text: &str| who.seal(text.to_owned()).unwrap();
    let customers = customers(store);
    let register = Command::Register { name: seal(name), phones: vec![seal("555-0123")] };
    customers.execute_once(subject, format!("register-{subject}"), &register).await.unwrap();
    // Made anew, as a second attempt of a client would: the same command.
    let register = Command::Register { name: seal(name), phones: vec![seal("555-0123")] };
    let again = customers.execute_once(subject, format!("register-{subject}"), &register).await.unwrap();
    assert!(again.appended.is_some_and(|appended| appended.already_committed));
    for city in ["Ely", "Rye", "Ayr"] {
        customers.execute(subject, &Command::Move { city: seal(city) }).await.unwrap();
    }
    while customers.snapshots().written == 0 {
        tokio::task::yield_now().await;
    }
}

async fn project(store: &Private) {
    let running = ProjectionRunner::builder(store.clone(), Cards).start();
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
    running.stop().await.unwrap();
}

/// What is shown of a name in events, in the state by way of its snapshot, in the read model and in the outbox.
async fn shown(store: &Private, subject: &str) -> Vec<Option<String>> {
    let customers = customers(store);
    let mut names = Vec::new();
    for entry in customers.history(subject, resilience_cqrs::Version::EMPTY, 1).await.unwrap() {
        let Event::Registered { name, phones } = entry.event else { panic!() };
        assert_eq!(name.is_redacted(), phones[0].is_redacted());
        names.push(name);
    }
    let loaded = customers.load(subject).await.unwrap();
    assert_eq!((customers.snapshots().used, loaded.state.moves), (1, 3));
    names.extend(loaded.state.name);
    for (space, key) in [("cards", format!("customer-{subject}")), ("outbox", "letter-1".into())] {
        let row = store.row(space, key.as_bytes()).await.unwrap().unwrap();
        names.push(serde_json::from_slice::<Card>(&row).unwrap().name);
    }
    let shown = names.into_iter().map(|name| match name.view() {
        View::Known(name) => Some(name.clone()),
        View::Redacted => None,
        View::Sealed => panic!("the key is lost"),
    });
    shown.collect()
}

fn says(directory: &Path, file: &str, text: &str) -> bool {
    let contains = |path: String| {
        let bytes = fs::read(directory.join(path)).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    contains(file.into()) || contains(format!("{file}-wal"))
}

/// ES54: somebody is forgotten. Events, snapshot, read model and outbox read redacted, none of them made anew, and
/// others are untouched. A backup of the keys from before is put in place: it brings nobody back.
#[tokio::test]
async fn who_is_forgotten_is_redacted_everywhere_and_no_backup_of_the_keys_brings_him_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = open(path).await;
    register(&store, "s-1", "Ann Smith").await;
    register(&store, "s-2", "Robert Jones").await;
    project(&store).await;
    let ann = Some("Ann Smith".to_owned());
    assert_eq!(shown(&store, "s-1").await, vec![ann.clone(); 4]);
    assert!(!says(path, "log.db", "Ann Smith"));
    assert_eq!(store.row("names", b"s-1").await.unwrap().as_deref(), Some(&b"ann smith"[..]));
    store.vault().keys().store().backup(path.join("keys-monday.db")).await.unwrap();

    store.forget("s-1").await.unwrap();
    assert_eq!(shown(&store, "s-1").await, [None, None, None, None]);
    project(&store).await;
    assert_eq!(store.row("names", b"s-1").await.unwrap(), None, "the index was told");
    assert_eq!(store.row("names", b"s-2").await.unwrap().as_deref(), Some(&b"robert jones"[..]));

    // The disk with the keys is lost, and Monday's backup takes its place, in which Ann's key still is.
    store.vault().keys().store().close().await;
    store.inner().close().await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(path.join(format!("keys.db{suffix}")));
    }
    fs::rename(path.join("keys-monday.db"), path.join("keys.db")).unwrap();
    let keys = SqliteStore::open(path.join("keys.db")).await.unwrap();
    let log = SqliteStore::open(path.join("log.db")).await.unwrap();
    let vault = Vault::new(StoreKeys::new(keys));
    let record = log.read_stream(&"customer-s-1".into(), resilience_cqrs::Version::EMPTY, 1).await.unwrap();
    let Event::Registered { name, .. } = Json.decode(&record[0]).unwrap() else { panic!() };
    assert_eq!(vault.open(name).await.unwrap().get(), ann.as_ref(), "or there would be nothing to prevent");

    let store = PrivateStore::open(log, vault).await.unwrap();
    assert_eq!(shown(&store, "s-1").await, [None, None, None, None]);
    assert!(store.vault().subject("s-1").await.is_err());
    assert_eq!(store.forget_again().await.unwrap(), 0);
}

/// A key that was destroyed is looked for in the bytes of the files it was in. Pages that were split or emptied meanwhile,
/// and the write-ahead log, have copies of what was in them, unless they are told not to.
#[tokio::test]
async fn nothing_is_left_in_the_file_of_a_key_that_was_destroyed() {
    let directory = tempfile::tempdir().unwrap();
    let left_over = async |file: &str, erase: bool| {
        let store = SqliteStore::builder().erase(erase).open(directory.path().join(file)).await.unwrap();
        let keys = StoreKeys::new(store.clone());
        let mut destroyed = Vec::new();
        for n in 0..240_u32 {
            // In an order that splits pages in their middle.
            let subject = format!("s-{:04}", n.wrapping_mul(7919) % 1000).into();
            let key = Key::generate().unwrap();
            keys.create(&subject, &key).await.unwrap();
            if n % 2 == 0 {
                destroyed.push((subject, key));
            }
        }
        for (subject, _) in &destroyed {
            keys.destroy(subject).await.unwrap();
        }
        // The last answer is given before the log is cut; what is asked for next comes after that.
        store.append(Append::new()).await.unwrap();
        let read = |file: String| fs::read(directory.path().join(file)).unwrap();
        let log = read(format!("{file}-wal"));
        store.close().await; // And with it, the log.
        let bytes = [log, read(file.into())].concat();
        let there = |key: &Key| bytes.windows(32).any(|window| window == &key.as_bytes()[..32]);
        destroyed.iter().filter(|(_, key)| there(key)).count()
    };
    assert_eq!(left_over("erased.db", true).await, 0);
    assert!(left_over("kept.db", false).await > 0, "or there would be nothing to prevent");
}

/// What a repository keeps between commands is what its subjects have said: it goes with their keys, and what was being
/// read at that moment does not come back.
#[tokio::test]
async fn a_state_that_is_kept_forgets_with_the_vault() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let customers: Repository<Customer, Private> =
        Repository::builder(store.clone()).keep_states(NonZeroUsize::new(10).unwrap()).build();
    for (subject, name) in [("s-1", "Ann"), ("s-2", "Bob")] {
        let who = store.vault().subject(subject).await.unwrap();
        let register = Command::Register { name: who.seal(name.to_owned()).unwrap(), phones: Vec::new() };
        customers.execute(subject, &register).await.unwrap();
    }
    let name = async |subject: &str| customers.load(subject).await.unwrap().state.name.unwrap();
    assert_eq!(name("s-1").await.get().map(String::as_str), Some("Ann"));
    store.forget("s-1").await.unwrap();
    assert!(name("s-1").await.is_redacted());
    assert_eq!(name("s-2").await.get().map(String::as_str), Some("Bob"));
    // By the vault itself, past the store.
    store.vault().forget("s-2").await.unwrap();
    assert!(name("s-2").await.is_redacted());
}
