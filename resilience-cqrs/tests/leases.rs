//! Leases in a database keep every law, by the database's clock and nobody else's.
//!
//! No test waits: the tables are wound on instead, which to the engine is the same as time that has passed.
#![cfg(all(unix, any(feature = "sqlite", feature = "postgres")))]

use std::sync::Mutex;
use std::time::Duration;

use resilience_core::context::FencingToken;
use resilience_core::lease::conformance::Engine;
use resilience_core::lease::{Acquired, Lease, Leases};
use resilience_core::time::{ManualTimer, Timer};

/// Far longer than a test takes on whatever machine: the databases' clocks go on by themselves, too.
const TTL: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn granted(leases: &impl Leases, owner: &str) -> Lease {
    leases.acquire("relay", owner, TTL).await.expect("it can be asked").granted().expect("nobody else has it")
}

async fn is_held(leases: &impl Leases, asks: &str, by: &str) -> bool {
    match leases.acquire("relay", asks, TTL).await.expect("it can be asked") {
        Acquired::Granted(_) => false,
        Acquired::Held { owner, retry_after } => {
            assert_eq!(owner.as_deref(), Some(by));
            assert!(retry_after.is_some_and(|wait| wait <= TTL + Duration::from_millis(2)), "{retry_after:?}");
            true
        }
    }
}

/// The clock of one owner is a year ahead, that of another stands still. Neither takes a lease early, and neither keeps
/// one for longer than the database says.
async fn owners_with_wrong_clocks<L: Leases>(open: impl AsyncFn(&ManualTimer) -> L, pass: impl AsyncFn(Duration)) {
    let (ahead, stopped) = (ManualTimer::new(), ManualTimer::new());
    ahead.advance(YEAR);
    let (first, second) = (open(&stopped).await, open(&ahead).await);
    let lease = granted(&first, "stopped").await;
    assert_eq!(lease.until(), stopped.now() + TTL, "in its owner's own time");
    assert!(is_held(&second, "ahead", "stopped").await, "whatever its clock says");
    pass(TTL * 2).await;
    assert!(stopped.now() < lease.until(), "it believes in its lease");
    let next = granted(&second, "ahead").await;
    assert!(next.token() > lease.token() && next.until() == ahead.now() + TTL);
    assert_eq!(first.renew(&lease, TTL).await.unwrap(), None, "and is told otherwise");
    assert!(!first.release(&lease).await.unwrap());
    assert!(is_held(&first, "stopped", "ahead").await);
}

/// Many programs ask at once, again and again: each round has one winner, and its token is the greatest so far.
async fn many_programs_race<L: Leases>(programs: Vec<L>) {
    let mut last = FencingToken::new(0);
    for round in 0..10 {
        let asks = programs.iter().enumerate().map(async |(number, leases)| {
            let owner = format!("node-{number}");
            leases.acquire("relay", &owner, TTL).await.expect("it can be asked").granted().map(|lease| (leases, lease))
        });
        let mut winners: Vec<_> = futures::future::join_all(asks).await.into_iter().flatten().collect();
        let (leases, lease) = winners.pop().expect("somebody wins");
        assert!(winners.is_empty() && lease.token() > last, "round {round}");
        last = lease.token();
        assert!(leases.release(&lease).await.unwrap());
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use resilience_cqrs::lease::SqliteLeases;
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    const CHILD: &str = "CQRS_LEASE_CHILD";
    /// How long one may wait for the others: a file's lock goes to whoever asks at the right moment, and not in turn.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Lets time pass for the leases in a file.
    fn wind(path: &Path, time: Duration) {
        let conn = Connection::open(path).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn.execute("UPDATE lease SET until = until - ?1", [time.as_millis() as i64]).unwrap();
    }

    async fn open(path: &Path, timer: &ManualTimer) -> SqliteLeases {
        SqliteLeases::builder().busy_timeout(PATIENCE).timer(timer.clone()).open(path).await.unwrap()
    }

    /// An engine in a directory of its own, and the time of all there are.
    #[derive(Default)]
    struct Files {
        timer: ManualTimer,
        directories: Mutex<Vec<TempDir>>,
    }

    impl Engine for Files {
        type Leases = SqliteLeases;

        fn fresh(&self) -> SqliteLeases {
            let directory = tempfile::tempdir().unwrap();
            let leases = futures::executor::block_on(open(&directory.path().join("leases.db"), &self.timer));
            self.directories.lock().unwrap().push(directory);
            leases
        }

        fn ttl(&self) -> Duration {
            TTL
        }

        fn pass(&self, time: Duration) {
            self.timer.advance(time);
            for directory in &*self.directories.lock().unwrap() {
                wind(&directory.path().join("leases.db"), time);
            }
        }
    }

    mod laws {
        resilience_core::lease_conformance_tests!(super::Files::default());
    }

    #[tokio::test]
    async fn an_owner_whose_clock_is_wrong_gains_nothing_by_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases.db");
        owners_with_wrong_clocks(async |timer| open(&path, timer).await, async |time| wind(&path, time)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_programs_one_wins_each_round() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases.db");
        let mut programs = Vec::new();
        for _ in 0..6 {
            programs.push(SqliteLeases::builder().busy_timeout(PATIENCE).open(&path).await.unwrap());
        }
        many_programs_race(programs).await;
    }

    /// The process that has the lease is killed. Nobody gives anything back, so the lease is over when its time is, by
    /// the file's clock, and not before; and what the dead one's token was is never given again.
    #[tokio::test]
    async fn a_killed_owner_holds_its_lease_until_it_runs_out_and_its_token_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases.db");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::the_child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let token = lines.filter_map(|line| line.strip_prefix("> ").map(str::to_owned)).next().expect("it has a lease");
        child.kill().unwrap();
        child.wait().unwrap();
        let leases = SqliteLeases::open(&path).await.unwrap();
        assert!(is_held(&leases, "parent", "child").await, "it may live, for all one can tell");
        wind(&path, TTL / 2);
        assert!(is_held(&leases, "parent", "child").await);
        wind(&path, TTL);
        assert!(granted(&leases, "parent").await.token().get() > token.parse().unwrap());
    }

    /// What the test above kills; by itself it is nothing.
    #[test]
    fn the_child() {
        let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let leases = SqliteLeases::open(path).await.unwrap();
            println!("> {}", granted(&leases, "child").await.token().get());
            std::future::pending::<()>().await;
        });
    }

    /// A question whose asker has gone is still answered, to nobody: the lease it took runs out by itself.
    #[tokio::test]
    async fn an_asker_that_goes_away_leaves_nothing_by_half() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases.db");
        let leases = SqliteLeases::open(&path).await.unwrap();
        {
            let mut asked = std::pin::pin!(leases.acquire("relay", "gone", TTL));
            // On a thread of its own, which may have answered already: then it has gone right after.
            let _ = futures::poll!(asked.as_mut());
        }
        assert!(is_held(&leases, "other", "gone").await);
        wind(&path, TTL * 2);
        granted(&leases, "other").await;
    }

    /// Leases are taken under names that never come again; a file that kept them all would only grow.
    #[tokio::test]
    async fn a_file_forgets_what_is_over_and_never_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases.db");
        let leases = SqliteLeases::open(&path).await.unwrap();
        for round in 0..5 {
            for n in 0..40 {
                leases.acquire(&format!("{round}-{n}"), "a", TTL).await.unwrap().granted().unwrap();
            }
            wind(&path, TTL * 2);
        }
        let last = granted(&leases, "a").await.token();
        let rows: i64 =
            Connection::open(&path).unwrap().query_row("SELECT count(*) FROM lease", [], |row| row.get(0)).unwrap();
        assert_eq!((rows, last.get()), (1, 201));
    }

    #[tokio::test]
    async fn a_file_that_is_something_else_is_an_error_and_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        std::fs::write(&path, "x".repeat(5_000)).unwrap();
        let error = SqliteLeases::open(&path).await.unwrap_err();
        assert!(!error.is_retryable());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x".repeat(5_000));

        let path = directory.path().join("newer.db");
        drop(SqliteLeases::open(&path).await.unwrap());
        Connection::open(&path).unwrap().execute("UPDATE lease_meta SET value = 9 WHERE name = 'layout'", []).unwrap();
        let error = SqliteLeases::open(&path).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "the leases have layout 9, this program knows 1");
    }

    #[tokio::test]
    async fn a_file_that_somebody_else_writes_to_for_long_is_an_error_that_passes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases.db");
        let leases = SqliteLeases::builder().busy_timeout(Duration::from_millis(1)).open(&path).await.unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(leases.acquire("relay", "a", TTL).await.unwrap_err().is_retryable());
        other.execute_batch("ROLLBACK").unwrap();
        granted(&leases, "a").await;
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::future::Future;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use resilience_cqrs::lease::PostgresLeases;
    use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
    use testkit::postgres::Postgres;
    use tokio::runtime::Runtime;

    use super::*;

    fn runtime() -> &'static Runtime {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime starts")
        })
    }

    fn new_schema() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("leases {}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    async fn open(url: &str, schema: &str, timer: &ManualTimer) -> PostgresLeases {
        PostgresLeases::builder().schema(schema).timer(timer.clone()).open(url).await.unwrap()
    }

    /// Lets time pass for the leases in a schema.
    async fn wind(url: &str, schema: &str, time: Duration) {
        let mut conn = PgConnection::connect(url).await.unwrap();
        let sql = format!(r#"UPDATE "{schema}".lease SET until = until - $1::float8 * interval '1 millisecond'"#);
        sqlx::query(AssertSqlSafe(sql)).bind(time.as_millis() as f64).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }

    /// Cut to what fits, two long names would be one set of leases.
    #[test]
    fn a_schema_that_the_server_would_call_otherwise_is_refused() {
        let open = PostgresLeases::builder().schema("l".repeat(64)).open(testkit::postgres::shared());
        let error = runtime().block_on(open).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.starts_with("a schema's name has 1 to 63 bytes") && !error.is_retryable(), "{said}");
    }

    /// A schema of its own for each engine, and the time of all there are.
    #[derive(Default)]
    struct Server {
        timer: ManualTimer,
        schemas: Mutex<Vec<String>>,
    }

    impl Engine for Server {
        type Leases = PostgresLeases;

        fn fresh(&self) -> PostgresLeases {
            let schema = new_schema();
            let leases = runtime().block_on(open(testkit::postgres::shared(), &schema, &self.timer));
            self.schemas.lock().unwrap().push(schema);
            leases
        }

        fn ttl(&self) -> Duration {
            TTL
        }

        fn pass(&self, time: Duration) {
            self.timer.advance(time);
            for schema in &*self.schemas.lock().unwrap() {
                runtime().block_on(wind(testkit::postgres::shared(), schema, time));
            }
        }
    }

    mod laws {
        resilience_core::lease_conformance_tests!(super::Server::default());
    }

    fn run<F: Future>(work: F) -> F::Output {
        runtime().block_on(work)
    }

    #[test]
    fn an_owner_whose_clock_is_wrong_gains_nothing_by_it() {
        let (url, schema) = (testkit::postgres::shared(), new_schema());
        run(owners_with_wrong_clocks(
            async |timer| open(url, &schema, timer).await,
            async |time| wind(url, &schema, time).await,
        ));
    }

    #[test]
    fn of_many_programs_one_wins_each_round() {
        let (schema, timer) = (new_schema(), ManualTimer::new());
        run(async {
            let programs = (0..6).map(|_| open(testkit::postgres::shared(), &schema, &timer));
            many_programs_race(futures::future::join_all(programs).await).await;
        });
    }

    /// The server dies and comes back. What it granted holds, and no token is given twice; meanwhile the question is an
    /// error that passes, and an owner goes on by its own clock.
    #[test]
    fn leases_and_tokens_survive_a_server_that_is_killed() {
        let mut server = Postgres::start().unwrap();
        let timer = ManualTimer::new();
        run(async {
            let leases = open(&server.url(), "leases", &timer).await;
            let lease = granted(&leases, "node-1").await;
            server.kill().unwrap();
            // A session may outlive its killed server by a moment, and be answered.
            let mut answered = 0;
            let error = loop {
                match leases.renew(&lease, TTL).await {
                    Ok(_) if answered < 100_000 => answered += 1,
                    answer => break answer.unwrap_err(),
                }
            };
            assert!(error.is_retryable());
            server.restart().unwrap();
            let again = open(&server.url(), "leases", &timer).await;
            assert!(is_held(&again, "node-2", "node-1").await);
            assert_eq!(leases.renew(&lease, TTL).await.unwrap().unwrap().token(), lease.token(), "by a new connection");
            assert_eq!(again.renew(&lease, TTL).await.unwrap().unwrap().token(), lease.token());
            wind(&server.url(), "leases", TTL * 2).await;
            assert!(granted(&again, "node-2").await.token() > lease.token());
        });
    }

    /// An answer that does not come (a lock is held for long, the network swallows everything) must not keep an owner
    /// from knowing that it does not know. Afterwards it gets its answers as before.
    #[test]
    fn an_answer_that_does_not_come_is_an_error_in_time() {
        let (url, schema, timer) = (testkit::postgres::shared(), new_schema(), ManualTimer::new());
        run(async {
            let leases = open(url, &schema, &timer).await;
            let lease = granted(&leases, "node-1").await;
            let mut other = PgConnection::connect(url).await.unwrap();
            let mut tx = other.begin().await.unwrap();
            let lock = format!(r#"LOCK TABLE "{schema}".lease"#);
            sqlx::query(AssertSqlSafe(lock)).execute(&mut *tx).await.unwrap();
            // The second waits for the first, and not for longer than if it were alone.
            let renewals = futures::future::join(leases.renew(&lease, TTL), leases.renew(&lease, TTL));
            let both = async {
                while timer.sleepers() < 2 {
                    tokio::task::yield_now().await;
                }
                timer.advance(Duration::from_secs(5));
            };
            let ((first, second), ()) = futures::future::join(renewals, both).await;
            assert!(first.unwrap_err().is_retryable() && second.unwrap_err().is_retryable());
            tx.rollback().await.unwrap();
            assert!(leases.renew(&lease, TTL).await.unwrap().is_some());
        });
    }

    /// Who asks last waits for the counter while another takes the lease in a transaction that is slow to commit. A clock
    /// read before the wait would be the past, and a snapshot from before it would know of no owner.
    #[test]
    fn one_who_had_to_wait_for_the_counter_sees_who_was_faster() {
        let (url, schema, timer) = (testkit::postgres::shared(), new_schema(), ManualTimer::new());
        run(async {
            let leases = open(url, &schema, &timer).await;
            let mut slow = PgConnection::connect(url).await.unwrap();
            let mut tx = slow.begin().await.unwrap();
            let me: i32 = sqlx::query("SELECT pg_backend_pid()").fetch_one(&mut *tx).await.unwrap().get(0);
            for sql in [
                format!(r#"UPDATE "{schema}".lease_meta SET value = value + 1 WHERE name = 'last token'"#),
                format!(
                    r#"INSERT INTO "{schema}".lease VALUES ('relay', 'slow', 1, clock_timestamp() + interval '50 minutes')"#
                ),
            ] {
                sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
            }
            let asking = tokio::spawn({
                let leases = leases.clone();
                async move { is_held(&leases, "fast", "slow").await }
            });
            // It waits for this transaction: the server says so.
            let mut watcher = PgConnection::connect(url).await.unwrap();
            loop {
                let waiting = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
                let waiting: i64 = sqlx::query(waiting).bind(me).fetch_one(&mut watcher).await.unwrap().get(0);
                if waiting > 0 {
                    break;
                }
                assert!(!asking.is_finished(), "it did not wait");
            }
            tx.commit().await.unwrap();
            assert!(asking.await.unwrap());
        });
    }

    #[test]
    fn what_is_over_is_forgotten_and_never_a_token() {
        let (url, schema, timer) = (testkit::postgres::shared(), new_schema(), ManualTimer::new());
        run(async {
            let leases = open(url, &schema, &timer).await;
            for n in 0..64 {
                leases.acquire(&n.to_string(), "a", TTL).await.unwrap().granted().unwrap();
                wind(url, &schema, TTL * 2).await;
            }
            let mut conn = PgConnection::connect(url).await.unwrap();
            let rows = sqlx::query(AssertSqlSafe(format!(r#"SELECT count(*) FROM "{schema}".lease"#)));
            let rows: i64 = rows.fetch_one(&mut conn).await.unwrap().get(0);
            assert!(rows <= 1, "{rows} of 64 are left");
            assert_eq!(granted(&leases, "a").await.token().get(), 65);
        });
    }

    #[test]
    fn an_address_that_is_none_is_an_error_that_does_not_pass() {
        assert!(!run(PostgresLeases::open("mysql://localhost/x")).unwrap_err().is_retryable());
        let refused = run(PostgresLeases::open("postgres://nobody@127.0.0.1:1/none")).unwrap_err();
        assert!(refused.is_retryable(), "the server may come");
    }
}
