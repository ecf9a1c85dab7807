//! Input that is bad, on each engine that keeps something, as a program meets it: by the address in its settings. Each is one
//! error that says what is wrong, once, and costs nothing that was there.
#![cfg(any(feature = "sqlite", feature = "redb", feature = "postgres"))]

use std::error::Error;
use std::time::Duration;

use resilience_cqrs::aggregate::{Decider, Repository};
use resilience_cqrs::limits::PAYLOAD_BYTES;
use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
use resilience_cqrs::{AnyStore, Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded};
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(120);

/// An error as a program's log has it, with its causes.
fn aloud(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A store that cannot be opened, and why.
async fn refused(address: &str) -> String {
    match AnyStore::open(address).await {
        Ok(_) => panic!("{address} was opened"),
        Err(error) => aloud(&error),
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Deposited(i64),
}

#[derive(Clone, Debug, Default)]
struct Account(i64);

impl Decider for Account {
    const STREAM: &'static str = "account";
    type Command = i64;
    type Event = Entry;
    type Error = &'static str;

    fn evolve(&mut self, Entry::Deposited(cents): &Entry) {
        self.0 += cents;
    }

    fn decide(&self, cents: &i64) -> Result<Vec<Entry>, &'static str> {
        Ok(vec![Entry::Deposited(*cents)])
    }
}

struct Balances;

impl Projection for Balances {
    fn name(&self) -> &str {
        "balances@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let cents: i64 = serde_json::from_slice(&event.payload)?;
        rows.put("balances", event.stream.as_str().to_owned(), cents.to_string());
        Ok(())
    }
}

/// An event that no program can read, in the middle of others: whoever asks for its stream is told which it is, a model
/// sets its stream apart with its bytes where they were, and everybody else goes on. ES24.
async fn a_payload_that_means_nothing(store: &AnyStore) {
    let accounts: Repository<Account, _> = Repository::new(store.clone());
    accounts.execute("1", &5).await.unwrap();
    let broken = NewEvent::new("Deposited", r#"{"cents":"#);
    let broken = store.append(Append::new().events("account-1", Expected::Any, [broken])).await.unwrap().last;
    accounts.execute("2", &7).await.unwrap();
    let said = aloud(&accounts.load("1").await.unwrap_err());
    let which = format!("event {broken} of type Deposited cannot be decoded: ");
    assert!(said.starts_with(&which) && said.len() > which.len(), "{said}");
    assert_eq!(aloud(&accounts.execute("1", &1).await.unwrap_err()), said, "and nobody decides on half a state");
    assert_eq!(accounts.load("2").await.unwrap().state.0, 7);
    let running = ProjectionRunner::builder(store.clone(), Balances).start();
    running.at_least(store.head(), PATIENCE).await.unwrap();
    assert_eq!(running.status().parked.into_iter().collect::<Vec<_>>(), [("account-1".to_owned(), 1)]);
    assert_eq!(store.row("balances", b"account-2").await.unwrap().as_deref(), Some(&b"7"[..]));
    running.stop().await.unwrap();
    let kept = store.read(Position::new(broken.get() - 1), &Query::all(), 1).await.unwrap();
    assert_eq!(&kept.events[0].payload[..], br#"{"cents":"#);
}

/// An event that is too large is refused before anything of its append is written, and the next one is not.
async fn an_event_that_is_too_large(store: &AnyStore) {
    let before = store.head();
    let large = NewEvent::new("Uploaded", vec![0; PAYLOAD_BYTES + 1]);
    let both = Append::new().events("small", Expected::Any, [NewEvent::new("Noted", "")]).events(
        "large",
        Expected::Any,
        [large],
    );
    let error = store.append(both).await.unwrap_err();
    assert_eq!(aloud(&error), "append is not valid: payload has 16777217 bytes, at most 16777216 may be");
    assert!(!error.is_retryable() && !error.may_have_committed() && store.head() == before);
    let most = NewEvent::new("Uploaded", vec![0; PAYLOAD_BYTES]);
    let done = store.append(Append::new().events("large", Expected::NoStream, [most])).await.unwrap();
    assert_eq!(done.first, before.next());
    let read = store.read(before, &Query::all(), 10).await.unwrap();
    assert_eq!((read.events.len(), read.events[0].payload.len()), (1, PAYLOAD_BYTES));
}

/// Both, in one store.
async fn events(store: &AnyStore) {
    a_payload_that_means_nothing(store).await;
    an_event_that_is_too_large(store).await;
    store.close().await;
}

#[cfg(any(feature = "sqlite", feature = "redb"))]
mod files {
    use std::path::Path;

    use super::*;

    pub(super) async fn filled(address: &str) {
        let store = AnyStore::open(address).await.unwrap();
        let event = NewEvent::new("Happened", vec![7; 3_000]).tag("t");
        store.append(Append::new().events("s", Expected::Any, vec![event; 500])).await.unwrap();
        store.close().await;
    }

    /// A file that is something else, one that is half there, and a place that is none; each is left as it is.
    pub(super) async fn that_are_no_logs(engine: &str, directory: &Path, is_no_database: &str) {
        let path = directory.join("log");
        let address = format!("{engine}:{}", path.display());
        let letter = b"This is a letter, and not a database at all.".repeat(100);
        std::fs::write(&path, &letter).unwrap();
        assert_eq!(refused(&address).await, format!("{} is not {is_no_database}", path.display()));
        assert_eq!(std::fs::read(&path).unwrap(), letter);
        std::fs::remove_file(&path).unwrap();
        filled(&address).await;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let half = std::fs::read(&path).unwrap();
        let said = refused(&address).await;
        assert!(said.starts_with("the log is corrupt: "), "{said}");
        println!("{engine}, half a file: {said}");
        assert_eq!(std::fs::read(&path).unwrap().len(), half.len());
        let nowhere = refused(&format!("{engine}:{}/below/log", path.display())).await;
        println!("{engine}, no such place: {nowhere}");
        assert!(nowhere.starts_with("cannot open ") && nowhere.contains("/below/log"), "{nowhere}");
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_that_are_no_logs_are_one_error_each_and_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        files::that_are_no_logs("sqlite", directory.path(), "a database").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_of_a_later_release_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let address = format!("sqlite:{}", path.display());
        files::filled(&address).await;
        let file = rusqlite::Connection::open(&path).unwrap();
        file.execute("UPDATE log_meta SET value = 99 WHERE name = 'version'", []).unwrap();
        assert_eq!(refused(&address).await, "the log has layout version 99, this program knows 2");
        let count: i64 = file.query_row("SELECT count(*) FROM log_event", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 500);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_that_nobody_can_read_or_take_are_one_error_each() {
        let directory = tempfile::tempdir().unwrap();
        events(&AnyStore::open(&format!("sqlite:{}", directory.path().join("log").display())).await.unwrap()).await;
    }
}

#[cfg(feature = "redb")]
mod redb {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_that_are_no_logs_are_one_error_each_and_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        files::that_are_no_logs("redb", directory.path(), "a database of redb").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_of_a_later_release_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let address = format!("redb:{}", path.display());
        files::filled(&address).await;
        let database = ::redb::Database::create(&path).unwrap();
        let tx = database.begin_write().unwrap();
        let meta = ::redb::TableDefinition::<&str, u64>::new("log_meta");
        tx.open_table(meta).unwrap().insert("version", 99).unwrap();
        tx.commit().unwrap();
        drop(database);
        assert_eq!(refused(&address).await, "the log has layout version 99, this program knows 1");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_that_nobody_can_read_or_take_are_one_error_each() {
        let directory = tempfile::tempdir().unwrap();
        events(&AnyStore::open(&format!("redb:{}", directory.path().join("log").display())).await.unwrap()).await;
    }
}

#[cfg(all(unix, feature = "postgres"))]
mod postgres {
    use resilience_cqrs::{PostgresStore, ReadError};
    use sqlx::AssertSqlSafe;
    use testkit::postgres::Postgres;

    use super::*;

    fn address(schema: &str) -> String {
        format!("{}?schema={schema}", testkit::postgres::shared())
    }

    async fn run(store: &PostgresStore, statement: &str) {
        let mut conn = store.connection().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *conn).await.unwrap();
    }

    async fn filled(store: &PostgresStore) {
        let event = NewEvent::new("Happened", vec![7; 300]);
        store.append(Append::new().events("s", Expected::Any, vec![event; 500])).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_that_nobody_can_read_or_take_are_one_error_each() {
        events(&AnyStore::open(&address("bad_events")).await.unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_of_a_later_release_is_refused_and_left_alone() {
        let store = PostgresStore::builder().schema("later").open(testkit::postgres::shared()).await.unwrap();
        filled(&store).await;
        run(&store, "UPDATE log_meta SET value = 99").await;
        assert_eq!(refused(&address("later")).await, "the log has layout version 99, this program knows 2");
        assert_eq!(store.read(Position::ORIGIN, &Query::all(), 1_000).await.unwrap().events.len(), 500);
    }

    /// A column is not what it was made as. To ask again would bring the same, for ever.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_table_that_somebody_has_changed_is_corrupt_and_not_out_of_reach() {
        let store = PostgresStore::builder().schema("changed").open(testkit::postgres::shared()).await.unwrap();
        filled(&store).await;
        run(&store, "ALTER TABLE log_event ALTER COLUMN payload TYPE text USING encode(payload, 'hex')").await;
        let again = PostgresStore::builder().schema("changed").open(testkit::postgres::shared()).await.unwrap();
        let error = again.read(Position::ORIGIN, &Query::all(), 10).await.unwrap_err();
        println!("{}", aloud(&error));
        assert!(matches!(error, ReadError::Corrupt(_)) && !error.is_retryable(), "{error:?}");
    }

    /// A page of the table is not what the server has written. It says so, and so does the store; what is on other pages
    /// can be read.
    #[test]
    fn a_damaged_page_is_corrupt_and_the_others_can_be_read() {
        let mut server = Postgres::start_with(&[]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let file: String = runtime.block_on(async {
            let store = PostgresStore::open(&server.url()).await.unwrap();
            filled(&store).await;
            run(&store, "CHECKPOINT").await;
            let mut conn = store.connection().await.unwrap();
            sqlx::query_scalar("SELECT pg_relation_filepath('log_event')").fetch_one(&mut *conn).await.unwrap()
        });
        server.kill().unwrap();
        let path = server.data().join(file);
        let mut pages = std::fs::read(&path).unwrap();
        pages[12..18].fill(0xff); // Where the first page has its free space, and its header an end.
        std::fs::write(&path, pages).unwrap();
        server.restart().unwrap();
        runtime.block_on(async {
            let store = PostgresStore::open(&server.url()).await.unwrap();
            let error = store.read(Position::ORIGIN, &Query::all(), 10).await.unwrap_err();
            println!("{}", aloud(&error));
            assert!(matches!(error, ReadError::Corrupt(_)) && !error.is_retryable(), "{error:?}");
            assert!(aloud(&error).contains("invalid page in block 0"), "{}", aloud(&error));
            assert_eq!(store.read(Position::new(490), &Query::all(), 20).await.unwrap().events.len(), 10);
        });
    }
}
