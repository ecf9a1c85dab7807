//! A process that appends and relays is killed, for real and in full flight, again and again: whatever was appended is
//! sent, in order per key, under ids that stay the same, and takes effect once.
//!
//! The broker is a second log in a file of its own, without any memory of ids: what is sent twice is there twice. The
//! test starts itself as the child. It kills after a drawn number of acknowledgements, so that a run can be repeated with
//! `CRASH_SEED` (printed); `CRASH_KILLS` sets how often, 10 by default.
#![cfg(all(unix, feature = "sqlite"))]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use resilience_core::Name;
use resilience_core::rng::Rng;
use resilience_cqrs::messaging::{
    Bus, BusError, Filter, Inbox, MemoryRequests, MemorySubscription, Message, Outbox, Outgoing, Relay, RelayHandle,
    Sent, Subscribe,
};
use resilience_cqrs::{
    Append, EventStore, Expected, MemoryStore, NewEvent, Position, Query, Recorded, SqliteStore, Version,
};
use tokio::runtime::Runtime;

const CHILD: &str = "CQRS_MESSAGING_CHILD";
const ACCOUNTS: u64 = 4;
/// The most acknowledgements before a kill, and the deposits of one account until then: enough for any of them.
const MOST: u64 = 200;
const A_LIFE: u64 = MOST / ACCOUNTS + 10;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A broker that keeps what it is sent in a log, under the key it has.
#[derive(Clone, Debug)]
struct Broker(SqliteStore);

impl Bus for Broker {
    type Subscription = MemorySubscription;
    type Requests = MemoryRequests;

    async fn publish(&self, message: Message) -> Result<Sent, BusError> {
        let taken = NewEvent::new(message.id.as_str(), message.payload().clone());
        let stream = message.key().unwrap_or("none").to_owned();
        let appended = self.0.append(Append::new().events(stream, Expected::Any, [taken])).await;
        let down = |error| BusError::Unavailable { reason: format!("{error}"), source: None };
        appended.map(|_| Sent { duplicate: false }).map_err(down)
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

async fn open(directory: &Path) -> (SqliteStore, Broker, RelayHandle) {
    let store = SqliteStore::open(directory.join("log.db")).await.unwrap();
    let broker = Broker(SqliteStore::open(directory.join("broker.db")).await.unwrap());
    let relay = Relay::builder(store.clone(), broker.clone(), "bank")
        .events(Query::types(["Deposited"]), |event| Ok(Some(Outgoing::new("deposited", event.payload.clone()))))
        .batch(std::num::NonZeroUsize::new(16).unwrap())
        .start()
        .unwrap();
    (store, broker, relay)
}

/// ES42.
#[test]
fn what_a_killed_process_has_appended_is_sent_in_order_under_the_same_ids_and_takes_effect_once() {
    let (seed, kills) = (from_env("CRASH_SEED", 1), from_env("CRASH_KILLS", 10));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let mut rng = Rng::seeded(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for _ in 0..kills {
        acknowledged.extend(killed_after(child(directory.path()), rng.below(MOST)));
    }
    runtime().block_on(check(directory.path(), &acknowledged));
}

async fn check(directory: &Path, acknowledged: &BTreeSet<String>) {
    let (store, Broker(broker), relay) = open(directory).await;
    relay.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
    relay.stop().await.unwrap();
    let sent = everything(&broker).await;
    // One id, one message, however often it came.
    let mut ids = BTreeMap::new();
    for event in &sent {
        assert_eq!(
            ids.entry(event.kind.as_str()).or_insert((&event.stream, &event.payload)),
            &(&event.stream, &event.payload)
        );
    }
    // Taken by a consumer with an inbox, one after the other as they came: what it did is what the log says.
    let effects = MemoryStore::new();
    let inbox = Inbox::new(effects.clone(), "consumer");
    for event in &sent {
        let message = Message::new(event.kind.as_str(), "any", event.payload.clone());
        let effect = NewEvent::new("Done", event.payload.clone());
        inbox.append(&message, Append::new().events(event.stream.clone(), Expected::Any, [effect])).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    for account in 0..ACCOUNTS {
        let of = async |store: &SqliteStore, stream: String| {
            payloads(store.read_stream(&stream.into(), Version::EMPTY, 100_000).await)
        };
        let deposits = of(&store, format!("a{account}")).await;
        let done = payloads(effects.read_stream(&format!("a{account}").into(), Version::EMPTY, 100_000).await);
        assert_eq!(done, deposits, "of account {account}, each once and in order");
        // The mails of an account are in the order of its deposits, with which they were appended.
        let mails = payloads(effects.read_stream(&format!("mail-a{account}").into(), Version::EMPTY, 100_000).await);
        assert_eq!(mails, deposits);
        seen.extend(deposits);
    }
    assert!(acknowledged.is_subset(&seen), "{:?} is lost", acknowledged.difference(&seen).next());
    assert!(store.rows("outbox/bank", None, 10).await.unwrap().is_empty(), "all is sent, and pruned");
    println!("{} messages, {} of them twice", ids.len(), sent.len() - ids.len());
}

async fn everything(store: &SqliteStore) -> Vec<Recorded> {
    let mut events = Vec::new();
    while events.len() < store.head().get() as usize {
        let after = Position::new(events.len() as u64);
        events.extend(store.read(after, &Query::all(), 8192).await.unwrap().events);
    }
    events
}

fn payloads<E: std::fmt::Debug>(events: Result<Vec<Recorded>, E>) -> Vec<String> {
    events.unwrap().iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn child(directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child", "--nocapture"]).env(CHILD, directory);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What the child acknowledged: `after` lines and whatever was on its way when SIGKILL arrived.
fn killed_after(mut child: Child, after: u64) -> Vec<String> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::iter::from_fn(|| {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        // A line cut by the kill was never acknowledged.
        line.ends_with('\n').then(|| line.trim_end().to_owned())
    })
    .filter_map(|line| line.strip_prefix("> ").map(str::to_owned));
    let mut seen: Vec<String> = lines.by_ref().take(after as usize + 1).collect();
    child.kill().unwrap();
    seen.extend(lines);
    child.wait().unwrap();
    seen
}

/// Not a test of its own: what the test above starts and kills.
#[test]
fn the_child() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    runtime().block_on(async {
        let (store, _broker, _relay) = open(Path::new(&directory)).await;
        let run = format!("{}-{}", std::process::id(), store.head());
        let writers = (0..ACCOUNTS).map(|account| tokio::spawn(write(store.clone(), run.clone(), account)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

/// Deposits, with a mail for each, for longer than the process lives; not without end, or there would be more than the
/// relay can send in the end where the one who kills is slow.
async fn write(store: SqliteStore, run: String, account: u64) {
    let outbox = Outbox::new("bank");
    for n in 0..A_LIFE {
        let unit = format!("{run}-{account}-{n}");
        let deposited = NewEvent::new("Deposited", unit.clone());
        let mail =
            Outgoing::for_queue("mails", unit.clone()).key(format!("mail-a{account}")).with_id(format!("mail-{unit}"));
        let append = Append::new().events(format!("a{account}"), Expected::Any, [deposited]);
        store.append(outbox.put(append, &mail)).await.unwrap();
        println!("> {unit}");
    }
    std::future::pending::<()>().await;
}
