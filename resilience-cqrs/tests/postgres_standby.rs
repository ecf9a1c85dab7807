//! Reads from a standby, and what is left when it takes over.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resilience_core::time::{ManualTimer, SharedTimer};
use resilience_cqrs::postgres::Replica;
use resilience_cqrs::projection::{Health, Projection, ProjectionRunner, Rows, RunnerError};
use resilience_cqrs::{
    AppendError, BoxError, EventStore, Expected, Position, PostgresStore, Query, Recorded, RowChange, Version, Written,
};
use sqlx::{Connection, PgConnection};
use testkit::postgres::Postgres;
use testkit::process::poll;

use self::postgres_common::{all_events, everything, open, payload, runtime, to};

const PATIENCE: Duration = Duration::from_secs(60);

fn servers() -> (Postgres, Postgres) {
    let primary = Postgres::start().expect("a private server starts");
    let standby = primary.standby().expect("a standby starts");
    (primary, standby)
}

/// Runs a statement on a server.
fn tell(server: &Postgres, statement: &'static str) {
    runtime().block_on(async {
        let mut conn = PgConnection::connect(&server.url()).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    });
}

fn ask<T>(server: &Postgres, question: &'static str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    runtime().block_on(async {
        let mut conn = PgConnection::connect(&server.url()).await.unwrap();
        sqlx::query_scalar(question).fetch_one(&mut conn).await.unwrap()
    })
}

/// Waits until the standby can answer as the primary would.
fn catch_up(replica: &Replica) {
    poll(PATIENCE, || {
        let before = replica.counts().by_standby;
        runtime().block_on(replica.read_stream(&"a".into(), Version::EMPTY, 1)).unwrap();
        Ok(replica.counts().by_standby > before)
    })
    .expect("the standby catches up");
}

/// By whom the next reads were answered: the standby, the primary.
fn answered<T>(replica: &Replica, read: impl Future<Output = T>) -> (T, (u64, u64)) {
    let before = replica.counts();
    let shown = runtime().block_on(read);
    let after = replica.counts();
    (shown, (after.by_standby - before.by_standby, after.by_primary - before.by_primary))
}

const STANDBY: (u64, u64) = (1, 0);
const PRIMARY: (u64, u64) = (0, 1);

fn append(store: &PostgresStore, payloads: std::ops::RangeInclusive<u32>) {
    runtime().block_on(async {
        for nth in payloads {
            let row = RowChange::put("last", "n", nth.to_string());
            store.append(to("a", Expected::Any, nth).row(row)).await.unwrap();
        }
    });
}

#[test]
fn a_standby_that_is_behind_answers_what_may_be_old_and_nothing_else() {
    let (primary, standby) = servers();
    let store = open(&primary.url(), "log");
    let replica = store.replica().patience(PATIENCE).open(&standby.url()).unwrap();
    append(&store, 1..=10);
    catch_up(&replica);
    tell(&standby, "SELECT pg_wal_replay_pause()");
    poll(PATIENCE, || Ok(ask::<String>(&standby, "SELECT pg_get_wal_replay_pause_state()") == "paused")).unwrap();
    append(&store, 11..=15);

    let stream = "a".into();
    let (events, by) = answered(&replica, replica.read_stream(&stream, Version::EMPTY, 100));
    assert_eq!((events.unwrap().len(), by), (15, PRIMARY), "it reads its own writes");
    let old = replica.at_least(Position::new(10));
    let (events, by) = answered(&old, old.read_stream(&stream, Version::EMPTY, 100));
    assert_eq!((events.unwrap().len(), by), (10, STANDBY), "that is new enough for who asks for it");

    let (page, by) = answered(&replica, replica.read(Position::ORIGIN, &Query::all(), 100));
    let page = page.unwrap();
    assert_eq!((page.events.len(), page.next, page.head, by), (10, Position::new(10), Position::new(15), STANDBY));
    assert!(!page.is_last(), "the page says that the log goes on");
    let (rest, by) = answered(&replica, replica.read(page.next, &Query::all(), 100));
    assert_eq!((rest.unwrap().events.len(), by), (5, PRIMARY), "where the standby ends, the primary goes on");

    let (value, by) = answered(&replica, replica.row("last", b"n"));
    assert_eq!((value.unwrap().as_deref(), by), (Some(&b"15"[..]), PRIMARY));
    let (value, by) = answered(&old, old.row("last", b"n"));
    assert_eq!((value.unwrap().as_deref(), by), (Some(&b"10"[..]), STANDBY));

    tell(&standby, "SELECT pg_wal_replay_resume()");
    catch_up(&replica);
    let (events, by) = answered(&replica, all_events(&replica));
    assert_eq!((events.len(), by), (15, STANDBY));
}

/// A standby may have what is not durable on the primary, and would be lost with it: committed ahead of the disk, or in a
/// transaction that was told to wait for nothing. The primary vouches for what this store knows, and for no more.
#[test]
fn what_the_primary_has_not_vouched_for_is_not_shown_from_a_standby() {
    let (primary, standby) = servers();
    // Nobody tells this store of what others do, and it does not look.
    let builder = PostgresStore::builder().schema("log").poll(PATIENCE * 100);
    let store = runtime().block_on(builder.open(&primary.url())).unwrap();
    let has_looked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle'
        AND query LIKE 'SELECT h.position%' AND query LIKE '%FROM log_head AS h')";
    poll(PATIENCE, || Ok(ask::<bool>(&primary, has_looked))).expect("it looks once, at its beginning");
    let replica = store.replica().patience(PATIENCE).open(&standby.url()).unwrap();
    append(&store, 1..=10);
    catch_up(&replica);
    runtime().block_on(async {
        let mut conn = store.connection().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let beside = to("a", Expected::Any, 11).row(RowChange::put("last", "n", "11"));
        store.append_in(&mut tx, beside).await.unwrap();
        tx.commit().await.unwrap();
    });
    poll(PATIENCE, || Ok(ask::<i64>(&standby, "SELECT position FROM log.log_head") == 11)).unwrap();

    let stream = "a".into();
    for replica in [replica.clone(), replica.at_least(Position::ORIGIN)] {
        let (events, by) = answered(&replica, replica.read_stream(&stream, Version::EMPTY, 100));
        assert_eq!((events.unwrap().len(), by), (10, STANDBY));
        let (page, by) = answered(&replica, replica.read(Position::ORIGIN, &Query::all(), 100));
        let page = page.unwrap();
        assert_eq!((page.events.len(), page.next, page.head, by), (10, Position::new(10), Position::new(10), STANDBY));
    }
    // A row has no former value to be shown: the primary is asked, and vouches for it.
    let old = replica.at_least(Position::ORIGIN);
    let (value, by) = answered(&old, old.row("last", b"n"));
    assert_eq!((value.unwrap().as_deref(), by), (Some(&b"11"[..]), PRIMARY));
    let (value, by) = answered(&old, old.row("last", b"n"));
    assert_eq!((value.unwrap().as_deref(), by), (Some(&b"11"[..]), STANDBY), "from then on so may the standby");
}

#[test]
fn a_standby_that_hangs_or_is_gone_is_not_asked_by_everybody() {
    let (primary, mut standby) = servers();
    let timer = ManualTimer::new();
    let builder = PostgresStore::builder().schema("log").timer(timer.clone());
    let store = runtime().block_on(builder.open(&primary.url())).unwrap();
    // It hangs for ever: the first read waits for its patience, the others do not.
    let replica = store.replica().patience(PATIENCE).pause(PATIENCE * 1_000).open(&standby.url()).unwrap();
    append(&store, 1..=3);
    catch_up(&replica);
    standby.pause().unwrap();
    for nth in 0..50 {
        let (events, by) = answered(&replica, async {
            let mut reading = pin!(everything(&replica));
            if nth == 0 {
                assert!(futures::poll!(&mut reading).is_pending());
                timer.advance(PATIENCE);
            }
            // By no clock but the test's own: a standby that is asked again lets it wait until this is over.
            tokio::select! {
                events = reading => events,
                () = SharedTimer::default().sleep(PATIENCE) => panic!("read {nth} waits for the one that hangs"),
            }
        });
        assert_eq!((events.len(), by), (3, PRIMARY));
    }
    standby.kill().unwrap();
    let replica = store.replica().open(&standby.url()).unwrap();
    let (events, by) = answered(&replica, everything(&replica));
    assert_eq!((events.len(), by), (3, PRIMARY), "it was never there, for this one");
}

/// How many events there are, as a read model.
struct Census;

impl Projection for Census {
    fn name(&self) -> &str {
        "census@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, _: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let count = rows.get("census", "n").await?.map_or(0, |n| String::from_utf8_lossy(&n).parse().unwrap_or(0));
        rows.put("census", "n", (count + 1_u64).to_string());
        Ok(())
    }
}

/// Content with any age, a projection still finds the rows it has written itself: it would count from an old number
/// otherwise, and its commit, of which only the checkpoint is checked, would go through.
#[test]
fn a_projection_that_reads_a_log_of_any_age_does_not_read_its_own_rows_so() {
    let (primary, standby) = servers();
    let store = open(&primary.url(), "log");
    let replica = store.replica().patience(PATIENCE).open(&standby.url()).unwrap();
    append(&store, 1..=10);
    catch_up(&replica);
    tell(&standby, "SELECT pg_wal_replay_pause()");
    poll(PATIENCE, || Ok(ask::<String>(&standby, "SELECT pg_get_wal_replay_pause_state()") == "paused")).unwrap();
    append(&store, 11..=15);
    let old = replica.at_least(Position::ORIGIN);
    let before = replica.counts().by_standby;
    runtime().block_on(async {
        let running = ProjectionRunner::builder(old.clone(), Census).start();
        running.at_least(Position::new(15), PATIENCE).await.unwrap();
        let count = old.row("census", b"n").await.unwrap();
        assert_eq!(count.as_deref(), Some(&b"15"[..]), "each event was counted once");
        let count = replica.at_least(Position::ORIGIN).row("census", b"n").await.unwrap();
        assert_eq!(count, None, "who has not seen it is still content with any age");
    });
    assert!(replica.counts().by_standby > before + 1, "and its events came from the standby");
}

/// The primary is lost under load. The standby was synchronous, so an acknowledgement waited for it as well, those of
/// batches that went ahead of the disk included.
#[test]
fn a_promoted_standby_has_everything_that_was_acknowledged_and_projections_go_on() {
    let (mut primary, standby) = servers();
    let store = open(&primary.url(), "log");
    tell(&primary, "ALTER SYSTEM SET synchronous_standby_names = '*'");
    tell(&primary, "SELECT pg_reload_conf()");
    poll(PATIENCE, || {
        Ok(ask::<i64>(&primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1)
    })
    .unwrap();
    let replica = store.replica().open(&standby.url()).unwrap();
    let acknowledged: Vec<(u64, String)> = std::thread::scope(|scope| {
        let running = runtime().block_on(async { ProjectionRunner::builder(replica.clone(), Census).start() });
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                scope.spawn({
                    let store = &store;
                    move || runtime().block_on(write(store, writer))
                })
            })
            .collect();
        runtime().block_on(store.wait_past(Position::new(500)));
        primary.kill().unwrap();
        drop(running);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert!(acknowledged.len() > 400);

    standby.promote().unwrap();
    let again = open(&standby.url(), "log");
    runtime().block_on(async {
        let events = all_events(&again).await;
        for (position, said) in acknowledged {
            assert_eq!(events.get(position as usize - 1).map(payload), Some(said), "position {position}");
        }
        let running = ProjectionRunner::builder(again.clone(), Census).start();
        let done = again.append(to("a", Expected::Any, "after")).await.unwrap();
        assert_eq!(done.last, Position::new(events.len() as u64 + 1), "without a hole");
        running.at_least(done.last, PATIENCE).await.unwrap();
        let count = again.row("census", b"n").await.unwrap();
        assert_eq!(count.as_deref(), Some(done.last.to_string().as_bytes()), "each event was counted once");
    });
}

/// An address that leads to one server and later to another, as that of a service does.
struct Switch {
    to: Arc<Mutex<SocketAddr>>,
    url: String,
}

impl Switch {
    fn start(server: &Postgres) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = Arc::new(Mutex::new(address(server)));
        let url = server.url().replace(&address(server).to_string(), &listener.local_addr().unwrap().to_string());
        let current = to.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(*current.lock().unwrap()) else { continue };
                pass(client.try_clone().unwrap(), server.try_clone().unwrap());
                pass(server, client);
            }
        });
        Self { to, url }
    }

    fn lead_to(&self, server: &Postgres) {
        *self.to.lock().unwrap() = address(server);
    }
}

fn address(server: &Postgres) -> SocketAddr {
    let url = server.url();
    url.split_once('@').unwrap().1.split_once('/').unwrap().0.parse().unwrap()
}

fn pass(from: TcpStream, to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut &from, &mut &to);
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

/// What an append is told once it is told for good.
fn refusal(store: &PostgresStore) -> String {
    let mut told = None;
    poll(PATIENCE, || {
        match runtime().block_on(store.append(to("a", Expected::Any, "never"))) {
            Err(AppendError::Unavailable(unavailable)) if unavailable.retryable => {}
            Err(AppendError::Unavailable(unavailable)) => told = Some(unavailable),
            other => panic!("{other:?}"),
        }
        Ok(told.is_some())
    })
    .expect("it is told");
    let told = told.unwrap();
    assert_eq!(told.written, Written::No);
    told.reason
}

/// The standby was not synchronous, and lacks what was acknowledged last. A store that comes to it by the same address must
/// not give the same positions to other events, nor wait for what is never to come: also if others have appended
/// meanwhile, and the log is longer than it ever was.
#[test]
fn a_store_that_meets_a_standby_without_what_it_acknowledged_says_so_for_good() {
    let (mut primary, standby) = servers();
    let (early, late) = (Switch::start(&primary), Switch::start(&primary));
    let (store, sleeper) = (open(&early.url, "log"), open(&late.url, "log"));
    append(&store, 1..=10);
    catch_up(&store.replica().patience(PATIENCE).open(&standby.url()).unwrap());
    tell(&standby, "ALTER SYSTEM SET primary_conninfo = ''");
    tell(&standby, "SELECT pg_reload_conf()");
    poll(PATIENCE, || Ok(ask::<i64>(&standby, "SELECT count(*) FROM pg_stat_wal_receiver") == 0)).unwrap();
    append(&store, 11..=15);
    let running = runtime().block_on(async { ProjectionRunner::builder(store.clone(), Census).start() });
    runtime().block_on(running.at_least(Position::new(15), PATIENCE)).unwrap();
    append(&sleeper, 16..=16);

    primary.kill().unwrap();
    standby.promote().unwrap();
    early.lead_to(&standby);
    let reason = "the log went back: events were acknowledged up to 16, and after 10 they are lost or are others; open the \
        store again";
    // It was told of the last event by the other, or was not.
    let told = refusal(&store);
    assert!(told == reason || told == reason.replace("16", "15"), "{told}");
    poll(PATIENCE, || Ok(running.status().health == Health::Stopped)).expect("nobody waits for ever");
    let ended = runtime().block_on(running.stop()).unwrap_err();
    // By whichever it tried first: it may have been in the middle of the sixteenth event.
    let is_for_good = match &ended {
        RunnerError::Read(error) => !error.is_retryable(),
        RunnerError::Append(error) => !error.is_retryable(),
        _ => false,
    };
    assert!(is_for_good, "{ended:?}");
    let stream = "a".into();
    assert!(!runtime().block_on(store.read_stream(&stream, Version::EMPTY, 1)).unwrap_err().is_retryable());
    assert!(runtime().block_on(store.connection()).is_err());
    // Nor by way of the standby, whose log is not this store's either.
    let replica = store.replica().patience(PATIENCE).open(&standby.url()).unwrap().at_least(Position::ORIGIN);
    let (events, by) = answered(&replica, replica.read_stream(&stream, Version::EMPTY, 1));
    assert!(!events.unwrap_err().is_retryable());
    assert_eq!(by, PRIMARY);
    assert!(runtime().block_on(replica.row("last", b"n")).is_err());

    // Opened again, it is a store of the log that is there.
    let again = open(&early.url, "log");
    append(&again, 11..=20);
    assert_eq!(runtime().block_on(everything(&again)).len(), 20);
    late.lead_to(&standby);
    assert_eq!(refusal(&sleeper), reason, "although there are twenty by now");
    assert_eq!(runtime().block_on(everything(&again)).len(), 20, "and none of them is its own");
}

/// Nothing was lost, so nothing is to be opened again.
#[test]
fn a_store_goes_on_by_itself_with_a_standby_that_has_everything() {
    let (mut primary, mut standby) = servers();
    let switch = Switch::start(&primary);
    let store = open(&switch.url, "log");
    append(&store, 1..=10);
    catch_up(&store.replica().patience(PATIENCE).open(&standby.url()).unwrap());
    primary.kill().unwrap();
    // As a standby it takes nothing, and that is no answer for good.
    switch.lead_to(&standby);
    let error = runtime().block_on(store.append(to("a", Expected::Any, 11))).unwrap_err();
    assert!(error.is_retryable() && !error.may_have_committed(), "{error:?}");
    standby.promote().unwrap();
    append(&store, 11..=12);
    assert_eq!(runtime().block_on(everything(&store)).len(), 12);

    // The old primary comes back, and others have fed it: it has more, and it is not this store's log.
    primary.restart().unwrap();
    let others = open(&primary.url(), "log");
    append(&others, 1..=10);
    standby.kill().unwrap();
    switch.lead_to(&primary);
    let error = runtime().block_on(store.append(to("a", Expected::Any, "never"))).unwrap_err();
    assert!(error.is_retryable() && !error.may_have_committed(), "{error:?}");
    assert_eq!(runtime().block_on(everything(&others)).len(), 20);
}

async fn write(store: &PostgresStore, writer: u32) -> Vec<(u64, String)> {
    let mut acknowledged = Vec::new();
    for nth in 0_u64.. {
        let payload = format!("{writer}-{nth}");
        match store.append(to("a", Expected::Any, &payload)).await {
            Ok(appended) => acknowledged.push((appended.last.get(), payload)),
            Err(AppendError::Unavailable(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    acknowledged
}
