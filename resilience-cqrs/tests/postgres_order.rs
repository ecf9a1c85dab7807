//! The order of the log, whatever else happens on the server. The scenarios are those of `docs/scenarios.md`'s source; each
//! is named by its number.
#![cfg(all(feature = "postgres", unix))]

mod postgres_common;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use resilience_core::time::SharedTimer;
use resilience_cqrs::{
    Append, AppendError, Condition, EventStore, Expected, Marker, NewEvent, Position, PostgresStore, Query, RowChange,
    Version, Violation, Written,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::postgres::Postgres;
use testkit::process::poll;

use self::postgres_common::{everything, new_schema, open, payload, runtime, shared_server, to};

const PATIENCE: Duration = Duration::from_secs(60);

async fn run(store: &PostgresStore, statements: &str) {
    let mut conn = store.connection().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *conn).await.unwrap();
}

/// Makes the log's own statements fail with `state` as often as `times` says: at the statement, or at the commit.
async fn fail(store: &PostgresStore, state: &str, at_commit: bool, times: u32) {
    let (kind, when) = match at_commit {
        true => ("CONSTRAINT TRIGGER", "AFTER INSERT ON log_event DEFERRABLE INITIALLY DEFERRED"),
        false => ("TRIGGER", "BEFORE INSERT ON log_event"),
    };
    // A sequence counts what is rolled back, too.
    run(
        store,
        &format!(
            "DROP TRIGGER IF EXISTS failing ON log_event; CREATE SEQUENCE IF NOT EXISTS failures; ALTER SEQUENCE failures RESTART;
             CREATE OR REPLACE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('failures') <= {times} THEN RAISE EXCEPTION 'made to' USING ERRCODE = '{state}'; END IF;
                 RETURN NEW;
             END $$;
             CREATE {kind} failing {when} FOR EACH ROW EXECUTE FUNCTION failing();"
        ),
    )
    .await;
}

/// ES10: a conflict that the database finds, by whichever state and wherever, is one that can be tried again, and
/// is, with a fresh look at the log; never a failure of the inside.
#[test]
fn what_the_database_undoes_for_a_conflict_is_judged_again() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        let mut appended = 0;
        for state in ["23505", "40001", "40P01", "55P03"] {
            for at_commit in [false, true] {
                fail(&store, state, at_commit, 2).await;
                store.append(to("a", Expected::Exact(Version::new(appended)), state)).await.unwrap();
                appended += 1;
                // Not this one's turn, and the loser is told of what it missed as by any conflict.
                let stale = store.append(to("a", Expected::Exact(Version::new(0)), "stale")).await.unwrap_err();
                assert!(stale.as_conflict().is_some(), "{stale:?}");
            }
        }
        for at_commit in [false, true] {
            fail(&store, "40001", at_commit, 1_000).await;
            let endless = store.append(to("a", Expected::Any, "never")).await.unwrap_err();
            assert!(endless.is_retryable() && !endless.may_have_committed(), "{endless:?}");
        }
        assert_eq!(everything(&store).await.len() as u64, appended, "and nothing was written by half");
    });
}

/// ES12: a transaction has taken a position and stalls. Nobody is shown what comes after; when it gives up, its
/// position is the next one's, and the reader goes on at once, without any setting of how long to wait for gaps.
#[test]
fn a_transaction_that_stalls_lets_nobody_pass_and_leaves_no_hole() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        for nth in 1..=4 {
            store.append(to("a", Expected::Any, nth)).await.unwrap();
        }
        for commits in [false, true] {
            let head = store.head();
            let mut conn = store.connection().await.unwrap();
            let mut tx = conn.begin().await.unwrap();
            let taken = store.append_in(&mut tx, to("b", Expected::Any, "stalls")).await.unwrap();
            assert_eq!(taken.last, head.next());
            let next = tokio::spawn({
                let store = store.clone();
                async move { store.append(to("c", Expected::Any, "next")).await.unwrap() }
            });
            tokio::task::yield_now().await;
            let page = store.read(head, &Query::all(), 10).await.unwrap();
            assert_eq!((page.events.len(), page.head, next.is_finished()), (0, head, false));
            if commits { tx.commit().await } else { tx.rollback().await }.unwrap();
            let next = next.await.unwrap().last;
            assert_eq!(next, if commits { taken.last.next() } else { taken.last });
            assert_eq!(store.wait_past(head).await, next);
        }
        assert_eq!(everything(&store).await, ["1", "2", "3", "4", "next", "stalls", "next"]);
    });
}

/// ES13: eight writers in two processes, and a reader in a third that looks every 2 ms and goes by position. What it
/// is delivered is what was acknowledged, once each and in order. `POSTGRES_SECONDS` says for how long: 60 for a release.
#[test]
fn a_reader_that_polls_under_load_is_delivered_what_was_acknowledged() {
    let seconds = std::env::var("POSTGRES_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let schema = new_schema();
    let stores: Vec<PostgresStore> = (0..3).map(|_| open(shared_server(), &schema)).collect();
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let (acknowledged, delivered) = std::thread::scope(|scope| {
        let (stop, ended, stores) = (&stop, &ended, &stores);
        let writers: Vec<_> = (0..8_usize)
            .map(|writer| scope.spawn(move || runtime().block_on(write(&stores[writer % 2], writer, stop))))
            .collect();
        let reader = scope.spawn(move || runtime().block_on(deliver(&stores[2], ended)));
        runtime().block_on(async { SharedTimer::default().sleep(Duration::from_secs(seconds)).await });
        stop.store(true, Ordering::SeqCst);
        let acknowledged: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        ended.store(true, Ordering::SeqCst);
        (acknowledged, reader.join().unwrap())
    });
    let mut acknowledged = acknowledged;
    acknowledged.sort();
    println!("{} appends in {seconds} s", acknowledged.len());
    assert_eq!(delivered.len(), acknowledged.len());
    assert!(delivered == acknowledged, "what was delivered is not what was acknowledged");
}

async fn write(store: &PostgresStore, writer: usize, stop: &AtomicBool) -> Vec<(u64, String)> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let payload = format!("{writer}-{}", acknowledged.len());
        let done = store.append(to(&format!("s{writer}"), Expected::Any, &payload)).await.unwrap();
        acknowledged.push((done.last.get(), payload));
    }
    acknowledged
}

/// Looks until it has seen the end of the log after the last append was answered.
async fn deliver(store: &PostgresStore, ended: &AtomicBool) -> Vec<(u64, String)> {
    let (mut at, mut delivered) = (Position::ORIGIN, Vec::new());
    loop {
        let has_ended = ended.load(Ordering::SeqCst);
        let page = store.read(at, &Query::all(), 500).await.unwrap();
        at = page.next;
        delivered.extend(page.events.iter().map(|event| (event.position.get(), payload(event))));
        if has_ended && page.is_last() {
            return delivered;
        }
        SharedTimer::default().sleep(Duration::from_millis(2)).await;
    }
}

/// ES14: a caller's transaction that was begun, and wrote, long before it appends. Others append in the meantime,
/// and it comes after them: the order is that of the commits, and not that of transactions' ids.
#[test]
fn a_transaction_that_began_earlier_and_appends_later_comes_later() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        run(&store, "CREATE TABLE balance (cents bigint)").await;
        let mut conn = store.connection().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        sqlx::raw_sql("INSERT INTO balance VALUES (1)").execute(&mut *tx).await.unwrap();
        // It has an id now, and thinks; that holds nobody up.
        for nth in 1..=3 {
            store.append(to("s", Expected::Exact(Version::new(nth - 1)), nth)).await.unwrap();
        }
        store.append_in(&mut tx, to("s", Expected::Exact(Version::new(3)), "late")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(everything(&store).await, ["1", "2", "3", "late"]);
    });
}

/// ES15: somebody leaves a transaction open in another database of the server. Readers that go by transaction ids
/// would stand still; here nobody notices.
#[test]
fn a_transaction_left_open_in_another_database_holds_nobody_up() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        run(&store, "CREATE DATABASE elsewhere").await;
        let elsewhere = format!("{}/elsewhere", shared_server().rsplit_once('/').unwrap().0);
        let mut conn = PgConnection::connect(&elsewhere).await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").execute(&mut *tx).await.unwrap();
        let mut at = Position::ORIGIN;
        for nth in 1..=20 {
            let done = store.append(to("a", Expected::Any, nth)).await.unwrap();
            assert_eq!(store.wait_past(at).await, done.last);
            let page = store.read(at, &Query::all(), 10).await.unwrap();
            assert_eq!(page.events.iter().map(payload).collect::<Vec<_>>(), [nth.to_string()]);
            at = page.next;
        }
        tx.rollback().await.unwrap();
    });
}

/// ES17: the connection that listens dies, again and again. Whoever waits for the head hears of the next append all
/// the same, by looking, and by a new connection after that.
#[test]
fn a_listener_that_dies_is_replaced_and_nobody_waits_for_ever() {
    let schema = new_schema();
    let (writes, waits) = (open(shared_server(), &schema), open(shared_server(), &schema));
    runtime().block_on(async {
        let mut head = Position::ORIGIN;
        for nth in 0..5 {
            run(
                &writes,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'
                 AND query LIKE '%' || md5(current_schema()) || '%'",
            )
            .await;
            let done = writes.append(to("a", Expected::Any, nth)).await.unwrap().last;
            assert_eq!(waits.wait_past(head).await, done);
            head = done;
        }
    });
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'
                     AND query LIKE '%' || md5(current_schema()) || '%'";
    poll(PATIENCE, || {
        let count: i64 = runtime().block_on(async {
            let mut conn = writes.connection().await.unwrap();
            sqlx::query_scalar(listening).fetch_one(&mut *conn).await.unwrap()
        });
        Ok(count == 2)
    })
    .expect("both listen again");
}

/// What is certain about an append whose connection was taken away is said, and what is not is said as well.
#[test]
fn a_writer_whose_connection_is_taken_away_makes_another() {
    let server = Postgres::start().expect("a private server starts");
    let store = open(&server.url(), "log");
    runtime().block_on(async {
        for nth in 0..5 {
            let take_away = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%log_append%'
                             AND pid <> pg_backend_pid() AND query NOT LIKE '%pg_terminate%'";
            run(&store, take_away).await;
            match store.append(to("a", Expected::Any, nth).command_id(format!("c{nth}"))).await {
                Ok(_) => {}
                Err(AppendError::Unavailable(unavailable)) => {
                    assert!(unavailable.retryable && unavailable.written == Written::Unknown);
                    store.append(to("a", Expected::Any, nth).command_id(format!("c{nth}"))).await.unwrap();
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(everything(&store).await, ["0", "1", "2", "3", "4"]);
    });
}

/// An append that only asks has nothing to write, so it takes no turn, and no wait for the disk: to other stores a turn is
/// news, after which they know less to be durable.
#[test]
fn an_append_that_only_asks_leaves_the_log_as_it_is() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        let done = store.append(to("a", Expected::NoStream, 1)).await.unwrap();
        let head = async || {
            let mut conn = store.connection().await.unwrap();
            let select = sqlx::query_scalar::<_, String>("SELECT log_head::text FROM log_head");
            select.fetch_one(&mut *conn).await.unwrap()
        };
        let before = head().await;
        for _ in 0..3 {
            let asked = store.append(Append::new().events("a", Expected::Exists, [])).await.unwrap();
            assert!(asked.is_empty() && asked.last == done.last);
            let refused = store.append(Append::new().events("a", Expected::NoStream, [])).await.unwrap_err();
            assert!(refused.as_conflict().is_some(), "{refused:?}");
        }
        assert_eq!(head().await, before);
    });
}

/// Holds the log's lock while an append waits for it: all that come `together` meanwhile are one batch.
async fn held_up(store: &PostgresStore, together: impl AsyncFnOnce()) {
    let mut conn = store.connection().await.unwrap();
    let mut lock = conn.begin().await.unwrap();
    sqlx::query("SELECT FROM log_head FOR UPDATE").execute(&mut *lock).await.unwrap();
    let mut before = pin!(store.append(to("before", Expected::Any, "before")));
    assert!(futures::poll!(&mut before).is_pending());
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()
        AND transactionid = (SELECT pg_current_xact_id()::xid))";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *lock).await.unwrap() {
        tokio::task::yield_now().await;
    }
    together().await;
    lock.rollback().await.unwrap();
    before.await.unwrap();
}

/// An append whose caller has gone before its turn has come is not written: nobody is there to be told of it.
#[test]
fn an_append_given_up_while_it_waits_is_not_written() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        held_up(&store, async || {
            let mut given_up = Box::pin(store.append(to("a", Expected::Any, "given up")));
            assert!(futures::poll!(&mut given_up).is_pending());
        })
        .await;
        store.append(to("a", Expected::NoStream, "after")).await.unwrap();
        assert_eq!(everything(&store).await, ["before", "after"]);
    });
}

/// What the server cannot store in one append is that one's error, and none of those that it came along with.
#[test]
fn a_value_that_the_server_refuses_costs_its_neighbours_nothing() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        let refuses = "ALTER TABLE log_event ADD CONSTRAINT refuses CHECK (1 / (octet_length(payload) - 3) < 2)";
        run(&store, refuses).await;
        let mut appends = Vec::new();
        held_up(&store, async || {
            for payload in ["good", "bad", "well"] {
                let mut append = Box::pin(store.append(to("a", Expected::Any, payload)));
                assert!(futures::poll!(&mut append).is_pending());
                appends.push(append);
            }
        })
        .await;
        let results = join_all(appends).await;
        assert!(matches!(results[1], Err(AppendError::Refused(_))), "{results:?}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert_eq!(everything(&store).await, ["before", "good", "well"]);
    });
}

/// Those of one batch are judged one after the other, each on what the former leave.
#[test]
fn of_appends_in_one_batch_the_later_are_judged_on_what_the_former_leave() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        for (round, query) in [Query::tags(["seat:1"]), Query::types(["Taken"])].into_iter().enumerate() {
            let seat = Condition::no_match(query, Marker::seen_through(store.head()));
            let take = |who: &str| {
                let event = NewEvent::new("Taken", who.to_owned()).tag("seat:1");
                Append::new().events(format!("{who} {round}"), Expected::Any, [event]).require(seat.clone())
            };
            let (key, command) = (format!("{round}"), format!("command {round}"));
            let owner = Condition::row_absent("owner", key.clone());
            let appends = [
                take("first").command_id(&*command),
                take("second"),
                to("another", Expected::Any, "command").command_id(&*command),
                to("row", Expected::Any, "a").require(owner.clone()).row(RowChange::put("owner", key.clone(), "a")),
                to("row", Expected::Any, "b").require(owner),
                to("row", Expected::Any, "c").require(Condition::row_is("owner", key, "a")),
            ];
            let mut waiting = Vec::new();
            held_up(&store, async || {
                for append in appends {
                    let mut append = Box::pin(store.append(append));
                    assert!(futures::poll!(&mut append).is_pending());
                    waiting.push(append);
                }
            })
            .await;
            let results = join_all(waiting).await;
            let is_accepted: Vec<bool> = results.iter().map(Result::is_ok).collect();
            assert_eq!(is_accepted, [true, false, false, true, false, true], "{results:?}");
            let is_conflict = |nth: usize| results[nth].as_ref().unwrap_err().as_conflict().is_some();
            assert!(is_conflict(1) && is_conflict(4), "{results:?}");
            assert!(matches!(results[2], Err(AppendError::IdMisuse { .. })), "{results:?}");
        }
    });
}

/// The same, where nothing else in the batch gives it away: a command that comes twice, and a row that two want to be first
/// to write.
#[test]
fn what_comes_twice_in_one_batch_is_written_once() {
    let store = open(shared_server(), &new_schema());
    runtime().block_on(async {
        let command = || to("a", Expected::Any, "command").command_id("command");
        let put = RowChange::put("owner", "a", "a");
        let row = || to("b", Expected::Any, "row").require(Condition::row_absent("owner", "a")).row(put.clone());
        for twice in [[command(), command()], [row(), row()]] {
            let mut waiting = Vec::new();
            held_up(&store, async || {
                for append in twice {
                    let mut append = Box::pin(store.append(append));
                    assert!(futures::poll!(&mut append).is_pending());
                    waiting.push(append);
                }
            })
            .await;
            match &join_all(waiting).await[..] {
                [Ok(first), Ok(again)] => assert!(again.already_committed && again.last == first.last),
                [Ok(_), Err(refused)] => assert!(refused.as_conflict().is_some(), "{refused:?}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(everything(&store).await, ["before", "command", "before", "row"]);
    });
}

/// A row that is not there cannot be locked: a transaction beside the log may put it in between the look and the write of
/// a batch that keeps the log's lock. That is a conflict of whoever wanted it absent, and nothing is corrupt.
#[test]
fn a_row_that_appears_between_the_look_and_the_write_is_a_conflict() {
    let store = open(shared_server(), &new_schema());
    let wants = to("a", Expected::Any, 1).require(Condition::row_absent("fence", "owner"));
    let stale = to("before", Expected::NoStream, 2);
    runtime().block_on(async {
        // The server's function, which somebody gets in front of whenever it has not written: first of the log, so
        // that the batch is done over under the lock; then, in that, of the row.
        let source = "SELECT pg_get_functiondef('log_append'::regproc)";
        let mut conn = store.connection().await.unwrap();
        let source: String = sqlx::query_scalar(source).fetch_one(&mut *conn).await.unwrap();
        let looks = "IF NOT (written AND changes) THEN";
        assert_eq!(source.matches(looks).count(), 1, "the function has changed: {source}");
        let raced = source.replace(
            looks,
            &format!(
                "{looks} CASE nextval('races')
            WHEN 1 THEN UPDATE log_head AS h SET turn = h.turn + 1;
            WHEN 3 THEN INSERT INTO log_row (space, key, value) VALUES ('fence', 'owner', 'me');
            ELSE NULL; END CASE;"
            ),
        );
        drop(conn);
        run(&store, &format!("CREATE SEQUENCE races; {raced}")).await;

        let (mut wants, mut stale) = (pin!(store.append(wants)), pin!(store.append(stale)));
        held_up(&store, async || {
            assert!(futures::poll!(&mut wants).is_pending() && futures::poll!(&mut stale).is_pending());
        })
        .await;
        let refused = wants.await.unwrap_err();
        assert!(matches!(refused.as_conflict().unwrap().violations[..], [Violation::Row { .. }]), "{refused:?}");
        assert!(stale.await.unwrap_err().as_conflict().is_some());
        assert_eq!(everything(&store).await, ["before"]);
    });
}
