//! What goes over the wire: how often, and what happens while it is held up.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use resilience_core::event::{Event as Told, Sink};
use resilience_core::time::ManualTimer;
use resilience_cqrs::postgres::Event;
use resilience_cqrs::{
    Append, AppendError, Condition, EventStore, Expected, Marker, Position, PostgresStore, Query, RowChange, Version,
    Written,
};
use testkit::postgres::Postgres;
use testkit::process::poll;

use self::postgres_common::{all_events, event, everything, new_schema, open, payload, runtime, shared_server, to};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a connection is for, as its statements say.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Other,
    Writes,
    Flushes,
}

/// Stands between a store and its server: counts round trips, can hold the flush up, and can lose the writer's answers.
#[derive(Default)]
struct Proxy {
    writes: AtomicU64,
    flushes: AtomicU64,
    held: Mutex<bool>,
    loses: AtomicBool,
    released: Condvar,
}

impl Proxy {
    /// Stands before the server at `url`; where it stands itself.
    fn start(url: &str) -> (Arc<Self>, String) {
        let (before, rest) = url.split_once('@').unwrap();
        let (server, after) = rest.split_once('/').unwrap();
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = format!("{before}@{}/{after}", listener.local_addr().unwrap());
        let proxy = Arc::new(Self::default());
        let serving = proxy.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (serving, ends) = (serving.clone(), (client.try_clone().unwrap(), server.try_clone().unwrap()));
                let (answering, executes) = (serving.clone(), Arc::new(AtomicBool::new(false)));
                let written = executes.clone();
                std::thread::spawn(move || {
                    let _ = serving.questions(&client, &server, &executes);
                    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                });
                std::thread::spawn(move || {
                    let (client, server) = ends;
                    let _ = answering.answers(&server, &client, &written);
                    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                });
            }
        });
        (proxy, own)
    }

    /// Passes on what the client says, message by message: a type and a length, but for the first.
    fn questions(&self, mut client: &TcpStream, mut server: &TcpStream, executes: &AtomicBool) -> io::Result<()> {
        let (mut role, mut is_first) = (Role::Other, true);
        loop {
            let mut head = vec![0; if is_first { 4 } else { 5 }];
            client.read_exact(&mut head)?;
            let length = u32::from_be_bytes(*head.last_chunk().unwrap());
            let mut body = vec![0; length as usize - 4];
            client.read_exact(&mut body)?;
            if !is_first {
                let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
                match head[0] {
                    b'P' if has("FROM log_append(") => role = Role::Writes,
                    b'P' if has("SELECT pg_logical_emit_message") => role = Role::Flushes,
                    // Sync, or a simple query: the client waits for the answer.
                    b'S' | b'Q' => self.count(role),
                    _ => {}
                }
                // Execute; a statement that is new is prepared before that, with an answer of its own.
                if matches!(head[0], b'P' | b'E') {
                    executes.store(role == Role::Writes && head[0] == b'E', Ordering::SeqCst);
                }
            }
            if role == Role::Flushes {
                let held = self.held.lock().unwrap();
                drop(self.released.wait_while(held, |held| *held).unwrap());
            }
            server.write_all(&head)?;
            server.write_all(&body)?;
            // A request for encryption is followed by another beginning.
            is_first = is_first && body.starts_with(&80_877_103_u32.to_be_bytes());
        }
    }

    /// Passes on what the server says, or ends where it has answered the writer and the answer is to get lost.
    fn answers(&self, mut server: &TcpStream, mut client: &TcpStream, has_written: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = server.read(&mut buffer)?;
            if read == 0 || self.loses.load(Ordering::SeqCst) && has_written.load(Ordering::SeqCst) {
                return Ok(());
            }
            client.write_all(&buffer[..read])?;
        }
    }

    fn count(&self, role: Role) {
        match role {
            Role::Writes => self.writes.fetch_add(1, Ordering::SeqCst),
            Role::Flushes => self.flushes.fetch_add(1, Ordering::SeqCst),
            Role::Other => 0,
        };
    }

    fn counts(&self) -> (u64, u64) {
        (self.writes.load(Ordering::SeqCst), self.flushes.load(Ordering::SeqCst))
    }

    fn hold(&self, hold: bool) {
        *self.held.lock().unwrap() = hold;
        self.released.notify_all();
    }
}

/// Counts commits.
#[derive(Clone, Default)]
struct Commits(Arc<AtomicU64>);

impl Sink for Commits {
    fn on_event(&self, told: &Told<'_>) {
        if let Some(Event::Committed { .. }) = told.fact() {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Everything an append can name.
fn rich(nth: u64) -> Append {
    let (before, stream) = (if nth == 0 { None } else { Some((nth - 1).to_string()) }, "account");
    let fence = match before {
        None => Condition::row_absent("last", "n"),
        Some(before) => Condition::row_is("last", "n", before),
    };
    Append::new()
        .events(stream, Expected::Exact(Version::new(nth)), [event(nth).tag(format!("n:{nth}"))])
        .events(format!("note-{nth}"), Expected::NoStream, [event("noted")])
        .require(fence)
        .require(Condition::no_match(Query::tags([format!("n:{nth}")]), Marker::START))
        .row(RowChange::put("last", "n", nth.to_string()))
        .command_id(format!("command-{nth}"))
}

#[test]
fn a_batch_is_one_round_trip_whatever_is_in_it() {
    let (proxy, url) = Proxy::start(shared_server());
    let commits = Commits::default();
    // Time stands still: no connection idles, and nobody looks by themselves.
    let builder = PostgresStore::builder().schema(new_schema()).timer(ManualTimer::new()).listener(commits.clone());
    runtime().block_on(async {
        let store = builder.open(&url).await.unwrap();
        // The connection is made, and its statements prepared.
        store.append(rich(0)).await.unwrap();
        store.append(to("account", Expected::NoStream, "stale")).await.unwrap_err();
        let before = proxy.counts();
        for nth in 1..=20 {
            store.append(rich(nth)).await.unwrap();
        }
        let after = proxy.counts();
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (20, 0),
            "with little to do, the commit waits for the disk"
        );

        let conflict = store.append(rich(5)).await.unwrap();
        assert!(conflict.already_committed);
        let stale = to("account", Expected::Exact(Version::new(20)), "stale");
        assert!(store.append(stale).await.unwrap_err().as_conflict().is_some());
        // One that looks and finds the command; one that looks, and one that reads what was missed.
        assert_eq!(proxy.counts().0 - after.0, 3);
        let many = || (0..64).map(|nth| store.append(to(&format!("stream-{nth}"), Expected::Any, nth)));
        // The statements for streams that are new, and for such as are known, are prepared.
        for _ in 0..3 {
            futures::future::try_join_all(many()).await.unwrap();
        }
        let (before, batches) = (proxy.counts(), commits.0.load(Ordering::SeqCst));
        for _ in 0..10 {
            futures::future::try_join_all(many()).await.unwrap();
        }
        let (after, batches) = (proxy.counts(), commits.0.load(Ordering::SeqCst) - batches);
        // A batch is told of after it was answered, so one may be counted with those before, and another not yet.
        assert!(batches.abs_diff(after.0 - before.0) <= 1, "a round trip a batch");
        assert!(batches < 640 / 4, "appends that wait share one: {batches}");
        // One more where the barrier's own statement was not prepared before.
        assert!(after.1 - before.1 <= after.0 - before.0 + 1, "and a barrier is shared, too");
    });
}

/// The server has committed, and its answer gets lost with the connection: by the function, as the first of a connection, and
/// by the plain statement after that. Taken for "not written", the append would be sent again, and be there twice.
#[test]
fn an_append_whose_answer_is_lost_is_perhaps_written_and_is_not_sent_again() {
    for is_first in [true, false] {
        let schema = new_schema();
        let (proxy, url) = Proxy::start(shared_server());
        // Time stands still, or a connection that has idled would be asked whether it is there, and lose that answer.
        let store = PostgresStore::builder().schema(schema.as_str()).timer(ManualTimer::new());
        let store = runtime().block_on(store.open(&url)).unwrap();
        if !is_first {
            runtime().block_on(store.append(to("a", Expected::Any, "before"))).unwrap();
        }
        proxy.loses.store(true, Ordering::SeqCst);
        match runtime().block_on(store.append(to("a", Expected::Any, "lost"))) {
            Err(AppendError::Unavailable(unavailable)) => assert_eq!(unavailable.written, Written::Unknown),
            other => panic!("{other:?}"),
        }
        proxy.loses.store(false, Ordering::SeqCst);
        let written = || runtime().block_on(everything(&open(shared_server(), &schema)));
        poll(PATIENCE, || Ok(written().contains(&"lost".to_owned()))).expect("the server had all of it");
        runtime().block_on(store.append(to("a", Expected::Any, "next"))).expect("it connects again");
        let expected: &[&str] = if is_first { &["lost", "next"] } else { &["before", "lost", "next"] };
        assert_eq!(written(), expected);
    }
}

/// A server that writes its log to the disk only when it is asked to, a store behind a proxy, and one that is not.
fn half_durable(
    proxy: &Proxy,
    store: &PostgresStore,
    other: &PostgresStore,
) -> tokio::task::JoinHandle<Result<resilience_cqrs::Appended, AppendError>> {
    // While others write, a store does not keep the lock for the disk.
    poll(PATIENCE, || {
        runtime().block_on(async {
            other.append(to("a", Expected::Any, "other")).await.unwrap();
            store.append(to("a", Expected::Any, "own")).await.unwrap();
        });
        Ok(proxy.counts().1 > 2)
    })
    .expect("it goes ahead of the disk");
    proxy.hold(true);
    let waiting = {
        let store = store.clone();
        runtime().spawn(async move { store.append(in_between()).await })
    };
    poll(PATIENCE, || Ok(runtime().block_on(is_committed(other)))).expect("it is committed");
    assert!(!waiting.is_finished(), "and not acknowledged");
    waiting
}

/// What is committed and not durable, when everything is held up.
fn in_between() -> Append {
    to("a", Expected::Any, "in between").command_id("in between").row(RowChange::put("row", "a", "in between"))
}

/// Whether the tables have it, durable or not.
async fn is_committed(store: &PostgresStore) -> bool {
    let mut conn = store.connection().await.unwrap();
    let select = sqlx::query_scalar("SELECT EXISTS (SELECT FROM log_event WHERE payload = 'in between'::bytea)");
    select.fetch_one(&mut *conn).await.unwrap()
}

fn reluctant_server() -> Postgres {
    Postgres::start_with(&[("wal_writer_delay", "10s"), ("autovacuum", "off")]).expect("a private server starts")
}

/// Time stands still. Neither store looks by itself: that alone would make everything durable. And however slow the machine,
/// no connection has idled, so that the next append goes ahead of the disk as the one before did.
fn still(url: &str) -> PostgresStore {
    runtime().block_on(PostgresStore::builder().schema("log").timer(ManualTimer::new()).open(url)).unwrap()
}

/// The window between a commit and its barrier, held open: the store shows nothing of it, and when the server crashes in
/// it, it is as if it had not been.
#[test]
fn what_was_committed_and_not_flushed_is_not_shown_by_its_own_store_and_may_be_lost() {
    let mut was_lost = false;
    // The server wakes up by itself every ten seconds, and flushes: where the machine is busy, that may well fall into it.
    for _ in 0..20 {
        let mut server = reluctant_server();
        let (proxy, url) = Proxy::start(&server.url());
        let (store, other) = (still(&url), still(&server.url()));
        let waiting = half_durable(&proxy, &store, &other);
        let head = store.head();
        runtime().block_on(async {
            let shown = all_events(&store).await;
            assert_eq!(shown.len() as u64, head.get());
            assert!(shown.iter().all(|event| payload(event) != "in between"));
            let stream = store.read_stream(&"a".into(), Version::EMPTY, 10_000).await.unwrap();
            assert_eq!(stream.len(), shown.len());
        });
        server.kill().unwrap();
        proxy.hold(false);
        match runtime().block_on(waiting).unwrap() {
            Err(AppendError::Unavailable(unavailable)) => assert_eq!(unavailable.written, Written::Unknown),
            other => panic!("{other:?}"),
        }
        server.restart().unwrap();
        let stored = runtime().block_on(everything(&open(&server.url(), "log")));
        assert!(stored.len() as u64 >= head.get());
        was_lost = !stored.contains(&"in between".to_owned());
        if was_lost {
            break;
        }
    }
    assert!(was_lost, "a crash takes it back");
}

/// Another store cannot know whether the append was acknowledged. It shows it, and makes it durable first.
#[test]
fn what_another_store_shows_survives_a_crash_although_it_was_not_acknowledged() {
    let mut server = reluctant_server();
    let (proxy, url) = Proxy::start(&server.url());
    let (store, other) = (still(&url), still(&server.url()));
    let waiting = half_durable(&proxy, &store, &other);
    let shown = runtime().block_on(everything(&other));
    assert_eq!(shown.last().map(String::as_str), Some("in between"));
    assert_eq!(other.head(), Position::new(shown.len() as u64));
    server.kill().unwrap();
    proxy.hold(false);
    assert!(runtime().block_on(waiting).unwrap().is_err());
    server.restart().unwrap();
    assert_eq!(runtime().block_on(everything(&open(&server.url(), "log"))), shown);
}

/// How one can come to know of an append without reading its event.
#[derive(Clone, Copy, Debug)]
enum Learnt {
    Conflict,
    ConflictOfOneAlone,
    ConflictInATransaction,
    Repeated,
    Committed,
    Row,
    Rows,
    Streams,
}

/// As what is shown, so what is told: of a conflict, of a command that was repeated, of a row. Somebody else's append may
/// have been acknowledged, and is made durable before it is the reason for anything.
#[test]
fn what_another_store_is_told_of_survives_a_crash_whichever_way_it_is_told() {
    use Learnt::*;
    for way in [Conflict, ConflictOfOneAlone, ConflictInATransaction, Repeated, Learnt::Committed, Row, Rows, Streams] {
        let mut server = reluctant_server();
        let (proxy, url) = Proxy::start(&server.url());
        let (store, other, alone) = (still(&url), still(&server.url()), still(&server.url()));
        let waiting = half_durable(&proxy, &store, &other);
        assert!(runtime().block_on(learns(way, &other, &alone)), "{way:?}");
        server.kill().unwrap();
        proxy.hold(false);
        assert!(runtime().block_on(waiting).unwrap().is_err());
        server.restart().unwrap();
        let stored = runtime().block_on(everything(&open(&server.url(), "log")));
        assert!(stored.contains(&"in between".to_owned()), "{way:?}: what was told of is gone");
    }
}

/// Whether it is told of what is in between.
async fn learns(way: Learnt, other: &PostgresStore, alone: &PostgresStore) -> bool {
    let stale = || to("a", Expected::NoStream, "stale");
    match way {
        Learnt::Conflict => other.append(stale()).await.unwrap_err().as_conflict().is_some(),
        Learnt::ConflictOfOneAlone => alone.append(stale()).await.unwrap_err().as_conflict().is_some(),
        Learnt::ConflictInATransaction => {
            let mut conn = other.connection().await.unwrap();
            let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
            other.append_in(&mut tx, stale()).await.unwrap_err().as_conflict().is_some()
        }
        Learnt::Repeated => other.append(in_between()).await.unwrap().already_committed,
        Learnt::Committed => other.committed(&"in between".into()).await.unwrap().is_some(),
        Learnt::Row => other.row("row", b"a").await.unwrap().is_some(),
        Learnt::Rows => other.rows("row", None, 10).await.unwrap().len() == 1,
        Learnt::Streams => {
            let streams = ["b", "a"].map(|name| (name.into(), Version::EMPTY));
            let read = other.read_streams(&streams, 10_000).await.unwrap();
            read[1].last().is_some_and(|event| payload(event) == "in between")
        }
    }
}

/// What is newest in the tables is this store's own, and not durable; below it is what another has been told of. That is
/// no reason to show less than there was before.
#[test]
fn what_others_were_told_is_shown_although_what_is_newer_is_its_own_and_in_between() {
    let server = reluctant_server();
    let (proxy, url) = Proxy::start(&server.url());
    let (store, other) = (still(&url), still(&server.url()));
    let waiting = half_durable(&proxy, &store, &other);
    // In a transaction of a caller's, of which other stores are not told: they find it.
    let told = runtime().block_on(async {
        let mut conn = other.connection().await.unwrap();
        let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
        let told = other.append_in(&mut tx, to("b", Expected::Any, "told")).await.unwrap().last;
        tx.commit().await.unwrap();
        told
    });
    let newest = {
        let store = store.clone();
        runtime().spawn(async move { store.append(to("a", Expected::Any, "newest")).await })
    };
    poll(PATIENCE, || {
        let newest = "SELECT EXISTS (SELECT FROM log_event WHERE payload = 'newest'::bytea)";
        Ok(runtime().block_on(async {
            let mut conn = other.connection().await.unwrap();
            sqlx::query_scalar::<_, bool>(newest).fetch_one(&mut *conn).await.unwrap()
        }))
    })
    .expect("it is committed");
    runtime().block_on(async {
        assert_eq!(store.read_stream(&"b".into(), Version::EMPTY, 1).await.unwrap().len(), 1);
        assert!(all_events(&store).await.iter().any(|event| event.position == told));
    });
    proxy.hold(false);
    runtime().block_on(async {
        waiting.await.unwrap().unwrap();
        newest.await.unwrap().unwrap();
    });
}
