//! A process that answers events with commands, and some of them later, is killed between a command and the note that it
//! was sent: in effect each command is sent once, and what was to happen later happens once, when it is due. ES46.
//!
//! The test starts itself as the child, which stops dead after so many commands, with the last of them acknowledged and its
//! checkpoint not; there it is killed. What makes it once is the command id: the reaction's own idempotency key.
#![cfg(all(unix, any(feature = "sqlite", feature = "redb", feature = "postgres")))]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use resilience_cqrs::projection::{IdempotencyKey, ProjectionHandle, ProjectionRunner, Reaction};
use resilience_cqrs::{AnyStore, Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded};

const CHILD: &str = "CQRS_MANAGER_CHILD";
const ORDERS: u64 = 10;
const KILLS: u64 = 6;
/// When an order that was placed is asked after.
const LATER: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(feature = "sqlite")]
#[test]
fn a_command_that_was_sent_before_a_kill_is_sent_once_in_effect_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    killed_after_its_commands(&format!("sqlite:{}", directory.path().join("log").display()));
}

#[cfg(feature = "redb")]
#[test]
fn a_command_that_was_sent_before_a_kill_is_sent_once_in_effect_on_redb() {
    let directory = tempfile::tempdir().unwrap();
    killed_after_its_commands(&format!("redb:{}", directory.path().join("log").display()));
}

#[cfg(feature = "postgres")]
#[test]
fn a_command_that_was_sent_before_a_kill_is_sent_once_in_effect_on_postgresql() {
    killed_after_its_commands(&format!("{}?schema=managed", testkit::postgres::shared()));
}

fn killed_after_its_commands(address: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(address).await.unwrap();
        for order in 0..ORDERS {
            let events = ["Ordered", "Paid"].map(|kind| NewEvent::new(kind, order.to_string()));
            store.append(Append::new().events(format!("order-{order}"), Expected::NoStream, events)).await.unwrap();
        }
        store.close().await;
    });
    let mut rng = Rng::seeded(46);
    for _ in 0..KILLS {
        // From the second on the first command is one that was sent before the last kill.
        let mut child = child(address, 1 + rng.below(4));
        assert!(said(&mut child).any(|line| line == "stopped"), "it stops after its last command");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut last = child(address, u64::MAX);
    assert!(said(&mut last).any(|line| line == "done"));
    last.kill().unwrap();
    last.wait().unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(address).await.unwrap();
        let events = store.read(Position::ORIGIN, &Query::all(), 1_000).await.unwrap().events;
        let mut times: BTreeMap<(&str, &[u8]), Vec<u64>> = BTreeMap::new();
        for event in &events {
            let times = times.entry((event.kind.as_str(), &event.payload)).or_default();
            times.push(event.recorded_at.as_unix_millis());
        }
        for order in 0..ORDERS {
            let of = |kind: &'static str| times[&(kind, order.to_string().as_bytes())].clone();
            assert_eq!((of("Shipped").len(), of("Reminded").len()), (1, 1), "order {order}");
            assert!(of("Reminded")[0] >= of("Ordered")[0] + LATER.as_millis() as u64, "not before it is due");
        }
        assert_eq!(events.len() as u64, 4 * ORDERS, "and nothing else happened");
        store.close().await;
    });
}

fn child(address: &str, commands: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child", "--nocapture"]).env(CHILD, format!("{commands} {address}"));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What the child says, and not the test harness.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("> ").map(str::to_owned))
}

/// One line, past the test harness, in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("> {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: what the tests above start and kill.
#[test]
fn the_child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (commands, address) = told.split_once(' ').unwrap();
    let left = Arc::new(AtomicU64::new(commands.parse().unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(address).await.unwrap();
        let start = |answers, with, later| {
            let manager = Manager { store: store.clone(), answers, with, later, left: left.clone() };
            ProjectionRunner::reaction(store.clone(), manager).batch(NonZeroUsize::MIN).start()
        };
        let running: [ProjectionHandle; 2] =
            [start("Paid", "Shipped", Duration::ZERO), start("Ordered", "Reminded", LATER)];
        for handle in &running {
            handle.at_least(Position::new(2 * ORDERS), PATIENCE).await.unwrap();
        }
        say("done");
        std::future::pending::<()>().await;
    });
}

/// Answers events of one type with an event of another, by a command, at once or later.
struct Manager {
    store: AnyStore,
    answers: &'static str,
    with: &'static str,
    later: Duration,
    /// Commands until the process stops.
    left: Arc<AtomicU64>,
}

impl Reaction for Manager {
    fn name(&self) -> &str {
        self.with
    }

    fn query(&self) -> Query {
        Query::types([self.answers])
    }

    async fn handle(&self, event: &Recorded, key: IdempotencyKey<'_>) -> Result<(), BoxError> {
        let (timer, due) = (SharedTimer::default(), event.recorded_at.as_unix_millis() + self.later.as_millis() as u64);
        while let left @ 1.. = due.saturating_sub(timer.wall().as_unix_millis()) {
            timer.sleep(Duration::from_millis(left)).await;
        }
        let stream = format!("{}-{}", self.with, event.stream);
        let answer = NewEvent::new(self.with, event.payload.clone());
        self.store.append(Append::new().events(stream, Expected::Any, [answer]).command_id(key.to_string())).await?;
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            0 => std::future::pending().await, // The other one has stopped the process.
            1 => {
                say("stopped");
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }
}
