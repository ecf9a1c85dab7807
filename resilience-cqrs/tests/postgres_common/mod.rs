//! What the tests of the PostgreSQL engine share.
#![allow(dead_code)] // Each of the test programs uses a part of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Position, PostgresStore, Query, Recorded};
use tokio::runtime::Runtime;

/// The runtime of the stores; the laws themselves run on none.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
    })
}

/// The address of the server all tests share.
pub(crate) fn shared_server() -> &'static str {
    testkit::postgres::shared()
}

pub(crate) fn new_schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("log {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn open(url: &str, schema: &str) -> PostgresStore {
    let opened = runtime().block_on(PostgresStore::builder().schema(schema).poll(POLL).open(url));
    opened.expect("the store opens")
}

pub(crate) const POLL: Duration = Duration::from_millis(20);

pub(crate) fn event(payload: impl ToString) -> NewEvent {
    NewEvent::new("Happened", payload.to_string())
}

pub(crate) fn to(stream: &str, expected: Expected, payload: impl ToString) -> Append {
    Append::new().events(stream, expected, [event(payload)])
}

/// The payloads of all events of a log, in order.
pub(crate) async fn everything(store: &impl EventStore) -> Vec<String> {
    all_events(store).await.iter().map(payload).collect()
}

pub(crate) fn payload(event: &Recorded) -> String {
    String::from_utf8_lossy(&event.payload).into_owned()
}

/// All events of a log, page by page.
pub(crate) async fn all_events(store: &impl EventStore) -> Vec<Recorded> {
    let (mut at, mut events) = (Position::ORIGIN, Vec::new());
    loop {
        let page = store.read(at, &Query::all(), 1_000).await.expect("the log can be read");
        let positions = page.events.iter().map(|event| event.position.get());
        assert!(positions.eq(at.get() + 1..=at.get() + page.events.len() as u64), "a hole in the log");
        let is_last = page.is_last();
        at = page.next;
        events.extend(page.events);
        if is_last {
            return events;
        }
    }
}
